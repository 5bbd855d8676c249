"""What all bindings share: hyperparameters by group, the frame of a step, and what a checkpoint keeps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch._compile import _disable_dynamo  # as torch.optim's own: the public one imports the compiler at once
from torch.optim import Optimizer
from torch.optim.optimizer import StateDict

from stepgauge.reference import Rule

Group = dict[str, Any]
Taker = Callable[[str, Any, Tensor], Tensor]  # (name, value, p) -> the field of p's state
UNTRACED = (
    "a step looks its states up by parameter, which a compiled frame does not guard; compile without fullgraph=True, "
    "and the mathematics of what the core does not step are one graph all the same"
)


class BoundOptimizer(Optimizer, ABC):
    """A rule of `stepgauge.reference` as an optimizer of torch.

    A subclass gives the rule, the step, the parameters that it refuses, and what it makes of a state dictionary.
    """

    rule: ClassVar[type[Rule]]  # hyperparameters and their ranges

    @abstractmethod
    def _prepare(self) -> None:
        """Make what is not copied."""

    @abstractmethod
    def _require_parameters(self, params: Sequence[Tensor]) -> None:
        """Refuse, by a TypeError or ValueError, what no step could step."""

    @abstractmethod
    def _step(self, compiled: bool) -> None:
        """Step every parameter that has a gradient; `compiled` says whether the caller is compiled."""

    @abstractmethod
    def _converted(self, loaded: StateDict) -> StateDict:
        """A state dictionary in our terms; raises ValueError if it is not one of this rule and these parameters."""

    @abstractmethod
    def _taker(self, group: Group) -> Taker:
        """What copies the loaded fields of a group's states, in the dtype in which they are kept."""

    # --- hyperparameters

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        return (*cls.rule.hyperparameter_names(), "dialect")

    def _check(self, group: Group) -> None:
        """Refuse hyperparameters that are out of range, by a ValueError."""
        values = {name: group[name] for name in self._names()}
        if isinstance(lr := values["lr"], Tensor):
            if lr.numel() != 1:
                raise ValueError(f"Invalid lr: a tensor of shape {tuple(lr.shape)} (must have one element)")
            known = plain(lr)
            values["lr"] = 0.0 if isinstance(known, Tensor) else known  # else its device alone knows its value
        for name, value in values.items():
            if isinstance(value, Tensor):  # each step would wait for its device to read it
                raise ValueError(f"Invalid {name}: {value} (must be a Python number, not a tensor: pass {name}.item())")
        self.rule(**values).require_own_dialect()

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in torch.

        Raises:
            ValueError: a hyperparameter is out of range, or a parameter is there already.
            TypeError: a parameter is sparse, complex, quantised or of integers.
        """
        self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._require_parameters(group["params"])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise
        if isinstance(group["lr"], Tensor) and any(group["lr"] is other["lr"] for other in self.param_groups[:-1]):
            group["lr"] = group["lr"].clone()  # a schedule writes into it, and would do so once for each group

    # --- the step

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of every parameter that has a gradient.

        Args:
            closure: evaluates the model anew, leaves gradients behind and returns the loss.

        Returns:
            The closure's loss, or None without closure.

        Raises:
            RuntimeError: something cannot be stepped; nothing has changed then.
        """
        compiled = torch.compiler.is_compiling()
        if compiled:
            torch._dynamo.graph_break(msg=UNTRACED)  # what fullgraph=True is answered
        return self._step_uncompiled(closure, compiled)

    # A compiled frame does not notice that a state it looked up by parameter is not the one it was compiled with. So
    # none looks anything up: what is compiled, if the caller is, is the mathematics.
    @_disable_dynamo
    def _step_uncompiled(self, closure: Callable[[], float] | None, compiled: bool) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._step(compiled)
        return loss

    # --- copies and checkpoints

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()
        for group in self.param_groups:  # a checkpoint may come from an optimizer without some of our options
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` returned, of this class or of a released package's optimizer for the same rule.

        As in torch, except that nothing is shared with the dictionary afterwards, and that a state in float32 stays
        so beside a parameter of less precision, where torch rounds it to the parameter's dtype.

        Raises:
            ValueError: the state is not one of this rule, is incomplete, or is of other parameters; nothing has
                changed then.
        """
        final: list[StateDict] = []  # as other hooks leave it: ours is the last of those before, the first after

        def convert(_: Optimizer, loaded: StateDict) -> StateDict:
            final.append(self._converted(loaded))
            return final[0]

        before = self.register_load_state_dict_pre_hook(convert)
        after = self.register_load_state_dict_post_hook(lambda _: self._adopt(final[0]), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _adopt(self, loaded: StateDict) -> None:
        """Take every field of a loaded state again, from what was loaded: torch has rounded it."""
        for theirs, group in zip(loaded["param_groups"], self.param_groups, strict=True):
            take = self._taker(group)
            for key, p in zip(theirs["params"], group["params"], strict=True):
                for name, value in loaded["state"].get(key, {}).items():
                    self.state[p][name] = take(name, value, p)


def plain(value: Any) -> Any:
    """A hyperparameter as Python numbers: a schedule may have left a NumPy float, which would promote float32."""
    if isinstance(value, (tuple, list)):
        return tuple(plain(part) for part in value)
    if isinstance(value, Tensor):
        return value.item() if value.device.type == "cpu" and type(value) is Tensor else value
    return value if value is None or isinstance(value, (int, str)) else float(value)
