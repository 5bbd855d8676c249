"""The schemas as files that come with the package."""

from pathlib import Path

SCHEMAS = ("vectors", "report")


def schema_text(name: str) -> str:
    """The JSON Schema of vector files, or of the reports that `check --json` writes."""
    return Path(__file__).with_name(f"{name}.schema.json").read_text(encoding="utf-8")
