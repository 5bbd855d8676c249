"""Large models: no memory beyond a few times the data, and nothing that searches a model for each of its parameters."""

import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stepgauge import core, torch_bind
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.vectors.format import Case, write
from stepgauge.reference import RULES, SGD, Frog, Group, Layer, Rule, init, step
from stepgauge.reference.network import systems_of

LR: dict[str, Any] = {"lr": 0.1}
MANY = 10_000  # parameters
LARGE = np.ones((1000, 500), dtype=np.float32)


def _peak(call: Callable[[], Any]) -> int:
    """The most memory that a call holds beside what was there before, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _steps(rule: Rule) -> None:
    groups = [Group(rule, [0])]
    params, states = [LARGE.copy()], init(groups, [LARGE])
    for _ in range(2):
        params, states = step(groups, params, [LARGE], states)


@pytest.mark.parametrize("name", RULES)
def test_the_reference_needs_a_few_times_the_parameter(name: str) -> None:
    assert _peak(lambda: _steps(RULES[name](**LR))) < 16 * LARGE.nbytes


HELD = {"sgd": 0, "fsgdm": 1, "sgdp": 1, "adamp": 2, "adam": 3, "rmsprop": 3, "adai": 3, "sgd_c": 11}  # arrays of state


@pytest.mark.parametrize("name", HELD)
def test_the_core_needs_its_state_alone(name: str) -> None:
    params = [LARGE.copy()]

    def steps() -> None:
        optimizer = core.OPTIMIZERS[name](params, **LR)
        for _ in range(2):
            optimizer.step([LARGE])

    assert _peak(steps) < (HELD[name] + 0.1) * LARGE.nbytes


def test_the_bindings_step_many_parameters() -> None:
    params = [torch.nn.Parameter(torch.full((2,), float(i))) for i in range(MANY)]
    optimizer = torch_bind.SGD(params, lr=0.5)
    for p in params:
        p.grad = torch.ones(2)
    optimizer.step()
    assert [p[0].item() for p in params] == [i - 0.5 for i in range(MANY)]


class Unsearched(list[int]):
    """A list that nobody looks through for one item."""

    def __contains__(self, item: object) -> bool:
        raise AssertionError("searched")

    def index(self, *_: object) -> int:
        raise AssertionError("searched")


def test_many_layers_are_found_without_a_search() -> None:
    layers = {i: Layer(i, i + 1) for i in range(0, MANY, 2)}
    systems = systems_of(Frog(), Unsearched(range(MANY)), layers)
    assert [(s.parameter, s.layer) for s in systems] == list(layers.items())


def _recorded(shape: tuple[int, ...], count: int, file: Path) -> Path:
    """A step of SGD on so many parameters of one shape, as a vector file."""
    rule = SGD(lr=0.5)
    ones = [np.ones(shape) for _ in range(count)]
    problem = Problem("sgd", (ParameterGroup(rule.hyperparameters(), tuple(range(count))),), ones, [ones])
    after, allowed = ([factor * p for p in ones] for factor in (0.5, 0.0))
    write(Case("large", "torch", "float64", problem, [after], [allowed]), {}, file)
    return file


@pytest.mark.parametrize(("shape", "count"), [((2,), MANY), ((200, 500), 1)])
def test_large_vectors_replay_in_a_few_times_their_size(shape: tuple[int, ...], count: int, tmp_path: Path) -> None:
    file = _recorded(shape, count, tmp_path / "large.json")
    arrays = 4 * count
    held = arrays * (8 * int(np.prod(shape)) + sys.getsizeof(np.ones(())))
    assert _peak(lambda: main(["vectors", "verify", str(file)])) < 12 * held
    assert main(["vectors", "verify", "--target", "stepgauge.torch_bind:SGD", str(file)]) == 0


def test_what_is_wrong_with_a_large_file_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _recorded((2,), MANY, tmp_path / "large.json")
    document = json.loads(file.read_text())
    document["cases"][0]["groups"][0]["params"][-1] = 0
    file.write_text(json.dumps(document))
    assert main(["vectors", "verify", str(file)]) == 2
    printed = capsys.readouterr().err
    assert f"not 0 to {MANY - 1} once each" in printed
    assert len(printed) < 300
