"""Vectors: recorded trajectories, of released code and of the smallest problems on which a target diverged.

A file is JSON: {"schema": 1, "rule", "dialect", "dtype", "source", "cases"}. A case has `hyperparameters`, `groups`
(indices into the parameters, with overrides), `shapes`, `initial` (a flat row-major list per parameter), `steps` (each
with `grads`, null where absent, and the `params` after it) and `final_state` (the release's state, under its names).
It may have `maximize`, a `schedule` (factors of lr, over and over) and, in each step, how far from `params` rounding
may lead: `allowed`. It may have `layers` (weight, bias or null, geometry or null), and then `seen` in each step: for
every layer its `input` and `output_gradient` with their shapes, null where it is absent.

The released code of a rule that sees layers was recorded on one Conv2d: its `convolution`, weight and bias by name, and
in each step the layer's `input`, the `output_gradient` and the `state` after it.
"""

import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from stepgauge.properties.gauge.errors import UsageError, describe
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.tolerance.envelope import ROUNDOFF
from stepgauge.reference import RULES, Array, Convolution, Layer, Seen

SCHEMA = 1
MALFORMED = (TypeError, ValueError, IndexError, AttributeError, OverflowError)  # what reading a wrong value raises


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
    states: Mapping[int, Sequence[Mapping[str, Array]]] = field(default_factory=dict)  # after some steps (from 0)


def frozen() -> list[Path]:
    """The files that come with the package: what the authors' released code computed."""
    found = files("stepgauge.properties").joinpath("vectors").iterdir()
    return sorted(Path(str(file)) for file in found if file.name.endswith(".json"))


def export(folder: Path) -> list[Path]:
    """Copy the frozen files there; those that are there already, with the same content, stay.

    Raises:
        UsageError: a file of such a name has other content; then nothing is written.
    """
    copy_modules = {folder / file.name: file.read_bytes() for file in frozen()}
    for copy, content in copy_modules.items():
        if copy.exists() and not (copy.is_file() and copy.read_bytes() == content):
            raise UsageError(f"{copy} is there with other content, and is not overwritten")
    for copy, content in copy_modules.items():
        copy.write_bytes(content)
    return list(copy_modules)


def read(file: Path) -> list[Case]:
    """The cases of a file.

    Raises:
        VectorError: see there.
    """
    document = _document(file)
    if not isinstance(document["cases"], list):
        raise VectorError("is corrupt: its cases are no list")
    if not document["cases"]:
        raise VectorError("has no cases")
    cases = []
    for k, recorded in enumerate(document["cases"]):
        name = str(recorded.get("id", f"case {k}")) if isinstance(recorded, dict) else f"case {k}"
        try:
            cases.append((_release_of_layer if "convolution" in recorded else _case)(name, recorded, document))
        except KeyError as error:
            raise VectorError(f"is corrupt: {name} has no {error}") from error
        except MALFORMED as error:
            raise VectorError(f"is corrupt: {name}: {error}") from error
    return cases


def _document(file: Path) -> dict[str, Any]:
    """The file's object, of a schema, rule and precision known here."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, UnicodeDecodeError) as error:
        raise VectorError(f"cannot be read: {describe(error)}") from error
    except (ValueError, RecursionError) as error:
        raise VectorError(f"is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise VectorError("is no vector file: it holds no object")
    if missing := [key for key in ("schema", "rule", "dialect", "dtype", "cases") if key not in document]:
        raise VectorError(f"is no vector file: it has no {missing[0]!r}")
    if document["schema"] is True or document["schema"] != SCHEMA:  # which 1 equals
        raise VectorError(f"has schema {document['schema']!r}; this version reads {SCHEMA}")
    if document["rule"] not in list(RULES):
        raise VectorError(f"is of the rule {document['rule']!r}; known are {', '.join(RULES)}")
    if not (isinstance(document["dialect"], str) and document["dialect"]):
        known = ", ".join(RULES[document["rule"]].dialects)
        raise VectorError(f"is in the dialect {document['dialect']!r}; known are {known}")
    if document["dtype"] not in list(ROUNDOFF):
        raise VectorError(f"is in {document['dtype']!r}; known are {', '.join(ROUNDOFF)}")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")


def _case(name: str, recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Case:
    shapes = recorded["shapes"]

    def arrays(lists: Any) -> list[Array]:
        return [_array(x, shape) for x, shape in zip(lists, shapes, strict=True)]

    def gradients(lists: Any) -> list[Array | None]:
        return [None if x is None else _array(x, shape) for x, shape in zip(lists, shapes, strict=True)]

    steps, maximize = recorded["steps"], recorded.get("maximize", False)
    schedule = _array(recorded.get("schedule", [1.0])).ravel()
    if not (steps and schedule.size):
        raise ValueError("it has no steps, or no factor of lr in them")
    if not isinstance(maximize, bool):
        raise ValueError(f"maximize is {maximize!r}, neither true nor false")
    allowed = [arrays(s["allowed"]) for s in steps] if "allowed" in steps[0] else None
    if any(np.any(x < 0) for now in allowed or [] for x in now):
        raise ValueError("it allows less than nothing")
    layers = [_layer(layer) for layer in recorded.get("layers", [])]
    problem = Problem(
        rule=document["rule"],
        groups=tuple(_groups(recorded, document)),
        initial=arrays(recorded["initial"]),
        gradients=[gradients(s["grads"]) for s in steps],
        maximize=maximize,
        schedule=tuple(schedule.tolist()),
        layers=tuple(layers),
        seen=[_seen(layers, s["seen"]) for s in steps] if layers else (),
    )
    final = [{n: _array(x) for n, x in fields.items()} for fields in recorded.get("final_state", [])]
    return Case(
        id=name,
        dialect=document["dialect"],
        dtype=document["dtype"],
        problem=problem,
        params=[arrays(s["params"]) for s in steps],
        allowed=allowed,
        states={len(steps) - 1: final},
    )


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
    rule = RULES[document["rule"]](**hyperparameters, dialect=document["dialect"])
    return ParameterGroup(rule.hyperparameters(), members)


def _array(values: Any, shape: Any = None) -> Array:
    """Numbers, in float64; recorded end to end if a shape is given.

    Raises:
        ValueError: they are no numbers, are not finite, or do not fit the shape.
    """
    array = np.array(values)
    if array.size and array.dtype.kind not in "iuf":
        raise ValueError(f"{values!r:.40} should be numbers")
    if not np.all(np.isfinite(array)):
        raise ValueError("it holds a number beyond float64")
    if shape is not None and min(shape, default=0) < 0:
        raise ValueError(f"there is no shape {shape}")
    return array.astype(np.float64) if shape is None else array.astype(np.float64).reshape(shape)


def _layer(recorded: Mapping[str, Any]) -> Layer:
    geometry = recorded["geometry"]
    if geometry is None:
        return Layer(recorded["weight"], recorded["bias"])
    pairs = {name: tuple(geometry[name]) for name in ("kernel", "stride", "dilation")}
    (top, bottom), (left, right) = geometry["padding"]
    padding = ((top, bottom), (left, right))
    return Layer(recorded["weight"], recorded["bias"], Convolution(**pairs, padding=padding, groups=geometry["groups"]))


def _seen(layers: Sequence[Layer], recorded: Any) -> dict[int, Seen]:
    """What the layers saw in one step, under the indices of their weights."""
    return {
        layer.weight: Seen(_array(s["input"], s["input_shape"]), _array(s["output_gradient"], s["output_shape"]))
        for layer, s in zip(layers, recorded, strict=True)
        if s is not None
    }


def _release_of_layer(name: str, recorded: Mapping[str, Any], document: Mapping[str, Any]) -> Case:
    """One Conv2d, whose weight is parameter 0 and whose bias is parameter 1."""
    shapes, steps = recorded["shapes"], recorded["steps"]

    def both(values: Mapping[str, Any]) -> list[Array]:
        return [_array(values[part], shapes[part]) for part in ("weight", "bias")]

    problem = Problem(
        rule=document["rule"],
        groups=(_settings(recorded["hyperparameters"], (0, 1), document),),
        initial=both(recorded["initial"]),
        gradients=[both(s["grads"]) for s in steps],
        layers=(Layer(0, 1, _geometry(recorded["convolution"])),),
        seen=[
            {0: Seen(_array(s["input"], shapes["input"]), _array(s["output_gradient"], s["output_shape"]))}
            for s in steps
        ],
    )
    states = {
        t: [{n: _array(x) for n, x in s["state"][part].items()} for part in ("weight", "bias")]
        for t, s in enumerate(steps)
    }
    params = [both(s["params"]) for s in steps]
    return Case(name, document["dialect"], document["dtype"], problem, params, states=states)


def _geometry(recorded: Mapping[str, Any]) -> Convolution:
    def pair(name: str, default: int) -> tuple[int, int]:
        value = recorded.get(name, default)
        return (value, value) if isinstance(value, int) else (value[0], value[1])

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
    file.write_text(f"{text}\n", encoding="utf-8")


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
        "shapes": [p.shape for p in problem.initial],
        "initial": _flat(problem.initial),
        "layers": [
            {**layer._asdict(), "geometry": layer.geometry and asdict(layer.geometry)} for layer in problem.layers
        ],
        "steps": [_recorded_step(case, t) for t in range(len(case.params))],
        "final_state": [
            {name: x.ravel().tolist() for name, x in fields.items()}
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
