"""What a step costs is counted right, and the command says whatever makes a figure worth less."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepgauge.properties.gauge.bench import contest
from stepgauge.properties.gauge.bench.contest import Costs, Entrant, Measured, entrants, measure
from stepgauge.properties.gauge.bench.costs import interleaved, operators, peak, state_bytes, torch_peak
from stepgauge.properties.gauge.command_line import bench
from stepgauge.properties.gauge.command_line.isolation import Lost
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.verdicts.record import Verdict
from stepgauge.properties.gauge.verdicts.report import Report

SIDE = 256
ARRAY = 4 * SIDE * SIDE
SCALARS = 200  # bytes: the numbers in an expression are tensors, too
SMALL = {"one": [(SIDE, SIDE)], "ResNet-18": [(SIDE, SIDE), (SIDE,)]}
STRANGERS = """
import torch

class NeedsClosure(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)

class Sgd(torch.optim.SGD):
    pass
"""


def test_turns_are_taken_in_every_round() -> None:
    taken: list[str] = []
    times = interleaved({name: partial(taken.append, name) for name in "ab"}, 3)
    assert taken == ["a", "b"] * 3
    assert [len(turns) for turns in times.values()] == [3, 3]


def test_operators_are_those_that_reach_torch() -> None:
    x = torch.ones(4)
    assert operators(lambda: x.add_(1).mul_(2)) == 2
    assert operators(lambda: None) == 0


def test_bytes_within_a_step_are_what_it_holds_at_once() -> None:
    x, y = torch.ones(SIDE, SIDE), np.ones((SIDE, SIDE), np.float32)

    def one_after_another() -> None:
        for _ in range(3):
            x + 1

    assert torch_peak(one_after_another) == pytest.approx(ARRAY, abs=SCALARS)
    assert torch_peak(lambda: (x + 1) + (x + 2)) == pytest.approx(3 * ARRAY, abs=SCALARS)
    assert torch_peak(lambda: x.add_(1)) < SCALARS
    assert ARRAY <= peak(lambda: y + 1) < 1.1 * ARRAY


def test_state_is_counted_once_and_without_the_parameters() -> None:
    p = torch.nn.Parameter(torch.ones(SIDE, SIDE))
    p.grad = torch.ones_like(p)
    for optimizer, arrays in ((torch.optim.SGD([p], 0.1), 0), (torch.optim.Adam([p]), 2)):
        optimizer.step()
        assert state_bytes(optimizer) == pytest.approx(arrays * ARRAY, abs=16)
    same = torch.ones(SIDE)
    optimizer.state[p] = {"a": same, "b": [same.view(-1)]}
    assert state_bytes(optimizer) == 4 * SIDE


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "strangers.py"
    file.write_text(STRANGERS)
    yield str(file)
    sys.modules.pop("strangers", None)


def test_ours_and_torchs_take_part_and_who_is_missing_is_named() -> None:
    taking_part, missing = entrants(["torch.optim:RMSprop", "adamp:AdamP"], None)
    assert [entrant.target for entrant in taking_part] == [
        "torch.optim:RMSprop",
        "adamp:AdamP",
        "stepgauge.torch_bind:RMSprop",
        "torch.optim:RMSprop(foreach=True)",
        "stepgauge.torch_bind:AdamP",
    ]
    assert missing == ["torch.optim.RMSprop is not fused", "torch.optim has no AdamP"]
    assert [entrant.is_theirs for entrant in taking_part] == [True, True, False, False, False]


@pytest.mark.filterwarnings("ignore")  # torch's, of its profiler
def test_every_contestant_is_measured_and_one_that_fails_stops_no_other(
    strangers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "MODELS", SMALL)
    wanted = [f"{strangers}:NeedsClosure", f"{strangers}:Nowhere", "optax:sgd"]
    taking_part = [Entrant(target, "sgd", True) for target in wanted]
    taking_part += [Entrant("stepgauge.torch_bind:Adam", "adam"), Entrant("torch.optim:Adam(foreach=True)", "adam")]
    *broken, ours, theirs = measure(taking_part, {"lr": 0.01}, lambda _: None).costs
    assert "cannot be stepped: TypeError" in broken[0].failure
    assert "has no 'Nowhere'" in broken[1].failure
    assert broken[2].failure
    for costs in (ours, theirs):
        assert costs.cpu_ms.keys() == SMALL.keys()
        assert all(middle > 0 for middle, _ in costs.cpu_ms.values())
        assert costs.state == pytest.approx(2, abs=0.01)
    assert ours.temporary is not None
    assert ours.temporary < 0.05
    assert theirs.temporary is not None
    assert theirs.temporary >= 1
    assert ours.operators is not None
    assert theirs.operators is not None
    assert ours.operators < theirs.operators


def test_settings_reach_every_contestant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum is a state; without it SGD keeps none."""
    monkeypatch.setattr(contest, "MODELS", SMALL)
    taking_part, _ = entrants(["torch.optim:SGD"], None)
    for momentum, kept in ((0.0, 0), (0.9, 1)):
        for costs in measure(taking_part, {"lr": 0.1, "momentum": momentum}, lambda _: None).costs:
            assert costs.state == pytest.approx(kept, abs=0.01)


COSTS = Costs({"10M": (1.5, 0.1)}, 4, 2.0, 0.25)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command with measures and verdicts that are given."""

    def pretend(verdict: Verdict, share: float | None, costs: Costs = COSTS, message: str = "") -> None:
        def measured(taking_part: list[Entrant], *_: object) -> Measured:
            return Measured([replace(costs) for _ in taking_part], share)

        def verdicts(taking_part: list[Entrant], *_: object) -> list[Report]:
            return [Report(e.target, e.rule, verdict, message=message) for e in taking_part]

        monkeypatch.setattr(bench, "_measured", measured)
        monkeypatch.setattr(bench, "_verdicts", verdicts)

    return pretend


def test_the_table_has_time_memory_operators_and_the_verdict(pretended: Any, capsys: Any, tmp_path: Path) -> None:
    pretended(Verdict.CONFORMS, 0.0)
    file = tmp_path / "costs.json"
    assert main(["bench", "torch.optim:Adam", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("torch.optim:Adam "))
    assert row.split() == ["torch.optim:Adam", "1.50", "±0.10", "-", "-", "4", "2.00", "0.25", "conforms"]
    assert "busy" not in printed
    stored = json.loads(file.read_text())
    assert stored["contestants"][0]["operators"] == 4
    assert stored["contestants"][0]["verdict"] == "conforms"
    assert stored["busy"] is False


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.4, "the machine is busy: others took 40% of it, so believe operators"), (None, "cannot be told")],
)
def test_a_busy_machine_is_said(pretended: Any, capsys: Any, share: float | None, said: str) -> None:
    pretended(Verdict.CONFORMS, share)
    main(["bench", "torch.optim:Adam"])
    assert said in capsys.readouterr().out


def test_a_fast_step_that_is_another_one_is_said_and_is_the_status(pretended: Any, capsys: Any) -> None:
    pretended(Verdict.DIVERGES, 0.0)
    assert main(["bench", "torch.optim:Adam"]) == 1
    assert "torch.optim:Adam computes something else than adam, whatever it costs" in capsys.readouterr().out
    pretended(Verdict.DIVERGES, 0.0, message="breaks contract/resume")
    main(["bench", "torch.optim:Adam"])
    assert "torch.optim:Adam: breaks contract/resume" in capsys.readouterr().out


def test_nothing_measured_is_said(pretended: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretended(Verdict.CONFORMS, 0.0)
    monkeypatch.setattr(bench, "_measured", lambda *_: Lost("is killed by signal 9 (at 10M)"))
    assert main(["bench", "torch.optim:Adam"]) == 2
    assert "nothing was measured: it is killed by signal 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("torch.optim:Nadam",), "cannot tell the rule of 'Nadam'"),
        (("torch.optim:Adam", "--rule", "adamq"), "unknown rule 'adamq'"),
        (("stepgauge.torch_bind:Frog",), "bench steps plain parameters, of sgd, adam"),
        (("torch.optim:Adam", "--set", "speed=1"), "--set: adam has no hyperparameter 'speed': it has lr, betas"),
        (("torch.optim:Adam", "--set", "lr=-1"), "--set: Invalid lr: -1"),
        (("torch.optim:Adam", "--json", "no/such/folder.json"), "there is no folder no/such"),
    ],
)
def test_mistake_gets_one_sentence(arguments: tuple[str, ...], sentence: str, capsys: Any) -> None:
    assert main(["bench", *arguments]) == 2
    assert sentence in capsys.readouterr().err
