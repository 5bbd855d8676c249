"""Frozen vectors: recorded trajectories of released code, replayed through the reference.

A file is JSON: {"schema": 1, "rule", "dialect", "dtype", "source", "cases"}. A case has `hyperparameters`, `groups`
(indices into the parameters, with overrides), `shapes`, `initial` (a flat row-major list per parameter), `steps` (each
with `grads`, null where absent, and the `params` after it) and `final_state` (the release's state, under its names).
A case of a rule that sees layers has one Conv2d instead: its `convolution`, weight and bias by name, and in each step
the layer's `input`, the `output_gradient` and the `state` after it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepgauge.properties.gauge.target import described
from stepgauge.properties.gauge.tolerance import ROUNDOFF
from stepgauge.reference import RULES, Array, Convolution, Group, Layer, Seen, init, step

SCHEMA = 1
UNITS = 8  # of roundoff, at the scale of a parameter and its displacement

# Where a release names its state otherwise than torch does.
STATE_NAMES = {"momentum": "momentum_buffer", "buffer_priorities": "keys", "buffer_sum": "sum"}


class VectorError(Exception):
    """The file cannot be read, is no vector file, or is of a rule or schema unknown here."""


@dataclass(frozen=True)
class Replay:
    """A case replayed: the worst error in units of roundoff, and where it first exceeds `UNITS` (empty if nowhere)."""

    case: str
    units: float
    divergence: str


@dataclass(frozen=True)
class Case:
    """One recorded trajectory, as arrays."""

    id: str
    groups: list[Group]
    initial: list[Array]
    gradients: list[list[Any]]
    params: list[list[Array]]
    states: Mapping[int, list[Mapping[str, Any]]]  # after the steps (from 0) for which they are recorded
    layers: Sequence[Layer] = ()
    seen: Sequence[Mapping[int, Seen]] = ()  # in each step, by the layer's weight; empty without layers


def verify(file: Path) -> list[Replay]:
    """Replay every case of a file through the reference.

    Raises:
        VectorError: see there.
    """
    document = _read(file)
    return [replay(case, document["dtype"]) for case in _cases(document)]


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise VectorError(f"cannot be read: {described(error)}") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise VectorError(f"is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise VectorError("is no vector file: it holds no object")
    if missing := [key for key in ("schema", "rule", "dialect", "dtype", "cases") if key not in document]:
        raise VectorError(f"is no vector file: it has no {missing[0]!r}")
    if document["schema"] != SCHEMA:
        raise VectorError(f"has schema {document['schema']!r}; this version reads {SCHEMA}")
    if document["rule"] not in RULES:
        raise VectorError(f"is of the rule {document['rule']!r}; known are {', '.join(RULES)}")
    if document["dtype"] not in ROUNDOFF:
        raise VectorError(f"is in {document['dtype']!r}; known are {', '.join(ROUNDOFF)}")
    return document


def _cases(document: Mapping[str, Any]) -> list[Case]:
    if not isinstance(document["cases"], list):
        raise VectorError("is corrupt: its cases are no list")
    if not document["cases"]:
        raise VectorError("has no cases")
    cases = []
    for k, recorded in enumerate(document["cases"]):
        name = recorded.get("id", f"case {k}") if isinstance(recorded, dict) else f"case {k}"
        read = _layer_case if RULES[document["rule"]].sees_layers else _case
        try:
            cases.append(read(name, recorded, document))
        except KeyError as error:
            raise VectorError(f"is corrupt: {name} has no {error}") from error
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise VectorError(f"is corrupt: {name}: {error}") from error
    return cases


def _case(name: str, recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Case:
    rule, dtype = RULES[document["rule"]], document["dtype"]
    shapes = [tuple(shape) for shape in recorded["shapes"]]

    def arrays(lists: Any) -> list[Any]:
        pairs = zip(lists, shapes, strict=True)
        return [None if x is None else np.array(x, dtype=dtype).reshape(shape) for x, shape in pairs]

    groups = []
    for group in recorded["groups"]:
        overrides = {key: value for key, value in group.items() if key != "params"}
        chosen = rule(**{**recorded["hyperparameters"], **overrides}, dialect=document["dialect"])
        groups.append(Group(chosen, group["params"]))
    states = recorded.get("final_state", [])
    members = sorted(i for group in groups for i in group.members)
    if members != list(range(len(shapes))):
        raise ValueError(f"its groups hold the parameters {members}, not 0 to {len(shapes) - 1} once each")
    return Case(
        id=name,
        groups=groups,
        initial=arrays(recorded["initial"]),
        gradients=[arrays(s["grads"]) for s in recorded["steps"]],
        params=[arrays(s["params"]) for s in recorded["steps"]],
        states={len(recorded["steps"]) - 1: states},
    )


def _layer_case(name: str, recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Case:
    """One Conv2d, whose weight is parameter 0 and whose bias is parameter 1."""
    dtype, shapes = document["dtype"], recorded["shapes"]
    rule = RULES[document["rule"]](**recorded["hyperparameters"], dialect=document["dialect"])

    def array(values: Any, shape: Any) -> Array:
        return np.array(values, dtype).reshape(shape)

    def both(values: Mapping[str, Any]) -> list[Array]:
        return [array(values[part], shapes[part]) for part in ("weight", "bias")]

    steps = recorded["steps"]
    return Case(
        id=name,
        groups=[Group(rule, [0, 1])],
        initial=both(recorded["initial"]),
        gradients=[both(s["grads"]) for s in steps],
        params=[both(s["params"]) for s in steps],
        states={t: [s["state"]["weight"], s["state"]["bias"]] for t, s in enumerate(steps)},
        layers=[Layer(0, 1, _geometry(recorded["convolution"]))],
        seen=[
            {0: Seen(array(s["input"], shapes["input"]), array(s["output_gradient"], s["output_shape"]))} for s in steps
        ],
    )


def _geometry(recorded: Mapping[str, Any]) -> Convolution:
    def pair(name: str, default: int) -> tuple[int, int]:
        value = recorded.get(name, default)
        return (value, value) if isinstance(value, int) else (value[0], value[1])

    height, width = pair("padding", 0)
    sides = ((height, height), (width, width))
    return Convolution(pair("kernel_size", 1), pair("stride", 1), sides, pair("dilation", 1))


def replay(case: Case, dtype: str) -> Replay:
    """Drive the reference through a case."""
    worst, divergence = 0.0, ""
    for place, got, expected, scale in _comparisons(case):
        error = np.max(np.abs(got - expected), initial=0.0)
        units = float(error / (ROUNDOFF[dtype] * scale)) if error else 0.0
        worst = max(worst, units) if not np.isnan(units) else np.inf
        if not units <= UNITS and not divergence:
            divergence = f"{place} is {units:.3g} units of roundoff off ({UNITS} are allowed)"
    return Replay(case.id, worst, divergence)


def _comparisons(case: Case) -> Iterator[tuple[str, Array, Array, float]]:
    """(what, got, expected, scale): the parameters after each step, and the state where it is recorded."""
    params, states = list(case.initial), init(case.groups, case.initial, case.layers)
    sizes = _sizes(case)
    for t, (grads, recorded) in enumerate(zip(case.gradients, case.params, strict=True)):
        seen = case.seen[t] if case.layers else None
        params, states = step(case.groups, params, grads, states, case.layers, seen)
        for i, (got, expected, start) in enumerate(zip(params, recorded, case.initial, strict=True)):
            yield f"parameter {i} after step {t + 1}", got, expected, _largest(expected - start) + _largest(start)
        for i, (state, fields) in enumerate(zip(states, case.states.get(t, []), strict=False)):
            for name, value in fields.items():
                got = np.asarray(_found(state, STATE_NAMES.get(name, name)))
                expected = np.reshape(np.asarray(value, dtype=np.float64), np.shape(got))
                yield f"{name} of parameter {i} after step {t + 1}", got, expected, sizes[name]


def _sizes(case: Case) -> dict[str, float]:
    """The largest number in each field of the state, over the case: what its entries were rounded beside."""
    sizes: dict[str, float] = {}
    for states in case.states.values():
        for fields in states:
            for name, value in fields.items():
                sizes[name] = max(sizes.get(name, 0.0), _largest(np.asarray(value)))
    return sizes


def _found(state: Any, name: str) -> Any:
    """The field of a state, or of a record in it."""
    if hasattr(state, name):
        return getattr(state, name)
    inner = [_found(x, name) for x in state if hasattr(x, "_fields")]
    return next((x for x in inner if x is not None), None)


def _largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))
