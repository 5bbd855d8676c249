"""Reports as JSON, as `schemas/report.schema.json` describes it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepgauge.properties.gauge.files import write_whole
from stepgauge.properties.gauge.verdicts.environment import environment
from stepgauge.properties.gauge.verdicts.report import Report


def write_json(reports: Sequence[Report], file: Path) -> None:
    """Write the results.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(file, as_json(document_of(reports)))


def document_of(reports: Sequence[Report]) -> dict[str, Any]:
    """The results, and the environment that they depend on, as the schema has them."""
    return {"schema": 1, "results": [r.to_dict() for r in reports], "environment": environment()}


def as_json(document: Any) -> str:
    """A document as text, whatever it holds."""
    return json.dumps(_plain(document), indent=1, allow_nan=False) + "\n"


def _plain(x: Any) -> Any:
    """The document in what JSON has: null for NaN and infinity, and other values of a user's as Python prints them."""
    if isinstance(x, dict):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(value) for value in x]
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    return x if x is None or isinstance(x, (bool, int, str)) else repr(x)
