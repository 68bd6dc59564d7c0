"""`make load`: a month of a marketing system in a minute, and whether promises were kept."""
