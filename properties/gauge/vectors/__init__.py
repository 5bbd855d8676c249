"""Vectors: recorded trajectories, read, written, replayed, and turned into scripts."""
