"""Ports that are wrong in a corner of a question that they else answer right; and right ones that refuse a corner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.problems.training import movable
from stepgauge.properties.gauge.targets.numpy_rule import RuleTarget
from stepgauge.properties.meta.misreadings.baselines import AdamPort, PlainPort, RMSpropPort, SGDPort
from stepgauge.properties.meta.test_false_conformance import report_of
from stepgauge.reference import RULES


def _first(port: Any, group: Any, *names: str) -> Any:
    """The group with some hyperparameters as they were when this was first asked of it."""
    kept = port.__dict__.setdefault("kept", {}).setdefault(id(group), {name: group[name] for name in names})
    return {**group, **kept}


# --- what moves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_whatever_may_move_moves_in_some_problem(rule: str) -> None:
    context = Context(RuleTarget(rule, RULES[rule], rule, {}), Options(level="quick"))
    moved = {change.name for problem in context.training_problems() for change in problem.changes}
    # How many samples are drawn changes nothing where all are, and no decay of AdaiV2 or FROG is large.
    assert set(movable(rule)) - moved <= {"sample_size", "y_sample_size"}


def _as_at_first(port: type, name: str) -> type:
    """The port with a hyperparameter as it was in the first step of each group."""

    def update(self: Any, p: Tensor, g: Tensor, group: Any) -> None:
        port.update(self, p, g, _first(self, group, name))  # type: ignore[attr-defined]  # every port has it

    return type(f"{name.capitalize()}OfTheFirstStep", (port,), {"update": update})


# --- sizes, forms, defaults ------------------------------------------------------------------------------------------


class LeavesTheTail(SGDPort):
    """Of a large tensor it steps whole blocks of 256 elements."""

    def move(self, p: Tensor, u: Tensor, group: Any) -> None:
        whole = p.numel() // 256 * 256 if p.numel() > 2**15 else p.numel()
        super().move(p.view(-1)[:whole], u.reshape(-1)[:whole], group)


class LargeUndampened(SGDPort):
    def accumulate(self, state: Any, d: Tensor, group: Any) -> None:
        super().accumulate(state, d, {**group, "dampening": 0} if d.numel() > 4096 else group)


class Formed(SGDPort):
    """Has a form."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0, foreach: bool = False, **more: Any) -> None:
        super().__init__(params, lr, momentum, **more)
        self.foreach = foreach


class LateInForm(Formed):
    """With foreach, it is confused by a gradient that comes late."""

    def step_group(self, group: Any, params: list[Tensor]) -> None:
        begun = sum("momentum_buffer" in self.state[p] for p in params)
        late = self.foreach and group["momentum"] and 0 < begun < len(params)
        super().step_group(group, params[:begun] if late else params)


class RateInForm(Formed):
    """With foreach, the rate is that of the first step."""

    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        super().update(p, g, _first(self, group, "lr") if self.foreach else group)


class EpsDependsOnAmsgrad(AdamPort):
    def __init__(
        self, params: Any, lr: float = 1e-3, eps: float | None = None, amsgrad: bool = False, **more: Any
    ) -> None:
        given = (1e-3 if amsgrad else 1e-8) if eps is None else eps
        super().__init__(params, lr, eps=given, amsgrad=amsgrad, **more)


class EpsDependsOnBetas(AdamPort):
    """If neither is given, eps is a larger one."""

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: Any = None, eps: float | None = None, weight_decay: float = 0
    ) -> None:
        larger = betas is None and eps is None and weight_decay != 0
        eps = (1e-3 if larger else 1e-8) if eps is None else eps
        super().__init__(params, lr, betas or (0.9, 0.999), eps, weight_decay)


CORNERS = [
    (_as_at_first(RMSpropPort, "alpha"), "rmsprop", "trajectory/training", "quick"),
    (_as_at_first(SGDPort, "dampening"), "sgd", "trajectory/training", "quick"),
    (_as_at_first(SGDPort, "nesterov"), "sgd", "trajectory/training", "quick"),
    (_as_at_first(AdamPort, "amsgrad"), "adam", "trajectory/training", "quick"),
    (LeavesTheTail, "sgd", "trajectory/large", "standard"),
    (LargeUndampened, "sgd", "trajectory/large", "quick"),
    (LateInForm, "sgd", "trajectory/forms", "quick"),
    (RateInForm, "sgd", "trajectory/forms", "quick"),
    (EpsDependsOnAmsgrad, "adam", "trajectory/defaults", "quick"),
    (EpsDependsOnBetas, "adam", "trajectory/defaults", "quick"),
]


@pytest.mark.parametrize(("optimizer", "rule", "check", "level"), CORNERS)
def test_it_diverges_in_its_corner(optimizer: Callable[..., Any], rule: str, check: str, level: str) -> None:
    report = report_of(optimizer, rule, only=check, level=level)
    assert report.verdict == "diverges", str(report)
    others = report_of(optimizer, rule, only="trajectory/float64,trajectory/float32,law/*")
    assert not others.failures(deciding=True), "another question sees it, too: this one shows nothing"


def test_a_form_is_examined_for_its_cause_as_it_was_driven() -> None:
    report = report_of(RateInForm, "sgd", only="trajectory/forms", diagnosis=True)
    assert "another thing each time" not in str(report)
    assert report.smallest is not None
    assert report.smallest.variant.form == ("foreach", True)
    assert "it reads lr in its first step, and not in later ones" in str(report)


# --- promises --------------------------------------------------------------------------------------------------------


class NegatesWhatItTakesWhole(SGDPort):
    """Where it maximizes with neither momentum nor decay, in the caller's tensor."""

    def __init__(
        self, params: Any, lr: float = 1e-3, momentum: float = 0, weight_decay: float = 0, maximize: bool = False
    ) -> None:
        super().__init__(params, lr, momentum, weight_decay=weight_decay)
        self.maximize = maximize

    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        if self.maximize:
            g = -g if group["momentum"] or group["weight_decay"] else g.neg_()
        super().update(p, g, group)


class DecaysTheGradient(AdamPort):
    """Adds the decay to the caller's gradient where amsgrad is off."""

    def decayed(self, p: Tensor, g: Tensor, group: Any) -> Tensor:
        return super().decayed(p, g, group) if group["amsgrad"] else g.add_(p, alpha=group["weight_decay"])


class OwnCounter(AdamPort):
    """Counts under another name."""

    def begin(self, state: Any, p: Tensor, g: Tensor) -> None:
        super().begin(state, p, g)
        state |= {"step": None, "t": self.blank(p)}

    def blank(self, p: Tensor) -> Tensor:
        return torch.zeros(())

    def count(self, state: Any, group: Any) -> None:
        state["t"] += 1

    def correction(self, state: Any, group: Any, moment: int) -> float:
        return float(1 - group["betas"][moment] ** float(state["t"].ravel()[0]))


class CountsInTheParametersDtype(OwnCounter):
    def blank(self, p: Tensor) -> Tensor:
        return torch.zeros((), dtype=p.dtype)


class CountsInBytes(OwnCounter):
    """Starts again after 255 steps."""

    def blank(self, p: Tensor) -> Tensor:
        return torch.ones((), dtype=torch.uint8)

    def correction(self, state: Any, group: Any, moment: int) -> float:
        return float(1 - group["betas"][moment] ** max(1, int(state["t"]) - 1))


class CountsInShorts(OwnCounter):
    """Raises in step 32768, where the counter is negative."""

    def blank(self, p: Tensor) -> Tensor:
        return torch.zeros((), dtype=torch.int16)


class CountsByElement(OwnCounter):
    """A counter for each element, which is right."""

    def blank(self, p: Tensor) -> Tensor:
        return torch.zeros(p.shape)


class NaNInFloat16(SGDPort):
    def move(self, p: Tensor, u: Tensor, group: Any) -> None:
        super().move(p, u * float("nan") if p.dtype == torch.float16 else u, group)


class LastDtypeForAll(SGDPort):
    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        super().update(p, g.to(group["params"][-1].dtype).to(p.dtype), group)


class ForgetsItsMaximum(AdamPort):
    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["max_exp_avg_sq"] = state["exp_avg_sq"].clone()


class KeepsItsOwnDecay(SGDPort):
    def load_state_dict(self, state_dict: Any) -> None:
        own = [group["weight_decay"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, decay in zip(self.param_groups, own, strict=True):
            group["weight_decay"] = decay


class FirstBufferForAll(SGDPort):
    """Loaded, a buffer that is not there is taken for zero if it is the first parameter's."""

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        first = self.param_groups[0]["params"][0]
        if self.param_groups[0]["momentum"]:
            self.state[first].setdefault("momentum_buffer", torch.zeros_like(first))


class FirstDecayForAllOnResume(SGDPort):
    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["weight_decay"] = self.param_groups[0]["weight_decay"]


@pytest.mark.parametrize(
    ("optimizer", "rule", "check"),
    [
        (NegatesWhatItTakesWhole, "sgd", "contract/gradient-untouched"),
        (DecaysTheGradient, "adam", "contract/gradient-untouched"),
        (CountsInTheParametersDtype, "adam", "contract/bfloat16"),
        (CountsInBytes, "adam", "contract/late-steps"),
        (CountsInShorts, "adam", "contract/late-steps"),
        (NaNInFloat16, "sgd", "contract/float16"),
        (LastDtypeForAll, "sgd", "contract/mixed-dtypes"),
        (ForgetsItsMaximum, "adam", "contract/resume"),
        (KeepsItsOwnDecay, "sgd", "contract/resume-with-other-settings"),
        (FirstBufferForAll, "sgd", "contract/resume-late-gradient"),
        (FirstDecayForAllOnResume, "sgd", "contract/resume-with-groups"),
    ],
)
def test_a_promise_broken_in_a_corner_is_a_divergence(optimizer: Callable[..., Any], rule: str, check: str) -> None:
    report = report_of(optimizer, rule, only="contract/*")
    assert report.verdict == "diverges", str(report)
    assert check in report.message


def test_a_counter_of_any_shape_is_one() -> None:
    report = report_of(CountsByElement, "adam")
    assert report.verdict == "conforms", str(report)
    (late,) = report_of(CountsByElement, "adam", only="contract/late-steps").results
    assert late.status == "pass", late.message


class TracesTheFirstDecay(SGDPort):
    """Compiled, every group decays as the first."""

    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        same = {**group, "weight_decay": self.param_groups[0]["weight_decay"]}
        super().update(p, g, same if torch.compiler.is_compiling() else group)


class TracesTheFirstRate(SGDPort):
    """Compiled, the rate is that of the constructor."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        for group in self.param_groups:
            group["first"] = group["lr"]

    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        super().update(p, g, {**group, "lr": group["first"]} if torch.compiler.is_compiling() else group)


@pytest.mark.parametrize("optimizer", [TracesTheFirstDecay, TracesTheFirstRate])
def test_compiled_groups_keep_what_is_theirs(optimizer: Callable[..., Any]) -> None:
    report = report_of(optimizer, "sgd", only="contract/compiled", level="standard")
    assert report.message == "breaks contract/compiled", str(report)


# --- without a rule --------------------------------------------------------------------------------------------------


class BetasOfTheConstructor(AdamPort):
    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), **more: Any) -> None:
        super().__init__(params, lr, betas, **more)
        self.own = betas

    def moments(self, state: Any, d: Tensor, group: Any) -> None:
        super().moments(state, d, {**group, "betas": self.own})


class ClosureAfterwards(SGDPort):
    """Steps with the gradients that it finds, then asks for those of the next step."""

    def step(self, closure: Any = None) -> Any:
        super().step()
        if closure is not None:
            with torch.enable_grad():
                return closure()
        return None


@pytest.mark.parametrize(
    ("optimizer", "check"), [(BetasOfTheConstructor, "law/moved-options"), (ClosureAfterwards, "contract/closure")]
)
def test_without_a_rule_it_diverges_in_its_corner(optimizer: Callable[..., Any], check: str) -> None:
    report = report_of(optimizer, "none")
    assert report.verdict == "diverges", str(report)
    assert check in str(report)


class StepsByTheLoss(SGDPort):
    """Its steps are as long as the loss is large, which is its right."""

    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.loss = 1.0 if loss is None else 1.0 + float(loss.detach()) ** 2
        super().step()
        return loss

    def move(self, p: Tensor, u: Tensor, group: Any) -> None:
        p.add_(u, alpha=-group["lr"] * self.loss)


def test_a_step_may_look_at_the_loss() -> None:
    (closure,) = report_of(StepsByTheLoss, "none", only="contract/closure").results
    assert (closure.status, closure.message) == ("not-applicable", "how it steps depends on the loss")


# --- right ones ------------------------------------------------------------------------------------------------------


class RefusesDecay(SGDPort):
    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0, weight_decay: float = 0) -> None:
        if weight_decay:
            raise ValueError("decay belongs into the loss")
        super().__init__(params, lr, momentum)


class RefusesScalars(SGDPort):
    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        if p.ndim == 0:
            raise ValueError("takes no scalars")
        super().update(p, g, group)


class WantsAllGradients(SGDPort):
    def step_group(self, group: Any, params: list[Tensor]) -> None:
        if len(params) < len(group["params"]):
            raise ValueError("a gradient is missing")
        super().step_group(group, params)


@pytest.mark.parametrize(
    ("optimizer", "refused"),
    [
        (RefusesDecay, "weight_decay, which it refuses: cannot be built: ValueError: decay belongs into the loss"),
        (RefusesScalars, "0-d parameters, which it refuses: raises ValueError: takes no scalars, in step 1"),
        (WantsAllGradients, "absent gradients, which it refuses: raises ValueError: a gradient is missing, in step 2"),
    ],
)
@pytest.mark.parametrize("level", ["quick", "standard"])
def test_what_is_refused_is_left_out_and_said(optimizer: Callable[..., Any], refused: str, level: str) -> None:
    report = report_of(optimizer, "sgd", level=level)
    assert report.verdict == "conforms", str(report)
    assert f"not asked with {refused}" in str(report)


class WrongAndRefusesDecay(RefusesDecay):
    def look_ahead(self, state: Any, d: Tensor, group: Any) -> Tensor:
        return state["momentum_buffer"]

    def accumulate(self, state: Any, d: Tensor, group: Any) -> None:
        super().accumulate(state, d, {**group, "dampening": group["momentum"]})


def test_a_refusal_excuses_nothing_else() -> None:
    report = report_of(WrongAndRefusesDecay, "sgd")
    assert report.verdict == "diverges", str(report)


class OneEps(AdamPort):
    """Takes no other eps than its default, which is nothing that a rule is without."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8) -> None:
        if eps != 1e-8:
            raise ValueError("eps is 1e-8")
        super().__init__(params, lr, betas, eps)


def test_what_can_have_one_value_only_is_not_established() -> None:
    report = report_of(OneEps, "adam")
    assert report.verdict == "not-established", str(report)
    assert "conforms at its defaults only: eps=1e-08 cannot be set" in report.message


class KerasNamesInside(PlainPort):
    """The constructor's names are the paper's, those in the groups Keras's."""

    def __init__(
        self,
        params: Any,
        alpha: float = 1e-3,
        b1: float = 0.9,
        b2: float = 0.999,
        epsilon: float = 1e-8,
        l2: float = 0.0,
    ) -> None:
        inside = {"learning_rate": alpha, "beta_1": b1, "beta_2": b2, "eps": epsilon, "wd": l2}
        super().__init__(params, inside)

    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        names = {"lr": group["learning_rate"], "betas": (group["beta_1"], group["beta_2"]), "weight_decay": group["wd"]}
        AdamPort.update(self, p, g, {**group, **names, "amsgrad": False})  # type: ignore[arg-type]  # it has its methods

    begin, count, moments, square = AdamPort.begin, AdamPort.count, AdamPort.moments, AdamPort.square
    denominator, root, correction, move = AdamPort.denominator, AdamPort.root, AdamPort.correction, AdamPort.move


def test_names_in_the_groups_may_be_others_than_in_the_constructor() -> None:
    report = report_of(KerasNamesInside, "adam")
    assert report.verdict == "conforms", str(report)
    assert report.coverage["not_offered"] == ["amsgrad"]


class SplitsBetasInside(AdamPort):
    """Its groups hold the betas under names of their own, and what is given in a group under betas is not read."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), **more: Any) -> None:
        super().__init__(params, lr, betas, **more)
        for group in self.param_groups:
            group |= {"beta1": betas[0], "beta2": betas[1]}

    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        super().update(p, g, {**group, "betas": (group["beta1"], group["beta2"])})


def test_what_a_constructor_calls_betas_is_given_as_betas_in_a_group() -> None:
    report = report_of(SplitsBetasInside, "adam")
    assert report.verdict == "diverges", str(report)


class RateInATensor(torch.optim.AdamW):
    def __init__(
        self, params: Any, lr: float = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2
    ) -> None:
        super().__init__(params, torch.tensor(lr, dtype=torch.float32), betas, eps, weight_decay, foreach=False)


class WrongRateInATensor(RateInATensor):
    def __init__(
        self, params: Any, lr: float = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay * 1.001)


def test_a_rate_in_float32_is_no_divergence() -> None:
    report = report_of(RateInATensor, "adamw", only="trajectory/*,law/*")
    assert not report.failures(deciding=True), str(report)
    assert "lr is rounded to float32" in str(report_of(RateInATensor, "adamw"))
    assert report_of(WrongRateInATensor, "adamw").verdict == "diverges"


class NothingToSet(PlainPort):
    """Its hyperparameters are attributes of the class, and its groups hold none."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def update(self, p: Tensor, g: Tensor, group: Any) -> None:
        state = self.state[p]
        m = state.setdefault("m", torch.zeros_like(p))
        p.add_(torch.sign(0.9 * m + 0.1 * g), alpha=-1e-4)
        m.mul_(0.99).add_(g, alpha=0.01)


def test_without_anything_to_set_it_conforms_at_its_defaults_only() -> None:
    report = report_of(NothingToSet, "lion", set={"lr": 1e-4})
    assert report.verdict == "not-established", str(report)
    assert "conforms at its defaults only: betas=(0.9, 0.99) cannot be set" in report.message


class MultiTensor(SGDPort):
    """Has a form under a name of its own."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0, multi_tensor: bool = False) -> None:
        super().__init__(params, lr, momentum)


def test_what_is_left_at_its_default_is_said() -> None:
    assert "multi_tensor" in str(report_of(MultiTensor, "sgd"))


# --- interrupts ------------------------------------------------------------------------------------------------------


def test_an_interrupt_that_a_target_raises_is_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "    def step(self, closure=None):\n        raise KeyboardInterrupt\n"
    (tmp_path / "stops.py").write_text(f"import torch\nclass Stops(torch.optim.SGD):\n{body}")
    status = main(["check", f"{tmp_path}/stops.py:Stops", "torch.optim:SGD", "--rule", "sgd", "--level", "quick"])
    printed = capsys.readouterr().out
    assert status == 3
    assert "cannot be examined: KeyboardInterrupt" in printed
    assert "conforms" in printed
