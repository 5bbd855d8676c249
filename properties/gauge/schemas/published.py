"""The schemas as files that come with the package."""

from pathlib import Path

SCHEMAS = ("vectors", "report", "survey", "implementations", "program")


def schema_text(name: str) -> str:
    """The JSON Schema of what is read or written under that name."""
    return Path(__file__).with_name(f"{name}.schema.json").read_text(encoding="utf-8")
