"""Verdicts: what is concluded from the results, and how it is said."""
