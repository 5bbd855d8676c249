"""Diagnosis: the edit of the reference that computes what a target computes."""
