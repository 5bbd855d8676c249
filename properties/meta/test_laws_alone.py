"""Without a rule: every law can be broken, sound optimizers keep all, and what is found is what mathematics says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from stepgauge import check_optimizer
from stepgauge.properties.gauge.checks.registry import CHECKS, load_checks
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.meta.test_false_conformance import (
    DecayOfTheConstructor,
    LastRateForAll,
    RateOfTheConstructor,
    SharesByShape,
    SignOfFadingMomentum,
)

ALONE = ("--rule", "none", "--level", "quick")
Closure = Any


class Sound(torch.optim.Optimizer):
    """Momentum with a correction for bias, of which each broken optimizer below spoils one thing."""

    def __init__(
        self, params: Any, lr: float = 0.05, beta: float = 0.9, weight_decay: float = 0.0, maximize: bool = False
    ) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "weight_decay": weight_decay, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, -p.grad if group["maximize"] else p.grad, group)
        return loss

    def update(self, p: Any, g: Any, group: Any) -> None:
        state = self.state[p]
        if not state:
            state["step"], state["mean"] = 0, torch.zeros_like(p)
        state["step"] = self.count(state)
        g = g + group["weight_decay"] * p
        state["mean"].mul_(group["beta"]).add_(g, alpha=1 - group["beta"])
        p.add_(state["mean"], alpha=-group["lr"] / (1 - group["beta"] ** state["step"]))

    def count(self, state: Any) -> int:
        return int(state["step"]) + 1


class CountsParameters(Sound):
    """One counter, advanced by every parameter."""

    total = 0

    def count(self, state: Any) -> int:
        self.total += 1
        return self.total


class CountsSteps(Sound):
    """One counter, advanced by every step, whoever has a gradient."""

    total = 0

    def step(self, closure: Closure = None) -> Any:
        self.total += 1
        return super().step(closure)

    def count(self, state: Any) -> int:
        return self.total


class CountsGroups(Sound):
    """One counter, advanced by every group."""

    total = 0

    def count(self, state: Any) -> int:
        return self.total

    def step(self, closure: Closure = None) -> Any:
        groups = self.param_groups
        for group in groups:
            self.total += 1
            self.param_groups = [group]
            super().step(closure)
        self.param_groups = groups


class CountsForAll(Sound):
    """A counter of the class, which the next optimizer inherits."""

    counters: ClassVar[list[int]] = [0]

    def count(self, state: Any) -> int:
        self.counters[0] += 1
        return self.counters[0]


class TakesNoneForZero(Sound):
    def step(self, closure: Closure = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        return super().step(closure)


class LooksAtNeighbour(Sound):
    """Steps along a share of what the parameter before it left."""

    before = 0.0

    def update(self, p: Any, g: Any, group: Any) -> None:
        super().update(p, g + 1e-4 * self.before, group)
        self.before = float(g.sum())


class LosesState(Sound):
    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict({**state_dict, "state": {}})


class ForgetsCounter(Sound):
    """Counts outside of the state: the averages come back, the counter does not."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, lr)
        self.counts: dict[Any, int] = {}

    def update(self, p: Any, g: Any, group: Any) -> None:
        self.counts[p] = self.counts.get(p, 0) + 1
        self.state[p]["step"] = self.counts[p] - 1
        self.state[p].setdefault("mean", torch.zeros_like(p))
        super().update(p, g, group)


class WritesGradient(Sound):
    """Decays in place, in the user's gradient."""

    def update(self, p: Any, g: Any, group: Any) -> None:
        super().update(p, g.add_(p, alpha=1e-3), group)


class ReadsMemory(Sound):
    """Takes the gradient in the order in which it lies in memory."""

    def update(self, p: Any, g: Any, group: Any) -> None:
        flat = torch.empty(0, dtype=g.dtype).set_(g.untyped_storage())[: g.numel()]
        super().update(p, flat.view(g.shape), group)


class MaximizesDecay(Sound):
    """Negates the step instead of the gradient, and so the decay."""

    def update(self, p: Any, g: Any, group: Any) -> None:
        if group["maximize"]:
            g = g - 2e-2 * p
        super().update(p, g, group)


class Forms(Sound):
    """A form that is as good as the loops but for one part in 10^12."""

    def __init__(
        self, params: Any, lr: float = 0.05, foreach: bool = False, fused: bool = False, capturable: bool = False
    ) -> None:
        super().__init__(params, lr)
        self.error = 1e-12 * any(self.wrong(foreach, fused, capturable))

    def wrong(self, foreach: bool, fused: bool, capturable: bool) -> Iterator[bool]:
        yield False

    def update(self, p: Any, g: Any, group: Any) -> None:
        super().update(p, g * (1 + self.error), group)


class WrongForeach(Forms):
    def wrong(self, foreach: bool, fused: bool, capturable: bool) -> Iterator[bool]:
        yield foreach


class WrongFused(Forms):
    def wrong(self, foreach: bool, fused: bool, capturable: bool) -> Iterator[bool]:
        yield fused


class WrongCapturable(Forms):
    def wrong(self, foreach: bool, fused: bool, capturable: bool) -> Iterator[bool]:
        yield capturable


BREAKERS = [
    ("law/repeatable", CountsForAll),
    ("law/permutation", CountsParameters),
    ("law/permutation", LooksAtNeighbour),
    ("law/regrouping", CountsGroups),
    ("law/absent-gradient", CountsSteps),
    ("law/absent-gradient", TakesNoneForZero),
    ("law/maximize", MaximizesDecay),
    ("law/foreach", WrongForeach),
    ("law/fused", WrongFused),
    ("law/capturable", WrongCapturable),
    ("law/groups", LastRateForAll),
    ("law/equal-shapes", SharesByShape),
    ("law/schedule", RateOfTheConstructor),
    ("law/moved-options", DecayOfTheConstructor),
    ("law/absent-state", SignOfFadingMomentum),
    ("contract/resume", LosesState),
    ("contract/resume", ForgetsCounter),
    ("contract/gradient-untouched", WritesGradient),
    ("contract/transposed-parameter", ReadsMemory),
]


def _report(optimizer: Any, **options: Any) -> Report:
    return check_optimizer(optimizer, rule="none", level="quick", **options)


def _found(report: Report) -> set[str]:
    return {r.id.removeprefix("found/") for r in report.results if r.category == "found" and r.status == "pass"}


def test_every_law_has_a_breaker() -> None:
    load_checks()
    target = make_target("Sound", Sound, "none")
    laws = {c.id for c in CHECKS.values() if c.category == "law" and c.applies(target)}
    assert laws <= {law for law, _ in BREAKERS}


@pytest.mark.parametrize(("law", "optimizer"), BREAKERS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_broken_law_diverges_and_is_named(law: str, optimizer: type) -> None:
    report = _report(optimizer, only=law)
    assert report.verdict == "diverges"
    assert report.message == f"breaks {law}"


class NormalizesAll(Sound):
    """Divides every gradient by the norm of them all."""

    def step(self, closure: Closure = None) -> Any:
        present = [p.grad.ravel() for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.norm = torch.linalg.vector_norm(torch.cat(present)) if present else None
        return super().step(closure)

    def update(self, p: Any, g: Any, group: Any) -> None:
        super().update(p, g / self.norm, group)


class Fromage(Sound):
    """Steps as long as the tensor, without momentum."""

    def update(self, p: Any, g: Any, group: Any) -> None:
        p.sub_(group["lr"] * p.norm() * g / g.norm())


class Signs(Sound):
    def update(self, p: Any, g: Any, group: Any) -> None:
        super().update(p, g.sign(), group)


class Bfloat16Inside(Sound):
    """Multiplies matrices in bfloat16, as orthogonalizing optimizers do."""

    def update(self, p: Any, g: Any, group: Any) -> None:
        short = g.reshape(g.shape[0] if g.ndim else 1, -1).bfloat16()
        super().update(p, (short @ (short.T @ short)).to(g.dtype).reshape(g.shape), group)


SOUND = [Sound, Forms, NormalizesAll, Fromage, Signs, Bfloat16Inside]


@pytest.mark.parametrize("optimizer", SOUND, ids=lambda x: x.__name__)
def test_sound_optimizer_conforms(optimizer: type) -> None:
    report = _report(optimizer)
    assert report.verdict == "conforms", str(report)
    assert (report.rule, report.dialect) == ("none", None)
    assert "no rule was compared" in report.message


OF_TORCH = [
    *(f"torch.optim:{name}" for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "RAdam", "Adamax")),
    *(f"torch.optim:{name}" for name in ("NAdam", "ASGD", "Rprop", "Adafactor", "Muon")),
    "torch.optim:Adam(foreach=True)",
    "torch.optim:SGD(momentum=0.9, fused=True)",
]


# What torch itself breaks: NAdam keeps a product in float32 that is narrowed when it is loaded; fused kernels read the
# state in the parameter's memory format, whatever its own is, and fused SGD is wrong in bfloat16 where it vectorises.
BROKEN_BY_TORCH = {
    "torch.optim:NAdam": "contract/resume-in-bfloat16",
    "torch.optim:SGD(momentum=0.9, fused=True)": "contract/resume-in-another-format,contract/bfloat16,contract/float16",
}


@pytest.mark.parametrize("optimizer", OF_TORCH)
def test_torch_optimizer_conforms(optimizer: str) -> None:
    report = _report(optimizer, skip=f"found/*,{BROKEN_BY_TORCH.get(optimizer, '')}")
    assert report.verdict == "conforms", str(report)


@pytest.mark.parametrize(("optimizer", "checks"), BROKEN_BY_TORCH.items())
def test_what_torch_breaks_is_noticed(optimizer: str, checks: str) -> None:
    report = _report(optimizer, only=checks)
    assert report.verdict == "diverges"
    assert report.message == f"breaks {checks.replace(',', ', ')}"


ELEMENTWISE = {"elementwise", "tensorwise", "splitting", "point-symmetric"}


@pytest.mark.parametrize(
    ("optimizer", "laws"),
    [
        # p - lr (corrected mean of g): linear in g and lr, and p does not matter
        (Sound, ELEMENTWISE | {"odd", "linear-in-lr", "linear-in-gradient", "homogeneous", "translation"}),
        # decay makes p matter: only what scales or turns both keeps the form
        ("torch.optim:SGD(weight_decay=0.1)", ELEMENTWISE | {"homogeneous"}),
        # m / sqrt(v): of degree 0 in g once eps is negligible
        (torch.optim.Adam, ELEMENTWISE | {"odd", "linear-in-lr", "scale-free", "translation"}),
        # signs: of degree 0 in every coordinate
        (Signs, ELEMENTWISE | {"odd", "linear-in-lr", "scale-free", "sign", "translation"}),
        # |p| g / |g|: of degree 1 in p and 0 in g, per tensor; |p| changes with the steps, so it is not odd in g
        (Fromage, {"tensorwise", "point-symmetric", "scale-free", "homogeneous", "relative"}),
        # one norm for all tensors
        (NormalizesAll, {"splitting", "point-symmetric", "odd", "linear-in-lr", "scale-free", "translation"}),
    ],
    ids=lambda x: "" if isinstance(x, set) else getattr(x, "__name__", str(x)),
)
def test_found_laws_follow_from_the_mathematics(optimizer: Any, laws: set[str]) -> None:
    assert _found(_report(optimizer, only="found/*")) == laws


class Noisy(Sound):
    def update(self, p: Any, g: Any, group: Any) -> None:
        super().update(p, g + torch.randn_like(g), group)


class Idle(Sound):
    def update(self, p: Any, g: Any, group: Any) -> None:
        pass


class Explodes(Sound):
    def update(self, p: Any, g: Any, group: Any) -> None:
        super().update(p, g / 0.0, group)


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [(Noisy, "draws random numbers"), (Idle, "moves no parameter"), (Explodes, "reaches NaN or infinity")],
)
def test_runs_that_cannot_be_compared_establish_nothing(optimizer: type, reason: str) -> None:
    report = _report(optimizer)
    assert report.verdict == "not-established"
    assert reason in report.message


def test_laws_left_out_establish_nothing() -> None:
    report = _report(Sound, skip="law/maximize")
    assert (report.verdict, report.message) == ("not-established", "did not run: law/maximize")


class Optional(Sound):
    """Has no `maximize`, one group, and wants all gradients: refused aloud, not computed wrongly."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        params = list(params)
        if isinstance(params[0], dict):
            raise ValueError("one group, please")
        super().__init__(params, lr)

    def step(self, closure: Closure = None) -> Any:
        if closure is None and any(p.grad is None for group in self.param_groups for p in group["params"]):
            raise RuntimeError("a gradient is missing")
        return super().step(closure)


def test_what_is_refused_is_not_failed() -> None:
    report = _report(Optional)
    assert report.verdict == "conforms"
    asked = {r.id: r for r in report.results}
    for law, reason in (
        ("law/maximize", "takes no maximize"),
        ("law/regrouping", "one group, please"),
        ("law/absent-gradient", "a gradient is missing"),
    ):
        assert asked[law].status == "not-applicable"
        assert reason in asked[law].message


class NeedsLr(Sound):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)


def test_required_lr_is_given() -> None:
    assert _report(NeedsLr).verdict == "conforms"


def test_settings_reach_the_target() -> None:
    assert "scale-free" in _found(_report(torch.optim.RMSprop, only="found/*"))
    assert "scale-free" not in _found(_report(torch.optim.RMSprop, only="found/*", set={"eps": 1e30}))


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("torch.optim:LBFGS",), 3, "needs a closure to step"),
        (("torch.optim:SparseAdam",), 3, "SparseAdam does not support dense gradients"),
        (("torch.optim:SGD", "--set", "lr=-1.0"), 3, "Invalid learning rate: -1.0"),
        (("stepgauge.core:SGD",), 3, "is no torch optimizer"),
        (("torch.optim:SGD", "--set", "speed=1"), 2, "takes no 'speed': it takes lr, momentum"),
        (("torch.optim:SGD(lr=0.1)", "--set", "lr=0.2"), 2, "the target's own keywords give it already"),
        (("torch.optim:SGD", "--rename", "lr=alpha"), 2, "--rename: without a rule there are no other names"),
        (("torch.optim:SGD", "--dialect", "published"), 2, "--dialect: without a rule there are no dialects"),
        (("torch.optim:SGD", "--only", "trajectory/*"), 2, "--only 'trajectory/*' leaves no check"),
        (("torch.optim:SGD", "--only", "contract/*"), 5, "did not run: law/repeatable"),
        (("torch.optim:SGD",), 0, "no rule was compared"),
    ],
)
def test_one_sentence_and_its_status(
    arguments: tuple[str, ...], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments, *ALONE]) == status
    printed = capsys.readouterr().out
    assert sentence in " ".join(printed.split())
    assert "Traceback" not in printed


def test_class_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Mine(torch.optim.SGD):\n"
        "    def __init__(self, params, speed=0.1):\n"
        "        super().__init__(params, lr=speed)\n"
    )
    file = tmp_path / "verdicts.json"
    arguments = [f"{tmp_path}/mine.py:Mine", "--set", "speed=0.5", "--json", str(file), *ALONE]
    assert main(["check", *arguments]) == 0
    (result,) = json.loads(file.read_text())["results"]
    assert (result["rule"], result["verdict"], result["dialect"]) == ("none", "conforms", None)
    assert all(c.keys() == {"id", "category", "status", "error", "allowed", "message"} for c in result["checks"])
    assert {c["status"] for c in result["checks"] if c["category"] == "found"} <= {"pass", "not-applicable"}


def test_no_rule_has_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "none"]) == 2
    assert "unknown rule 'none'" in capsys.readouterr().err
