"""The published schemas: valid themselves, and true of what the project writes."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from stepgauge.properties.gauge.checks.comparison import compare
from stepgauge.properties.gauge.checks.options import DTYPES, LEVELS
from stepgauge.properties.gauge.checks.results import Category, Result, Status
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.edits.editable_source import Hunk
from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.reports.json import write_json
from stepgauge.properties.gauge.schemas.published import SCHEMAS, schema_text
from stepgauge.properties.gauge.schemas.validation import first_violation, registry
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.vectors.format import frozen, write
from stepgauge.properties.gauge.vectors.saved_divergence import record_case
from stepgauge.properties.gauge.verdicts.record import Diagnosis, Verdict
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.meta.misreadings import frog
from stepgauge.reference import SGD


def _validator(name: str) -> Draft202012Validator:
    """What a stranger has: the published file and jsonschema as it comes."""
    return Draft202012Validator(json.loads(schema_text(name)), registry=registry())


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(schema_text(name)))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_described(name: str) -> None:
    schema = json.loads(schema_text(name))
    fields = dict(_fields(schema))
    assert len(fields) > 5
    assert [field for field, said in fields.items() if not _description(said, schema)] == []


def _fields(schema: Any, path: str = "") -> Any:
    """Every property that a schema names, and what it says of it."""
    if isinstance(schema, dict):
        for name, said in schema.get("properties", {}).items():
            yield f"{path}.{name}", said
        for key, value in schema.items():
            yield from _fields(value, f"{path}.{key}")


def _description(said: Any, schema: Any) -> str:
    """That of a property, or of the definition that it refers to."""
    definition = schema["$defs"].get(said.get("$ref", "").removeprefix("#/$defs/"), {})
    return str(said.get("description", "") or definition.get("description", "") or said.get("title", ""))


@pytest.mark.parametrize("file", frozen(), ids=lambda file: file.stem)
def test_frozen_vectors_are_valid(file: Path) -> None:
    _validator("vectors").validate(json.loads(file.read_text()))


@pytest.fixture
def document(tmp_path: Path) -> Any:
    """What is written of a small problem."""
    group = ParameterGroup(SGD(lr=0.1).hyperparameters(), (0,))
    case = record_case(Problem("sgd", (group,), [np.zeros(2)], [[np.ones(2)]]), "torch", "float64", "small")
    write(case, {"note": "small"}, tmp_path / "small.json")
    return json.loads((tmp_path / "small.json").read_text())


@pytest.mark.parametrize("wrong", [None, True, "1", [], [1.0], {}, 1, -1.5, 10**30])
def test_lists_of_numbers_are_held_to_the_schema_in_one_pass(wrong: Any, document: Any) -> None:
    """With the result that jsonschema has item by item."""
    document["cases"][0]["initial"][0][1] = wrong
    expected = [tuple(error.absolute_path) for error in _validator("vectors").iter_errors(document)]
    violation = first_violation("vectors", document)
    assert ([violation.path] if violation else []) == expected


OPTIMIZERS = """
import torch

class NoLookAhead(torch.optim.SGD):
    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
        super().__init__(params, lr, momentum, dampening, weight_decay)

class NaNFromThirdStep(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        for p in (p for group in self.param_groups for p in group["params"] if self.steps >= 3):
            p.data.fill_(float("nan"))

class Drifts(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        super().step(closure)
        Drifts.steps += 1
        for p in (p for group in self.param_groups for p in group["params"]):
            p.data.add_(Drifts.steps)
"""


@pytest.fixture
def optimizers(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "optimizers.py"
    file.write_text(OPTIMIZERS)
    yield str(file)
    sys.modules.pop("optimizers", None)


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (("torch.optim:SGD",), "conforms"),
        (("{}:NoLookAhead", "--rule", "sgd", "--only", "trajectory/*"), "diverges"),
        (("{}:NaNFromThirdStep", "--rule", "sgd", "--only", "trajectory/*", "--no-diagnosis"), "diverges"),
        (("{}:NaNFromThirdStep", "--rule", "sgd", "--only", "law/*"), "diverges"),
        (("torch.optim:SGD", "--only", "contract/*"), "not-established"),
        (("no.such:SGD",), "error"),
        (("{}:NoLookAhead",), "error"),
        (("torch.optim:Adam", "--rule", "none"), "conforms"),
        (("{}:Drifts", "--rule", "none"), "diverges"),
        (("{}:NaNFromThirdStep", "--rule", "none"), "not-established"),
    ],
)
def test_reports_are_valid(arguments: tuple[str, ...], verdict: str, optimizers: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    main(["check", *(a.format(optimizers) for a in arguments), "--level", "quick", "--json", str(file)])
    report = json.loads(file.read_text())
    assert [result["verdict"] for result in report["results"]] == [verdict]
    _described("report").validate(report)
    cause_was_sought = verdict == "diverges" and "NoLookAhead" in arguments[0]
    assert bool(report["results"][0]["diagnosis"]) == cause_was_sought


def test_report_on_layers_is_valid(tmp_path: Path) -> None:
    ports = "stepgauge.properties.meta.misreadings.frog"
    target = make_target(f"{ports}:FrogNoRoot", frog.FrogNoRoot, "frog")
    (recipe,) = problems_of("frog", 1, 0, fixed={}, maximize=True, only={"random"})
    smallest = compare(target, expand(recipe), "float64", ["published"])
    diagnosis = Diagnosis(smallest, {}, [Hunk("reference/frog.py", 1, "a", "b")], confirmed_on=3)
    place = smallest.divergences["published"]
    write_json([Report("some", "frog", Verdict.DIVERGES, divergence=place, diagnosis=diagnosis)], tmp_path / "a.json")
    report = json.loads((tmp_path / "a.json").read_text())
    _described("report").validate(report)
    assert report["results"][0]["divergence"]["problem"]["layers"]


def _described(name: str) -> Draft202012Validator:
    """A validator that refuses what the schema does not describe."""
    return Draft202012Validator(_closed(json.loads(schema_text(name))))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return {"additionalProperties": False, **closed} if "properties" in schema else closed


def test_what_json_does_not_have_is_null_or_printed(tmp_path: Path) -> None:
    """The rest of what a user may set, as Python prints it."""
    coverage = {"set": {"a": b"x", "b": 1j, "c": {1: (2, float("nan"))}}}
    result = Result("law/some", Category.LAW, Status.FAIL, error=float("inf"), allowed=float("nan"))
    file = tmp_path / "report.json"
    write_json([Report("some", "none", Verdict.DIVERGES, results=[result], coverage=coverage)], file)
    report = json.loads(file.read_text())
    _described("report").validate(report)
    (written,) = report["results"]
    assert written["coverage"]["set"] == {"a": "b'x'", "b": "1j", "c": {"1": [2, None]}}
    assert (written["checks"][0]["error"], written["checks"][0]["allowed"]) == (None, None)


@pytest.mark.parametrize(
    ("name", "definition", "field", "values"),
    [
        ("report", "result", "verdict", Verdict),
        ("report", "check", "category", Category),
        ("report", "check", "status", Status),
        ("report", "coverage", "level", LEVELS),
        ("report", "coverage", "dtype", DTYPES),
        ("vectors", "", "dtype", ("float64", "float32")),  # of NumPy
    ],
)
def test_enumerations_are_complete(name: str, definition: str, field: str, values: Iterable[str]) -> None:
    schema = json.loads(schema_text(name))
    fields = (schema["$defs"][definition] if definition else schema)["properties"]
    assert fields[field]["enum"] == list(values)


@pytest.mark.parametrize("name", SCHEMAS)
def test_command_prints_the_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["$id"] == f"urn:stepgauge:{name}:1"
