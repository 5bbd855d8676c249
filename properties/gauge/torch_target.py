"""The adapter of torch optimizers: any factory that takes parameters first and returns something that steps."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stepgauge.properties.gauge.problem import Problem, Settings
from stepgauge.properties.gauge.target import STRANGERS, Target, TargetError, UsageError, described, quiet
from stepgauge.properties.gauge.torch_network import Network
from stepgauge.reference import Array, Layer, Seen

# What a required hyperparameter is given where a check leaves everything else at the target's defaults.
REQUIRED = {"lr": 0.05}
MODEL = "model"  # the keyword under which an optimizer that looks at layers is given the network; --rename has others


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
        self.keywords, self.renames = dict(keywords), dict(renames)
        theirs = named_parameters(factory)
        self._check_renames(theirs)
        claimed = self.renames.values() - self.renames.keys()  # their word for something else than what we call so
        names = [n for n in self.record.hyperparameter_names() if n not in claimed]
        self.offers = frozenset(n for n in names if self._their_names(n) <= theirs.keys() - keywords)
        self.takes_maximize = "maximize" in theirs and "maximize" not in keywords
        known = {their for n in names for their in self._their_names(n)} | {"maximize"}
        self.model = self.renames.get(MODEL, MODEL) if self.record.sees_layers else None
        known |= {self.model} if self.model else set()
        if self.model and self.model not in theirs:
            raise TargetError(f"takes no {self.model}, which {rule} needs; say --rename {MODEL}=THEIRS")
        self.extra = tuple(n for n in theirs if n not in known and n not in keywords)
        self.required = {
            n: REQUIRED[n]
            for n in sorted(self.offers & REQUIRED.keys())
            if not _has_default(theirs, self._their_names(n))
        }
        for name in names:
            missing = self._their_names(name) - keywords.keys()
            if missing and not missing >= self._their_names(name):
                raise UsageError(f"{self.name} fixes a part of {name}: give {', '.join(sorted(missing))}, too, or none")
        self.pinned = {n: self._ours(n, self.keywords) for n in names if self._their_names(n) <= self.keywords.keys()}
        self.defaults = self._own_defaults()

    def _check_renames(self, theirs: Mapping[str, Any]) -> None:
        """Refuse renames of what the rule does not have, to what the target does not have, or of half a tuple."""
        names = self.record.hyperparameter_names()
        for our, their in self.renames.items():
            if our.partition(".")[0] not in names and not (our == MODEL and self.record.sees_layers):
                raise UsageError(f"--rename {our}={their}: {self.rule} has no {our}; it has {', '.join(names)}")
            if their not in theirs:
                raise UsageError(f"--rename {our}={their}: {self.name} takes no {their}; it takes {', '.join(theirs)}")
            if twins := [o for o, t in self.renames.items() if t == their and o != our]:
                raise UsageError(f"--rename {our}={their}: {twins[0]} is renamed to that, too")
        for name in {our.partition(".")[0] for our in self.renames if "." in our}:
            default = self.record.defaults().get(name)
            items = [f"{name}.{k}" for k in range(len(default) if isinstance(default, tuple) else 0)]
            if sorted(our for our, _ in self._parts(name)) != items:
                raise UsageError(
                    f"--rename of {name}: give all its items, {', '.join(items) or 'of which it has none'}"
                )

    def _their_names(self, name: str) -> set[str]:
        """The keywords that carry our hyperparameter `name`: one, or one for each item of a tuple."""
        return {their for _, their in self._parts(name)} or {self.renames.get(name, name)}

    def _parts(self, name: str) -> list[tuple[str, str]]:
        """For a hyperparameter that they split: our `name.0`, `name.1`, ... and their names, in order."""
        return sorted((our, their) for our, their in self.renames.items() if our.startswith(f"{name}."))

    def theirs(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Our hyperparameters under their names, as far as they are offered."""
        return dict(self._translated((n, v) for n, v in hyperparameters.items() if n in self.offers))

    def _translated(self, items: Any) -> Iterator[tuple[str, Any]]:
        for name, value in items:
            parts = self._parts(name)
            yield from ((their, value[int(our.rpartition(".")[2])]) for our, their in parts)
            if not parts:
                yield self.renames.get(name, name), value

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
            except STRANGERS as error:
                raise TargetError(f"cannot be built: {described(error)}") from error
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
        """The value of our hyperparameter `name` among their names."""
        parts = self._parts(name)
        values = [known[their] for _, their in parts] if parts else [known[self.renames.get(name, name)]]
        plain = [v.item() if isinstance(v, torch.Tensor) and v.ndim == 0 else v for v in values]
        return tuple(plain) if parts else plain[0]

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
        groups: Sequence[Settings],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
    ) -> Run:
        return self.start([torch.nn.Parameter(self.tensor(p)) for p in params], groups, layers, maximize=maximize)

    def start(
        self,
        params: Sequence[Any],
        groups: Sequence[Settings],
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
        rates = [group.get(self.renames.get("lr", "lr")) for group in optimizer.param_groups]
        return Run(params, optimizer, network, rates)

    def step(
        self, grads: Sequence[Array | None], state: Run, lr_factor: float = 1.0, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        for group, lr in zip(state.optimizer.param_groups, state.rates, strict=True):
            if lr is not None:
                group[self.renames.get("lr", "lr")] = lr * lr_factor
        self.feed(state, grads, seen or {})
        state.optimizer.step()
        return [p.detach().cpu().numpy().copy() for p in state.params]

    def feed(self, run: Run, grads: Iterable[Array | None], seen: Mapping[int, Seen]) -> None:
        """Give a run the gradients of a step, and show its layers what they see."""
        arrived = {i: (self.tensor(s.inputs), self.tensor(s.signals)) for i, s in seen.items()}
        run.feed([None if g is None else self.tensor(g) for g in grads], arrived)


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
        raise TargetError(f"cannot be built: its signature cannot be read ({described(error)})") from error
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in parameters[1:] if p.kind in named}


def _has_default(parameters: Mapping[str, inspect.Parameter], names: set[str]) -> bool:
    """Whether all of `names` may be left out; torch's `required` marks one that may not."""
    return all(
        parameters[n].default is not inspect.Parameter.empty
        and type(parameters[n].default).__name__ != "_RequiredParameter"
        for n in names
    )
