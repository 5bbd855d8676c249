"""Every layer computes the rule: the checks that `stepgauge check` runs, on the project's own core and bindings."""

import pytest

from stepgauge.properties.gauge.check import Check
from stepgauge.properties.gauge.examination import Options, examination
from stepgauge.properties.gauge.target import Target


def test_check_passes(target: Target, check: Check) -> None:
    exam = examination(target, Options())
    result = exam.run(check)
    if result.status == "not-applicable":
        pytest.skip(result.message)
    assert result.status == "pass", f"{target.name}: {result.id}: {result.message}"
    apart = [o for o in result.outcomes if o.judged and not any(o.follows(dialect) for dialect in exam.dialects)]
    said = [(o.failure or o.divergences, o.problem.recipe) for o in apart[:1]]
    assert not apart, f"{target.name} leaves {target.rule} on {len(apart)} of {len(result.outcomes)} problems: {said}"
