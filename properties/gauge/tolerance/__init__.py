"""Tolerance: how far rounding may lead, measured by executing the reference's own text with noise."""
