"""The reference's text executed on symbols instead of numbers."""
