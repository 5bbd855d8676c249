"""The reference replays what the authors' released code computed, parameters and final state (see `vectors/`)."""

from importlib.resources import files
from pathlib import Path

import pytest

from stepgauge.properties.gauge.vectors import UNITS, Replay, verify

FILES = sorted(str(f) for f in files("stepgauge.properties").joinpath("vectors").iterdir() if f.name.endswith(".json"))


@pytest.mark.parametrize("replay", [r for f in FILES for r in verify(Path(f))], ids=lambda replay: replay.case)
def test_reference_replays_the_release(replay: Replay) -> None:
    assert not replay.divergence
    assert replay.units <= UNITS


def test_all_rules_with_a_release_are_recorded() -> None:
    released = {f"{rule}_c{form}" for rule in ("sgd", "rmsprop", "adam", "adamw") for form in ("", "_eff")}
    assert {Path(f).stem for f in FILES} == {"adamp", "fsgdm", "sgdp", "adai", "adaiv2", "frog", "kfrog"} | released
