"""The adapter of torch optimizers: any factory that takes parameters first and returns something that steps."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, TargetError, describe
from stepgauge.properties.gauge.problems.problem import UNMOVED, Moved, Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Support, Target, Variant, quiet
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.names import MODEL, KeywordNames
from stepgauge.properties.gauge.targets.torch_network import Network
from stepgauge.reference import Array, Layer, Seen
from stepgauge.reference.hyperparameters import HYPERPARAMETERS

FORMS = ("foreach", "fused", "capturable", "differentiable")  # keywords that choose another kernel for the same rule


@dataclass
class Run:
    """An optimizer of the target over parameters, and the network around them if it looks at layers.

    `memory` holds the tensors that gradients arrive in, of the parameters that have had one, if they come in place.
    """

    params: Sequence[Any]
    optimizer: Any
    network: Network | None
    start: Sequence[Mapping[str, Any]]  # the groups as they were made, without their parameters
    memory: dict[int, Any] | None = None

    def feed(self, grads: Iterable[Any], seen: Mapping[int, tuple[Any, Any]]) -> None:
        """Show the layers what they see, then set the gradients, all as tensors."""
        if self.network is not None:
            self.network.learn({i: x for i, (x, _) in seen.items()}, {i: y for i, (_, y) in seen.items()})
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            p.grad = None if g is None else self._arrived(i, g.to(p.dtype))

    def _arrived(self, i: int, g: Any) -> Any:
        """The gradient, in the memory of those before it if they come in place."""
        if self.memory is None:
            return g
        if i not in self.memory:
            self.memory[i] = g.clone()
        return self.memory[i].copy_(g)

    def zero(self) -> None:
        """Zero the gradients in place, as `zero_grad(set_to_none=False)` does before the next backward pass."""
        for g in (self.memory or {}).values():
            g.zero_()


class TorchTarget(Target):
    """A torch.optim.Optimizer, or what looks like one.

    What can be set on it is what its signature names and, where it passes keywords on, what its `param_groups` show to
    have arrived when it is tried. `told` are the hyperparameters that its groups show but nobody can set.

    Attributes:
        after_build: its method, if any, that is called once it is built, such as `train` of schedule-free ones.

    Raises:
        TargetError: it needs arguments that are no hyperparameters of the rule, refuses its own defaults, or builds
            something without `step` and `param_groups`, or without `after_build`.
    """

    supports = frozenset({Support.TORCH})
    names: KeywordNames
    blank: torch.dtype = torch.float32  # of the small parameter over which it is looked into

    def __init__(
        self,
        name: str,
        factory: Callable[..., Any],
        rule: str,
        keywords: Mapping[str, Any],
        renames: Mapping[str, str],
        device: str = "cpu",
        after_build: str = "",
    ) -> None:
        self.name, self.factory, self.rule, self.device, self.after_build = name, factory, rule, device, after_build
        self.keywords: Mapping[str, Any] = dict(keywords)
        self.theirs = Keywords.of(factory)
        self.names = KeywordNames(name, rule, self.record, renames, self.theirs.named, is_open=self.theirs.is_open)
        self.model = self.names.model
        if self.model and self.model not in self.theirs.named and not self.theirs.is_open:
            raise TargetError(f"takes no {self.model}, which {rule} needs; say --rename {MODEL}=THEIRS")
        self.offers = self._named()
        self.tied = frozenset(n for n in self.offers if self.theirs.are_tied(self.names.keywords(n)))
        self.required: Mapping[str, Any] = self._required()
        self.names.require_whole(self.keywords)
        fixed = [n for n in self.names.shared if self.names.keywords(n) <= self.keywords.keys()]
        self.pinned = {n: _plain_items(self.names.value(n, self.keywords)) for n in fixed}
        self._look_into(self._blank_optimizer())

    def _named(self) -> frozenset[str]:
        """The hyperparameters that its signature names."""
        named = self.theirs.named.keys() - self.keywords.keys()
        return frozenset(n for n in self.names.shared if self.names.keywords(n) <= named)

    def _required(self) -> dict[str, Any]:
        """What has no default, where a check leaves the rest at the target's own."""
        if "lr" in self.offers and not self.theirs.may_be_left_out(self.names.keywords("lr")):
            return {"lr": HYPERPARAMETERS["lr"].lively}
        return {}

    def _look_into(self, optimizer: Any) -> None:
        """Learn from an optimizer at the target's defaults what can be set, where, and to what it is set.

        Attributes:
            group_names: their names in `param_groups`, which need not be those of the constructor.
            schedulable: the hyperparameters that live there, so that a scheduler can move them.
        """
        group = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
        taken = {
            n for n in self.names.shared if n not in self.offers and n not in self.pinned and self._takes(n, group)
        }
        self.offers |= taken
        self.takes_maximize = self._offers_keyword("maximize", group)
        self.forms = tuple(form for form in FORMS if self._offers_keyword(form, group))
        self.group_names = self.names.within(group)
        self.schedulable = frozenset(n for n in self.names.shared if self.group_names.keywords(n) <= group.keys())
        self.takes_schedule = "lr" in self.schedulable
        held = [group[their] for n in self.schedulable for their in self.group_names.keywords(n)]
        self.single_scalars = any(isinstance(x, torch.Tensor) and x.dtype == torch.float32 for x in held)
        known = {**{n: p.default for n, p in self.theirs.named.items()}, **group}
        told = {n: _plain_items(self._value(n, known)) for n in self.schedulable | self.offers}
        self.defaults = {n: told[n] for n in self.offers - self.required.keys()}
        self.told = {n: told[n] for n in self.schedulable - self.offers - self.pinned.keys()}
        ours = {their for n in self.names.shared for their in self.names.keywords(n)} | {"maximize", self.model, *FORMS}
        self.extra = tuple(n for n in self.theirs.named if n not in ours and n not in self.keywords)

    def _value(self, name: str, known: Mapping[str, Any]) -> Any:
        """The value of our hyperparameter: in the groups, else the default in the signature."""
        names = self.group_names if name in self.schedulable else self.names
        return names.value(name, known)

    def _takes(self, name: str, group: Mapping[str, Any]) -> bool:
        """Whether a hyperparameter that the signature does not name arrives in the groups if it is passed on."""
        if not self.theirs.is_open or not self.names.keywords(name) <= group.keys():
            return False
        other = self._another_value(name, self.names.value(name, group))
        made = self._tried(self.names.translate({name: other}))
        return made is not None and bool(_plain_items(self.names.value(name, made)) == other)

    def _tried(self, keywords: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The first group of an optimizer that is given some keywords; None if it refuses them."""
        try:
            with quiet():
                made: Mapping[str, Any] = self._over_blank(**keywords).param_groups[0]
        except FOREIGN_ERRORS:
            return None
        return made

    def _another_value(self, name: str, value: Any) -> Any:
        """A legal value of a hyperparameter that is not this one."""
        values = self.record.hyperparameter(name).values
        return next(other for other in values if other is not None and other != value)

    def _offers_keyword(self, keyword: str, group: Mapping[str, Any]) -> bool:
        """Whether a switch can be set, by its name or, where keywords are passed on, as the groups show."""
        if keyword in self.keywords:
            return False
        passed_on = self.theirs.is_open and keyword in group
        return keyword in self.theirs.named or (passed_on and self._tried({keyword: True}) is not None)

    def varied(self, variant: Variant) -> Self:
        other = super().varied(variant)
        if variant.form:
            form, value = variant.form
            other.keywords = {**self.keywords, form: value}
        return other

    def hyperparameters_of(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Our hyperparameters under the names of the constructor, as far as they are offered."""
        return self.names.translate({n: v for n, v in hyperparameters.items() if n in self.offers})

    def _in_group(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Our hyperparameters under the names of `param_groups`, or of the constructor where they are not in those."""
        offered = {n: v for n, v in hyperparameters.items() if n in self.offers}
        inside = self.group_names.translate({n: v for n, v in offered.items() if n in self.schedulable})
        return inside | self.names.translate({n: v for n, v in offered.items() if n not in self.schedulable})

    def _over_blank(self, **more: Any) -> Any:
        """An optimizer over one small parameter."""
        blank = [torch.nn.Parameter(torch.zeros(2, 3, device=self.device, dtype=self.blank))]
        more |= {self.model: Network([], blank)} if self.model else {}
        return self.build(blank, self.required, **more)

    def _first_of_any_dtype(self) -> Any:
        """An optimizer over one small parameter in float32, or in bfloat16 if it refuses that."""
        try:
            return self._over_blank()
        except FOREIGN_ERRORS as refusal:
            self.blank = torch.bfloat16
            try:
                return self._over_blank()
            except FOREIGN_ERRORS:
                self.blank = torch.float32
                raise refusal from None

    def _blank_optimizer(self) -> Any:
        """An optimizer at the target's own defaults, over one small parameter.

        Raises:
            TargetError: it cannot be built, or is none.
        """
        with quiet():
            try:
                optimizer = self._first_of_any_dtype()
                missing = [name for name in ("step", "param_groups") if not hasattr(optimizer, name)]
                groups = [] if missing else [*optimizer.param_groups]
            except TargetError:
                raise
            except FOREIGN_ERRORS as error:
                raise TargetError(f"cannot be built: {describe(error)}") from error
        made = f"is no optimizer: it makes a {type(optimizer).__name__}"
        if missing:
            raise TargetError(f"{made} without {' and '.join(missing)}")
        if not (groups and all(isinstance(group, dict) for group in groups)):
            raise TargetError(f"{made} whose param_groups are {groups!r:.40}, not dictionaries, at least one")
        return optimizer

    def build(self, params: Any, hyperparameters: Mapping[str, Any], **more: Any) -> Any:
        """The optimizer over `params` (tensors or groups) with our hyperparameters."""
        optimizer = self.factory(params, **{**self.keywords, **self.hyperparameters_of(hyperparameters), **more})
        if self.after_build:
            self._call_after_build(optimizer)
        return optimizer

    def _call_after_build(self, optimizer: Any) -> None:
        method = getattr(optimizer, self.after_build, None)
        if not callable(method):
            made = type(optimizer).__name__
            raise TargetError(f"makes a {made}, which has no method {self.after_build} to call: see --after-build")
        method()

    def run(self, problem: Problem, dtype: str | None = None) -> Array:
        with one_thread():
            return super().run(problem, dtype)

    def tensor(self, x: Array) -> torch.Tensor:
        made = torch.from_numpy(np.array(x)).to(self.device)
        return made if self.dtype == "float64" else made.to(getattr(torch, self.dtype))

    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
        in_place: bool = False,
    ) -> Run:
        run = self.start([torch.nn.Parameter(self.tensor(p)) for p in params], groups, layers, maximize=maximize)
        run.memory = {} if in_place else None
        return run

    def start(
        self,
        params: Sequence[Any],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        network: Network | None = None,
        *,
        maximize: bool = False,
        **more: Any,
    ) -> Run:
        """An optimizer over these parameters in these groups, around a network of these layers or the one given."""
        more |= {"maximize": True} if maximize else {}
        if self.model:
            network = more[self.model] = network or Network(layers, params)
        first = groups[0].hyperparameters
        split: list[Any] = [{"params": [params[i] for i in members], **self._in_group(h)} for h, members in groups]
        plain = split[0]["params"] if len(groups) == 1 else split  # a single group is given as most users do
        optimizer = self.build(plain, first, **more)
        start = [{n: v for n, v in group.items() if n != "params"} for group in optimizer.param_groups]
        return Run(params, optimizer, network, start)

    def step(
        self, grads: Sequence[Array | None], state: Run, moved: Moved = UNMOVED, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        self.schedule(state, moved)
        self.feed(state, grads, seen or {})
        state.optimizer.step()
        after = [_array(p) for p in state.params]
        state.zero()
        return after

    def schedule(self, run: Run, moved: Moved) -> None:
        """Write into the groups what a scheduler has moved."""
        lr = self.group_names["lr"]
        others = self.group_names.translate({n: v for n, v in moved.others.items() if n in self.schedulable})
        for group, start in zip(run.optimizer.param_groups, run.start, strict=True):
            group.update(others)
            if start.get(lr) is not None:
                group[lr] = start[lr] * moved.lr_factor

    def feed(self, run: Run, grads: Iterable[Array | None], seen: Mapping[int, Seen]) -> None:
        """Give a run the gradients of a step, and show its layers what they see."""
        arrived = {i: (self.tensor(s.inputs), self.tensor(s.signals)) for i, s in seen.items()}
        run.feed([None if g is None else self.tensor(g) for g in grads], arrived)


def _array(p: Any) -> Array:
    """A copy of a tensor's numbers."""
    wide = p.detach().float() if p.dtype == torch.bfloat16 else p.detach()
    array: Array = wide.cpu().numpy().copy()
    return array


def _plain_items(value: Any) -> Any:
    """A value, or the items of one, as plain numbers."""
    return tuple(map(_plain, value)) if isinstance(value, (tuple, list)) else _plain(value)


def _plain(value: Any) -> Any:
    """The number that a tensor without dimensions holds."""
    return value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value


@contextmanager
def one_thread() -> Iterator[None]:
    """The problems are tiny: on more threads the fused kernels mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
