"""The published schemas: valid themselves, and true of what the project writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.schemas.published import SCHEMAS, schema_text
from stepgauge.properties.gauge.schemas.validation import first_violation
from stepgauge.properties.gauge.vectors.format import frozen, write
from stepgauge.properties.gauge.vectors.saved_divergence import record_case
from stepgauge.reference import SGD


def _validator(name: str) -> Draft202012Validator:
    """What a stranger has: the published file and jsonschema as it comes."""
    return Draft202012Validator(json.loads(schema_text(name)))


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid(name: str) -> None:
    Draft202012Validator.check_schema(json.loads(schema_text(name)))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_described(name: str) -> None:
    schema = json.loads(schema_text(name))
    fields = dict(_fields(schema))
    assert len(fields) > 20
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
