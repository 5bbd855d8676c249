"""The reference replays what the authors' released code computed, parameters and final state (see `vectors/`)."""

import pytest

from stepgauge.properties.gauge.vectors.format import Case, frozen, read
from stepgauge.properties.gauge.vectors.replay import replay_case


@pytest.mark.parametrize("case", [case for file in frozen() for case in read(file)], ids=lambda case: case.id)
def test_reference_replays_the_release(case: Case) -> None:
    replay = replay_case(case)
    assert not replay.divergence
    assert replay.share <= 1


def test_all_rules_with_a_release_are_recorded() -> None:
    released = {f"{rule}_c{form}" for rule in ("sgd", "rmsprop", "adam", "adamw") for form in ("", "_eff")}
    families = {"adamp", "fsgdm", "sgdp", "adai", "adaiv2", "frog", "kfrog"}
    assert {file.stem for file in frozen()} >= families | released
