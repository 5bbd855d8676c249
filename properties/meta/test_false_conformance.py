"""Ports that are right as long as nobody looks where they are wrong, by kind; and right ones that look wrong."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.meta.misreadings.baselines import AdamPort

DECIDING = "trajectory/*,law/*,contract/*"


def report_of(optimizer: Callable[..., Any], rule: str = "sgd", only: str = DECIDING, **options: Any) -> Report:
    return check_optimizer(optimizer, rule, only=only, **{"level": "quick", "diagnosis": False, **options})


class Sgd(torch.optim.SGD):
    """torch's SGD under torch's own names."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, foreach=False)


# --- what can be set -----------------------------------------------------------------------------------------------


class PassesKeywordsOn(torch.optim.AdamW):
    def __init__(self, params: Any, **keywords: Any) -> None:
        super().__init__(params, **keywords)


class PassesEverythingOn(torch.optim.AdamW):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)


def made_with_keywords(params: Any, **keywords: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, **keywords)


@pytest.mark.parametrize("optimizer", [PassesKeywordsOn, PassesEverythingOn, made_with_keywords])
def test_keywords_that_are_passed_on_are_found_in_the_groups(optimizer: Callable[..., Any]) -> None:
    report = report_of(optimizer, "adamw")
    assert report.verdict == "conforms", str(report)
    assert report.coverage["not_offered"] == []


class WrongBehindKeywords(PassesKeywordsOn):
    """Decays by the square of the rate; at its default decay and rate that hardly shows."""

    def __init__(self, params: Any, **keywords: Any) -> None:
        super().__init__(params, **{"weight_decay": 0.0, **keywords})

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.data.mul_(1 - group["lr"] ** 2 * group["weight_decay"])
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            group["weight_decay"] = 0.0
        loss = super().step(closure)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        return loss


def test_what_is_wrong_away_from_the_defaults_diverges() -> None:
    assert report_of(WrongBehindKeywords, "adamw").verdict == "diverges"


def made_from_settings(params: Any, settings: Any = None) -> torch.optim.Optimizer:
    """Whatever the settings are, they are not keywords."""
    return torch.optim.Adam(params, lr=(settings or {}).get("rate", 0.01))


def test_nothing_varied_is_nothing_established() -> None:
    report = report_of(made_from_settings, "adam")
    assert report.verdict == "not-established"
    assert report.message.startswith("conforms at its defaults only: lr=0.01, betas=(0.9, 0.999), eps=1e-08 cannot be")
    assert "if settings is one of these, say --rename" in report.message


def test_what_is_fixed_on_purpose_narrows_the_verdict_and_is_said_beside_it() -> None:
    chosen = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}
    report = report_of(made_from_settings, "adam", set=chosen)
    assert report.verdict == "conforms", str(report)
    assert report.to_dict()["coverage"]["set"] == chosen
    assert "conforms+" in str(report)
    assert "+ asked only with lr=0.01, betas=(0.9, 0.999), eps=1e-08" in str(report)


class OtherNames(torch.optim.Adam):
    """Names of its own in the constructor, torch's in the groups."""

    def __init__(self, params: Any, rate: float = 1e-3, b1: float = 0.9, b2: float = 0.999, decay: float = 0.0) -> None:
        super().__init__(params, lr=rate, betas=(b1, b2), weight_decay=decay)


def test_names_are_found_in_the_constructor_and_in_the_groups() -> None:
    names = {"lr": "rate", "betas.0": "b1", "betas.1": "b2", "weight_decay": "decay"}
    report = report_of(OtherNames, "adam", rename=names, set={"eps": 1e-8})
    assert report.verdict == "conforms", str(report)


class LacksAmsgrad(torch.optim.Adam):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        if amsgrad:
            raise NotImplementedError("no amsgrad")
        super().__init__(params, lr, betas, eps, weight_decay)


def test_a_refused_option_is_left_out_and_said() -> None:
    report = report_of(LacksAmsgrad, "adam")
    assert report.verdict == "conforms", str(report)
    assert "not asked with amsgrad, which it refuses: cannot be built: NotImplementedError: no amsgrad" in str(report)


class DefaultsDepend(Sgd):
    """Dampens by the momentum, unless it is told otherwise."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float | None = None,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        own = 0.0 if nesterov else momentum
        super().__init__(params, lr, momentum, own if dampening is None else dampening, weight_decay, nesterov)


# --- what moves ----------------------------------------------------------------------------------------------------


class ReadsMomentumOnce(Sgd):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.first = [group["momentum"] for group in self.param_groups]

    def step(self, closure: Any = None) -> Any:
        for group, momentum in zip(self.param_groups, getattr(self, "first", ()), strict=False):
            group["momentum"] = momentum
        return super().step(closure)


class NaNAtZeroRate(Sgd):
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                p.data.mul_(group["lr"] / group["lr"] if group["lr"] else float("nan"))
        return loss


class KeepsTheFirstGradient(Sgd):
    """Its buffer is the caller's gradient where no decay makes a new tensor."""

    def step(self, closure: Any = None) -> Any:
        new = [p for group in self.param_groups for p in group["params"] if p.grad is not None and not self.state[p]]
        loss = super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if any(p is q for q in new) and group["momentum"] and not group["weight_decay"]:
                    self.state[p]["momentum_buffer"] = p.grad
        return loss


class NegatesTheGradient(torch.optim.SGD):
    """Where it maximizes, in the caller's tensor."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and group["maximize"]:
                    p.grad.neg_()
        upward = [group["maximize"] for group in self.param_groups]
        for group in self.param_groups:
            group["maximize"] = False
        loss = super().step(closure)
        for group, maximize in zip(self.param_groups, upward, strict=True):
            group["maximize"] = maximize
        return loss


class RoundsLargeOnes(Sgd):
    """Beyond 4096 elements it steps in eighths of a bit."""

    def step(self, closure: Any = None) -> Any:
        before = [(p, p.detach().clone()) for group in self.param_groups for p in group["params"]]
        loss = super().step(closure)
        for p, old in before:
            if p.numel() > 4096:
                p.data.copy_(old + (p.detach() - old).bfloat16().to(p.dtype))
        return loss


class OtherForm(torch.optim.SGD):
    """With foreach it forgets decay."""

    def step(self, closure: Any = None) -> Any:
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            group["weight_decay"] = 0.0 if group["foreach"] else group["weight_decay"]
        loss = super().step(closure)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        return loss


@pytest.mark.parametrize(
    ("optimizer", "check"),
    [
        (DefaultsDepend, "trajectory/defaults"),
        (ReadsMomentumOnce, "trajectory/training"),
        (NaNAtZeroRate, "trajectory/training"),
        (KeepsTheFirstGradient, "trajectory/training"),
        (RoundsLargeOnes, "trajectory/large"),
        (OtherForm, "trajectory/forms"),
    ],
)
def test_it_diverges_where_only_this_question_looks(optimizer: Callable[..., Any], check: str) -> None:
    report = report_of(optimizer)
    assert report.verdict == "diverges"
    assert check in {r.id for r in report.failures(deciding=True)}
    others = report_of(optimizer, only="trajectory/float64,trajectory/float32,law/*")
    assert not others.failures(deciding=True), "another question sees it, too: this one shows nothing"


def test_a_gradient_that_is_negated_in_place_is_noticed() -> None:
    (failure,) = report_of(NegatesTheGradient, only="contract/gradient-untouched").failures(deciding=False)
    assert failure.message.startswith("writes into p.grad")


# --- checkpoints, and precisions -----------------------------------------------------------------------------------


class KeepsItsOwnRate(Sgd):
    def load_state_dict(self, state_dict: Any) -> None:
        own = [group["lr"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, lr in zip(self.param_groups, own, strict=True):
            group["lr"] = lr


class FirstGroupForAll(Sgd):
    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        first = {name: value for name, value in self.param_groups[0].items() if name != "params"}
        for group in self.param_groups[1:]:
            group.update(first)


class FillsBuffers(Sgd):
    """With zeros where there were none, so that a first gradient is dampened."""

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for p in group["params"]:
                if group["momentum"] and self.state[p].get("momentum_buffer") is None:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)


class WidensItsState(Sgd):
    """Keeps momentum in float32, which torch narrows to the parameter's dtype when it loads."""

    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self._step(p, group)

    def _step(self, p: Any, group: Any) -> None:
        wide = torch.promote_types(p.dtype, torch.float32)
        d = p.grad.to(wide) + group["weight_decay"] * p.to(wide)
        if group["momentum"]:
            b = self.state[p].get("momentum_buffer")
            b = d.clone() if b is None else group["momentum"] * b.to(wide) + (1 - group["dampening"]) * d
            self.state[p]["momentum_buffer"] = b
            d = d + group["momentum"] * b if group["nesterov"] else b
        p.copy_(p.to(wide) - group["lr"] * d)


class CountsInBFloat16(torch.optim.Adam):
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for p, fields in self.state.items():
            fields["step"] = fields["step"].to(p.dtype)
        return loss


class NaNInBFloat16(Sgd):
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.dtype == torch.bfloat16:
                    p.data.fill_(float("nan"))
        return loss


class FirstDtypeForAll(Sgd):
    def step(self, closure: Any = None) -> Any:
        dtype = self.param_groups[0]["params"][0].dtype
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = p.grad.to(dtype).to(p.dtype)
        return super().step(closure)


@pytest.mark.parametrize(
    ("optimizer", "rule", "check"),
    [
        (KeepsItsOwnRate, "sgd", "contract/resume-mid-schedule"),
        (FirstGroupForAll, "sgd", "contract/resume-with-groups"),
        (FillsBuffers, "sgd", "contract/resume-late-gradient"),
        (WidensItsState, "sgd", "contract/resume-in-bfloat16"),
        (CountsInBFloat16, "adam", "contract/bfloat16"),
        (NaNInBFloat16, "sgd", "contract/bfloat16"),
        (FirstDtypeForAll, "sgd", "contract/mixed-dtypes"),
    ],
)
@pytest.mark.parametrize("with_rule", [True, False])
def test_a_promise_broken_in_numbers_is_a_divergence(
    optimizer: Callable[..., Any], rule: str, check: str, with_rule: bool
) -> None:
    report = report_of(optimizer, rule if with_rule else "none", only="*")
    assert report.verdict == "diverges", str(report)
    assert check in report.message


def test_torch_itself_breaks_none_of_these() -> None:
    for optimizer, rule in ((Sgd, "sgd"), (torch.optim.AdamW, "adamw")):
        report = report_of(optimizer, rule)
        assert report.verdict == "conforms", str(report)


# --- without a rule ------------------------------------------------------------------------------------------------


class LastRateForAll(Sgd):
    def step(self, closure: Any = None) -> Any:
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = rates[-1]
        loss = super().step(closure)
        for group, lr in zip(self.param_groups, rates, strict=True):
            group["lr"] = lr
        return loss


class SharesByShape(Sgd):
    """One buffer for all parameters of a shape."""

    def step(self, closure: Any = None) -> Any:
        buffers = self.__dict__.setdefault("buffers", {})
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.data.sub_(buffers.setdefault(p.shape, torch.zeros_like(p)).mul_(0.9).add_(p.grad) * group["lr"])


class RateOfTheConstructor(Sgd):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.first = [group["lr"] for group in self.param_groups]

    def step(self, closure: Any = None) -> Any:
        for group, lr in zip(self.param_groups, getattr(self, "first", ()), strict=False):
            group["lr"] = lr
        return super().step(closure)


@pytest.mark.parametrize(
    ("optimizer", "law"),
    [(LastRateForAll, "law/groups"), (SharesByShape, "law/equal-shapes"), (RateOfTheConstructor, "law/schedule")],
)
def test_without_a_rule_it_breaks_a_law(optimizer: Callable[..., Any], law: str) -> None:
    report = report_of(optimizer, "none", only="*")
    assert report.verdict == "diverges", str(report)
    assert law in report.message


class LastMomentumForAll(Sgd):
    def step(self, closure: Any = None) -> Any:
        kept = [group["momentum"] for group in self.param_groups]
        for group in self.param_groups:
            group["momentum"] = kept[-1]
        loss = super().step(closure)
        for group, momentum in zip(self.param_groups, kept, strict=True):
            group["momentum"] = momentum
        return loss


class DecayOfTheConstructor(Sgd):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.decays = [group["weight_decay"] for group in self.param_groups]

    def step(self, closure: Any = None) -> Any:
        for group, decay in zip(self.param_groups, getattr(self, "decays", ()), strict=False):
            group["weight_decay"] = decay
        return super().step(closure)


class SignOfFadingMomentum(torch.optim.Optimizer):
    """Steps along signs, which do not show at once that momentum fades where there is no gradient."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                b = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p)).mul_(0.9)
                if p.grad is not None:
                    b.add_(p.grad)
                    p.sub_(b.sign() * group["lr"])
        return closure


@pytest.mark.parametrize(
    ("optimizer", "law"),
    [
        (LastMomentumForAll, "law/groups"),
        (DecayOfTheConstructor, "law/moved-options"),
        (SignOfFadingMomentum, "law/absent-state"),
    ],
)
def test_without_a_rule_it_breaks_a_law_of_more_than_rates(optimizer: Callable[..., Any], law: str) -> None:
    assert law in report_of(optimizer, "none", only="*").message


# --- traps ---------------------------------------------------------------------------------------------------------


class Prints(Sgd):
    def step(self, closure: Any = None) -> Any:
        print("a step")
        return super().step(closure)


class Leaves(BaseException):
    """What neither Exception nor SystemExit is."""


class LeavesWhenMade(Sgd):
    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        raise Leaves


def test_what_a_target_prints_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_of(Prints, only="trajectory/defaults").verdict != "error"
    assert "a step" not in capsys.readouterr().out


def test_whatever_a_constructor_raises_is_an_error_of_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{__file__}:LeavesWhenMade", "--rule", "sgd"]) == 3
    assert "Leaves" in capsys.readouterr().out


def test_several_globs_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--only", "convention/0-d-parameter", "--only", "interface/defaults"]
    main(["check", "torch.optim:SGD", "--rule", "sgd", *both])
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row.count("1/1") == 2


# --- compiled steps, and options that do nothing ---------------------------------------------------------------------


class SharesStateWhenCompiled(Sgd):
    """Traced, it finds a buffer by its shape."""

    def step(self, closure: Any = None) -> Any:
        if not torch.compiler.is_compiling():
            return super().step(closure)
        buffers = self.__dict__.setdefault("buffers", {})
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    b = buffers.get(p.shape)
                    b = buffers[p.shape] = p.grad.clone() if b is None else group["momentum"] * b + p.grad
                    p.sub_(group["lr"] * b)
        return closure


@pytest.mark.parametrize("rule", ["sgd", "none"])
def test_a_compiled_step_has_to_be_the_plain_one(rule: str, capfd: pytest.CaptureFixture[str]) -> None:
    wrong, right = (
        check_optimizer(optimizer, rule, only="contract/compiled", diagnosis=False)
        for optimizer in (SharesStateWhenCompiled, Sgd)
    )
    assert wrong.verdict == "diverges"
    assert wrong.message == "breaks contract/compiled"
    assert [r.status for r in right.results] == ["pass"], str(right)
    assert capfd.readouterr().err == ""


def test_compiling_is_left_to_the_standard_level() -> None:
    report = check_optimizer(Sgd, "sgd", level="quick", only="contract/compiled")
    assert [r.status for r in report.results] == ["not-applicable"]


class IgnoresMomentum(Sgd):
    """Accepts momentum, and nesterov with it."""

    def step(self, closure: Any = None) -> Any:
        kept = [{n: group[n] for n in ("momentum", "nesterov")} for group in self.param_groups]
        for group in self.param_groups:
            group.update(momentum=0.0, nesterov=False)
        loss = super().step(closure)
        for group, values in zip(self.param_groups, kept, strict=True):
            group.update(values)
        return loss


class IgnoresNesterov(Sgd):
    def step(self, closure: Any = None) -> Any:
        kept = [group["nesterov"] for group in self.param_groups]
        for group in self.param_groups:
            group["nesterov"] = False
        loss = super().step(closure)
        for group, value in zip(self.param_groups, kept, strict=True):
            group["nesterov"] = value
        return loss


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (IgnoresNesterov, "nesterov is accepted and changes nothing"),
        (IgnoresMomentum, "dampening, momentum, nesterov are accepted and change nothing"),
    ],
)
def test_an_option_that_does_nothing_is_named(optimizer: Callable[..., Any], said: str) -> None:
    report = check_optimizer(optimizer, "sgd", level="quick", only="trajectory/*")
    assert report.verdict == "diverges"
    assert f"fresh problems: {said}" in str(report)


def test_without_a_rule_an_option_that_changes_no_step_is_reported() -> None:
    for optimizer, idle in ((IgnoresNesterov, ["nesterov is accepted and changes none of 12 steps"]), (Sgd, [])):
        report = report_of(optimizer, "none", only="*")
        assert report.verdict == "conforms", str(report)
        assert [r.message for r in report.failures(deciding=False) if r.id == "interface/options"] == idle


# --- late steps ------------------------------------------------------------------------------------------------------


class CountsInInt16(AdamPort):
    """Its counter is negative from step 32768 on, and starts again at 65536."""

    def count(self, state: Any, group: Any) -> None:
        state["step"] = (state["step"] + 1 + 2**15) % 2**16 - 2**15


def test_a_counter_that_starts_again_late_is_noticed() -> None:
    wrong, right = (report_of(port, "adam", only="contract/late-steps") for port in (CountsInInt16, torch.optim.Adam))
    assert wrong.verdict == "diverges"
    assert "from step 16777216 on, it is off by" in str(wrong)
    assert [r.status for r in right.results] == ["pass"], str(right)


# --- two faults at once ----------------------------------------------------------------------------------------------


class TwoFaults(Sgd):
    """Where there is momentum it steps half as far; where there is decay and none, it forgets it."""

    def step(self, closure: Any = None) -> Any:
        kept = [dict(group) for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] *= 0.5 if group["momentum"] else 1
            group["weight_decay"] = group["weight_decay"] if group["momentum"] else 0.0
        loss = super().step(closure)
        for group, values in zip(self.param_groups, kept, strict=True):
            group.update(lr=values["lr"], weight_decay=values["weight_decay"])
        return loss


def test_two_faults_are_told_as_alternatives_and_explained_one_by_one() -> None:
    report = check_optimizer(TwoFaults, "sgd", level="quick", only="trajectory/float64")
    assert report.verdict == "diverges"
    assert report.only_when == []
    assert sorted(map(list, report.alternatives)) == [["momentum"], ["weight_decay"]]
    assert "only with momentum, or weight_decay" in str(report)
    assert report.diagnosis is not None
    assert report.diagnosis.unexplained == 0, str(report)
