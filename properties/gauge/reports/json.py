"""Reports as JSON."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepgauge.properties.gauge.verdicts.environment import environment
from stepgauge.properties.gauge.verdicts.report import Report


def write_json(reports: Sequence[Report], file: Path) -> None:
    """Write the results, and the environment that they depend on."""
    document = {"schema": 1, "results": [r.to_dict() for r in reports], "environment": environment()}
    file.write_text(json.dumps(_finite(document), indent=1, allow_nan=False) + "\n")


def _finite(x: Any) -> Any:
    """The document with null for NaN and infinity, which JSON does not have."""
    if isinstance(x, dict):
        return {key: _finite(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_finite(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
