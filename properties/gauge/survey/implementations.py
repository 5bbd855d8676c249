"""Lists of implementations: the packaged one, and those that users write; and which of them are installed."""

import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement

from stepgauge.properties.gauge.errors import UsageError, one_line
from stepgauge.properties.gauge.files import read_text
from stepgauge.properties.gauge.problems.problem import Dtype
from stepgauge.properties.gauge.schemas.validation import first_violation
from stepgauge.properties.gauge.targets.loading import Specification
from stepgauge.properties.gauge.targets.rules import infer_rule, known_rule

KNOWN = Path(__file__).with_name("packages.toml")


@dataclass(frozen=True)
class Implementation:
    """A row of a list, as `schema implementations` has it.

    Attributes:
        target: as `check` has it.
        rule: the rule that it is compared with.
        requirement: the package that provides it and, where they matter, versions; None if no package does.
        rename: its names for the rule's hyperparameters, under the rule's.
        set: hyperparameters that are fixed on both sides.
        dialect: the dialect that it is held to, or "auto".
        adapter: what kind of target it is; found out if None.
        after_build: the method that is called once it is built.
        dtype: the precision that decides; the finest that it steps if empty.
        skip: globs of checks that are left out.
        seconds: how long it may take; None for as long as the survey allows.
        note: what a reader should know of the row.
    """

    target: str
    rule: str
    requirement: Requirement | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    dialect: str = "auto"
    adapter: str | None = None
    after_build: str = ""
    dtype: Dtype | Literal[""] = ""
    skip: Sequence[str] = ()
    seconds: float | None = None
    note: str = ""

    def command(self, *options: str) -> str:
        """The command that examines it."""
        words = ["stepgauge", "check", self.target, "--rule", self.rule]
        words += [] if self.dialect == "auto" else ["--dialect", self.dialect]
        words += ["--adapter", self.adapter] if self.adapter else []
        words += ["--after-build", self.after_build] if self.after_build else []
        words += ["--dtype", self.dtype] if self.dtype else []
        for our, their in self.rename.items():
            words += ["--rename", f"{our}={their}"]
        for name, value in self.set.items():
            words += ["--set", f"{name}={value}"]
        for glob in self.skip:
            words += ["--skip", glob]
        return shlex.join([*words, *options])


def known() -> list[Implementation]:
    """The implementations of the packaged list."""
    return read(KNOWN)


def read(file: Path) -> list[Implementation]:
    """The implementations of a list.

    Raises:
        UsageError: it cannot be read, or is no such list; the message names the row and the key.
    """
    try:
        document = tomllib.loads(read_text(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} cannot be read: it is not in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is no TOML: {error}") from error
    if violation := first_violation("implementations", document):
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in violation.path).removeprefix(".")
        raise UsageError(f"{file}: {f'{place}: ' if place else ''}{violation.complaint}")
    return [_implementation(row, f"{file}: implementation[{k}]") for k, row in enumerate(document["implementation"])]


def _implementation(row: Mapping[str, Any], place: str) -> Implementation:
    try:
        specification = Specification.parse(row["target"])
        rule = known_rule(row["rule"], or_none=True) if "rule" in row else infer_rule(specification.goes_by)
        requirement = Requirement(row["requirement"]) if "requirement" in row else None
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error
    except InvalidRequirement as error:
        raise UsageError(
            f"{place}.requirement: {row['requirement']!r} is no requirement: {one_line(str(error))}"
        ) from error
    values = {name: tuple(x) if isinstance(x, list) else x for name, x in row.get("set", {}).items()}
    return Implementation(**{**row, "rule": rule, "requirement": requirement, "set": values})


class NotInstalled(Exception):
    """The package of an implementation is not there, or in another version; the message says which."""


class Ambiguous(Exception):
    """Several versions of its package are there, so that nobody can tell which one is imported."""


def installed_version(implementation: Implementation) -> str:
    """The version of its package; empty if it is of none.

    Raises:
        NotInstalled: see there.
        Ambiguous: see there.
    """
    wanted = implementation.requirement
    if wanted is None:
        return ""
    found = sorted(set(_versions(wanted.name)))
    if not found:
        raise NotInstalled(wanted.name)
    if len(found) > 1:
        raise Ambiguous(f"{' and '.join(found)} of {wanted.name} are installed, and which is imported is chance")
    (version,) = found
    if not wanted.specifier.contains(version, prereleases=True):
        raise NotInstalled(f"{wanted} (there is {version})")
    return version


def _versions(package: str) -> Iterator[str]:
    """Of every copy of a package that is on the path."""
    for distribution in metadata.distributions(name=package):
        yield distribution.version
