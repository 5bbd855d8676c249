"""What a text computes with when it is executed on symbols: beside Python's own values, those of this module."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import sympy

from stepgauge.properties.gauge.strength.symbolic.algebra import COUNT, SCALAR, Expression, Shape, Value, atom
from stepgauge.reference import Array
from stepgauge.reference.rule import Generator

ANY_SHAPE = sympy.Function("any shape")
BOUND = "each "  # how the names of symbols begin that stand for the items of a loop


class NotUnderstood(Exception):
    """The text does something of which it is not known what it computes, so nothing is said of it."""


class Refused(Exception):
    """The text raises an exception, as it says."""


class Broken(Exception):
    """Python would raise an exception, such as at a number added to None."""


@dataclass(frozen=True)
class Condition:
    """What is true or false, for an array in every entry."""

    statement: Expression
    negated: bool = False
    shape: Shape = SCALAR


@dataclass(frozen=True)
class Text:
    """A string that is not known."""

    name: Expression


@dataclass(frozen=True)
class Record:
    """An instance of a named tuple or a dataclass."""

    kind: type
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Items:
    """A tuple of which it is not known how many items it has, and the annotation of an item."""

    name: Expression
    annotation: Any = Any


@dataclass(frozen=True)
class Either:
    """A value of one of several types, which is not known: for each annotation what it is then."""

    name: Expression
    values: Mapping[Any, Any]


@dataclass(frozen=True)
class Closure:
    """A lambda and the names that it sees."""

    function: ast.Lambda
    names: Mapping[str, Any]
    module: Mapping[str, Any]


@dataclass(frozen=True)
class Extents:
    """The shape of an array whose number of dimensions is not known."""

    of: Shape


@dataclass(frozen=True)
class Precision:
    """The dtype of an array, which decides on nothing but rounding."""


@dataclass(frozen=True)
class Random:
    """A generator of random numbers: what it is given to is not the same twice."""


@dataclass(frozen=True)
class Method:
    """A function of a class, of one of its instances."""

    function: Any
    owner: Any


def symbol(annotation: Any, name: Expression, *, safe: bool = False) -> Any:
    """What is known of a value from its annotation; `safe` if what is not finite is not asked of it."""
    if annotation == Array:
        return atom(name, frozenset({sympy.Function("shape")(name)}), safe=safe)
    if annotation is float:
        return atom(name, safe=safe)
    if annotation is int:
        return atom(name, facts=COUNT)  # every integer of the reference counts something
    if annotation is bool:
        return Condition(name)
    if annotation is str:
        return Text(name)
    if annotation is Generator or Generator in get_args(annotation):
        return Random()
    if get_origin(annotation) in (Union, UnionType):
        kinds = {kind: None if kind is type(None) else symbol(kind, name, safe=safe) for kind in get_args(annotation)}
        return Either(name, kinds)
    if get_origin(annotation) is tuple:
        return _tuple(get_args(annotation), name, safe=safe)
    if isinstance(annotation, type) and (hasattr(annotation, "_fields") or is_dataclass(annotation)):
        return record(annotation, name, safe=safe)
    return opaque(name)


def _tuple(annotations: tuple[Any, ...], name: Expression, *, safe: bool) -> Any:
    if annotations[-1] is Ellipsis:
        return Items(name, annotations[0])
    return tuple(symbol(a, sympy.Function("item")(name, k), safe=safe) for k, a in enumerate(annotations))


def opaque(name: Expression) -> Value:
    """A value of which nothing is known, not even whether it is an array."""
    return atom(name, frozenset({ANY_SHAPE(name)}), safe=False)


def record(kind: type, name: Expression, *, safe: bool = False) -> Record:
    """An instance whose fields are not known but for their annotations."""
    hints = get_type_hints(kind)
    return Record(kind, {f: symbol(hints[f], part(name, f), safe=safe) for f in fields_of(kind)})


def fields_of(kind: type) -> tuple[str, ...]:
    """The fields of a named tuple or a dataclass, in the order of the arguments that make one."""
    named: Any = kind
    if hasattr(kind, "_fields"):
        return tuple(named._fields)
    return tuple(f.name for f in sorted(fields(named), key=lambda f: bool(f.kw_only)))


def part(name: Expression, field: str) -> Expression:
    """A field of something; of a symbol, one that prints as in the text."""
    return sympy.Symbol(f"{name}.{field}") if name.is_Symbol else sympy.Function(f".{field}")(name)
