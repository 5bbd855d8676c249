"""What is known of a rule, and of what the driver gives it, before any of it is computed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from inspect import getattr_static
from types import FunctionType
from typing import Any, get_args, get_type_hints

import sympy

from stepgauge.properties.gauge.edits.editable_source import EditableSource
from stepgauge.properties.gauge.strength.symbolic.algebra import COUNT, Expression, Fact, Value, atom
from stepgauge.properties.gauge.strength.symbolic.execution import Execution, Trees
from stepgauge.properties.gauge.strength.symbolic.operations import Following
from stepgauge.properties.gauge.strength.symbolic.path import Path
from stepgauge.properties.gauge.strength.symbolic.values import Either, Record, Refused, fields_of, symbol
from stepgauge.reference import Array, Rule, Sum
from stepgauge.reference.hyperparameters import Range

SHAPE = frozenset({sympy.Symbol("the parameter's shape")})
SMALLEST = 5e-324  # of the positive floats


def arguments_of(
    function: FunctionType, source: EditableSource, dialect: str, trees: Trees
) -> Iterator[dict[str, Any]]:
    """What a function may be called with, by name: a rule's with what the driver gives, any other with anything."""
    owner = owner_of(function, source)
    parameters = [a.arg for a in trees[function.__module__, function.__qualname__].args.args]
    hints = get_type_hints(function)
    known: Iterator[Mapping[str, Any]] = iter([{} if owner is None else {"self": symbol(owner, sympy.Symbol("self"))}])
    if owner is not None and issubclass(owner, Rule):
        known = _given(instance(owner, dialect if owner is source.rule else owner.dialects[0]), hints.get("g"), trees)
    for given in known:
        yield {p: given[p] if p in given else symbol(hints.get(p), sympy.Symbol(p)) for p in parameters}


def owner_of(function: FunctionType, source: EditableSource) -> Any:
    """The class whose instances a function is called on: the rule itself for what it inherits."""
    name, _, _ = function.__qualname__.rpartition(".")
    module = source.modules.get(function.__module__)
    owner = getattr(module, name) if name and module else Rule if name == "Rule" else None
    return source.rule if owner and issubclass(source.rule, owner) else owner


def instance(kind: type[Rule], dialect: str) -> Record:
    """A rule with any hyperparameters that are in range."""
    values = {name: _hyperparameter(kind, name) for name in kind.hyperparameter_names()}
    return Record(kind, {name: values.get(name, dialect) for name in fields_of(kind)})


def _hyperparameter(kind: type[Rule], name: str) -> Any:
    annotation, facts = get_type_hints(kind)[name], facts_of(kind.hyperparameter(name).allowed)
    if annotation is float:
        return atom(sympy.Symbol(f"self.{name}"), facts=facts)
    if annotation is int:
        return atom(sympy.Symbol(f"self.{name}"), facts=facts | COUNT)
    if annotation == tuple[float, float]:
        return tuple(atom(sympy.Symbol(f"self.{name}[{k}]"), facts=facts) for k in range(2))
    return symbol(annotation, sympy.Symbol(f"self.{name}"))


@cache
def facts_of(allowed: Range) -> frozenset[Fact]:
    """What a range says of the numbers in it, told by its ends: it is an interval."""
    try:
        if not (allowed.holds(0.5) or allowed.holds(1)):
            return frozenset()
        true: dict[Fact, bool] = {
            "nonnegative": not allowed.holds(-SMALLEST),
            "nonzero": not allowed.holds(0),
            "below one": not allowed.holds(1),
        }
    except TypeError:  # a range of texts
        return frozenset()
    return frozenset(fact for fact, holds in true.items() if holds)


def _given(rule: Record, gradient: Any, trees: Trees) -> Iterator[dict[str, Any]]:
    """What the driver gives a rule; with layers, for a parameter that is none's, and for a layer."""
    p, g = atom(sympy.Symbol("p"), SHAPE), atom(sympy.Symbol("g"), SHAPE)
    layers = [a for a in get_args(gradient) if hasattr(a, "_fields")] or (
        [gradient] if hasattr(gradient, "_fields") else []
    )
    gradients: list[Any] = [] if layers == [gradient] else [g]
    for layer in layers:
        seen = symbol(layer, sympy.Symbol("g"), safe=True)
        gradients.append(Record(seen.kind, {**seen.values, "grad": atom(sympy.Symbol("g.grad"), SHAPE)}))
    state = _like(initial_states(rule, p, trees), None, "s")
    kind: type[Rule] = rule.kind
    pooled = None if kind.pools_over == "nothing" else symbol(Sum, sympy.Symbol("pooled"), safe=True)
    for known in gradients:
        yield {"self": rule, "p": p, "g": known, "s": state, "pooled": pooled}


def initial_states(rule: Record, p: Value, trees: Trees) -> list[Any]:
    """What `init` makes, on every path on which it refuses nothing."""
    found: list[Any] = []
    following = Following(frozenset(), trees.keys())
    pending: list[dict[Expression, bool]] = [{}]
    while pending:
        path = Path(pending.pop())
        with suppress(Refused):
            found.append(Execution(path, trees, following).run(getattr_static(rule.kind, "init"), [rule, p]))
        pending += path.open()
    return found


def _like(first: Sequence[Any], annotation: Any, name: str) -> Any:
    """A part of a state, from what it may be at first and its annotation."""
    held, value = sympy.Symbol(name), first[0]
    if isinstance(value, Record):
        hints = get_type_hints(value.kind)
        parts = {f: _like([x.values[f] for x in first], hints[f], f"{name}.{f}") for f in value.values}
        return Record(value.kind, parts)
    shapes = {x.shape for x in first if isinstance(x, Value)}
    if len(shapes) == 1 and annotation in (Array, Array | None):
        filled = atom(held, *shapes)
        return filled if all(isinstance(x, Value) for x in first) else Either(held, {type(None): None, Array: filled})
    if value is None and annotation == Array | None:  # then an array like the parameter
        return Either(held, {type(None): None, Array: atom(held, SHAPE)})
    return symbol(annotation, held, safe=True)
