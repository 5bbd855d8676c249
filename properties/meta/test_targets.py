"""What a target may be, how its names are read, and that no target spoils another's verdict."""

import json
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator

from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.command_line import per_target
from stepgauge.properties.gauge.command_line.isolation import Job, Pool
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.errors import TargetError, UsageError
from stepgauge.properties.gauge.schemas.published import schema_text
from stepgauge.properties.gauge.targets.adapters import adapters, program
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.targets.names import KeywordNames
from stepgauge.properties.gauge.targets.rules import infer_rule
from stepgauge.reference import RULES

QUICK: dict[str, Any] = {"level": "quick", "only": "trajectory/defaults,trajectory/training", "diagnosis": False}
ROOT = Path(__file__).resolve().parents[2]


def sgd(params: Any, grads: Any, state: Any, learning_rate: float = 0.1, momentum: float = 0.0) -> Any:
    buffers = state or [None] * len(params)
    buffers = [g if b is None else momentum * b + g for g, b in zip(grads, buffers, strict=True)]
    return [p - learning_rate * b for p, b in zip(params, buffers, strict=True)], buffers


def averaging(params: Any, grads: Any, state: Any, learning_rate: float = 0.1, momentum: float = 0.0) -> Any:
    buffers = state or [0.0] * len(params)
    buffers = [momentum * b + (1 - momentum) * g for g, b in zip(grads, buffers, strict=True)]
    return [p - learning_rate * b for p, b in zip(params, buffers, strict=True)], buffers


def without_state(params: Any, grads: Any, state: Any, lr: float = 0.1) -> Any:
    assert state is None
    return [p - lr * g for p, g in zip(params, grads, strict=True)]


def test_adapters_are_found_in_their_folder() -> None:
    there = {
        "function",
        "program",
        "optax",
        "keras",
        "sklearn",
        "thinc",
        "tinygrad",
        "mlx",
        "paddle",
        "torch",
        "torchopt",
    }
    assert there <= adapters().keys()
    assert all(adapter.words for adapter in adapters().values())


def test_function_is_judged_under_its_own_names() -> None:
    report = check_optimizer(sgd, level="quick", diagnosis=False)
    assert (report.verdict, report.dialect) == ("conforms", "torch"), str(report)
    assert "lr=learning_rate" in str(report)


def test_function_that_computes_something_else_diverges() -> None:
    assert check_optimizer(averaging, "sgd", **QUICK).verdict == "diverges"


def test_function_without_state_is_told_what_it_lacks() -> None:
    report = check_optimizer(without_state, "sgd", **QUICK)
    assert "returns list, not a pair of the parameters and the state" in str(report)


def test_function_has_no_place_for_layers() -> None:
    with pytest.raises(TargetError, match="has no place for the layers that frog looks at"):
        make_target("sgd", sgd, "frog")


def test_unknown_adapter_is_named() -> None:
    with pytest.raises(UsageError, match="--adapter tensor: the adapters are "):
        make_target("sgd", sgd, "sgd", adapter="tensor")


SCHEDULE_FREE = """
import torch

class SGD(torch.optim.SGD):
    trains = False
    factor = 1

    def train(self):
        self.trains = True

    def step(self, closure=None):
        if not self.trains:
            raise RuntimeError("call train() first")
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = p.grad * self.factor
        return super().step(closure)

class Doubled(SGD):
    factor = 2
"""


@pytest.fixture
def must_be_told(tmp_path: Path) -> str:
    (tmp_path / "told.py").write_text(SCHEDULE_FREE)
    return str(tmp_path / "told.py")


def test_method_is_called_once_an_optimizer_is_built(must_be_told: str) -> None:
    untold = check_optimizer(f"{must_be_told}:SGD", **QUICK)
    assert (untold.verdict, "call train() first" in str(untold)) == ("error", True)
    told = check_optimizer(f"{must_be_told}:SGD", after_build="train", **QUICK)
    assert not told.failures(deciding=True), str(told)
    without_rule = check_optimizer(f"{must_be_told}:SGD", "none", level="quick", after_build="train")
    assert without_rule.verdict != "error", str(without_rule)


@pytest.mark.usefixtures("must_be_told")
@pytest.mark.parametrize("project", [False, True])
def test_method_after_building_in_a_command_and_in_a_project(project: bool, tmp_path: Path) -> None:
    if project:
        (tmp_path / "pyproject.toml").write_text(
            '[tool.stepgauge]\ntargets = [{target = "told.py:SGD", after_build = "train"}]\n'
        )
    arguments = [] if project else ["told.py:SGD", "--after-build", "train"]
    (result,) = _checked(*arguments, "--only", "trajectory/defaults", folder=tmp_path)
    assert [c["status"] for c in result["checks"]] == ["pass"]


@pytest.mark.usefixtures("must_be_told")
def test_saved_script_calls_the_method_after_building(tmp_path: Path) -> None:
    options = ("--after-build", "train", "--only", "trajectory/defaults", "--save", "saved", "--no-diagnosis")
    (result,) = _checked("told.py:Doubled", "--rule", "sgd", *options, folder=tmp_path)
    assert result["verdict"] == "diverges"
    (script,) = (tmp_path / "saved").glob("*.py")
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "expected" in ended.stderr


@pytest.mark.parametrize(
    ("optimizer", "sentence"),
    [
        ("torch.optim:SGD", "makes a SGD, which has no method prepare to call: see --after-build"),
        (sgd, "--after-build prepare: sgd is a function f(params, grads, state, **hyperparameters), not a torch"),
        ("stepgauge.core:SGD", "--after-build prepare: stepgauge.core:SGD is no torch optimizer"),
    ],
)
def test_method_that_is_not_there_is_said_in_one_sentence(optimizer: Any, sentence: str) -> None:
    try:
        said = str(check_optimizer(optimizer, "sgd", after_build="prepare", **QUICK))
    except ValueError as error:
        said = str(error)
    assert sentence in said


@pytest.fixture(scope="module")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("program") / "sgd"
    source = ROOT / "docs" / "programs" / "sgd.c"
    if not source.exists():
        pytest.skip("the documents are not installed")
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-ffp-contract=off", "-o", made, source, "-lm"], check=True)
    return f"program:{made}"


def test_example_in_c_conforms(in_c: str) -> None:
    report = check_optimizer(in_c, level="quick", diagnosis=False)
    assert (report.verdict, report.rule) == ("conforms", "sgd"), str(report)


PROGRAM = """
import json, math, os, sys, time
steps = 0
for line in sys.stdin:
    asked = json.loads(line)
    answer = {"id": asked["id"]}
    if asked["message"] == "describe":
        answer["hyperparameters"] = {"lr": 0.1}
    elif asked["message"] == "begin":
        steps, params = 0, asked["params"]
        lr = asked["hyperparameters"].get("lr", 0.1)
    else:
        steps += 1
        lr = asked["hyperparameters"].get("lr", 0.1)
        params = [[p - lr * g for p, g in zip(*both)] for both in zip(params, asked["grads"])]
        answer["params"] = params
    if asked["message"] == "step" and steps == 2:
        FAULT
    print(json.dumps(answer), flush=True)
"""
FAULTS = {
    "print('garbage', flush=True); continue": "answers what is no JSON: 'garbage', in step 2",
    "print('[1]', flush=True); continue": "answers what is no JSON object: '[1]', in step 2",
    "print('{\"id\": 3, \"pa', end='', flush=True); os._exit(0)": "ends with status 0 in the middle of a line",
    "answer['id'] -= 1": "answers message",
    "answer['params'][0][0] = math.nan": "answers a bare NaN, which JSON does not have",
    "answer['params'][0][0] = 'much'": "answers 'much' as a number of parameter 0",
    "answer['params'] = [[]]": "params",
    "del answer['params']": "answers a step with params None",
    "answer['error'] = 'no such device'": "no such device, in step 2",
    "sys.exit('out of luck')": "ends with status 1 instead of an answer (out of luck)",
    "os.kill(os.getpid(), 9)": "is killed by signal 9 instead of an answer",
    "time.sleep(60)": "gives no answer within 1 seconds",
}


def _program(tmp_path: Path, fault: str = "pass") -> str:
    file = tmp_path / "sgd.py"
    file.write_text(PROGRAM.replace("FAULT", fault))
    return f"program:{sys.executable} {file}"


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_program_is_said_in_one_sentence(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "PATIENCE", 1.0)
    report = check_optimizer(_program(tmp_path, fault), "sgd", level="quick", only="trajectory/defaults")
    assert report.verdict == "error"
    said = str(report)
    assert FAULTS[fault] in said
    assert "Traceback" not in said


def test_messages_are_as_the_schema_says(tmp_path: Path) -> None:
    log = tmp_path / "log"
    file = tmp_path / "sgd.py"
    file.write_text(
        PROGRAM.replace("FAULT", "pass").replace(
            "    asked = json", f"    open({str(log)!r}, 'a').write(line); asked = json"
        )
    )
    command = f"program:{sys.executable} {file}"
    report = check_optimizer(command, "sgd", level="quick", only="trajectory/defaults,convention/*")
    assert report.verdict != "error"
    schema = json.loads(schema_text("program"))
    question = Draft202012Validator({**schema, "anyOf": [{"$ref": "#/$defs/question"}]})
    messages = [json.loads(line) for line in log.read_text().splitlines()]
    assert {message["message"] for message in messages} == {"describe", "begin", "step"}
    assert [error.message for message in messages for error in question.iter_errors(message)] == []


def _checked(*arguments: str, folder: Path) -> list[dict[str, Any]]:
    """The results of the command as a process."""
    out = folder / "out.json"
    command = [sys.executable, "-m", "stepgauge", "check", *arguments, "--level", "quick", "--json", str(out)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert out.exists(), ended.stderr
    results: list[dict[str, Any]] = json.loads(out.read_text())["results"]
    return results


def _require(library: str) -> None:
    """Skip without a library; only the process of the target imports it, Keras not without a backend."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def _conform(*targets: str, folder: Path) -> list[tuple[str, str]]:
    return [(r["verdict"], r["dialect"]) for r in _checked(*targets, "--no-diagnosis", folder=folder)]


def test_transformations_conform(tmp_path: Path) -> None:
    _require("optax")
    (tmp_path / "configured.py").write_text("import optax\nsgd = optax.sgd(0.1)\n")
    whole, configured = _checked("optax:sgd", "--rule", "sgd", "configured.py:sgd", "--set", "lr=0.1", folder=tmp_path)
    assert (whole["verdict"], whole["dialect"]) == ("conforms", "torch")
    assert not [c for c in configured["checks"] if c["category"] == "trajectory" and c["status"] in ("fail", "error")]


def test_numbers_that_do_not_move_are_handed_on_as_numbers(tmp_path: Path) -> None:
    """As arrays they would be in float32: 1 - decay of such an array is not what the rule computes."""
    _require("optax")
    (report,) = _checked("optax:rmsprop", "--only", "trajectory/float32", folder=tmp_path)
    (check,) = report["checks"]
    assert check["status"] == "pass", check


def test_keras_conforms_to_its_own_dialect(tmp_path: Path) -> None:
    _require("keras")
    assert _conform("keras.optimizers:SGD", folder=tmp_path) == [("conforms", "keras")]


def test_scikit_learn_has_the_rate_in_the_momentum(tmp_path: Path) -> None:
    _require("sklearn")
    target = "sklearn.neural_network._stochastic_optimizers:SGDOptimizer"
    assert _conform(target, "--rule", "sgd", folder=tmp_path) == [("conforms", "keras")]


# What real optimizers of each library come to; None where the dialects do not differ in what can be set.
OF_LIBRARIES = [
    ("thinc", "thinc.optimizers:SGD(grad_clip=0.0, L2_is_weight_decay=False)", "sgd", ("conforms", None)),
    ("thinc", "thinc.optimizers:Adam(grad_clip=0.0, L2=0.0)", "adam", ("conforms", "keras")),
    ("torchopt", "torchopt:sgd", "sgd", ("conforms", "torch")),
    ("mlx", "mlx.optimizers:Lion", "lion", ("conforms", "published")),
    ("mlx", "mlx.optimizers:Adam", "adam", ("diverges", None)),  # which corrects no bias unless it is told to
    ("paddle", "paddle.optimizer:Momentum", "sgd", ("conforms", "torch")),
    ("paddle", "paddle.optimizer:RMSProp", "rmsprop", ("diverges", None)),  # its decay is in the gradient
]


@pytest.mark.parametrize(("library", "optimizer", "rule", "comes_to"), OF_LIBRARIES)
def test_optimizers_of_libraries_come_to_their_verdict(
    library: str, optimizer: str, rule: str, comes_to: tuple[str, str | None], tmp_path: Path
) -> None:
    _require(library)
    assert _conform(optimizer, "--rule", rule, folder=tmp_path) == [comes_to]


def test_tinygrad_follows_the_rule_as_in_training(tmp_path: Path) -> None:
    """One check of SGD: interpreted in Python, which may be all that there is, the whole takes many minutes."""
    _require("tinygrad")
    (result,) = _checked("tinygrad.nn.optim:SGD", "--only", "trajectory/training", folder=tmp_path)
    assert [c["status"] for c in result["checks"]] == ["pass"]


def test_lr_that_cannot_be_moved_is_asked_for_no_schedule() -> None:
    fixed = make_target("sgd", sgd, "sgd", keywords={"learning_rate": 0.125})
    assert not fixed.takes_schedule
    context = Context(fixed, Options(level="quick"))
    problems = [*context.problems(), *context.training_problems()]
    assert {factor for p in problems if p.recipe for factor in p.recipe.schedule} == {1.0}
    report = check_optimizer(partial(sgd, learning_rate=0.125), "sgd", set={"lr": 0.125}, **QUICK)
    assert not report.failures(deciding=True), str(report)


class KeepsInFloat32(torch.optim.RMSprop):
    def __init__(self, params: Any, lr: float = 0.01, alpha: float = 0.99, eps: float = 1e-3) -> None:
        super().__init__(params, lr, float(np.float32(alpha)), float(np.float32(eps)))


def test_hyperparameters_that_are_kept_in_float32_are_found() -> None:
    context = Context(make_target("RMSprop", KeepsInFloat32, "rmsprop"), Options(level="quick"))
    assert context.rounded == ("alpha", "eps")


def test_compared_in_float32_hyperparameters_are_numbers_that_it_has() -> None:
    context = Context(make_target("Adam", torch.optim.Adam, "adam"), Options(level="quick", dtype="float32"))
    drawn = [h for p in context.problems(only={"random"}) for h, _ in p.groups]
    betas = {beta for h in drawn for beta in h["betas"]}
    assert betas == {float(np.float32(beta)) for beta in betas} != {0.0}
    assert all(h["eps"] == float(np.float32(h["eps"])) for h in drawn)


BUILT = """
from {module} import {factory}
optimizer = {factory}({keywords})
"""


@pytest.mark.parametrize(
    ("library", "module", "factory", "keywords"),
    [
        ("thinc", "thinc.optimizers", "SGD", "0.125, grad_clip=0.0"),
        ("mlx", "mlx.optimizers", "SGD", "0.125"),
        ("optax", "optax", "sgd", "0.125"),
    ],
)
def test_built_optimizer_is_asked_at_its_settings(
    library: str, module: str, factory: str, keywords: str, tmp_path: Path
) -> None:
    _require(library)
    (tmp_path / "built.py").write_text(BUILT.format(module=module, factory=factory, keywords=keywords))
    only = ("--only", "trajectory/float32,trajectory/training", "--no-diagnosis")
    (right,) = _checked("built.py:optimizer", "--rule", "sgd", "--set", "lr=0.125", *only, folder=tmp_path)
    (wrong,) = _checked("built.py:optimizer", "--rule", "sgd", "--set", "lr=0.25", *only, folder=tmp_path)
    assert [r["verdict"] for r in (right, wrong)] == ["not-established", "diverges"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("RMSpropTF", "rmsprop"),
        ("AdamWLegacy", "adamw"),
        ("FusedAdam", "adam"),
        ("SGDW", "sgd"),
        ("AdamOptimizer", "adam"),
        ("nn.optim.FusedSGD", "sgd"),
        ("AdamP", "adamp"),
        ("SGDP", "sgdp"),
    ],
)
def test_class_names_tell_the_rule(name: str, rule: str) -> None:
    assert infer_rule(name) == rule


@pytest.mark.parametrize("name", ["Adafactor", "TF", "FusedOptimizer", "Adamax"])
def test_other_names_tell_no_rule(name: str) -> None:
    with pytest.raises(UsageError, match="cannot tell the rule"):
        infer_rule(name)


@pytest.mark.parametrize(
    ("rule", "theirs", "mapped"),
    [
        (
            "adam",
            ["learning_rate", "b1", "b2", "epsilon"],
            {"lr": "learning_rate", "betas.0": "b1", "betas.1": "b2", "eps": "epsilon"},
        ),
        ("adam", ["lr", "learning_rate", "beta_1", "beta_2"], {"betas.0": "beta_1", "betas.1": "beta_2"}),
        ("adam", ["lr", "beta_1", "wd"], {"weight_decay": "wd"}),
        ("rmsprop", ["lr", "rho"], {"alpha": "rho"}),
        ("adai", ["lr", "weight_decouple"], {"decoupled": "weight_decouple"}),
    ],
)
def test_synonyms_are_mapped(rule: str, theirs: list[str], mapped: dict[str, str]) -> None:
    assert KeywordNames("theirs", rule, RULES[rule], {}, theirs).mapped == mapped


def test_a_rename_goes_before_a_synonym() -> None:
    names = KeywordNames(
        "theirs", "adam", RULES["adam"], {"eps": "epsilon", "lr": "rate"}, ["rate", "learning_rate", "epsilon"]
    )
    assert names.mapped == {}


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ("A B", ["A B"]),
        ("A B --rule adam", ["A B --rule adam"]),
        ("A --rule adam B --rule sgd", ["A --rule adam", "B --rule sgd"]),
        ("--level quick A --strict B -j2 C", ["--level quick A --strict", "--level quick B -j2", "--level quick C"]),
        ("--rule=adam A --set lr=1", ["--rule=adam A --set lr=1"]),
        ("--strict", ["--strict"]),
    ],
)
def test_options_hold_for_the_targets_before_them(arguments: str, runs: list[str]) -> None:
    assert per_target.runs_of(arguments.split()) == [run.split() for run in runs]


TARGETS = """
import os, signal, sys, time, warnings
import numpy as np
import torch

class Exits(torch.optim.SGD):
    def step(self, closure=None):
        os._exit(0)

class Hangs(torch.optim.SGD):
    def step(self, closure=None):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(600)

class Crashes(torch.optim.SGD):
    def step(self, closure=None):
        os.kill(os.getpid(), signal.SIGSEGV)

class Meddles(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        os.write(1, b"LOUD"); os.write(2, b"LOUD")
        torch.set_default_dtype(torch.float16); torch.manual_seed(0); os.chdir("/"); np.random.seed(0)
        warnings.simplefilter("error"); np.seterr(all="raise")
        super().__init__(params, lr)

class Plain(torch.optim.SGD):
    pass
"""
CHECK = ("check", "--only", "trajectory/defaults", "--level", "quick")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "mine.py"
    written.write_text(TARGETS)
    return written


def _verdicts(json_file: Path) -> list[tuple[str, str, str]]:
    results = json.loads(json_file.read_text())["results"]
    return [(r["target"].rpartition(":")[2], r["verdict"], r["message"]) for r in results]


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_no_target_spoils_another(jobs: str, file: Path, tmp_path: Path) -> None:
    names, out = ("Meddles", "Exits", "Hangs", "Crashes", "Plain"), tmp_path / "out.json"
    targets = [f"{file}:{name}" for name in names]
    options = ["--rule", "sgd", "-j", jobs, "--timeout", "40", "--json", str(out)]
    command = [sys.executable, "-m", "stepgauge", *CHECK, *targets, *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    verdicts = _verdicts(out)
    assert [name for name, *_ in verdicts] == list(names)
    said = {name: message for name, _, message in verdicts}
    assert said["Exits"].startswith("ends its process with status 0 (at ")
    assert said["Hangs"].startswith("does not finish within 40 seconds (at ")
    assert said["Crashes"].startswith("is killed by signal 11 (at ")
    assert dict(v[:2] for v in verdicts)["Plain"] != "error"
    assert "LOUD" not in ended.stdout + ended.stderr


INTERRUPTED = """\
def work(_):
    interrupt = KeyboardInterrupt()
    interrupt.report = "what is finished"  # as an examination leaves it
    raise interrupt
"""


def test_a_report_that_an_interrupt_brings_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    monkeypatch.syspath_prepend(tmp_path)  # a process of its own finds it there, too, and no module of tests
    pool = Pool(1, lambda *_: None)
    job = Job(import_module("interrupted").work, 60.0)
    assert list(pool.results([job])) == [(0, "what is finished")]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_what_is_finished_when_it_is_interrupted_is_kept(kind: signal.Signals, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    targets = [f"{file}:Plain", f"{file}:Hangs", "--rule", "sgd", "-j", "1", "--json", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "stepgauge", *CHECK, *targets], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        while not (out.exists() and out.stat().st_size):
            time.sleep(0.05)
        assert [name for name, *_ in _verdicts(out)] == ["Plain"]
        running.send_signal(kind)
        printed, errors = running.communicate()
    assert running.returncode == 130
    assert "Plain" in printed
    assert "1 of 2 targets are finished" in errors


def test_each_target_has_its_own_rule(file: Path, tmp_path: Path) -> None:
    only = ("--only", "trajectory/defaults")
    results = _checked(f"{file}:Plain", "--rule", "sgd", "torch.optim:Adam", "--rule", "adam", *only, folder=tmp_path)
    assert [result["rule"] for result in results] == ["sgd", "adam"]


PROJECT = """
[tool.stepgauge]
targets = [
    "torch.optim:Adam",
    {target = "mine.py:Plain", rule = "sgd", set = {lr = 0.1}, expected = "not-established", reason = "asked little"},
]
"""


def test_targets_of_a_project(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(file.parent)
    Path("pyproject.toml").write_text(PROJECT)
    assert main([*CHECK]) == 5
    printed = capsys.readouterr().out
    assert "torch.optim:Adam" in printed
    assert "mine.py:Plain: not-established, as expected (asked little)" in printed


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[tool.stepgauge]\nrules = 1", "[tool.stepgauge] has no rules; it has targets"),
        ("[tool.stepgauge]\ntargets = [3]", "3 is no target"),
        ('[tool.stepgauge]\ntargets = [{target = "a:B", rules = "sgd"}]', "a:B has rules; what it may have is target"),
        ('[tool.stepgauge]\ntargets = [{target = "a:B", expected = "fails"}]', "expected must be one of conforms"),
        ('[tool.stepgauge]\ntargets = [{target = "a:B", expected = "diverges"}]', "without a reason"),
        ("[tool", "cannot be read"),
        ("", "no target: give one"),
    ],
)
def test_bad_project_is_refused_in_one_sentence(
    text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(text)
    assert main(["check"]) == 2
    assert sentence in capsys.readouterr().err


def test_package_shows_its_public_names() -> None:
    import stepgauge

    assert dir(stepgauge) == ["ExpectedFailure", "__version__", "check_optimizer", "conformance_checks"]


def test_missing_extra_is_named_from_python() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None; import stepgauge; stepgauge.check_optimizer('torch.optim:SGD')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "needs hypothesis: pip install 'stepgauge[check]'" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(("rule", "dialect"), [("sgd", "keras"), ("adam", "optax"), ("rmsprop", "keras")])
def test_core_and_bindings_refuse_the_dialects_of_other_frameworks(rule: str, dialect: str) -> None:
    from stepgauge import core, torch_bind

    name = RULES[rule].__name__
    with pytest.raises(ValueError, match=f"Invalid dialect: {dialect} .the reference alone has it"):
        getattr(core, name)([np.zeros(3)], lr=0.1, dialect=dialect)
    with pytest.raises(ValueError, match=f"Invalid dialect: {dialect} .the reference alone has it"):
        getattr(torch_bind, name)([torch.nn.Parameter(torch.zeros(3))], lr=0.1, dialect=dialect)
