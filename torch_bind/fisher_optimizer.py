"""What Frog and KFrog share: a model whose layers are watched, hyperparameters by group, and what a checkpoint keeps.

What a layer sees counts from one step to the next: all backward passes between them, as in the gradient that they add
up to. A forward pass without a backward pass leaves nothing behind. The optimizer's `zero_grad`, and gradients that
are None again, begin anew, so that a step that is left out (as GradScaler does) is forgotten.
"""

import functools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from itertools import chain
from typing import Any, ClassVar, NamedTuple, Self, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from stepgauge.reference import Rule
from stepgauge.torch_bind.fisher_checks import require_alone, require_loadable, require_parameter, require_steppable
from stepgauge.torch_bind.fisher_layers import Layer, by_sample, layers_in
from stepgauge.torch_bind.fisher_recorder import Recorder, draw, select
from stepgauge.torch_bind.fisher_systems import System, Watched, working_dtype

Group = dict[str, Any]


class Plan(NamedTuple):
    """What a group steps: layers, and parameters that are no layer's; of all of them those that have a gradient."""

    group: Group
    rule: Rule
    systems: Sequence[System]
    others: Sequence[Tensor]

    def gradients(self, params: Iterable[Tensor]) -> list[Any]:
        """Their gradients, or with `maximize` the opposite."""
        return [-p.grad if self.group["maximize"] else p.grad for p in params if p.grad is not None]


class FisherOptimizer(Optimizer, ABC):
    """An optimizer that looks at what the layers of a model see.

    A subclass gives the rule, which layers it preconditions and how many samples it keeps, and the steps of layers and
    of other parameters.
    """

    rule: ClassVar[type[Rule]]  # hyperparameters and their ranges

    def __init__(
        self,
        params: ParamsT,
        model: nn.Module | None,
        defaults: dict[str, Any],
        *,
        skip_modules: Iterable[str] | None,
        allow_distributed: bool,
    ) -> None:
        self.model: nn.Module | None = None
        self.skip_modules = tuple(skip_modules or ())
        self.allow_distributed = allow_distributed
        self._watched: dict[str, Watched] = {}
        seed = torch.initial_seed() if defaults["seed"] is None else defaults["seed"]
        defaults = {**defaults, "seed": seed, "dialect": self.rule.canonical_dialect(defaults["dialect"])}
        self._check(defaults)
        super().__init__(params, defaults)
        self._prepare()
        if model is not None:
            self.attach(model)

    def _prepare(self) -> None:
        """Make what is not copied."""
        self._groups: dict[Tensor, Group | None] = {}
        # Not at the top, as it imports the compiler.
        self._uncompiled = torch.compiler.disable(type(self)._step)  # type: ignore[no-untyped-call]  # torch's
        for _, recorder in self._watched.values():
            recorder.owner = _Owner(self)

    # What a rule gives

    @abstractmethod
    def preconditions(self, module: Any, group: Group) -> tuple[bool, bool]:
        """Whether the rule preconditions the weight of this layer, and together with it the bias."""

    @abstractmethod
    def sample_sizes(self, group: Group) -> list[int | None]:
        """How many samples are kept of inputs and signals together, or of each apart."""

    @abstractmethod
    def step_layer(self, system: System, plan: Plan) -> None:
        """Step a layer, whose state is there and counts this step."""

    @abstractmethod
    def step_others(self, plan: Plan) -> None:
        """Step the parameters that are no layer's, likewise."""

    def require_defined(self, layer: Layer) -> None:
        """Refuse a layer that the rule is not defined for, by a ValueError."""

    # The model

    def attach(self, model: nn.Module) -> Self:
        """Watch the layers of `model`, and no longer those of a model before.

        For optimizers that were built without their model; before the first forward pass. Parameters may be replaced
        afterwards, in the model and in `param_groups`: they are looked up by their modules in every step. A copy of the
        optimizer has a copy of the model, unless both are copied in one go; a copy of the model alone is not watched.
        A model that is pickled whole names this package in its hooks: `detach` first where that is not wanted.

        Returns:
            The optimizer.

        Raises:
            ValueError: a parameter of the model is not initialised, `skip_modules` names what is no module, or the
                rule is not defined for a layer.
        """
        layers = self._layers_in(model)
        self.detach()
        self.model = model
        self._watch(layers)
        return self

    def detach(self) -> None:
        """Remove all hooks from the model, and forget it."""
        for _, recorder in self._watched.values():
            recorder.remove()
        self.model, self._watched = None, {}

    close = detach  # the released name

    def _layers_in(self, model: nn.Module) -> list[Layer]:
        layers = layers_in(model, self.skip_modules)
        for layer in layers:
            self.require_defined(layer)
        return layers

    def _watch(self, layers: Sequence[Layer]) -> None:
        """Put hooks into layers that have none of ours."""
        for index, layer in enumerate(layers):
            known = self._watched.get(layer.name)
            if known is not None and known.layer.module is layer.module:
                recorder = known.recorder
            else:
                if known is not None:
                    known.recorder.remove()
                recorder = Recorder(index)
                recorder.handle = layer.module.register_forward_hook(recorder, with_kwargs=True)
                recorder.owner = _Owner(self)
            self._watched[layer.name] = Watched(layer, recorder)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in torch; layers that have come into the model since `attach` are watched, too.

        Raises:
            ValueError: a hyperparameter is out of its range, a parameter is of a kind that is not stepped or is there
                twice.
        """
        self._check({**self.defaults, **param_group})
        if "dialect" in param_group:
            param_group["dialect"] = self.rule.canonical_dialect(param_group["dialect"])
        super().add_param_group(_checked_params(type(self).__name__, param_group))
        self._groups = {}
        if self.model is not None:
            self._watch(self._layers_in(self.model))

    def _check(self, group: dict[str, Any]) -> None:
        values = {name: group[name] for name in (*self.rule.hyperparameter_names(), "dialect")}
        lr, seed = values["lr"], group["seed"]
        if isinstance(lr, Tensor):
            if lr.numel() != 1 or lr.device.type != "cpu":  # each step would wait for its device to read it
                raise ValueError(f"Invalid lr: {lr} (must be one number, in a tensor on the CPU if in any)")
            values["lr"] = lr.item()
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"Invalid seed: {seed} (must be an integer of at least 0)")
        self.rule(**values)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As in torch; what layers saw before counts no longer once they see more."""
        super().zero_grad(set_to_none)
        for _, recorder in self._watched.values():
            recorder.is_stale = True

    def _on_forward(self, recorder: Recorder, module: Any, x: Tensor, output: Tensor) -> None:
        """Choose samples of a layer's inputs, and have those of its signals noted when they come."""
        group = self._group_of(module.weight)
        if group is None or not self.preconditions(module, group)[0]:
            return
        inputs, sizes = by_sample(module, x.detach()), self.sample_sizes(group)
        seen, key = len(inputs), [group["seed"], recorder.index]
        # What is drawn for a layer does not depend on others, nor on forward passes without a backward pass.
        key += [self._steps(module.weight), recorder.counting] if any(s is not None for s in sizes) else []
        chosen = [draw(seen, size, functools.partial(np.random.default_rng, [*key, k])) for k, size in enumerate(sizes)]
        inputs = select(inputs, chosen[0])

        def on_backward(y: Tensor) -> None:
            signals = select(by_sample(module, y.detach()), chosen[-1])
            rows = [(inputs, signals)] if len(sizes) == 1 else [(inputs,), (signals,)]
            recorder.note(list(zip(rows, sizes, strict=True)), seen, [*key, recorder.counting])

        output.register_hook(on_backward)  # type: ignore[no-untyped-call]  # torch's

    def _steps(self, p: Tensor) -> int:
        return int(self.state[p]["step"]) if p in self.state else 0

    def _group_of(self, p: Tensor) -> Group | None:
        """The group of a parameter, None if it is in none; looked up once between two steps."""
        if p not in self._groups:
            self._groups.update((q, group) for group in self.param_groups for q in group["params"])
            self._groups.setdefault(p, None)
        return self._groups[p]

    # A step

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

        Raises:
            RuntimeError: there is no model; a layer has a gradient and saw nothing since the last step; a parameter or
                its gradient cannot be stepped, or is not what its state is of; several processes run. Nothing has
                changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._uncompiled(self)
        return loss

    def _step(self) -> None:
        self._groups = {}
        if not self.allow_distributed:
            require_alone(type(self).__name__)
        if self.model is None:
            raise RuntimeError(f"{type(self).__name__} has no model: pass model=, or call attach(model) before")
        plans = [self._plan(group) for group in self.param_groups]
        for plan in plans:
            self._require_complete(plan)
        devices = {p.device.type for group in self.param_groups for p in group["params"]}
        with ExitStack() as stack:
            for device in devices:
                stack.enter_context(torch.autocast(device, enabled=False))
            for plan in plans:
                self._step_group(plan)
        for _, recorder in self._watched.values():
            recorder.forget()
        self._groups = {}

    def _step_group(self, plan: Plan) -> None:
        systems = [system for system in plan.systems if not system.is_empty]
        for p in chain((p for system in systems for p in system.members), plan.others):
            state = self.state[p]
            state.setdefault("step", counter())
            if plan.group["momentum"] and "momentum_buffer" not in state:
                state["momentum_buffer"] = zeros(p)
            state["step"] += 1
        for system in systems:
            self.step_layer(system, plan)
        if plan.others:
            self.step_others(plan)

    def _plan(self, group: Group) -> Plan:
        watched: dict[Tensor, list[Watched]] = {}
        for one in self._watched.values():
            if self.preconditions(one.layer.module, group)[0]:
                watched.setdefault(one.layer.module.weight, []).append(one)
        weights = [p for p in group["params"] if p in watched and p.requires_grad]
        systems = [self._system(p, watched[p], group) for p in weights]
        joined = {p for system in systems for p in system.members}
        others = [p for p in group["params"] if p not in joined and p.grad is not None]
        live = [system for system in systems if any(p.grad is not None for p in system.members)]
        return Plan(group, rule_of(self.rule, group), live, others)

    def _system(self, weight: Tensor, watched: Sequence[Watched], group: Group) -> System:
        layer = watched[0].layer
        joins = layer.owns_bias and self.preconditions(layer.module, group)[1]
        joins = joins and self._group_of(layer.module.bias) is group and layer.module.bias.requires_grad
        return System(weight, layer.module.bias if joins else None, watched)

    def _require_complete(self, plan: Plan) -> None:
        """Refuse a step for which something is missing."""
        for system in plan.systems:
            absent = [name for name, p in zip(("weight", "bias"), system.members, strict=False) if p.grad is None]
            if absent:
                raise RuntimeError(f"the {absent[0]} of layer {system.name} has no gradient, but the rest of it has")
            if not system.passes:
                raise RuntimeError(
                    f"layer {system.name} has a gradient, but no backward pass came through it since the last step: "
                    "run forward and backward before each step, or name it in skip_modules if its forward is not called"
                )
            require_steppable(type(self).__name__, system.members, self.state, together=True)
        require_steppable(type(self).__name__, plan.others, self.state, together=False)

    def momentum(self, system: System) -> Tensor | None:
        """The momentum of a layer as a matrix; None where none is kept."""
        buffers = [self.state[p].get("momentum_buffer") for p in system.members]
        if all(buffer is None for buffer in buffers):
            return None
        kept = zip(system.members, buffers, strict=True)
        return system.matrix([zeros(p) if buffer is None else buffer for p, buffer in kept])

    def with_momenta(self, plan: Plan) -> Iterator[tuple[list[Tensor], list[Tensor], list[Tensor] | None]]:
        """Parameters that are no layer's, to be stepped in place, their gradients and momenta; None if not kept.

        All are in the dtype of the mathematics; parameters of less precision are rounded when they are stepped.
        """
        has_buffer = ["momentum_buffer" in self.state[p] for p in plan.others]
        for kept in (True, False):
            own = [p for p, has in zip(plan.others, has_buffer, strict=True) if has is kept]
            if not own:
                continue
            params = [p.detach().to(working_dtype(p)) for p in own]
            grads = [g.to(working_dtype(g)) for g in plan.gradients(own)]
            yield params, grads, [self.state[p]["momentum_buffer"] for p in own] if kept else None
            for p, moved in zip(own, params, strict=True):
                if p.dtype != moved.dtype:
                    p.copy_(moved)

    def store(self, system: System, p: Tensor, momentum_buffer: Tensor) -> None:
        """Store a layer's new weights and momentum, if that is kept, both as matrices."""
        parts = zip(system.members, system.parts(p), system.parts(momentum_buffer), strict=True)
        for member, moved, momentum in parts:
            member.copy_(moved)
            if "momentum_buffer" in self.state[member]:
                self.state[member]["momentum_buffer"].copy_(momentum)

    # Copies and checkpoints

    def __getstate__(self) -> dict[str, Any]:
        names = ("model", "skip_modules", "allow_distributed", "_watched")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a checkpoint of the released package has none of our options
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        self._prepare()

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` returned, here or in the released package.

        As in torch, except that nothing is shared with the dictionary afterwards, and that a state in float32 stays
        so beside a parameter of less precision, where torch rounds it to the parameter's dtype.

        Raises:
            ValueError: it is of other parameters or of another rule; nothing has changed then.
        """
        final: list[StateDict] = []  # as other hooks leave it: ours is the last of those before, the first after
        before = self.register_load_state_dict_pre_hook(lambda _, loaded: final.append(self._require_ours(loaded)))
        after = self.register_load_state_dict_post_hook(lambda _: self._copy_state(final[0]), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _require_ours(self, loaded: StateDict) -> StateDict:
        require_loadable(loaded, self.param_groups, self.rule)
        return loaded

    def _copy_state(self, loaded: StateDict) -> None:
        keys = chain.from_iterable(group["params"] for group in loaded["param_groups"])
        params = chain.from_iterable(group["params"] for group in self.param_groups)
        for key, p in zip(keys, params, strict=True):
            for name, value in loaded["state"].get(key, {}).items():
                self.state[p][name] = _loaded(name, value, p)


class _Owner:
    """An optimizer that a recorder tells of forward passes, as long as it is there."""

    def __init__(self, optimizer: FisherOptimizer) -> None:
        self.optimizer = weakref.ref(optimizer)

    def __call__(self) -> Any:
        optimizer = self.optimizer()
        return None if optimizer is None else optimizer._on_forward


def counter(steps: float = 0) -> Tensor:
    """A count of steps as torch keeps it: shape (), float32, on the CPU wherever the parameter is."""
    return torch.tensor(steps, dtype=torch.float32, device="cpu")


def zeros(p: Tensor) -> Tensor:
    """Zeros of p's shape and layout, in the dtype of the mathematics."""
    return torch.zeros_like(p, dtype=working_dtype(p))


def rule_of(record: Any, group: Group) -> Any:
    """The rule with the hyperparameters that a group has now.

    Their ranges are not checked again: rounding may take a schedule that ends at 0, like LinearLR, just below it.
    """
    rule = object.__new__(record)
    for field in fields(record):
        value = group[field.name]
        plain = value if value is None or isinstance(value, (int, str)) else float(value)  # schedules leave others
        object.__setattr__(rule, field.name, plain)
    return rule


def _checked_params(name: str, group: dict[str, Any]) -> dict[str, Any]:
    """The group with its parameters as a list, none of which is refused."""
    params = group["params"]
    if not isinstance(params, (Tensor, set)):  # which torch takes, or refuses, itself
        group["params"] = params = list(params)
    tensors = [p[1] if isinstance(p, tuple) else p for p in ([params] if isinstance(params, Tensor) else params)]
    for p in tensors:
        require_parameter(name, p)
    if len({id(p) for p in tensors}) < len(tensors):
        raise ValueError("some parameters appear more than once in a parameter group")
    return group


def _loaded(name: str, value: Any, p: Tensor) -> Any:
    """A copy of a loaded field of p's state, on p's device and in the dtype of the mathematics."""
    if name == "step":
        return counter(float(value))
    x = value.to(p.device, working_dtype(p), copy=True)
    return x[:, None] if name == "y_momentum_buffer" and x.ndim == 1 else x  # as the release has it
