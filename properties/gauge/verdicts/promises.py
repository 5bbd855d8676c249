"""Promises of torch's that show in the numbers: one that is broken silently is a divergence, with a rule or without."""

from collections.abc import Iterable

from stepgauge.properties.gauge.checks.results import Category, Result, Status

# Autograd lays out a gradient as its parameter, and kernels may count on that.
UNPROMISED = ("contract/transposed-gradient",)


def broken_promises(results: Iterable[Result]) -> list[Result]:
    """The promises that failed by numbers: what raises, or is about names, has no error to tell."""
    failed = [r for r in results if r.category is Category.CONTRACT and r.status is Status.FAIL]
    return [r for r in failed if r.error is not None and r.id not in UNPROMISED]
