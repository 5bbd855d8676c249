"""Targets: how an implementation is loaded, named and driven."""
