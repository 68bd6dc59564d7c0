"""What an analyst reads: reports with their uncertainty, and exports of every decision."""
