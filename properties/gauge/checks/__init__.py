"""Checks: what is asked of a target, and what came of it."""
