"""Documents held to a published schema, and what is wrong with one in a sentence instead of a page."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource

from stepgauge.properties.gauge.schemas.published import SCHEMAS, schema_text

LONGEST = 40  # characters of a value that a sentence has room for
KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


class Violation(NamedTuple):
    """Where a document departs from its schema, as the keys that lead there, and how."""

    path: tuple[str | int, ...]
    complaint: str


def first_violation(name: str, document: Any) -> Violation | None:
    """The first departure of a document from a published schema; None if it is valid.

    Raises:
        RecursionError: the document is nested too deeply to be shown.
    """
    error = next(_validator(name).iter_errors(document), None)
    return None if error is None else Violation(tuple(error.absolute_path), _complaint(error))


def shown(value: Any) -> str:
    """A value as JSON has it, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _items(validator: Any, items: Any, values: Any, schema: Any) -> Iterator[ValidationError]:
    """The keyword `items`, but in one pass over a list of numbers: they are nearly all of a vector file.

    A million of them take the keyword itself four seconds.
    """
    if items == {"type": "number"} and isinstance(values, list) and set(map(type, values)) <= {int, float}:
        return
    yield from Draft202012Validator.VALIDATORS["items"](validator, items, values, schema)


@cache
def _validator(name: str) -> Validator:
    kind = extend(Draft202012Validator, {"items": _items})  # type: ignore[no-untyped-call]  # the stubs leave it untyped
    validator: Validator = kind(json.loads(schema_text(name)), registry=registry())
    return validator


def registry() -> Registry[Any]:
    """The published schemas under their names, by which they refer to each other."""
    schemas = (json.loads(schema_text(name)) for name in SCHEMAS)
    return Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)


def _complaint(error: Any) -> str:  # a ValidationError, whose fields the stubs take for unset
    """What is wrong, with the value and what should stand there."""
    value, wanted = error.instance, error.validator_value
    match error.validator:
        case "required":
            missing = next(name for name in wanted if name not in value)
            return f"it has no {missing!r}"
        case "additionalProperties":
            unknown = next(name for name in value if name not in error.schema["properties"])
            return f"it has {unknown!r}, which is none of its keys: {', '.join(error.schema['properties'])}"
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return f"{shown(value)} should be {' or '.join(KINDS[kind] for kind in kinds)}"
        case "enum":
            return f"{shown(value)} should be {' or '.join(map(shown, wanted))}"
        case "minimum":
            return f"{shown(value)} should be at least {wanted}"
        case "pattern":
            return f"{shown(value)} has letters that do not print"
        case "minItems" | "minLength" if wanted == 1:
            return f"{shown(value)} should not be empty"
        case _:
            return error.message.replace(repr(value), shown(value), 1)
