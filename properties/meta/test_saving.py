"""Divergences saved and replayed: as data, and as scripts that need no stepgauge."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from stepgauge.properties.gauge.checks.comparison import compare
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.foci import foci_of
from stepgauge.properties.gauge.problems.problem import Problem, flatten
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.schemas.published import schema_text
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.tolerance.envelope import covering_envelope, envelopes
from stepgauge.properties.gauge.vectors import saved_divergence
from stepgauge.properties.gauge.vectors.format import VectorError, frozen, read, write
from stepgauge.properties.gauge.vectors.replay import replay_case
from stepgauge.properties.gauge.vectors.saved_divergence import file_names, record_case, save, truncate
from stepgauge.properties.gauge.verdicts.record import Verdict
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.meta.misreadings import frog
from stepgauge.reference import RULES, SGD, SGDP

QUICK = ("--level", "quick", "--only", "trajectory/*")
CASE = "is corrupt: sgd/some target"
OPTIMIZERS = """
import torch

MENDED = False

class NoLookAhead(torch.optim.SGD):
    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False):
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov and MENDED, maximize=maximize)

class FirstGroup(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = group["lr"] if MENDED else self.param_groups[0]["lr"]
        return super().step(closure)

class DeafToSchedulers(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = group["lr"] if MENDED else group.setdefault("first", group["lr"])
        return super().step(closure)

class SeesAbsentAsZero(torch.optim.SGD):
    def step(self, closure=None):
        for p in (p for group in self.param_groups for p in group["params"]):
            p.grad = p.grad if MENDED or p.grad is not None else torch.zeros_like(p)
        return super().step(closure)

class WithoutRate(torch.optim.SGD):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, lr)
        self.lr = lr if MENDED else 2 * lr
        for group in self.param_groups:
            del group["lr"]
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                p.data.add_(p.grad, alpha=-self.lr)

def tensor(params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False):
    return NoLookAhead(params, lr, momentum, dampening, weight_decay, nesterov, maximize=maximize)

class RoundsInFloat32(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.dtype == torch.float32 and not MENDED:
                p.data.mul_(1 + 1e-4)
"""


@pytest.fixture
def optimizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of wrong optimizers, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = Path("faulty.py")
    file.write_text(OPTIMIZERS)
    yield file
    sys.modules.pop("faulty", None)


def _mend(optimizers: Path) -> None:
    optimizers.write_text(OPTIMIZERS.replace("MENDED = False", "MENDED = True"))
    sys.modules.pop("faulty", None)


def _saved(target: str, rule: str = "sgd") -> Path:
    """Where a divergent target is saved, without the extension."""
    assert main(["check", target, "--rule", rule, "--save", "saved", *QUICK]) == 1
    (file,) = Path("saved").glob("*.json")
    _require_valid(file)
    return file.with_suffix("")


def _require_valid(file: Path) -> None:
    """By the published schema, and jsonschema as it comes."""
    Draft202012Validator(json.loads(schema_text("vectors"))).validate(json.loads(file.read_text()))


def _exit(script: Path) -> Any:
    """What a script exits with."""
    sys.modules.pop("faulty", None)
    sys.path_importer_cache.clear()  # it takes "." for the folder of another test
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as exit_:
        return exit_.code
    return 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NoLookAhead", "nesterov=True"),
        ("NoLookAhead(momentum=0.5)", "momentum=0.5"),
        ("FirstGroup", '{"params": [params[0]'),
        ("DeafToSchedulers", "FACTORS = ["),
        ("SeesAbsentAsZero", "None,"),
        ("RoundsInFloat32", "torch.float32"),
        ("WithoutRate", "lr=0."),
        ("tensor", "nesterov=True"),
    ],
)
def test_script_and_vectors_tell_the_wrong_optimizer_from_the_mended(
    name: str, said: str, optimizers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"{optimizers}:{name}"
    saved = _saved(target)
    script, vectors = saved.with_suffix(".py"), saved.with_suffix(".json")
    divergence = capsys.readouterr().out.partition("first in ")[2]
    step = divergence.partition(",")[0]
    assert said in script.read_text()
    assert str(_exit(script)).startswith(f"{step}, parameter ")
    assert main(["vectors", "verify", str(vectors)]) == 0
    assert main(["vectors", "verify", "--target", target, str(vectors)]) == 1
    assert f"in {step}, parameter " in capsys.readouterr().out
    _mend(optimizers)
    assert _exit(script) == 0
    assert main(["vectors", "verify", "--target", target, str(vectors)]) == 0


def test_script_stands_alone(optimizers: Path) -> None:
    """In a Python that has no stepgauge."""
    script = _saved(f"{optimizers}:NoLookAhead").with_suffix(".py")
    hidden = f"import sys, runpy; sys.modules['stepgauge'] = None; runpy.run_path({str(script)!r}, run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("step 1, parameter 0")


@pytest.mark.parametrize("rule", ["sgdp", "adai", "fsgdm", "frog"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_written_is_read(rule: str, dtype: str, tmp_path: Path) -> None:
    """To the last bit; the reference replays it, and a wrong number is noticed."""
    problems = list(_drawn(rule, dtype))
    assert 2 * len(problems) > len(foci_of(rule))
    for k, problem in enumerate(problems):
        case = record_case(problem, RULES[rule].dialects[0], dtype, "some target")
        write(case, {}, tmp_path / f"{k}.json")
        _require_valid(tmp_path / f"{k}.json")
        (again,) = read(tmp_path / f"{k}.json")
        assert (again.id, again.dialect, again.dtype) == (case.id, case.dialect, case.dtype)
        assert _plain(again.problem) == _plain(case.problem)
        assert case.allowed is not None
        assert again.allowed is not None
        for old, new in ((case.params, again.params), (case.allowed, again.allowed)):
            assert [flatten(x).tolist() for x in old] == [flatten(x).tolist() for x in new]
        assert not replay_case(again).divergence
        last = zip(again.params[-1], again.allowed[-1], strict=True)
        wrong = [*again.params[:-1], [p + 3 * allowed + 1e-12 * (1 + abs(p)) for p, allowed in last]]
        assert f"in step {len(wrong)}, " in replay_case(replace(again, params=wrong)).divergence


def _drawn(rule: str, dtype: str) -> Iterator[Problem]:
    """Problems of every focus on which the reference has bounds; without, there is nothing to record."""
    for recipe in problems_of(rule, 1, 3, fixed={}, maximize=True):
        problem = truncate(expand(recipe), 3)
        if np.isfinite(covering_envelope(problem, RULES[rule].dialects[0], dtype)).all():
            yield problem


def _plain(problem: Problem) -> dict[str, Any]:
    """A problem in values that compare."""
    return {
        "groups": problem.groups,
        "initial": [(p.shape, p.tolist()) for p in problem.initial],
        "gradients": [[None if g is None else g.tolist() for g in grads] for grads in problem.gradients],
        "steps": (problem.maximize, [problem.lr_factor(t) for t in range(len(problem.gradients))]),
        "layers": problem.layers,
        "seen": [{i: [x.tolist() for x in s] for i, s in now.items()} for now in problem.seen],
    }


def test_allowance_covers_every_continuation() -> None:
    """A problem on which rounding sways a decision is recorded so that either way agrees."""
    w = np.array([[1.0, 0.0, 0.0]])
    cosine = 0.1 / 3**0.5  # the threshold itself, as far as float32 can tell
    g = np.array([[cosine, (1 - cosine**2) ** 0.5, 0.0]])
    problem = Problem("sgdp", (ParameterGroup(SGDP(lr=0.1).hyperparameters(), (0,)),), [w], [[g]])
    found = envelopes(problem, "published", "float32")
    assert len(found) > 1
    case = record_case(problem, "published", "float32", "some target")
    assert case.allowed is not None
    for envelope in found:
        assert np.all(abs(envelope.centre - flatten(case.params[0])) <= flatten(case.allowed[0]))


def test_layers_are_saved_without_a_script(tmp_path: Path) -> None:
    ports = "stepgauge.properties.meta.misreadings.frog"
    target = make_target(f"{ports}:FrogNoRoot", frog.FrogNoRoot, "frog")
    (recipe,) = problems_of("frog", 1, 0, fixed={}, maximize=True, only={"random"})
    witness = compare(target, expand(recipe), "float64", ["published"])
    report = Report(target.name, "frog", Verdict.DIVERGES, smallest=witness, nearest="published")
    said = save(report, target, tmp_path, "found")
    file = tmp_path / "found.json"
    assert said == f"saved to {file}; no script: the target looks at what the layers of a network see"
    assert list(tmp_path.iterdir()) == [file]
    assert main(["vectors", "verify", str(file)]) == 0
    assert main(["vectors", "verify", "--target", f"{ports}:FrogNoRoot", str(file)]) == 1
    assert main(["vectors", "verify", "--target", f"{ports}:FrogPort", str(file)]) == 0


def test_targets_of_one_name_do_not_share_files() -> None:
    targets = ("a.py:Adam(x=1)", "a.py:Adam(x=-1)", "a-py:Adam(x=1)", "A.py:adam(x=1)", "a.py:Adam(x=1)-2", "x" * 500)
    names = file_names([Report(target, "sgd", Verdict.DIVERGES) for target in targets])
    assert len({name.lower() for name in names}) == len(targets)
    assert names[0] == "a-py-Adam-x-1-sgd"
    assert max(map(len, names)) < 100


def test_a_divergence_of_laws_alone_is_not_saved(tmp_path: Path) -> None:
    report = Report("some", "sgd", Verdict.DIVERGES)
    assert save(report, make_target("some", SGD, "sgd"), tmp_path, "some") == "not saved: no trajectory diverges"
    assert not list(tmp_path.iterdir())


def test_a_target_that_is_built_once_is_not_saved(optimizers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its module imports but once."""
    once = "from pathlib import Path\nmet = Path(__file__).with_name('met')\nassert not met.exists()\nmet.touch()\n"
    optimizers.write_text(once + OPTIMIZERS)
    assert main(["check", f"{optimizers}:NoLookAhead", "--rule", "sgd", "--save", "saved", *QUICK]) == 1
    assert "not saved: cannot be imported: AssertionError" in capsys.readouterr().out
    assert not list(Path("saved").iterdir())


@pytest.mark.parametrize("folder", ["a-file", "no/such/folder"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert main(["check", "no.such:SGD", "--save", folder]) == 2
    assert f"--save {folder}: is no folder that can be written" in capsys.readouterr().err
    assert main(["vectors", "export", folder]) == 2


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A saved file's object."""
    file = tmp_path_factory.mktemp("recorded") / "case.json"
    (recipe,) = problems_of("sgd", 1, 0, fixed={}, maximize=True, only={"random"})
    write(record_case(truncate(expand(recipe), 2), "torch", "float64", "some target"), {}, file)
    return dict(json.loads(file.read_text()))


def _set(*path: Any) -> Callable[[Any], None]:
    """Change what lies at a path of keys: the last item is the new value."""
    *keys, last, value = path

    def change(document: Any) -> None:
        for key in keys:
            document = document[key]
        document[last] = value

    return change


def _drop(*path: Any) -> Callable[[Any], None]:
    """Remove what lies at a path of keys."""
    *keys, last = path

    def change(document: Any) -> None:
        for key in keys:
            document = document[key]
        del document[last]

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_set("schema", 2), "has schema 2; this version reads 1"),
        (_set("schema", True), "has schema true; this version reads 1"),
        (_set("schema", "1"), 'has schema "1"; this version reads 1'),
        (_set("rule", ["sgd"]), 'is corrupt: rule: ["sgd"] should be a string'),
        (_set("rule", "adamq"), "is of the rule 'adamq'; known are sgd, "),
        (_set("dtype", {}), 'is corrupt: dtype: {} should be "float64" or "float32"'),
        (_set("dialect", "published"), "Invalid dialect: published"),
        (_set("dialect", None), "is corrupt: dialect: null should be a string"),
        (_set("dialect", ""), 'is corrupt: dialect: "" should not be empty'),
        (_set("sauce", {}), "is no vector file: it has 'sauce', which is none of its keys: "),
        (_set("cases", [3]), "is corrupt: case 0: 3 should be an object"),
        (_set("cases", 0, "id", 3), "is corrupt: case 0: id: 3 should be a string"),
        (_set("cases", 0, "id", "\x1b[31mred"), ' [31mred: id: "\\u001b[31mred" has letters that do not print'),
        (_set("cases", 0, "id", "two\nlines"), 'two lines: id: "two\\nlines" has letters that do not print'),
        (_set("cases", 0, "maximise", True), f"{CASE}: it has 'maximise', which is none of its keys: "),
        (_set("cases", 0, "steps", []), f"{CASE}: steps: [] should not be empty"),
        (_set("cases", 0, "steps", 0, "grads", []), f"{CASE}: steps[0].grads: it has 0 items, and there are 3 shapes"),
        (_set("cases", 0, "steps", 0, "grads", 0, [1.0]), f"{CASE}: steps[0].grads[0]: 1 numbers do not fit the shape"),
        (_set("cases", 0, "steps", 0, "grads", {"weight": []}), 'steps[0].grads: {"weight": []} should be a list'),
        (_set("cases", 0, "steps", 1, "params", 0, 0, float("nan")), "is no JSON: it holds NaN"),
        (_set("cases", 0, "steps", 1, "params", 0, 0, "0.5"), f'{CASE}: steps[1].params[0][0]: "0.5" should be a num'),
        (_set("cases", 0, "steps", 1, "params", 0, 0, None), "steps[1].params[0][0]: null should be a number"),
        (_set("cases", 0, "steps", 1, "params", 0, 0, True), "steps[1].params[0][0]: true should be a number"),
        (_set("cases", 0, "steps", 1, "params", 0, 0, 10**400), "steps[1].params[0]: it holds a number beyond float64"),
        (_set("cases", 0, "steps", 1, "params", 0, None), "steps[1].params[0]: null should be a list"),
        (_set("cases", 0, "steps", 1, "allowed", 0, 0, -1e-9), "steps[1].allowed: it allows less than nothing"),
        (_set("cases", 0, "steps", 1, "allowed", 0, 0, 1e300), "steps[1].allowed: it allows 1e+300, so that anything"),
        (_set("cases", 0, "steps", 1, {}), f"{CASE}: steps[1]: it has no 'grads'"),
        (_drop("cases", 0, "steps", 1, "allowed"), f"{CASE}: steps[1]: it has no 'allowed', which other steps have"),
        (_set("cases", 0, "shapes", 0, [-1]), f"{CASE}: shapes[0][0]: -1 should be at least 0"),
        (_set("cases", 0, "groups", 0, "params", [0]), "its groups hold the parameters [0]"),
        (_set("cases", 0, "groups", 0, "params", "01"), 'groups[0].params: "01" should be a list'),
        (_set("cases", 0, "hyperparameters", "lr", -1), "Invalid lr: -1"),
        (_set("cases", 0, "hyperparameters", "lr", {}), "hyperparameters.lr: {} should be a number or true or"),
        (_set("cases", 0, "hyperparameters", "nesterov", 10**400), f"{CASE}: Invalid nesterov: ..."),
        (_set("cases", 0, "hyperparameters", "speed", 1), "'speed'"),
        (_set("cases", 0, "hyperparameters", "od\nd", 1), "'od d'"),
        (_set("cases", 0, "maximize", "yes"), f'{CASE}: maximize: "yes" should be true or false'),
        (_set("cases", 0, "schedule", []), f"{CASE}: schedule: [] should not be empty"),
        (_set("cases", 0, "schedule", [[]]), f"{CASE}: schedule[0]: [] should be a number"),
        (_set("cases", 0, "layers", [{"weight": 0}]), f"{CASE}: layers[0]: it has no 'bias'"),
        (_set("cases", 0, "layers", [{"weight": 0, "bias": None, "geometry": None}]), "steps[0]: it has no 'seen'"),
        (_set("cases", 0, "final_state", [{"speed": [1.0]}] * 3), "the state has no speed"),
        (_set("cases", 0, "final_state", [{"momentum_buffer": [1.0]}]), "it has the states of 1 parameters, not of 3"),
        (_set("cases", 0, "final_state", [{}] * 3), "the state of parameter 0 is empty"),
    ],
)
def test_a_tampered_file_gets_one_sentence(
    change: Callable[[Any], None],
    sentence: str,
    document: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tampered = json.loads(json.dumps(document))
    change(tampered)
    file = tmp_path / "tampered.json"
    file.write_text(json.dumps(tampered))
    for target in ((), ("--target", "stepgauge.core:SGD")):
        assert main(["vectors", "verify", *target, str(file)]) == 2
        printed = capsys.readouterr()
        assert sentence in printed.err
        assert len(printed.err.splitlines()) == 1
        assert len(printed.err) < len(str(file)) + 300


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xef\xbb\xbf{}", "is no JSON: it begins with a byte order mark"),
        (b'{"schema": 1, "schema": 1}', "is corrupt: an object in it has 'schema' twice"),
        (b"\xff\xfe{}", "cannot be read: UnicodeDecodeError"),
        (None, "cannot be read: it is no regular file"),
    ],
)
def test_what_is_no_file_of_json_gets_one_sentence(
    content: bytes | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe too, which would keep its reader waiting."""
    file = tmp_path / "vectors.json"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    assert main(["vectors", "verify", str(file)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_problem_on_which_rounding_may_do_anything_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file would be refused, since an allowance beyond all numbers agrees with anything."""
    group = ParameterGroup(SGD(lr=0.1).hyperparameters(), (0,))
    problem = Problem("sgd", (group,), [np.ones(2)], [[np.ones(2)]])
    wide = np.full((1, 2), 10.0)
    monkeypatch.setattr(saved_divergence, "covering_envelope", lambda *_: (np.full((1, 2), 0.9), wide))
    with pytest.raises(VectorError, match="rounding may do anything"):
        record_case(problem, "torch", "float64", "wide")


def test_a_rule_that_keeps_nothing_has_an_empty_state(tmp_path: Path) -> None:
    """As torch's SGD has without momentum."""
    problem = Problem("sgd", (ParameterGroup(SGD(lr=0.1).hyperparameters(), (0,)),), [np.ones(2)], [[np.ones(2)]])
    file = tmp_path / "plain.json"
    write(record_case(problem, "torch", "float64", "plain"), {}, file)
    plain = json.loads(file.read_text())
    plain["cases"][0]["final_state"] = [{}]
    file.write_text(json.dumps(plain))
    assert main(["vectors", "verify", str(file)]) == 0


@pytest.mark.parametrize(
    ("momentum", "states", "status", "said"),
    [
        (0.9, [[1.0, 1.0], None], 0, "1 of 1 cases replay"),
        (0.9, [None, None], 1, "momentum_buffer of parameter 0 after step 1 exists, and null is recorded"),
        (0.0, [None, None], 0, "1 of 1 cases replay"),
        (0.0, [[1.0, 1.0], None], 1, "momentum_buffer of parameter 0 after step 1 does not exist, and numbers are"),
        (0.9, [[1.0], None], 2, "momentum_buffer of parameter 0 after step 1 has 2 numbers, and 1 are recorded"),
    ],
)
def test_a_state_that_does_not_exist_yet_is_null(
    momentum: float,
    states: list[list[float] | None],
    status: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As the buffer of torch's SGD is without momentum, or before the first gradient, which then is the buffer."""
    group = ParameterGroup(SGD(lr=0.1, momentum=momentum).hyperparameters(), (0, 1))
    problem = Problem("sgd", (group,), [np.zeros(2), np.zeros(2)], [[np.ones(2), None]])
    file = tmp_path / "recorded.json"
    write(record_case(problem, "torch", "float64", "recorded"), {}, file)
    document = json.loads(file.read_text())
    document["cases"][0]["final_state"] = [{"momentum_buffer": state} for state in states]
    file.write_text(json.dumps(document))
    assert main(["vectors", "verify", str(file)]) == status
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


def test_any_truncated_file_is_refused(document: dict[str, Any], tmp_path: Path) -> None:
    text, file = json.dumps(document), tmp_path / "truncated.json"
    for length in range(0, len(text) - 1, 37):
        file.write_text(text[:length])
        assert main(["vectors", "verify", str(file)]) == 2


def test_a_number_beyond_float64_is_refused(
    document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "huge.json"
    file.write_text(json.dumps(document).replace('"initial": [[', '"initial": [[1e999, '))
    assert main(["vectors", "verify", str(file)]) == 2
    assert "beyond float64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("optimizer", "file", "status", "said"),
    [
        ("stepgauge.core:AdamP", "adamp", 0, "10 of 10 cases replay"),
        ("stepgauge.reference:KFrog", "kfrog", 0, "cases replay"),
        ("stepgauge.reference:SGDP", "sgdp", 1, "got "),  # the published one, held to what was released
        ("torch.optim:SGD", "sgdp", 1, "it cannot be given delta=10.0"),
        ("no.such:SGDP", "sgdp", 3, "no.such:SGDP cannot be imported"),
        ("sgdp", "sgdp", 2, "'sgdp' is no target"),
    ],
)
def test_targets_replay_what_was_released(
    optimizer: str, file: str, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (recorded_,) = (path for path in frozen() if path.stem == file)
    assert main(["vectors", "verify", "--target", optimizer, str(recorded_)]) == status
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


def test_a_target_that_raises_does_not_agree(optimizers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = _saved(f"{optimizers}:NoLookAhead").with_suffix(".json")
    optimizers.write_text(
        "import torch\nclass NoLookAhead(torch.optim.SGD):\n    def step(self): raise OSError('boom')"
    )
    assert main(["vectors", "verify", "--target", f"{optimizers}:NoLookAhead", str(saved)]) == 1
    assert "raises OSError: boom, in step 1" in capsys.readouterr().out


def test_a_target_that_changes_shapes_does_not_agree(optimizers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = _saved(f"{optimizers}:NoLookAhead").with_suffix(".json")
    optimizers.write_text(
        """import torch
class NoLookAhead(torch.optim.SGD):
    def step(self):
        for p in (p for group in self.param_groups for p in group["params"]):
            p.data = torch.stack([p.data, p.data])
"""
    )
    assert main(["vectors", "verify", "--target", f"{optimizers}:NoLookAhead", str(saved)]) == 1
    assert "raises ValueError: parameter 0 has the shape (2, " in capsys.readouterr().out


def test_export_writes_what_is_shipped_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vectors"
    assert main(["vectors", "export", str(folder)]) == 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {f.name: f.read_bytes() for f in frozen()}
    (folder / "adamp.json").unlink()
    (folder / "sgdp.json").write_text("mine")
    assert main(["vectors", "export", str(folder)]) == 2
    assert "sgdp.json is there with other content, and is not overwritten" in capsys.readouterr().err
    assert (folder / "sgdp.json").read_text() == "mine"
    assert not (folder / "adamp.json").exists()
    (folder / "sgdp.json").unlink()
    assert main(["vectors", "export", str(folder)]) == 0
    assert len(list(folder.iterdir())) == len(frozen())
