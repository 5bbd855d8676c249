"""Every check beside the verdict can fail: an optimizer that breaks each promise, and one that keeps them all."""

from typing import Any

import pytest
import torch

from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.checks.registry import CHECKS, load_checks
from stepgauge.properties.gauge.checks.runner import run_check
from stepgauge.properties.gauge.examine import context_of
from stepgauge.properties.gauge.targets.base import NO_RULE
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.meta.misreadings.baselines import AdamPort
from stepgauge.properties.meta.misreadings.frog import FrogPort
from stepgauge.properties.meta.test_corners import KeepsItsOwnDecay, NaNInFloat16
from stepgauge.properties.meta.test_false_conformance import (
    CountsInInt16,
    FillsBuffers,
    FirstDtypeForAll,
    FirstGroupForAll,
    IgnoresNesterov,
    KeepsItsOwnRate,
    NaNInBFloat16,
    SharesStateWhenCompiled,
    WidensItsState,
)

Closure = Any


class Plain(torch.optim.SGD):
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

    def each(self) -> Any:
        return (p for group in self.param_groups for p in group["params"])


class LosesState(Plain):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "state": {}}


class UnsafeState(Plain):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "origin": UnsafeState}

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict({k: state_dict[k] for k in ("state", "param_groups")})


class SharesCopies(Plain):
    def __deepcopy__(self, memo: Any) -> Any:
        return self


class CannotPickle(Plain):
    def __reduce__(self) -> Any:
        raise TypeError("has a lock")


class WritesGradient(Plain):
    def step(self, closure: Closure = None) -> Any:
        loss = super().step(closure)
        for p in self.each():
            if p.grad is not None:
                p.grad.mul_(2)
        return loss


class KeepsGradient(Plain):
    def step(self, closure: Closure = None) -> Any:
        loss = super().step(closure)
        for p in self.each():
            if "momentum_buffer" in self.state[p] and self.state[p].setdefault("steps", 0) == 0:
                self.state[p]["momentum_buffer"] = p.grad
            self.state[p]["steps"] = 1
        return loss


class NoGradClosure(Plain):
    def step(self, closure: Closure = None) -> Any:
        loss = None
        if closure is not None:
            with torch.no_grad():
                loss = closure()
        super().step()
        return loss


class ViewsMemory(Plain):
    def step(self, closure: Closure = None) -> Any:
        for p in self.each():
            p.data.view(-1)
            p.grad.view(-1)
        return super().step(closure)


class SwallowsKeywords(Plain):
    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.0, **rest: Any) -> None:
        super().__init__(params, lr, momentum)


class FixedParameters(Plain):
    def add_param_group(self, param_group: Any) -> None:
        if not hasattr(self, "first"):
            self.first = True
            super().add_param_group(param_group)


class DecaysAbsent(Plain):
    def step(self, closure: Closure = None) -> Any:
        for p in self.each():
            if p.grad is None:
                p.data.mul_(0.999)
        return super().step(closure)


class WantsGradients(Plain):
    def step(self, closure: Closure = None) -> Any:
        if all(p.grad is None for p in self.each()):
            raise RuntimeError("nothing to do")
        return super().step(closure)


class WantsGradientsFromTheStart(Plain):
    def step(self, closure: Closure = None) -> Any:
        if any(p.grad is None and not self.state[p] for p in self.each()):
            raise RuntimeError("no gradient yet")
        return super().step(closure)


class TakesMaximum(Plain):
    def step(self, closure: Closure = None) -> Any:
        for p in self.each():
            if p.grad is not None:
                p.grad.max()
        return super().step(closure)


class WantsVectors(Plain):
    def step(self, closure: Closure = None) -> Any:
        for p in self.each():
            len(p)
        return super().step(closure)


class HidesNaN(Plain):
    def step(self, closure: Closure = None) -> Any:
        for p in self.each():
            if p.grad is not None:
                p.grad.nan_to_num_()
        return super().step(closure)


class OtherDefaults(Plain):
    def __init__(self, params: Any, lr: float = 0.1, momentum: float = 0.0) -> None:
        super().__init__(params, lr, momentum)


class ValidatesNothing(Plain):
    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.0) -> None:
        super().__init__(params, abs(lr), abs(momentum))


class NoLinear(FrogPort):
    def update_layer(self, module: Any, group: Any) -> None:
        if isinstance(module, torch.nn.Linear):
            raise NotImplementedError("Linear")
        super().update_layer(module, group)


class NoGroups(FrogPort):
    def update_layer(self, module: Any, group: Any) -> None:
        if getattr(module, "groups", 1) > 1:
            raise NotImplementedError("groups")
        super().update_layer(module, group)


class NoSame(FrogPort):
    def update_layer(self, module: Any, group: Any) -> None:
        if getattr(module, "padding", 0) == "same":
            raise NotImplementedError("same")
        super().update_layer(module, group)


BREAKERS = {
    "contract/resume": LosesState,
    "contract/resume-with-groups": FirstGroupForAll,
    "contract/resume-mid-schedule": KeepsItsOwnRate,
    "contract/resume-late-gradient": FillsBuffers,
    "contract/resume-with-other-settings": KeepsItsOwnDecay,
    "contract/resume-in-another-format": ViewsMemory,
    "contract/resume-in-bfloat16": WidensItsState,
    "contract/bfloat16": NaNInBFloat16,
    "contract/float16": NaNInFloat16,
    "contract/mixed-dtypes": FirstDtypeForAll,
    "contract/compiled": SharesStateWhenCompiled,
    "contract/late-steps": CountsInInt16,
    "contract/weights-only": UnsafeState,
    "contract/deepcopy": SharesCopies,
    "contract/pickle": CannotPickle,
    "contract/gradient-untouched": WritesGradient,
    "contract/gradient-not-kept": KeepsGradient,
    "contract/closure": NoGradClosure,
    "contract/transposed-parameter": ViewsMemory,
    "contract/transposed-gradient": ViewsMemory,
    "contract/channels-last": ViewsMemory,
    "contract/unknown-keyword": SwallowsKeywords,
    "contract/add-param-group": FixedParameters,
    "convention/absent-gradient": DecaysAbsent,
    "convention/late-gradient": WantsGradientsFromTheStart,
    "convention/no-gradients": WantsGradients,
    "convention/empty-parameter": TakesMaximum,
    "convention/0-d-parameter": WantsVectors,
    "convention/non-finite-gradient": HidesNaN,
    "convention/linear-layer": NoLinear,
    "convention/grouped-convolution": NoGroups,
    "convention/same-padding": NoSame,
    "interface/hyperparameters": OtherDefaults,
    "interface/defaults": OtherDefaults,
    "interface/validation": ValidatesNothing,
    "interface/options": IgnoresNesterov,
}


def _status(optimizer: type, check: str) -> str:
    load_checks()
    rule = NO_RULE if check == "interface/options" else getattr(optimizer, "rule", "sgd")
    context = context_of(make_target(optimizer.__name__, optimizer, rule), Options())
    return run_check(context, CHECKS[check]).status


def test_every_score_has_a_breaker() -> None:
    load_checks()
    assert {c.id for c in CHECKS.values() if c.category in ("contract", "convention", "interface")} == BREAKERS.keys()


@pytest.mark.parametrize(("check", "optimizer"), BREAKERS.items(), ids=lambda x: x if isinstance(x, str) else "")
def test_broken_promise_is_noticed(check: str, optimizer: type) -> None:
    assert _status(optimizer, check) == "fail"


@pytest.mark.parametrize("check", BREAKERS)
def test_kept_promise_passes(check: str) -> None:
    keeper = next((port for port in (FrogPort, AdamPort) if issubclass(BREAKERS[check], port)), Plain)
    assert _status(keeper, check) == "pass"
