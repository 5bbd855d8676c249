"""Tests of the project's own three layers: reference, core and bindings."""
