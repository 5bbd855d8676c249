"""Targets: anything that steps. Loading one from `module:Factory(keyword=value)`, and driving one through a problem.

A target owns an adapter's two functions, `init` and `step`; everything else is told in the reference's own terms: the
rule, which of its hyperparameters the target offers, and the target's own defaults.
"""

import ast
import importlib
import importlib.util
import re
import sys
import textwrap
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.problem import Problem, Settings, flatten, scheduled
from stepgauge.reference import RULES, Array, Layer, Rule, Seen, init, step

NO_RULE = "none"  # stands for the rule of a target that is compared with itself alone
STRANGERS = (Exception, SystemExit)  # what a stranger's code may raise: a script without a guard exits when imported


class UsageError(Exception):
    """The user asked for something that does not exist or does not fit together."""


class TargetError(Exception):
    """The target cannot be loaded or built."""


class StepError(Exception):
    """The target raised in a step."""

    def __init__(self, at: int, cause: BaseException) -> None:
        super().__init__(f"raises {described(cause)}, in step {at + 1}")
        self.at = at


def described(error: BaseException) -> str:
    """An exception on one line of bearable length."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # torch colours some of its messages
    plain = "".join(c if c.isprintable() else " " for c in plain)
    text = textwrap.shorten(plain, 110, placeholder=" ...")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Target(ABC):
    """An implementation under test.

    Attributes:
        name: as the user wrote it.
        rule: the name of the rule that it is compared with.
        offers: the rule's hyperparameters that can be set on it.
        extra: keywords of its own, which stay at their defaults.
        defaults: its own default hyperparameters, where it has one, under the reference's names.
        pinned: hyperparameters that its specification fixes, under the reference's names.
        takes_maximize: whether it can be told to maximize.
    """

    name: str
    rule: str
    offers: frozenset[str]
    extra: tuple[str, ...] = ()
    defaults: Mapping[str, Any]
    pinned: Mapping[str, Any]
    takes_maximize: bool = True

    @property
    def record(self) -> type[Rule]:
        """The reference's class of the rule."""
        return RULES[self.rule]

    @abstractmethod
    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[Settings],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
    ) -> Any:
        """A fresh state that owns copies of `params`, some of which are parameters of `layers`."""

    @abstractmethod
    def step(
        self, grads: Sequence[Array | None], state: Any, lr_factor: float = 1.0, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        """Step once; the parameters after the step.

        Args:
            grads: of every parameter, None where absent.
            state: what `init` made.
            lr_factor: multiplies the lr that `init` was given.
            seen: what the layers saw, under the indices of their weights.
        """

    def run(self, problem: Problem, dtype: str = "float64") -> Array:
        """The parameters after each step, shape (steps, size), in float64.

        Raises:
            TargetError: the target refuses the problem's hyperparameters.
            StepError: it raises in a step.
        """
        rows = []
        with quiet():
            try:
                initial = [p.astype(dtype) for p in problem.initial]
                state = self.init(initial, problem.groups, problem.layers, maximize=problem.maximize)
            except STRANGERS as error:  # whatever a stranger's constructor raises is its refusal
                raise TargetError(f"cannot be built: {described(error)}") from error
            for t, grads in enumerate(problem.gradients):
                try:
                    cast = [None if g is None else g.astype(dtype) for g in grads]
                    params = self.step(cast, state, problem.lr_factor(t), problem.seen_in(t, dtype))
                    _require_shapes(params, problem.initial)
                except STRANGERS as error:
                    raise StepError(t, error) from error
                rows.append(flatten(params))
        return np.array(rows)


def _require_shapes(params: Sequence[Array], initial: Sequence[Array]) -> None:
    for i, (p, before) in enumerate(zip(params, initial, strict=True)):
        if p.shape != before.shape:
            raise ValueError(f"parameter {i} has the shape {p.shape} afterwards, and had {before.shape}")


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings of strangers' code are not ours to print; overflow and 0/0 show in the numbers."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@dataclass
class RuleTarget(Target):
    """A rule with the reference's interface: the reference itself, and the core."""

    name: str
    factory: type[Rule]
    rule: str
    pinned: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(init=False)
    offers: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(self.factory.hyperparameter_names()) & frozenset(self.record.hyperparameter_names())
        self.offers = names - self.pinned.keys()
        self.defaults = self.factory.defaults()

    def init(
        self,
        params: Sequence[Array],
        groups: Sequence[Settings],
        layers: Sequence[Layer] = (),
        *,
        maximize: bool = False,
    ) -> Any:
        problem = Problem(self.rule, tuple(groups), [p.copy() for p in params], [])
        driven = problem.rule_groups(self.factory)
        states = init(driven, problem.initial, layers)
        return {
            "groups": driven,
            "params": problem.initial,
            "states": states,
            "layers": layers,
            "maximize": maximize,
            "rng": np.random.default_rng(0),
        }

    def step(
        self, grads: Sequence[Array | None], state: Any, lr_factor: float = 1.0, seen: Mapping[int, Seen] | None = None
    ) -> list[Array]:
        groups = scheduled(state["groups"], lr_factor)
        state["params"], state["states"] = step(
            groups,
            state["params"],
            grads,
            state["states"],
            state["layers"],
            seen,
            maximize=state["maximize"],
            rng=state["rng"],
        )
        return [p.copy() for p in state["params"]]


class Specification(NamedTuple):
    """What the user wrote: `module:Factory` or `path.py:Factory`, and keywords for the factory alone."""

    text: str
    module: str
    attribute: str
    keywords: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> "Specification":
        module, colon, call = text.partition(":")
        relative = module.startswith(".") and not module.endswith(".py")
        if relative or not (module and colon and call):
            raise UsageError(
                f"{text!r} is no target: write module:Factory, path.py:Factory or module:Factory(key=value)"
            )
        try:
            node = ast.parse(call, mode="eval").body
            keywords: dict[str, Any] = {}
            if isinstance(node, ast.Call):
                if node.args or any(k.arg is None for k in node.keywords):
                    raise UsageError(f"{text!r} is no target: the factory takes key=value alone")
                keywords = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
                node = node.func
            return cls(text, module, _dotted(node), keywords)
        except (SyntaxError, ValueError, TypeError):  # the last of an unhashable key
            raise UsageError(
                f"{text!r} is no target: {call!r} must be a name, or a name with literal keywords"
            ) from None

    def load(self) -> Callable[..., Any]:
        """The factory.

        Raises:
            TargetError: the module does not exist or does not import, or has no such callable.
        """
        try:
            with quiet():
                found: Any = _import(self.module)
        except STRANGERS as error:
            raise TargetError(f"cannot be imported: {described(error)}") from error
        for part in self.attribute.split("."):
            if not hasattr(found, part):
                raise TargetError(f"cannot be loaded: {self.module} has no {self.attribute!r}{_close(part, found)}")
            found = getattr(found, part)
        if not callable(found):
            raise TargetError(f"is no optimizer: {self.attribute} is {found!r:.40}, not a class or a factory")
        loaded: Callable[..., Any] = found
        return loaded


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError


def _import(module: str) -> Any:
    if not module.endswith(".py"):
        if "" not in sys.path:
            sys.path.insert(0, "")  # a console script does not see the working directory; a target often lies there
        return importlib.import_module(module)
    path = Path(module)
    if not path.is_file():
        raise FileNotFoundError(f"no file {module}")
    if str(path.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(path.parent.resolve()))  # as for a script, so that it finds its neighbours
    name = f"stepgauge_target_{zlib.crc32(bytes(path.resolve())):08x}_{path.stem}"  # two files may have one stem
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[loaded.__name__] = loaded  # pickle looks classes up there
    specification.loader.exec_module(loaded)
    return loaded


def _close(name: str, found: Any) -> str:
    import difflib

    matches = difflib.get_close_matches(name, dir(found), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def infer_rule(name: str) -> str:
    """The rule that a class name means.

    Raises:
        UsageError: none of the rules goes by that name.
    """
    plain = name.rpartition(".")[2].replace("_", "").lower()
    for rule in RULES:
        if rule.replace("_", "") == plain:
            return rule
    raise UsageError(
        f"cannot tell the rule of {name!r} from its name; give --rule, one of: {', '.join(RULES)}, or {NO_RULE}"
    )


def known_rule(name: str, *, or_none: bool = False) -> str:
    """`name` as the rules are listed, whatever its case; maybe "none", which is no rule.

    Raises:
        UsageError: no such rule.
    """
    plain = str(name).lower()
    if plain in RULES or (or_none and plain == NO_RULE):
        return plain
    known = [*RULES, NO_RULE] if or_none else RULES
    raise UsageError(f"unknown rule {name!r}: the rules are {', '.join(known)}")


def make_target(
    name: str,
    factory: Callable[..., Any],
    rule: str,
    *,
    keywords: Mapping[str, Any] | None = None,
    renames: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> Target:
    """The target around a factory: a rule with the reference's interface, or a torch optimizer.

    Raises:
        TargetError: it cannot be built, or what it builds is no optimizer.
        UsageError: a rename does not fit.
    """
    if isinstance(factory, type) and issubclass(factory, Rule):
        if rule == NO_RULE:
            raise TargetError("is no torch optimizer, of which alone the laws without a rule are asked")
        if renames:
            raise UsageError(f"--rename: {name} has the names of stepgauge's own rules")
        return RuleTarget(name, factory, rule, keywords or {})
    if rule == NO_RULE:
        from stepgauge.properties.gauge.lone_target import LoneTarget

        return LoneTarget(name, factory, keywords or {}, renames or {}, device)
    from stepgauge.properties.gauge.torch_target import TorchTarget

    return TorchTarget(name, factory, rule, keywords or {}, renames or {}, device)
