"""Recording a release: what is recorded replays, varies what it should, and can be made again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.schemas.published import schema_text
from stepgauge.properties.gauge.vectors.format import read
from stepgauge.reference import RULES

RELEASE = '''
import torch

class SGD(torch.optim.SGD):
    """Torch's step."""

class Renamed(torch.optim.SGD):
    def __init__(self, params, lr=0.1, inertia=0.0):
        super().__init__(params, lr, inertia)
        for group in self.param_groups:
            group["momentum"] = group.setdefault("inertia", inertia)

class RaisesInThirdStep(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3:
            raise RuntimeError("boom")
        return super().step(closure)

class Overflows(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for p in (p for group in self.param_groups for p in group["params"]):
            p.data.fill_(float("inf"))

class RefusesRates(torch.optim.SGD):
    def __init__(self, params, lr=0.1, momentum=0.0):
        if lr != 0.1:
            raise ValueError("no other rate, please")
        super().__init__(params, lr)

class RefusesMomentum(torch.optim.SGD):
    def __init__(self, params, lr=0.1, momentum=0.0):
        if momentum:
            raise ValueError("no momentum, please")
        super().__init__(params, lr)
'''
Record = Callable[..., int]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Records a class of `RELEASE` into a file of the test's folder."""
    (tmp_path / "release.py").write_text(RELEASE)

    def run(name: str, *options: str, output: str = "recorded.json") -> int:
        target = name if ":" in name else f"{tmp_path / 'release.py'}:{name}"
        return main(["vectors", "record", target, *options, "--output", str(tmp_path / output)])

    return run


@pytest.mark.parametrize("options", [("SGD",), ("Renamed", "--rule", "sgd", "--rename", "momentum=inertia")])
def test_what_is_recorded_replays_and_says_from_what(
    options: tuple[str, ...], record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(*options) == 0
    file = tmp_path / "recorded.json"
    assert main(["vectors", "verify", str(file)]) == 0
    assert "cases of sgd, recorded from" in capsys.readouterr().out
    document = json.loads(file.read_text())
    assert document["source"].keys() >= {"target", "torch", "stepgauge"}
    assert (document["rule"], document["dialect"], document["dtype"]) == ("sgd", "torch", "float64")


def test_the_package_and_its_version_are_said(record: Record, tmp_path: Path) -> None:
    assert record("torch.optim:SGD") == 0
    source = json.loads((tmp_path / "recorded.json").read_text())["source"]
    assert source["project"] == "torch"
    assert source["version"] == source["torch"]


def test_a_recording_can_be_made_again(record: Record, tmp_path: Path) -> None:
    assert record("SGD") == record("SGD", output="again.json") == 0
    assert (tmp_path / "recorded.json").read_bytes() == (tmp_path / "again.json").read_bytes()


def test_the_problems_vary_what_a_port_may_confuse(record: Record, tmp_path: Path) -> None:
    assert record("SGD") == 0
    problems = [case.problem for case in read(tmp_path / "recorded.json")]
    assert {p.ndim for problem in problems for p in problem.initial} == {0, 1, 2, 3, 4}
    assert any(len(problem.groups) > 1 for problem in problems)
    assert any(len(problem.schedule) > 1 for problem in problems)
    gradients = [g for problem in problems for grads in problem.gradients for g in grads]
    assert any(g is None for g in gradients)
    assert any(g is not None and not g.any() for g in gradients)
    assert any(g is not None and 0 < abs(g).max() < 1e-6 for g in gradients)
    for name in RULES["sgd"].hyperparameter_names():
        assert len({h[name] for problem in problems for h, _ in problem.groups}) > 1, name


def test_the_state_is_recorded_and_replayed(record: Record, tmp_path: Path) -> None:
    """A state that the release ends in, and the rule does not, is a case that does not replay."""
    assert record("SGD") == 0
    document = json.loads((tmp_path / "recorded.json").read_text())
    kept = next(state for case in document["cases"] for state in case["final_state"] if state)
    kept["momentum_buffer"][0] += 1e-6
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(document))
    assert main(["vectors", "verify", str(wrong)]) == 1


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (("SGD", "--rule", "adamq"), 2, "unknown rule 'adamq'"),
        (("SGD", "--dialect", "published"), 2, "Invalid dialect: published (SGD has: torch, keras)"),
        (("SGD", "--rename", "speed=lr"), 2, "sgd has no speed"),
        (("SGD", "--set", "speed=1"), 2, "sgd has no hyperparameter 'speed'"),
        (("SGD", "--rule", "none", "--set", "speed=1"), 2, "takes no 'speed': it takes lr, momentum"),
        (("SGD", "--rule", "none", "--dialect", "torch"), 2, "without a rule there are no dialects"),
        (("Overflows", "--rule", "none"), 3, "reaches NaN or infinity along ordinary gradients"),
        (("stepgauge.reference:SGD",), 2, "it is stepgauge's own"),
        (("stepgauge.reference:Frog",), 2, "frog is no rule of gradients alone"),
        (("Missing", "--rule", "sgd"), 3, "has no 'Missing'"),
        (("RaisesInThirdStep", "--rule", "sgd"), 3, "raises RuntimeError: boom, in step 3"),
        (("Overflows", "--rule", "sgd"), 3, "computes numbers that are not finite"),
        (("RefusesRates", "--rule", "sgd"), 3, "ValueError: no other rate, please"),
    ],
)
def test_mistakes_get_one_sentence_and_no_file(
    options: tuple[str, ...],
    status: int,
    sentence: str,
    record: Record,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert record(*options) == status
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not (tmp_path / "recorded.json").exists()


def test_what_is_refused_is_not_recorded_and_said(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    assert record("RefusesMomentum", "--rule", "sgd") == 0
    refused = "not recorded with momentum, which it refuses: cannot be built: ValueError: no momentum, please"
    assert refused in capsys.readouterr().out


def test_a_file_that_is_there_is_kept(record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recorded.json").write_text("mine")
    assert record("SGD") == 2
    assert "is there already, and is not overwritten; choose another name" in capsys.readouterr().err
    assert (tmp_path / "recorded.json").read_text() == "mine"


@pytest.mark.parametrize(("output", "sentence"), [("no/recorded.json", "there is no folder"), ("", "is there already")])
def test_a_place_where_nothing_can_be_written_is_refused(
    output: str, sentence: str, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record("SGD", output=output) == 2
    assert sentence in capsys.readouterr().err


def test_an_unwritable_folder_is_refused(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As who may write nowhere sees it, whoever runs the tests."""

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert record("torch.optim:SGD") == 2
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


UNKNOWN = '''
import torch

class Signed(torch.optim.Optimizer):
    """No rule that stepgauge has: a sign with a memory."""
    def __init__(self, params, lr=0.01, decay=0.5, damped=False):
        super().__init__(params, dict(lr=lr, decay=decay, damped=damped))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                memory = self.state[p].setdefault("memory", torch.zeros_like(p))
                memory.mul_(group["decay"]).add_(p.grad)
                p.sub_(group["lr"] * memory / (1 + memory.abs()) * (0.5 if group["damped"] else 1))

class Port(Signed):
    """The same sum in another order."""
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                memory = self.state[p].setdefault("memory", torch.zeros_like(p))
                memory.copy_(p.grad + group["decay"] * memory)
                p.sub_(memory * (group["lr"] * (0.5 if group["damped"] else 1)) / (memory.abs() + 1))

class Wrong(Port):
    def __init__(self, params, lr=0.01, decay=0.5, damped=False):
        super().__init__(params, lr, decay, False)
        for group in self.param_groups:
            group["damped"] = False
'''


def test_an_optimizer_of_an_unknown_rule_is_recorded_and_its_ports_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its own hyperparameters, switched on as well; without a target there is nothing to replay it through."""
    (tmp_path / "unknown.py").write_text(UNKNOWN)
    ours, file = f"{tmp_path / 'unknown.py'}:", str(tmp_path / "signed.json")
    assert main(["vectors", "record", f"{ours}Signed", "--rule", "none", "--output", file]) == 0
    assert "cases without a rule" in capsys.readouterr().out
    document = json.loads(Path(file).read_text())
    Draft202012Validator(json.loads(schema_text("vectors"))).validate(document)
    assert {case["hyperparameters"]["damped"] for case in document["cases"]} == {False, True}
    assert all("allowed" in step for case in document["cases"] for step in case["steps"])
    assert main(["vectors", "verify", file]) == 2
    assert "is of no rule that stepgauge has: give --target" in capsys.readouterr().err
    assert main(["vectors", "verify", "--target", f"{ours}Signed", file]) == 0
    assert main(["vectors", "verify", "--target", f"{ours}Port", file]) == 0
    capsys.readouterr()
    assert main(["vectors", "verify", "--target", f"{ours}Wrong", file]) == 1
    said = capsys.readouterr().out
    assert "none/switched on/random: in step 1" in said
    assert "none/defaults/random" not in said


def test_a_hyperparameter_is_kept_at_what_is_set(record: Record, tmp_path: Path) -> None:
    assert record("SGD", "--set", "momentum=0.5") == 0
    cases = read(tmp_path / "recorded.json")
    assert {group.hyperparameters["momentum"] for case in cases for group in case.problem.groups} == {0.5}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_drawn_problems_examine_a_port_as_check_does(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "problems"
    options = ("--problems", "--rule", "sgdp", "--dtype", dtype)
    assert main(["vectors", "export", str(folder), *options]) == 0
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"sgdp-{dialect}-{dtype}.json" for dialect in ("published", "released")]
    for file in files:
        document = json.loads(file.read_text())
        Draft202012Validator(json.loads(schema_text("vectors"))).validate(document)
        assert len({case["id"] for case in document["cases"]}) == len(document["cases"]) > 20
        assert main(["vectors", "verify", str(file)]) == 0
    published, released = map(str, files)
    capsys.readouterr()
    assert main(["vectors", "verify", "--target", "stepgauge.core:SGDP", published]) == 0
    assert main(["vectors", "verify", "--target", "stepgauge.torch_bind:SGDP(dialect='released')", released]) == 0
    assert main(["vectors", "verify", "--target", "stepgauge.core:SGDP", released]) == 1


def test_drawn_problems_can_be_written_again(tmp_path: Path) -> None:
    options = ("--problems", "--rule", "sgd")
    assert main(["vectors", "export", str(tmp_path), *options]) == 0
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == len(RULES["sgd"].dialects)
    assert main(["vectors", "export", str(tmp_path), *options]) == 0
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert main(["vectors", "export", str(tmp_path), *options, "--seed", "1"]) == 0
    assert all(file.read_bytes() != old for file, old in before.items())
    assert main(["vectors", "export", str(tmp_path), "--problems", "--rule", "adamq"]) == 2
