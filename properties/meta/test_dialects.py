"""Every dialect of every rule is told from the others, and conforms to itself."""

from typing import ClassVar

import pytest

from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.examine import examine
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.reference import RULES, SGDP, Array, Sum

DIALECTS = [(name, dialect) for name, rule in RULES.items() for dialect in rule.dialects]


@pytest.mark.parametrize(("name", "dialect"), DIALECTS)
def test_the_reference_in_a_dialect_is_recognised(name: str, dialect: str) -> None:
    record = RULES[name]
    alone = type(record.__name__, (record,), {"dialects": (dialect,), "same_as": {}})
    report = examine(make_target(f"{name} as {dialect}", alone, name), Options(level="quick"))
    assert (report.verdict, report.dialect) == ("conforms", dialect), str(report)


def compared(report: Report) -> list[set[str]]:
    """The dialects that each problem that counts was compared with, in the order of the checks."""
    return [set(o.worst) for r in report.results for o in r.outcomes if o.counts]


def test_a_dialect_that_was_left_is_not_compared_again() -> None:
    released = type("Released", (SGDP,), {"dialects": ("released",)})
    found = compared(examine(make_target("released", released, "sgdp"), Options(level="quick", only="trajectory/*")))
    assert (found[0], found[-1]) == ({"published", "released"}, {"released"})


def test_what_follows_no_dialect_is_compared_with_all_of_them() -> None:
    class WrongWhenLarge(SGDP):
        dialects: ClassVar[tuple[str, ...]] = ("released",)

        def step(self, p: Array, g: Array, s: SGDP.State, pooled: Sum | None = None) -> tuple[Array, SGDP.State]:
            moved, state = super().step(p, g, s, pooled)
            return moved + (1e-4 if p.size > 4096 else 0.0), state

    options = Options(level="quick", only="trajectory/*", diagnosis=False)
    report = examine(make_target("large", WrongWhenLarge, "sgdp"), options)
    assert report.verdict == "diverges"
    assert all(dialects == {"published", "released"} for dialects in compared(report))
