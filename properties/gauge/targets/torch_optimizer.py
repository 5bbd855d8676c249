"""The adapter of torch optimizers: any factory that takes parameters first and returns something that steps."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, TargetError, describe
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Support, Target, quiet
from stepgauge.properties.gauge.targets.names import MODEL, KeywordNames
from stepgauge.properties.gauge.targets.torch_network import Network
from stepgauge.reference import Array, Layer, Seen
from stepgauge.reference.hyperparameters import HYPERPARAMETERS


@dataclass
class Run:
    """An optimizer of the target over parameters, and the network around them if it looks at layers."""

    params: Sequence[Any]
    optimizer: Any
    network: Network | None
    rates: Sequence[Any]  # the lr of each group at the start

    def feed(self, grads: Iterable[Any], seen: Mapping[int, tuple[Any, Any]]) -> None:
        """Show the layers what they see, then set the gradients, all as tensors."""
        if self.network is not None:
            self.network.learn({i: x for i, (x, _) in seen.items()}, {i: y for i, (_, y) in seen.items()})
        for p, g in zip(self.params, grads, strict=True):
            p.grad = g


class TorchTarget(Target):
    """A torch.optim.Optimizer, or what looks like one.

    Raises:
        TargetError: it needs arguments that are no hyperparameters of the rule, refuses its own defaults, or builds
            something without `step` and `param_groups`.
    """

    supports = frozenset({Support.TORCH})

    def __init__(
        self,
        name: str,
        factory: Callable[..., Any],
        rule: str,
        keywords: Mapping[str, Any],
        renames: Mapping[str, str],
        device: str = "cpu",
    ) -> None:
        self.name, self.factory, self.rule, self.device = name, factory, rule, device
        self.keywords: Mapping[str, Any] = dict(keywords)
        theirs = named_parameters(factory)
        self.names = KeywordNames(name, rule, self.record, renames, theirs)
        self.model = self.names.model
        if self.model and self.model not in theirs:
            raise TargetError(f"takes no {self.model}, which {rule} needs; say --rename {MODEL}=THEIRS")
        names = self.names.shared
        self.offers = frozenset(n for n in names if self.names.keywords(n) <= theirs.keys() - keywords)
        self.takes_maximize = "maximize" in theirs and "maximize" not in keywords
        known = {their for n in names for their in self.names.keywords(n)} | {"maximize", self.model}
        self.extra = tuple(n for n in theirs if n not in known and n not in keywords)
        needs_lr = "lr" in self.offers and not _has_default(theirs, self.names.keywords("lr"))
        # What has no default, where a check leaves the rest at the target's own.
        self.required: Mapping[str, Any] = {"lr": HYPERPARAMETERS["lr"].lively} if needs_lr else {}
        self.names.require_whole(self.keywords)
        fixed = [n for n in names if self.names.keywords(n) <= self.keywords.keys()]
        self.pinned = {n: self._ours(n, self.keywords) for n in fixed}
        self.defaults = self._own_defaults()

    def theirs(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Our hyperparameters under their names, as far as they are offered."""
        return self.names.translate({n: v for n, v in hyperparameters.items() if n in self.offers})

    def _blank_optimizer(self) -> Any:
        """An optimizer at the target's own defaults, over one small parameter.

        Raises:
            TargetError: it cannot be built, or is none.
        """
        with quiet():
            try:
                blank = [torch.nn.Parameter(torch.zeros(2, 3, device=self.device))]
                more = {self.model: Network([], blank)} if self.model else {}
                optimizer = self.build(blank, self.required, **more)
                missing = [name for name in ("step", "param_groups") if not hasattr(optimizer, name)]
                groups = [] if missing else [*optimizer.param_groups]
            except FOREIGN_ERRORS as error:
                raise TargetError(f"cannot be built: {describe(error)}") from error
        made = f"is no optimizer: it makes a {type(optimizer).__name__}"
        if missing:
            raise TargetError(f"{made} without {' and '.join(missing)}")
        if not (groups and all(isinstance(group, dict) for group in groups)):
            raise TargetError(f"{made} whose param_groups are {groups!r:.40}, not dictionaries, at least one")
        return optimizer

    def _own_defaults(self) -> dict[str, Any]:
        optimizer = self._blank_optimizer()
        signature = {n: p.default for n, p in named_parameters(self.factory).items()}
        known = {**signature, **optimizer.param_groups[0]}
        return {name: self._ours(name, known) for name in self.offers - self.required.keys()}

    def _ours(self, name: str, known: Mapping[str, Any]) -> Any:
        """The value of our hyperparameter `name` among theirs, as plain numbers."""
        value = self.names.value(name, known)
        return tuple(map(_plain, value)) if isinstance(value, tuple) else _plain(value)

    def build(self, params: Any, hyperparameters: Mapping[str, Any], **more: Any) -> Any:
        """The optimizer over `params` (tensors or groups) with our hyperparameters."""
        return self.factory(params, **self.keywords, **self.theirs(hyperparameters), **more)

    def run(self, problem: Problem, dtype: str = "float64") -> Array:
        with one_thread():
            return super().run(problem, dtype)

    def tensor(self, x: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(x)).to(self.device)

    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[ParameterGroup],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
    ) -> Run:
        return self.start([torch.nn.Parameter(self.tensor(p)) for p in params], groups, layers, maximize=maximize)

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
        split: list[Any] = [{"params": [params[i] for i in members], **self.theirs(h)} for h, members in groups]
        plain = split[0]["params"] if len(groups) == 1 else split  # a single group is given as most users do
        optimizer = self.build(plain, first, **more)
        rates = [group.get(self.names["lr"]) for group in optimizer.param_groups]
        return Run(params, optimizer, network, rates)

    def step(
        self, grads: Sequence[Array | None], state: Run, lr_factor: float = 1.0, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        for group, lr in zip(state.optimizer.param_groups, state.rates, strict=True):
            if lr is not None:
                group[self.names["lr"]] = lr * lr_factor
        self.feed(state, grads, seen or {})
        state.optimizer.step()
        return [p.detach().cpu().numpy().copy() for p in state.params]

    def feed(self, run: Run, grads: Iterable[Array | None], seen: Mapping[int, Seen]) -> None:
        """Give a run the gradients of a step, and show its layers what they see."""
        arrived = {i: (self.tensor(s.inputs), self.tensor(s.signals)) for i, s in seen.items()}
        run.feed([None if g is None else self.tensor(g) for g in grads], arrived)


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


def named_parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The factory's named parameters, without the first (the parameters to optimize) and without *args and **kwargs."""
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError) as error:
        raise TargetError(f"cannot be built: its signature cannot be read ({describe(error)})") from error
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in parameters[1:] if p.kind in named}


def _has_default(parameters: Mapping[str, inspect.Parameter], names: set[str]) -> bool:
    """Whether all of `names` may be left out; torch's `required` marks one that may not."""
    return all(
        parameters[n].default is not inspect.Parameter.empty
        and type(parameters[n].default).__name__ != "_RequiredParameter"
        for n in names
    )
