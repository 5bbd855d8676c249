"""Targets with options of their own: on the command line, and in the `[tool.stepgauge]` of a pyproject.toml."""

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgauge.properties.gauge.errors import UsageError

if TYPE_CHECKING:
    from stepgauge.properties.gauge.verdicts.record import Verdict

FILE = Path("pyproject.toml")
OWN = ("rule", "dialect", "set", "rename", "adapter", "after_build")  # the options that a target may have for itself
VALUELESS = ("--strict", "--no-diagnosis", "--help", "-h")


@dataclass(frozen=True)
class Wanted:
    """A target, and the options that hold for it.

    Attributes:
        expected: the verdict that it is known to come to, and `reason` why; it then counts as well.
    """

    target: str
    rule: str | None = None
    dialect: str = "auto"
    set: Mapping[str, Any] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None
    after_build: str = ""
    expected: "Verdict | None" = None
    reason: str = ""


def runs_of(arguments: Sequence[str]) -> list[list[str]]:
    """The arguments cut before every target that follows an option: options hold for the targets just before them.

    Those before the first target hold for all.
    """
    leading: list[str] = []
    runs: list[list[str]] = [leading]
    takes_value = follows_option = has_target = False
    for word in arguments:
        is_option = word.startswith("-") and not takes_value
        if not (is_option or takes_value):
            if has_target and follows_option:
                runs.append([])
            if not has_target:
                runs = [[]]
            has_target, follows_option = True, False
        runs[-1].append(word)
        follows_option = follows_option or is_option
        takes_value = is_option and _takes_value(word)
    return [leading + run for run in runs] if has_target else runs


def _takes_value(option: str) -> bool:
    """Whether the next word is the option's value."""
    if "=" in option or (len(option) > 2 and not option.startswith("--")):
        return False
    return not any(flag == option or (len(option) > 3 and flag.startswith(option)) for flag in VALUELESS)


def gathered(runs: Sequence[argparse.Namespace], defaults: Mapping[str, Any]) -> argparse.Namespace:
    """One choice out of the choices of several runs of targets; `wanted` has the targets with what holds for each."""
    whole = runs[0]
    whole.wanted = [wanted for run in runs for wanted in _wanted(run)]
    for run in runs[1:]:
        for name, value in vars(run).items():
            if name not in (*OWN, "targets", "wanted") and value != defaults.get(name, value):
                setattr(whole, name, value)
    return whole


def _wanted(run: argparse.Namespace) -> list[Wanted]:
    own = {name: getattr(run, name) for name in OWN}
    own |= {name: dict(own[name]) for name in ("set", "rename")}
    return [Wanted(target, **own) for target in run.targets]


def in_project(file: Path = FILE) -> list[Wanted]:
    """The targets in a project's `[tool.stepgauge]`; none if there is no such table.

    Raises:
        UsageError: it has what is not known there.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from error
    table = tables.get("tool", {}).get("stepgauge", {})
    if unknown := table.keys() - {"targets"}:
        raise UsageError(f"{file}: [tool.stepgauge] has no {min(unknown)}; it has targets")
    listed = table.get("targets", [])
    if not isinstance(listed, list):
        raise UsageError(f"{file}: targets of [tool.stepgauge] must be a list")
    return [_entry(file, entry) for entry in listed]


def _entry(file: Path, entry: Any) -> Wanted:
    """One target of the list: its name alone, or a table."""
    from stepgauge.properties.gauge.verdicts.record import Verdict

    given = {"target": entry} if isinstance(entry, str) else entry
    known = ("target", *OWN, "expected", "reason")
    if not isinstance(given, dict) or not isinstance(given.get("target"), str):
        raise UsageError(f"{file}: {entry!r:.60} is no target: write a name, or a table with target = NAME")
    where = f"{file}: {given['target']}"
    if unknown := given.keys() - set(known):
        raise UsageError(f"{where} has {min(unknown)}; what it may have is {', '.join(known)}")
    odd = [name for name, value in given.items() if isinstance(value, dict) != (name in ("set", "rename"))]
    if odd:
        raise UsageError(f"{where}: {odd[0]} must be {'a table' if odd[0] in ('set', 'rename') else 'a word'}")
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in given.get("set", {}).items()}
    try:
        expected = Verdict(given["expected"]) if "expected" in given else None
    except ValueError:
        raise UsageError(f"{where}: expected must be one of {', '.join(Verdict)}") from None
    if expected and not given.get("reason"):
        raise UsageError(f"{where}: expects to be {expected} without a reason; give reason = WHY")
    return Wanted(**{**given, "set": settings, "expected": expected})
