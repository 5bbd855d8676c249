"""Which parts of a state matter, and which never change, as long as some hyperparameters have some property."""

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

import sympy

from stepgauge.properties.gauge.strength.symbolic.algebra import Expression, Value, atom
from stepgauge.properties.gauge.strength.symbolic.joint import Case, Decisions, Run, simplified
from stepgauge.properties.gauge.strength.symbolic.values import Record

SCHEDULED = "self.lr"  # the hyperparameter that is not the same in every step


def lasting(case: Case) -> Decisions:
    """The decisions of a path that are the same in every step: about hyperparameters, but one that is scheduled."""
    return {statement: holds for statement, holds in case.path.taken.items() if _is_lasting(statement)}


def _is_lasting(statement: Expression) -> bool:
    names = {symbol.name for symbol in statement.free_symbols}
    return SCHEDULED not in names and all(name.startswith("self.") for name in names)


def fits(case: Case, given: Decisions) -> bool:
    """Whether a path may be taken where some decisions are."""
    return all(case.path.taken.get(statement, holds) is holds for statement, holds in given.items())


def parts(state: Any, name: str = "s") -> Iterator[tuple[str, Any]]:
    """The parts of a state, by the names of their symbols."""
    if isinstance(state, Record):
        for field, value in state.values.items():
            yield from parts(value, f"{name}.{field}")
    else:
        yield name, state


def differing(case: Case) -> set[str]:
    """The parts of the state in which two texts differ; "p" if they do in the parameter, or in what may raise."""
    before, after = _outcome(case.before), _outcome(case.after)
    known = case.known
    if before.keys() != after.keys() or case.before.failures(known) != case.after.failures(known):
        return {"p"}
    found = {name for name, value in before.items() if not case.equal(value, after[name])}
    # What is stored has to be such that the next step does not raise.
    return found if all(_fit(before[name], after[name]) for name in found) else {"p"}


def _outcome(run: Run) -> dict[str, Any]:
    if isinstance(run.outcome, tuple) and len(run.outcome) == 2:
        p, state = run.outcome
        return {"p": p, **dict(parts(state))}
    return dict(parts(run.outcome)) if isinstance(run.outcome, Record) else {"p": run.outcome}


def _fit(a: Any, b: Any) -> bool:
    """Whether wherever an array or a number may stand the other may, too."""
    return isinstance(a, Value) and isinstance(b, Value) and b.shape <= a.shape


def dead(found: Sequence[Case], live: Set[str]) -> set[str]:
    """The parts on which, along some paths, no later parameter depends, nor which path is taken.

    Args:
        found: the paths.
        live: parts that are read elsewhere.
    """
    reads = [read(case, run) for case in found for run in (case.before, case.after)]
    candidates = {name for parts_read in reads for name in parts_read if name != "p"} - live
    while True:
        needed = {name for parts_read in reads for part in parts_read.keys() - candidates for name in parts_read[part]}
        if not needed & candidates:
            return candidates
        candidates -= needed


def read(case: Case, run: Run) -> dict[str, Set[str]]:
    """What each part of an outcome depends on; the parameter stands for the decisions and failures, too."""
    known = case.known
    found: dict[str, Set[str]] = {}
    for name, value in _outcome(run).items():
        made = simplified(value, known) if isinstance(value, Value) else value
        found[name] = _names(run.execution.frozen(made))
    deciding = [*case.path.taken, *run.failures(known)]
    found["p"] = frozenset().union(found.get("p", ()), *map(_names, deciding))
    return found


@lru_cache(maxsize=1 << 16)
def _names(expression: Expression) -> frozenset[str]:
    return frozenset(symbol.name for symbol in expression.free_symbols)


def constant(found: Sequence[Case], first: Sequence[Any]) -> dict[str, Value]:
    """The parts that the original text never changes along some paths, where they are the same number at first."""
    starts = [dict(parts(state)) for state in first]
    return {
        name: value
        for name, value in starts[0].items()
        if isinstance(value, Value) and value.finite.is_Rational and all(start[name] == value for start in starts)
        if all(_keeps(case, name) for case in found)
    }


def may_be_constant(case: Case) -> bool:
    """Whether any part of the state is stored as it was."""
    return any(_keeps(case, name) for name in _outcome(case.before))


def _keeps(case: Case, name: str) -> bool:
    kept = _outcome(case.before).get(name)
    return (
        isinstance(kept, Value)
        and kept.is_safe
        and kept.finite in (sympy.Symbol(name), atom(sympy.Symbol(name), kept.shape).finite)
    )


def with_parts(state: Any, given: Mapping[str, Value], unknown: Set[str], name: str = "s") -> Any:
    """The state with some of its parts given, and some that may be infinite or NaN."""
    if isinstance(state, Record):
        return Record(state.kind, {f: with_parts(x, given, unknown, f"{name}.{f}") for f, x in state.values.items()})
    if name in unknown and isinstance(state, Value):
        return atom(sympy.Symbol(name), state.shape, safe=False)
    return given.get(name, state)
