"""The schemas as files that come with the package."""

from pathlib import Path

SCHEMAS = ("vectors", "report", "program")


def schema_text(name: str) -> str:
    """The JSON Schema of vector files, of the reports of `check --json`, or of what programs are told and answer."""
    return Path(__file__).with_name(f"{name}.schema.json").read_text(encoding="utf-8")
