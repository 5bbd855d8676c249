"""The reference replays what the authors' released code computed, parameters and final state (see `vectors/`)."""

import pytest

from stepgauge.properties.gauge.vectors.format import Case, frozen, read
from stepgauge.properties.gauge.vectors.replay import replay_case
from stepgauge.reference import RULES

CASES = [case for file in frozen() for case in read(file)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_reference_replays_the_release(case: Case) -> None:
    replay = replay_case(case)
    assert not replay.divergence
    assert replay.share <= 1


@pytest.mark.parametrize("rule", RULES)
def test_every_release_is_recorded(rule: str) -> None:
    """In each dialect that is not the publication's, or in the only one."""
    record = RULES[rule]
    dialects = {record.canonical_dialect(case.dialect) for case in CASES if case.problem.rule == rule}
    assert dialects == set(record.own_dialects()[1:] or record.own_dialects())
