"""What the optimizers share: hyperparameters by group, the loop over parameters, and what a checkpoint keeps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from itertools import chain
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from stepgauge.reference import Rule
from stepgauge.torch_bind.stepping import State, Update, step_parameter, working_dtype


class RuleOptimizer(Optimizer, ABC):
    """A rule as an optimizer.

    A subclass gives the rule, its update as a pure function of tensors, the first state of a parameter, and a
    constructor with torch's signature. A step raises RuntimeError for sparse gradients and complex parameters.
    """

    rule: ClassVar[type[Rule]]  # hyperparameters and their ranges
    update: ClassVar[Update]

    def __init__(self, params: ParamsT, **defaults: Any) -> None:
        self._check(defaults)
        super().__init__(params, defaults)

    @abstractmethod
    def init(self, p: Tensor) -> State:
        """The state of a parameter before its first step."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in torch; raises ValueError if one of its hyperparameters is out of range."""
        self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def _check(self, group: dict[str, Any]) -> None:
        values = {name: group[name] for name in self.rule.hyperparameter_names()}
        for name, value in values.items():
            if isinstance(value, Tensor):  # each step would wait for its device to read it
                raise ValueError(f"Invalid {name}: {value} (must be a Python number, not a tensor: pass {name}.item())")
        self.rule(**values)

    def _current_rule(self, group: dict[str, Any]) -> Rule:
        """The rule with the group's hyperparameters of this step.

        Their ranges are not checked again: rounding may take a schedule that ends at 0, like LinearLR, just below it.
        """
        rule = object.__new__(self.rule)
        for field in fields(self.rule):
            if field.name in group:
                object.__setattr__(rule, field.name, _plain(group[field.name]))
        return rule

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of every parameter that has a gradient.

        Args:
            closure: evaluates the model anew, leaves gradients behind and returns the loss.

        Returns:
            The closure's loss, or None without closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                _refuse_unsupported(self, p)
        for group in self.param_groups:
            rule = self._current_rule(group)
            for p in group["params"]:
                if p.grad is not None:
                    self._step_parameter(rule, p, -p.grad if group["maximize"] else p.grad)
        return loss

    def _step_parameter(self, rule: Rule, p: Tensor, g: Tensor) -> None:
        state = self.state.get(p) or self.init(p)
        step_parameter(rule, type(self).update, p, g, state)
        if state:
            self.state[p] = state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a checkpoint may come from an optimizer without some of our options
            for name in (*self.rule.hyperparameter_names(), "maximize"):
                group.setdefault(name, self.defaults[name])

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` returned.

        As in torch, except that nothing is shared with the dictionary afterwards, and that a state in float32 stays
        so beside a parameter of less precision, where torch rounds it to the parameter's dtype.
        """
        final: list[StateDict] = []  # as other hooks leave it: ours is the last of those before, the first after
        before = self.register_load_state_dict_pre_hook(lambda _, loaded: final.append(loaded))
        after = self.register_load_state_dict_post_hook(lambda _: self._copy_state(final[0]), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _copy_state(self, loaded: StateDict) -> None:
        keys = chain.from_iterable(group["params"] for group in loaded["param_groups"])
        params = chain.from_iterable(group["params"] for group in self.param_groups)
        for key, p in zip(keys, params, strict=True):
            for name, value in loaded["state"].get(key, {}).items():
                self.state[p][name] = _loaded(name, value, p)


def counter(steps: float = 0) -> Tensor:
    """A count of steps as torch keeps it: shape (), float32, on the CPU wherever the parameter is."""
    return torch.tensor(steps, dtype=torch.float32, device="cpu")


def zeros(p: Tensor) -> Tensor:
    """Zeros of p's shape and layout, in the dtype of the mathematics."""
    return torch.zeros_like(p, dtype=working_dtype(p))


def _plain(value: Any) -> Any:
    """A hyperparameter as Python numbers: a schedule may have left a NumPy float, which would promote float32."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(part) for part in value)
    return value if isinstance(value, int) else float(value)


def _refuse_unsupported(optimizer: Optimizer, p: Tensor) -> None:
    name = type(optimizer).__name__
    if p.is_complex():
        raise RuntimeError(f"{name} does not step complex parameters: optimize torch.view_as_real of one instead")
    if p.grad is not None and p.grad.layout is not torch.strided:
        raise RuntimeError(f"{name} does not step {p.grad.layout} gradients: make them dense (sparse=False)")


def _loaded(name: str, value: Any, p: Tensor) -> Any:
    """A copy of a loaded field of p's state, on p's device and in the dtype of the mathematics."""
    if name == "step":
        return counter(float(value))
    if not isinstance(value, Tensor):
        return value
    return value.to(p.device, working_dtype(p) if value.is_floating_point() else value.dtype, copy=True)
