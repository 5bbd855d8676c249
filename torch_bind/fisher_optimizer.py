"""What Frog and KFrog share: a model whose layers are watched, hyperparameters by group, and what a checkpoint keeps.

What a layer sees counts from one step to the next: all backward passes between them, as in the gradient that they add
up to. A forward pass without a backward pass leaves nothing behind. The optimizer's `zero_grad`, and gradients that
are None again, begin anew, so that a step that is left out (as GradScaler does) is forgotten.
"""

import functools
import weakref
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from itertools import chain
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT, StateDict

from stepgauge.reference import Rule
from stepgauge.torch_bind.accepted import require_once
from stepgauge.torch_bind.bound import BoundOptimizer, Group, Taker, plain
from stepgauge.torch_bind.fisher_checks import require_alone, require_loadable, require_parameter, require_steppable
from stepgauge.torch_bind.fisher_layers import Layer, by_sample, layers_in
from stepgauge.torch_bind.fisher_recorder import Recorder, draw, select
from stepgauge.torch_bind.fisher_systems import System, Watched
from stepgauge.torch_bind.state import STEP, Fields, begun, counter, working_dtype, zeros

COUNT: Fields = {STEP: counter}
MOMENTUM: Fields = {**COUNT, "momentum_buffer": zeros}


class Plan(NamedTuple):
    """What a group steps: layers, and parameters that are no layer's; of all of them those that have a gradient."""

    group: Group
    rule: Rule
    systems: Sequence[System]
    others: Sequence[Tensor]

    def gradients(self, params: Iterable[Tensor]) -> list[Any]:
        """Their gradients, or with `maximize` the opposite."""
        return [-p.grad if self.group["maximize"] else p.grad for p in params if p.grad is not None]


class FisherOptimizer(BoundOptimizer):
    """A rule that looks at what the layers of a model see.

    A subclass gives the rule, which layers it preconditions and how many samples it keeps, and the steps of layers and
    of other parameters.
    """

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
        self._groups: dict[Tensor, Group | None] = {}
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

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as in torch; layers that have come into the model since `attach` are watched, too.

        Raises:
            ValueError: a hyperparameter is out of its range, a parameter is of a kind that is not stepped or is there
                twice.
        """
        if "dialect" in param_group:
            param_group["dialect"] = self.rule.canonical_dialect(param_group["dialect"])
        super().add_param_group(param_group)
        self._groups = {}
        if self.model is not None:
            self._watch(self._layers_in(self.model))

    def _require_parameters(self, params: Sequence[Tensor]) -> None:
        for p in params:
            require_parameter(type(self).__name__, p)
        require_once(params)

    def _check(self, group: Group) -> None:
        lr, seed = group["lr"], group["seed"]
        if isinstance(lr, Tensor) and lr.device.type != "cpu":  # each step would wait for its device to read it
            raise ValueError(f"Invalid lr: {lr} (must be one number, in a tensor on the CPU if in any)")
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"Invalid seed: {seed} (must be an integer of at least 0)")
        super()._check(group)

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

    def _step(self, compiled: bool) -> None:
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
        kept = MOMENTUM if plan.group["momentum"] else COUNT
        for p in chain((p for system in systems for p in system.members), plan.others):
            state = self.state[p]
            state.update(begun(plan.rule, kept, p, state, on_device=False))
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
        return system.matrix([torch.zeros_like(p) if buffer is None else buffer for p, buffer in kept])

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

    def _converted(self, loaded: StateDict) -> StateDict:
        require_loadable(loaded, self.param_groups, self.rule)
        return loaded

    def _taker(self, group: Group) -> Taker:
        return _taken


class _Owner:
    """An optimizer that a recorder tells of forward passes, as long as it is there."""

    def __init__(self, optimizer: FisherOptimizer) -> None:
        self.optimizer = weakref.ref(optimizer)

    def __call__(self) -> Any:
        optimizer = self.optimizer()
        return None if optimizer is None else optimizer._on_forward


def rule_of(record: Any, group: Group) -> Any:
    """The rule with the hyperparameters that a group has now.

    Their ranges are not checked again: rounding may take a schedule that ends at 0, like LinearLR, just below it.
    """
    rule = object.__new__(record)
    for field in fields(record):
        object.__setattr__(rule, field.name, plain(group[field.name]))
    return rule


def _taken(name: str, value: Any, p: Tensor) -> Tensor:
    """A copy of a loaded field of p's state, on p's device and in the dtype of the mathematics."""
    if name == STEP:
        return torch.tensor(float(value), dtype=torch.float32)
    x = value.to(p.device, working_dtype(p), copy=True)
    return x[:, None] if name == "y_momentum_buffer" and x.ndim == 1 else x  # as the release has it
