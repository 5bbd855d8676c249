"""Precisions: targets that have no float64, the precision that a user asks for, scalars in float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.examine import context_of
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.meta.test_false_conformance import DECIDING, Sgd
from stepgauge.reference import RULES


def _report(optimizer: Callable[..., Any], rule: str = "sgd", **options: Any) -> Report:
    return check_optimizer(optimizer, rule, level="quick", only=DECIDING, **options)


class Float32Only(Sgd):
    """Refuses what its kernel does not take."""

    taken: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                if p.dtype not in self.taken:
                    raise RuntimeError(f"no kernel for {p.dtype}")
        return super().step(closure)


class BFloat16Only(Float32Only):
    taken = (torch.bfloat16,)


class WrongFloat32Only(Float32Only):
    """Its rate is off by a thousandth."""

    def step(self, closure: Any = None) -> Any:
        before = [(p, p.detach().clone()) for group in self.param_groups for p in group["params"]]
        loss = super().step(closure)
        for p, old in before:
            p.data.add_(p.data - old, alpha=1e-3)
        return loss


class WrongBFloat16Only(BFloat16Only):
    """Steps twice as far."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        return super().step(closure)


@pytest.mark.parametrize(("optimizer", "dtype"), [(Float32Only, "float32"), (BFloat16Only, "bfloat16")])
def test_a_target_is_held_to_the_finest_precision_that_it_steps(optimizer: Callable[..., Any], dtype: str) -> None:
    report = _report(optimizer)
    assert report.verdict == "conforms", str(report)
    assert report.coverage["dtype"] == dtype
    assert report.message.startswith(f"compared in {dtype} alone: it steps nothing finer")
    assert f"+ asked only with {dtype}" in str(report)


@pytest.mark.parametrize("optimizer", [WrongFloat32Only, WrongBFloat16Only])
def test_what_is_wrong_in_the_precision_that_it_has_diverges(optimizer: Callable[..., Any]) -> None:
    assert _report(optimizer).verdict == "diverges"


class WrongInFloat32(Sgd):
    """Halves the step of parameters in float32."""

    def step(self, closure: Any = None) -> Any:
        before = [(p, p.detach().clone()) for group in self.param_groups for p in group["params"]]
        loss = super().step(closure)
        for p, old in before:
            if p.dtype == torch.float32:
                p.data.lerp_(old, 0.5)
        return loss


@pytest.mark.parametrize(
    ("dtype", "verdict"), [("float64", "diverges"), ("float32", "diverges"), ("bfloat16", "conforms")]
)
def test_the_precision_that_is_asked_for_decides(dtype: Any, verdict: str) -> None:
    assert _report(WrongInFloat32, dtype=dtype, diagnosis=False).verdict == verdict


def test_the_command_takes_a_precision(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["check", "torch.optim:SGD", "--only", "trajectory/*", "--level", "quick", "--dtype", "float32"]
    assert main(asked) == 5
    assert "asked only with float32" in capsys.readouterr().out
    assert main(["check", "torch.optim:SGD", "--rule", "none", "--dtype", "float32"]) == 2
    assert "--dtype float32: without a rule" in capsys.readouterr().out


def test_what_is_never_asked_is_listed() -> None:
    report = check_optimizer(Sgd, "sgd", level="quick", only="trajectory/large", diagnosis=False)
    assert "complex parameters" in report.to_dict()["coverage"]["never_asked"]


class RateInFloat32(Sgd):
    """Keeps the rate in a tensor of float32."""

    def step(self, closure: Any = None) -> Any:
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32).item()
        loss = super().step(closure)
        for group, lr in zip(self.param_groups, rates, strict=True):
            group["lr"] = lr
        return loss


class RateOffByRoundoff(RateInFloat32):
    """Its rate is off by as much, and rounded nowhere."""

    def step(self, closure: Any = None) -> Any:
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            group["lr"] *= 1 + 2.0**-25
        loss = Sgd.step(self, closure)
        for group, lr in zip(self.param_groups, rates, strict=True):
            group["lr"] = lr
        return loss


def test_scalars_in_float32_are_said_and_not_punished() -> None:
    report = _report(RateInFloat32)
    assert report.verdict == "conforms", str(report)
    assert "lr is rounded to float32" in str(report)
    assert _report(RateOffByRoundoff, diagnosis=False).verdict == "diverges"


@pytest.mark.parametrize("rule", ["adam", "adamw", "rmsprop", "adamp"])
def test_what_float64_cannot_tell_apart_is_rounded_by_nobody(rule: str) -> None:
    """Such as two values of an eps that is small beside what it is added to."""
    assert context_of(make_target(rule, RULES[rule], rule), Options(level="quick")).rounded == ()
