"""Every dialect of every rule is told from the others, and conforms to itself."""

import pytest

from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.examine import examine
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.reference import RULES

DIALECTS = [(name, dialect) for name, rule in RULES.items() for dialect in rule.dialects]


@pytest.mark.parametrize(("name", "dialect"), DIALECTS)
def test_the_reference_in_a_dialect_is_recognised(name: str, dialect: str) -> None:
    record = RULES[name]
    alone = type(record.__name__, (record,), {"dialects": (dialect,), "same_as": {}})
    report = examine(make_target(f"{name} as {dialect}", alone, name), Options(level="quick"))
    assert (report.verdict, report.dialect) == ("conforms", dialect), str(report)
