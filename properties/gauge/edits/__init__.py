"""Edits: the reference's text, changed in small ways and in known ones."""
