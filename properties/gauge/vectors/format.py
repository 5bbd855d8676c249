"""Vectors: recorded trajectories, of released code and of the smallest problems on which a target diverged.

A file is JSON, and `schemas/vectors.schema.json` says what every key of it means. The schema is what a file is held to
in form; what it says is tested here: that arrays fit their shapes, numbers are finite, every parameter is in one group.
"""

import json
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from stepgauge.properties.gauge.errors import UsageError, describe, one_line, printable
from stepgauge.properties.gauge.files import read_text, write_whole
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import Change, ParameterGroup
from stepgauge.properties.gauge.schemas.validation import first_violation, shown
from stepgauge.properties.gauge.targets.base import NO_RULE
from stepgauge.reference import RULES, Array, Convolution, Layer, Seen

SCHEMA = 1
MALFORMED = (TypeError, ValueError, IndexError, AttributeError, OverflowError)  # what a wrong value raises in a rule
BEYOND = "it holds a number beyond float64"
BYTE_ORDER_MARK = "\ufeff"

State = Mapping[str, Array | None]  # of a parameter, under the names of who kept it; None for what does not exist yet


class VectorError(Exception):
    """A file cannot be read, is no vector file, or is of a rule or schema unknown here; or a case cannot be written."""


@dataclass(frozen=True)
class Case:
    """One recorded trajectory, in float64 whatever the precision it is about."""

    id: str
    dialect: str
    dtype: str
    problem: Problem
    params: Sequence[Sequence[Array]]  # after each step
    allowed: Sequence[Sequence[Array]] | None = None  # distances from them; None where a release was recorded
    states: Mapping[int, Sequence[State]] = field(default_factory=dict)  # after some steps (from 0)


def frozen() -> list[Path]:
    """The files that come with the package: what the authors' released code computed."""
    found = files("stepgauge.properties").joinpath("vectors").iterdir()
    return sorted(Path(str(file)) for file in found if file.name.endswith(".json"))


def export(folder: Path) -> list[Path]:
    """Copy the frozen files there; those that are there already, with the same content, stay.

    Raises:
        UsageError: a file of such a name has other content; then nothing is written.
    """
    copies = {folder / file.name: file.read_bytes() for file in frozen()}
    for copy, content in copies.items():
        if copy.exists() and not (copy.is_file() and copy.read_bytes() == content):
            raise UsageError(f"{copy} is there with other content, and is not overwritten")
    for copy, content in copies.items():
        write_whole(copy, content)
    return list(copies)


def read(file: Path) -> list[Case]:
    """The cases of a file.

    Raises:
        VectorError: see there.
    """
    document = _document(file)
    cases = []
    for k, recorded in enumerate(document["cases"]):
        name = _name(recorded, k)
        try:
            cases.append((_release_of_layer if "convolution" in recorded else _case)(name, recorded, document))
        except MALFORMED as error:
            raise VectorError(f"is corrupt: {name}: {one_line(str(error))}") from error
    return cases


def _document(file: Path) -> dict[str, Any]:
    """The file's object, as the schema has it, of a rule known here."""
    try:
        text = read_text(file)
        if text.startswith(BYTE_ORDER_MARK):
            raise VectorError("is no JSON: it begins with a byte order mark")
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unambiguous)
        _require_form(document)
    except OSError as error:
        raise VectorError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise VectorError(f"cannot be read: {describe(error)}") from error
    except json.JSONDecodeError as error:
        raise VectorError(f"is no JSON: {error}") from error
    except RecursionError as error:
        raise VectorError("is no vector file: it is nested too deeply") from error
    except ValueError as error:  # a whole number of more digits than Python converts
        raise VectorError(f"is corrupt: {BEYOND}") from error
    if document["rule"] not in (*RULES, NO_RULE):
        raise VectorError(f"is of the rule {document['rule']!r}; known are {', '.join(RULES)}")
    return dict(document)


def _refuse_constant(constant: str) -> NoReturn:
    raise VectorError(f"is no JSON: it holds {constant}")


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, which would otherwise forget all but the last value of a key."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise VectorError(f"is corrupt: an object in it has {key!r} twice")
        found[key] = value
    return found


def _require_form(document: Any) -> None:
    """Hold what was read to the schema: to its version first, because another one may differ in everything.

    Raises:
        VectorError: it departs from it; the message names the case and the place.
    """
    version = document.get("schema", SCHEMA) if isinstance(document, dict) else SCHEMA
    if version is True or version != SCHEMA:  # which 1 equals
        raise VectorError(f"has schema {shown(version)}; this version reads {SCHEMA}")
    violation = first_violation("vectors", document)
    match violation:
        case None:
            return
        case ((), complaint):
            raise VectorError(f"is no vector file: {complaint}")
        case (("cases", int(k), *path), complaint):
            where = [_name(document["cases"][k], k), *([_place(path)] if path else [])]
            raise VectorError(f"is corrupt: {': '.join(where)}: {complaint}")
        case (path, complaint):
            raise VectorError(f"is corrupt: {_place(path)}: {complaint}")


def _name(recorded: Any, k: int) -> str:
    """What a case is called, also one that is malformed."""
    name = recorded.get("id") if isinstance(recorded, dict) else None
    return printable(name) if isinstance(name, str) else f"case {k}"


def _place(path: Sequence[str | int]) -> str:
    """Keys as Python would write them down.

    >>> _place(["steps", 3, "grads", 0])
    'steps[3].grads[0]'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return printable(text.removeprefix("."))


def _case(name: str, recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Case:
    shapes, steps = recorded["shapes"], recorded["steps"]
    schedule = _array(recorded.get("schedule", [1.0]), "schedule")
    layers = tuple(_layer(layer) for layer in recorded.get("layers", []))
    problem = Problem(
        rule=document["rule"],
        groups=tuple(_groups(recorded, document)),
        initial=_arrays(recorded["initial"], shapes, "initial"),
        gradients=[_gradients(s["grads"], shapes, f"steps[{t}].grads") for t, s in enumerate(steps)],
        maximize=recorded.get("maximize", False),
        schedule=tuple(schedule.tolist()),
        changes=tuple(_changes(recorded, document)),
        in_place=recorded.get("in_place", False),
        layers=layers,
        seen=_seen(layers, steps) if layers else (),
    )
    params = [_arrays(s["params"], shapes, f"steps[{t}].params") for t, s in enumerate(steps)]
    return Case(
        id=name,
        dialect=document["dialect"],
        dtype=document["dtype"],
        problem=problem,
        params=params,
        allowed=_allowed(steps, shapes, most_allowed([problem.initial, *params])),
        states={len(steps) - 1: _states(recorded.get("final_state", []), "final_state")},
    )


def _changes(recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Change]:
    """What a scheduler moves, checked as the rule does it."""
    if recorded.get("changes") and document["rule"] == NO_RULE:
        raise ValueError(f"changes: {NO_RULE} has no hyperparameters that could change")
    for change in recorded.get("changes", []):
        rule, name = RULES[document["rule"]], change["name"]
        if name not in rule.hyperparameter_names():
            raise ValueError(f"{document['rule']} has no {name} that could change")
        yield Change(int(change["step"]), name, rule.checked(name, change["value"]))


def _groups(recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[ParameterGroup]:
    """The groups with all their hyperparameters, every parameter in one of them."""
    members = [i for group in recorded["groups"] for i in group["params"]]
    if sorted(members) != list(range(len(recorded["shapes"]))):
        last = len(recorded["shapes"]) - 1
        raise ValueError(f"its groups hold the parameters {reprlib.repr(sorted(members))}, not 0 to {last} once each")
    for group in recorded["groups"]:
        overrides = {key: value for key, value in group.items() if key != "params"}
        yield _settings({**recorded["hyperparameters"], **overrides}, tuple(map(int, group["params"])), document)


def _settings(
    hyperparameters: Mapping[str, Any], members: tuple[int, ...], document: Mapping[str, Any]
) -> ParameterGroup:
    if document["rule"] == NO_RULE:
        return ParameterGroup({n: tuple(x) if isinstance(x, list) else x for n, x in hyperparameters.items()}, members)
    rule = RULES[document["rule"]](**hyperparameters, dialect=document["dialect"])
    return ParameterGroup(rule.hyperparameters(), members)


def _arrays(lists: Sequence[Any], shapes: Sequence[Any], place: str) -> list[Array]:
    """An array for each of the shapes.

    Raises:
        ValueError: they do not fit.
    """
    _require_length(lists, len(shapes), "shapes", place)
    return [_array(x, f"{place}[{i}]", shape) for i, (x, shape) in enumerate(zip(lists, shapes, strict=True))]


def _gradients(lists: Sequence[Any], shapes: Sequence[Any], place: str) -> list[Array | None]:
    """Likewise, and None where a parameter has no gradient."""
    _require_length(lists, len(shapes), "shapes", place)
    pairs = enumerate(zip(lists, shapes, strict=True))
    return [None if x is None else _array(x, f"{place}[{i}]", shape) for i, (x, shape) in pairs]


def _require_length(lists: Sequence[Any], length: int, of: str, place: str) -> None:
    if len(lists) != length:
        raise ValueError(f"{place}: it has {len(lists)} items, and there are {length} {of}")


def _array(numbers: Any, place: str, shape: Sequence[int] | None = None) -> Array:
    """Numbers, in float64; recorded end to end if a shape is given.

    Raises:
        ValueError: they are not finite, or do not fit the shape.
    """
    try:
        array = np.array(numbers, np.float64)
    except OverflowError:  # of a whole number
        raise ValueError(f"{place}: {BEYOND}") from None
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{place}: {BEYOND}")
    if shape is None:
        return array
    if array.size != math.prod(shape):
        raise ValueError(f"{place}: {array.size} numbers do not fit the shape {shown(shape)}")
    return array.reshape([int(length) for length in shape])


def most_allowed(params: Sequence[Sequence[Array]]) -> float:
    """The most that an allowance may be beside these parameters: whatever computes some such numbers is within it."""
    return 2 * max((float(np.max(np.abs(p), initial=0.0)) for now in params for p in now), default=0.0)


def _allowed(steps: Sequence[Mapping[str, Any]], shapes: Sequence[Any], most: float) -> list[list[Array]] | None:
    """How far rounding may lead, in every step; None if no step says it."""
    if not any("allowed" in s for s in steps):
        return None
    allowed = []
    for t, s in enumerate(steps):
        if "allowed" not in s:
            raise ValueError(f"steps[{t}]: it has no 'allowed', which other steps have")
        allowed.append(_arrays(s["allowed"], shapes, f"steps[{t}].allowed"))
        if any(np.any(x < 0) for x in allowed[-1]):
            raise ValueError(f"steps[{t}].allowed: it allows less than nothing")
        largest = max((float(np.max(x, initial=0.0)) for x in allowed[-1]), default=0.0)
        if largest > most:
            raise ValueError(f"steps[{t}].allowed: it allows {largest:g}, so that anything would agree")
    return allowed


def _states(recorded: Sequence[Mapping[str, Any]], place: str) -> list[State]:
    return [
        {n: None if x is None else _array(x, f"{place}[{i}].{n}") for n, x in fields.items()}
        for i, fields in enumerate(recorded)
    ]


def _layer(recorded: Mapping[str, Any]) -> Layer:
    geometry = recorded["geometry"]
    if geometry is None:
        return Layer(recorded["weight"], recorded["bias"])
    pairs = {name: tuple(geometry[name]) for name in ("kernel", "stride", "dilation")}
    (top, bottom), (left, right) = geometry["padding"]
    padding = ((top, bottom), (left, right))
    return Layer(recorded["weight"], recorded["bias"], Convolution(**pairs, padding=padding, groups=geometry["groups"]))


def _seen(layers: Sequence[Layer], steps: Sequence[Mapping[str, Any]]) -> list[dict[int, Seen]]:
    """What the layers saw in each step, under the indices of their weights."""
    seen: list[dict[int, Seen]] = []
    for t, s in enumerate(steps):
        if "seen" not in s:
            raise ValueError(f"steps[{t}]: it has no 'seen', and there are layers")
        place = f"steps[{t}].seen"
        _require_length(s["seen"], len(layers), "layers", place)
        now = enumerate(zip(layers, s["seen"], strict=True))
        seen.append({layer.weight: _seen_by(x, f"{place}[{i}]") for i, (layer, x) in now if x is not None})
    return seen


def _seen_by(recorded: Mapping[str, Any], place: str) -> Seen:
    return Seen(
        _array(recorded["input"], f"{place}.input", recorded["input_shape"]),
        _array(recorded["output_gradient"], f"{place}.output_gradient", recorded["output_shape"]),
    )


def _release_of_layer(name: str, recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Case:
    """One Conv2d, whose weight is parameter 0 and whose bias is parameter 1."""
    shapes, steps = recorded["shapes"], recorded["steps"]

    def both(values: Mapping[str, Any], place: str) -> list[Array]:
        return [_array(values[part], f"{place}.{part}", shapes[part]) for part in ("weight", "bias")]

    problem = Problem(
        rule=document["rule"],
        groups=(_settings(recorded["hyperparameters"], (0, 1), document),),
        initial=both(recorded["initial"], "initial"),
        gradients=[both(s["grads"], f"steps[{t}].grads") for t, s in enumerate(steps)],
        layers=(Layer(0, 1, _geometry(recorded["convolution"])),),
        seen=[{0: _seen_by({**s, "input_shape": shapes["input"]}, f"steps[{t}]")} for t, s in enumerate(steps)],
    )
    states = {t: _states([s["state"]["weight"], s["state"]["bias"]], f"steps[{t}].state") for t, s in enumerate(steps)}
    params = [both(s["params"], f"steps[{t}].params") for t, s in enumerate(steps)]
    return Case(name, document["dialect"], document["dtype"], problem, params, states=states)


def _geometry(recorded: Mapping[str, Any]) -> Convolution:
    def pair(name: str, default: int) -> tuple[int, int]:
        value = recorded.get(name, default)
        return (value[0], value[1]) if isinstance(value, list) else (value, value)

    height, width = pair("padding", 0)
    sides = ((height, height), (width, width))
    return Convolution(pair("kernel_size", 1), pair("stride", 1), sides, pair("dilation", 1))


def write(case: Case, source: Mapping[str, Any], file: Path) -> None:
    """Write a file of one case; see `write_all`."""
    write_all([case], source, file)


def write_all(cases: Sequence[Case], source: Mapping[str, Any], file: Path) -> None:
    """Write a file of cases that have rule, dialect and precision in common, as `read` reads it.

    `source` says where they come from.

    Raises:
        VectorError: a number in it is not finite, which JSON does not have.
    """
    first = cases[0]
    about = {"rule": first.problem.rule, "dialect": first.dialect, "dtype": first.dtype, "source": source}
    document = {"schema": SCHEMA, **about, "cases": [_recorded(case) for case in cases]}
    try:
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise VectorError("it holds a number that is not finite") from error
    write_whole(file, f"{text}\n")


def _recorded(case: Case) -> dict[str, Any]:
    problem = case.problem
    first = problem.groups[0].hyperparameters
    groups = [
        {"params": list(members), **{n: v for n, v in hyperparameters.items() if v != first[n]}}
        for hyperparameters, members in problem.groups
    ]
    return {
        "id": case.id,
        "hyperparameters": dict(first),
        "groups": groups,
        "maximize": problem.maximize,
        "schedule": list(problem.schedule),
        "changes": [change._asdict() for change in problem.changes],
        "in_place": problem.in_place,
        "shapes": [p.shape for p in problem.initial],
        "initial": _flat(problem.initial),
        "layers": [
            {**layer._asdict(), "geometry": layer.geometry and asdict(layer.geometry)} for layer in problem.layers
        ],
        "steps": [_recorded_step(case, t) for t in range(len(case.params))],
        "final_state": [
            {name: np.ravel(np.asarray(x)).tolist() for name, x in fields.items()}
            for fields in case.states.get(len(case.params) - 1, [])
        ],
    }


def _recorded_step(case: Case, t: int) -> dict[str, Any]:
    step: dict[str, Any] = {"grads": _flat(case.problem.gradients[t]), "params": _flat(case.params[t])}
    if case.allowed is not None:
        step["allowed"] = _flat(case.allowed[t])
    if case.problem.layers:
        now = case.problem.seen[t]
        step["seen"] = [
            _recorded_seen(now[layer.weight]) if layer.weight in now else None for layer in case.problem.layers
        ]
    return step


def _recorded_seen(seen: Seen) -> dict[str, Any]:
    (inputs, signals), (input_shape, output_shape) = _flat(seen), (x.shape for x in seen)
    return {"input": inputs, "input_shape": input_shape, "output_gradient": signals, "output_shape": output_shape}


def _flat(arrays: Sequence[Array | None]) -> list[list[float] | None]:
    return [None if x is None else x.ravel().tolist() for x in arrays]
