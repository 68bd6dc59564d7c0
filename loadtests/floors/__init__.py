"""What our speed is a ratio of: the least and the usual that the same server could be."""
