"""The rules in Cython."""
