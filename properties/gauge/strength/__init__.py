"""Strength: what the gauge misses, and how small an error it sees."""
