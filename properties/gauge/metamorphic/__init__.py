"""Metamorphic relations: what must hold of any optimizer, with the target as its own witness."""
