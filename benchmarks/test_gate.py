"""The gate closes on what is dearer and on nothing else; nothing here is timed."""

import json
from pathlib import Path
from typing import Any

import counts
import gate
import pytest
from contestants import CONTESTS, RIVALS
from counted import SMALL, SOLVED, fifth

from stepgauge import core

HERE = {"machine": gate.identity(), "versions": gate.versions()}
KERNELS = (*CONTESTS, *SOLVED)


def baseline(**kinds: dict[str, float]) -> dict[str, Any]:
    return {**HERE, **kinds}


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    def store(recorded: dict[str, Any]) -> Path:
        path = tmp_path / "baseline.json"
        path.write_text(json.dumps(recorded))
        return path

    return store


def test_every_rule_of_the_core_has_a_row() -> None:
    assert RIVALS.keys() == core.OPTIMIZERS.keys()
    assert {contest.rule for contest in CONTESTS.values()} == core.OPTIMIZERS.keys()


def test_the_stored_baseline_has_every_kernel() -> None:
    recorded = gate.read(gate.BASELINE)
    expected = {f"{name}/{model}" for name in CONTESTS for model in SMALL} | {f"{name}/solve" for name in SOLVED}
    assert recorded["instructions"].keys() == expected


@pytest.mark.parametrize(("kind", "was", "now"), [("instructions", 100, 120), ("operators", 2, 3), ("ratios", 1, 1.3)])
def test_dearer_closes_the_gate(stored: Any, capsys: Any, kind: str, was: float, now: float) -> None:
    path = stored(baseline(**{kind: {"SGD": was}}))
    assert gate.judged({kind: {"SGD": now}}, path) == 1
    assert f"{kind} of SGD: {now:.6g}, was {was:.6g}" in capsys.readouterr().out


@pytest.mark.parametrize("now", [50, 100, 104])
def test_cheaper_or_within_the_allowance_passes(stored: Any, now: float) -> None:
    assert gate.judged({"instructions": {"SGD": now}}, stored(baseline(instructions={"SGD": 100}))) == 0


def test_what_the_baseline_does_not_know_closes_the_gate(stored: Any, capsys: Any) -> None:
    path = stored(baseline(operators={"SGD": 2, "Gone": 2}))
    assert gate.judged({"operators": {"SGD": 2, "New": 2}}, path) == 1
    said = capsys.readouterr().out
    assert "New: not in the baseline" in said
    assert "Gone: in the baseline, but not measured" in said


def test_another_machine_is_said_and_ratios_get_more_room(stored: Any, capsys: Any) -> None:
    elsewhere = {"processor": "an abacus", "processors": 1, "features": []}
    path = stored({**baseline(ratios={"SGD": 1}, instructions={"SGD": 100}), "machine": elsewhere})
    assert gate.judged({"ratios": {"SGD": 1.5}, "instructions": {"SGD": 100}}, path) == 0
    assert "of another machine (an abacus)" in capsys.readouterr().out
    assert gate.judged({"instructions": {"SGD": 120}}, path) == 1


def test_other_versions_are_named_as_a_likely_cause(stored: Any, capsys: Any) -> None:
    recorded = {**baseline(operators={"SGD": 2}), "versions": {**gate.versions(), "numpy": "0.1"}}
    gate.judged({"operators": {"SGD": 2}}, stored(recorded))
    assert "(was 0.1)" in capsys.readouterr().out


@pytest.mark.parametrize("text", [None, "{", ""])
def test_no_baseline_is_an_error_of_its_own(tmp_path: Path, capsys: Any, text: str | None) -> None:
    path = tmp_path / "baseline.json"
    if text is not None:
        path.write_text(text)
    assert gate.judged({}, path) == 2
    assert "--record" in capsys.readouterr().err


def test_a_busy_machine_is_judged_by_counts_alone(stored: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(baseline(operators={"SGD": 2}, ratios={"SGD": 1}))
    monkeypatch.setattr(gate, "counted", lambda *_: {"operators": {"SGD": 2}})
    for share, status in ((0.5, 0), (0.0, 1), (None, 1)):
        monkeypatch.setattr(gate, "measured_ratios", lambda *_, share=share: ({"SGD": 9.0}, share))
        assert gate.main(["--baseline", str(path)]) == status
    assert "the machine is busy: others took 50%" in capsys.readouterr().out


def test_a_kind_that_the_baseline_lacks_is_said(stored: Any, capsys: Any) -> None:
    path = stored(baseline(operators={"SGD": 2}))
    assert gate.judged({"operators": {"SGD": 2}, "ratios": {"SGD": 9.0}}, path) == 0
    assert "the baseline has no ratios" in capsys.readouterr().out


def test_nothing_of_the_ratios_is_recorded_on_a_busy_machine(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "baseline.json"
    now = {"operators": {"SGD": 2.0}, "ratios": {"SGD": 9.0}}
    assert gate.record(now, 0.5, path) == 0
    assert "ratios" not in gate.read(path)
    assert "no ratios are recorded" in capsys.readouterr().out
    gate.record(now, 0.0, path)
    assert gate.read(path)["ratios"] == {"SGD": 9.0}


def test_a_ratio_that_does_not_repeat_passes(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(baseline(ratios={"SGD": 1}))
    monkeypatch.setattr(gate, "measured_ratios", lambda *_: ({"SGD": 1.1}, 0.0))
    assert gate.confirmed({"SGD": 2.0}, path, []) == {"SGD": 1.1}


def test_a_missing_tool_is_said_and_the_rest_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts.shutil, "which", lambda _: None)
    with pytest.raises(counts.Unavailable, match="no valgrind and no cc"):
        counts.instructions()


def test_a_step_on_the_core_dispatches_nothing_for_each_tensor() -> None:
    """Two operators mark the step for torch's profiler, however many tensors there are."""
    found = counts.operators()
    assert {n for name, n in found.items() if name.endswith("on core")} == {2}


def test_the_core_holds_no_temporaries() -> None:
    array = 4 * 64 * 256
    found = counts.memory()
    assert all(n < array for name, n in found.items() if name.endswith("/core")), found
    assert all(n >= array for name, n in found.items() if name.endswith("/reference")), found


def test_a_fifth() -> None:
    assert fifth([(50, 3)]) == [(10, 3)]
    assert fifth([(2, 2)] * 10) == [(2, 2)] * 2


@pytest.mark.slow
def test_instructions_repeat_and_show_a_fifth_more_of_any_kernel() -> None:
    """Planted in all kernels of one run, of which each is judged by its own instructions."""
    first, second, planted = counts.instructions(), counts.instructions(), counts.instructions(KERNELS)
    assert list(gate.dearer({"instructions": second}, baseline(instructions=first))) == []
    named = list(gate.dearer({"instructions": planted}, baseline(instructions=first)))
    assert len(named) == len(first), set(first) - {line.split(" of ", 1)[1].split(":")[0] for line in named}
