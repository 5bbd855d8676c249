"""What every rule is: a record of hyperparameters, a record of state, and one step of one parameter.

A rule is a frozen dataclass. Its `State` says shape and dtype of each field, `init` makes the first one, and
`step(p, g, s, pooled)` is the mathematics: pure, for one parameter, in the order of the paper. A model of several
parameters and groups is driven by `stepgauge.reference.driver`.

A gradient that is NaN or infinite goes where the arithmetic takes it: into its coordinate and that coordinate's state,
for good. A rule in which it goes further says so, and so does one whose step is bounded (`bounded_step`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields, replace
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from stepgauge.reference.hyperparameters import HYPERPARAMETERS, Hyperparameter, Range

Array = NDArray[np.floating[Any]]
Generator = np.random.Generator

# What is taken for a value of each type: NumPy's numbers register as these, its bool does not.
ACCEPTED: Mapping[type, Any] = {bool: (bool, np.bool_), int: Integral, float: Real, str: str}


class Sum(NamedTuple):
    """A statistic that adds up over parameters, and over the ranks of a sharded run."""

    total: float
    count: int  # type: ignore[assignment]  # shadows tuple.count, which a statistic has no use for

    def __add__(self, other: "Sum") -> "Sum":  # type: ignore[override]  # a sum of statistics, not of tuples
        return Sum(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> float:
        return self.total / self.count


@dataclass(frozen=True)
class Rule(ABC):
    """One update rule with its hyperparameters, checked and turned into plain Python numbers at construction.

    Python numbers, because a float32 array times a Python float stays float32, while times a `np.float64` it does not.

    Raises:
        ValueError: a hyperparameter is out of range, not a number, or NaN; or the dialect is unknown.
    """

    _: KW_ONLY
    dialect: str = ""  # the first of `dialects` when left empty

    dialects: ClassVar[tuple[str, ...]] = ("published",)
    same_as: ClassVar[Mapping[str, str]] = {}  # names of further dialects that compute the very same numbers
    foreign: ClassVar[tuple[str, ...]] = ()  # the dialects of other frameworks, which the reference alone has
    own_hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {}  # that it alone has, or takes differently
    required_laws: ClassVar[int]  # that a verdict rests on, beside the trajectories: stated, so that one lost is missed
    State: ClassVar[Any]  # the record of a parameter's state, a NamedTuple
    pools_over: ClassVar[Literal["nothing", "group", "all"]] = "nothing"
    sees_layers: ClassVar[bool] = False  # whether a layer's gradient comes as a record of what the layer saw
    takes_groups: ClassVar[bool] = True  # whether, if it sees layers, it is defined for grouped convolutions
    bounded_step: ClassVar[bool] = False  # whether even an infinite gradient moves a parameter by a finite step

    def __post_init__(self) -> None:
        for name, value in self.hyperparameters().items():
            object.__setattr__(self, name, self.checked(name, value))
        object.__setattr__(self, "dialect", self.canonical_dialect(self.dialect))
        self.check()

    @classmethod
    def canonical_dialect(cls, name: str) -> str:
        """The dialect that `name` means; the first one for an empty name."""
        dialect = cls.same_as.get(name, name or cls.dialects[0])
        if dialect not in cls.dialects:
            known = ", ".join((*cls.dialects, *cls.same_as))
            raise ValueError(f"Invalid dialect: {name} ({cls.__name__} has: {known})")
        return dialect

    @classmethod
    def own_dialects(cls) -> tuple[str, ...]:
        """Those of the rule's own framework, which the core and the bindings compute, too."""
        return tuple(dialect for dialect in cls.dialects if dialect not in cls.foreign)

    def require_own_dialect(self) -> None:
        """Refuse the dialects of other frameworks.

        Raises:
            ValueError: the rule is in one of them.
        """
        if self.dialect in self.foreign:
            has = ", ".join(self.own_dialects())
            raise ValueError(f"Invalid dialect: {self.dialect} (the reference alone has it; here there is: {has})")

    @classmethod
    def hyperparameter_names(cls) -> tuple[str, ...]:
        return tuple(cls._kinds())

    @classmethod
    @lru_cache(maxsize=64)  # a rule that steps by another makes one in every step
    def _kinds(cls) -> dict[str, Any]:
        """The types that the hyperparameters are annotated with."""
        return {f.name: f.type for f in fields(cls) if f.name != "dialect"}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The hyperparameters that may be left out, with their values then."""
        return {f.name: f.default for f in fields(cls) if f.name != "dialect" and f.default is not MISSING}

    @classmethod
    def hyperparameter(cls, name: str) -> Hyperparameter:
        """What is known of one of its hyperparameters."""
        return cls.own_hyperparameters.get(name) or HYPERPARAMETERS[name]

    @classmethod
    def neutral(cls) -> dict[str, Any]:
        """What stands for hyperparameters that a port lacks: the neutral values, else the defaults."""
        known = {name: cls.hyperparameter(name).neutral for name in cls.hyperparameter_names()}
        return cls.defaults() | {name: value for name, value in known.items() if value is not None}

    @classmethod
    def is_switch(cls, name: str) -> bool:
        """Whether a hyperparameter is True or False."""
        return cls._kinds()[name] is bool

    def hyperparameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.hyperparameter_names()}

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """`value` as the plain Python number, bool or tuple that the field's annotation asks for.

        Raises:
            ValueError: it is out of range, not a number, or NaN.
        """
        kind, allowed = cls._kinds()[name], cls.hyperparameter(name).allowed
        if kind == int | None and value is None:
            return None
        if get_origin(kind) is tuple:
            length = len(get_args(kind))
            if not isinstance(value, (Sequence, np.ndarray)) or len(value) != length:
                raise ValueError(f"Invalid {name}: {value} (must be {length} numbers)")
            return tuple(cls._in_range(name, value, part, float, allowed) for part in value)
        return cls._in_range(name, value, value, int if kind == int | None else kind, allowed)

    @classmethod
    def _in_range(cls, name: str, value: Any, part: Any, kind: Any, allowed: Range) -> Any:
        if not isinstance(part, ACCEPTED[kind]) or (isinstance(part, bool) and kind is not bool):
            raise ValueError(f"Invalid {name}: {value!r} (must be a {kind.__name__}, {allowed.words})")
        if not allowed.holds(part):
            raise ValueError(f"Invalid {name}: {value} (must be {allowed.words})")
        return kind(part)

    def but(self, **changes: Any) -> Self:
        """The same rule with other hyperparameters, such as a scheduled lr."""
        return replace(self, **changes)

    def check(self) -> None:  # noqa: B027  # most rules have nothing to refuse
        """Refuse combinations of hyperparameters that each alone would be in range."""

    @abstractmethod
    def init(self, p: Any) -> Any:
        """The state of a parameter before its first step."""

    # Every rule and every method of one calls these p, g, s and pooled: edits of its text go by the names.
    @abstractmethod
    def step(self, p: Any, g: Any, s: Any, pooled: Sum | None = None) -> tuple[Any, Any]:
        """The parameter and its state after one step along gradient `g`; nothing is mutated."""

    def skip(self, s: Any) -> Any:
        """The state after a step in which the parameter had no gradient."""
        return s

    def preconditioned(self, layer: Any) -> Any:
        """The part of a `layers.Layer` that steps as one system; None if its parameters are like any other."""
        return None

    def chosen(self, samples: int, rng: Generator | None) -> Any:
        """Which samples of a layer's inputs and signals the rule looks at (see `layers.Chosen`)."""
        return None, None

    def statistic(self, p: Any, g: Any, s: Any) -> Sum:
        """What a rule that pools contributes for this parameter, before anybody steps."""
        raise NotImplementedError(f"{type(self).__name__} pools over {self.pools_over}")


def by_name(rules: Iterable[type[Rule]]) -> dict[str, type[Rule]]:
    """Rules under the names of their modules.

    Raises:
        TypeError: a rule does not say how many laws a verdict on it rests on.
    """
    named: dict[str, type[Rule]] = {}
    for rule in rules:
        if not isinstance(getattr(rule, "required_laws", None), int):
            raise TypeError(
                f"{rule.__name__} has no required_laws: state how many laws a verdict on it rests on, "
                "beside the trajectories that are asked of every rule"
            )
        named[rule.__module__.rpartition(".")[2]] = rule
    return named
