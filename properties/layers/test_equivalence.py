"""Every layer computes the rule: the checks that `stepgauge check` runs, on the project's own core and bindings."""

import pytest

from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.checks.registry import Check
from stepgauge.properties.gauge.checks.runner import run_check
from stepgauge.properties.gauge.examine import context_of
from stepgauge.properties.gauge.targets.base import Target


def test_check_passes(target: Target, check: Check) -> None:
    context = context_of(target, Options())
    result = run_check(context, check)
    if result.status == "not-applicable":
        pytest.skip(result.message)
    assert result.status == "pass", f"{target.name}: {result.id}: {result.message}"
    apart = [o for o in result.outcomes if o.counts and not any(o.follows(dialect) for dialect in context.dialects)]
    said = [(o.failure or o.divergences, o.problem.recipe) for o in apart[:1]]
    assert not apart, f"{target.name} leaves {target.rule} on {len(apart)} of {len(result.outcomes)} problems: {said}"
