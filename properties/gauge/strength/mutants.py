"""How much the gauge can miss: every small edit of a rule's text, taken as a target, has to diverge.

A mutant is killed if, on a problem of the level, it raises or leaves every envelope of the text that it was made from.
What survives computes the same rule (equivalent), or is missed. Most equivalent ones are proved to be (`equivalence`);
`survivors.toml` says why the others are, and `missed.toml` what is missed. The driver is no part of it, nor is the
unfolding of layers: what they do wrong is in the catalogue, whose misreadings are mutants, too.
"""

import re
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.cache.run import run_cache
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Level, Options
from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource, Hunk, editable_source
from stepgauge.properties.gauge.edits.known_misreadings import misreadings_of
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS
from stepgauge.properties.gauge.problems.problem import Problem, distance
from stepgauge.properties.gauge.strength.equivalence import Prover
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.tolerance.envelope import envelopes
from stepgauge.reference import RULES


class Survivor(NamedTuple):
    """A mutant that no problem kills, and why; the reason is empty if it is proved, or if nobody has given one."""

    hunks: Sequence[Hunk]
    equivalent: bool
    reason: str
    proved: bool = False


@dataclass(frozen=True)
class Strength:
    """What became of the mutants of one dialect of a rule."""

    rule: str
    dialect: str
    mutants: int
    survivors: Sequence[Survivor]

    @property
    def killed(self) -> int:
        return self.mutants - len(self.survivors)

    @property
    def equivalent(self) -> int:
        return sum(s.equivalent for s in self.survivors)

    @property
    def proved(self) -> int:
        """Those of the equivalent ones that need no reason."""
        return sum(s.proved for s in self.survivors)

    @property
    def missed(self) -> int:
        """Those that compute something else and are known to be missed."""
        return sum(bool(s.reason) and not s.equivalent for s in self.survivors)

    @property
    def unexplained(self) -> list[Survivor]:
        return [s for s in self.survivors if not s.reason and not s.proved]


class Trial:
    """A problem, and what the reference may compute on it."""

    def __init__(self, problem: Problem, dialect: str) -> None:
        self.problem, self.dialect = problem, dialect
        self.bounds = [(e.centre, e.allowed("float64")) for e in envelopes(problem, dialect, "float64")]

    def acquits(self, source: EditableSource) -> bool:
        """Whether the text, as it stands, stays within an envelope."""
        left = self.bounds
        try:
            for t, row in enumerate(source.trajectory(self.problem, source.groups(self.problem, self.dialect))):
                left = [(centre, allowed) for centre, allowed in left if _inside(row, centre[t], allowed[t])]
                if not left:
                    return False
        except FOREIGN_ERRORS:
            return False
        return True


def _inside(row: Any, centre: Any, allowed: Any) -> bool:
    return row.shape == centre.shape and bool(np.all((distance(row, centre) <= allowed) | ~np.isfinite(allowed)))


def strength_of(rule: str, dialect: str, level: Level = "standard") -> Strength:
    """Run every mutant of a rule through the level's problems."""
    with run_cache():
        return _strength_of(rule, dialect, level)


def _strength_of(rule: str, dialect: str, level: Level) -> Strength:
    context = Context(make_target(rule, RULES[rule], rule), Options(level=level, dialect=dialect))
    trials = [Trial(problem, dialect) for problem in context.problems()]
    source = editable_source(rule)
    mutants, survivors = 0, []
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python, at odd texts
        for edits in _mutants(source, trials, dialect):
            survived = _survives(source, edits, trials)
            mutants += survived is not None
            survivors += [edits] if survived else []
        prover = Prover(source, dialect)
        explained = [_explained(source, edits, rule, dialect, prover.proves(edits)) for edits in survivors]
    return Strength(rule, dialect, mutants, explained)


def _mutants(source: EditableSource, trials: Sequence[Trial], dialect: str) -> Iterator[tuple[Edit, ...]]:
    coverage = source.coverage([trial.problem for trial in trials], dialect)
    for piece in source.own:
        yield from ((Edit(piece, change),) for change in piece.changes(coverage[piece.module]))
    yield from (misreading.edits for misreading in misreadings_of(source))


def _survives(source: EditableSource, edits: Sequence[Edit], trials: list[Trial]) -> bool | None:
    """Whether no problem kills a mutant; None if it is no text that Python takes, or the text that it was."""
    try:
        with source.edited(edits):
            for k, trial in enumerate(trials):
                if not trial.acquits(source):
                    trials.insert(0, trials.pop(k))  # who killed one most often kills the next
                    return False
    except (SyntaxError, TypeError, ValueError):
        return None
    return True if source.canonical_hunks(edits) else None


@cache
def _reasons() -> list[dict[str, Any]]:
    """What is missed, then what is equivalent, each with its reason."""
    return [{**entry, "equivalent": of == "equivalent"} for of in ("missed", "equivalent") for entry in _entries(of)]


def _entries(of: str) -> list[dict[str, Any]]:
    file = Path(__file__).with_name("missed.toml" if of == "missed" else "survivors.toml")
    found: list[dict[str, Any]] = tomllib.loads(file.read_text())["survivor"]
    return found


def _explained(source: EditableSource, edits: Sequence[Edit], rule: str, dialect: str, proved: bool) -> Survivor:
    """A survivor with the first reason that is given for all of its lines, where one is needed."""
    hunks = source.hunks(edits)
    if proved:
        return Survivor(hunks, equivalent=True, reason="", proved=True)
    before, after = ("\n".join(lines) for lines in zip(*source.canonical_hunks(edits), strict=True))
    for entry in _reasons():
        meant = rule in entry.get("rules", [rule]) and dialect in entry.get("dialects", [dialect])
        if meant and _like(before, entry["before"]) and _like(after, entry["after"]):
            return Survivor(hunks, entry["equivalent"], entry["reason"])
    return Survivor(hunks, equivalent=False, reason="")


def _like(text: str, patterns: str | list[str]) -> bool:
    """Whether a text has a pattern's form, or that of one of several; in a pattern * is anything."""
    forms = [patterns] if isinstance(patterns, str) else patterns
    return any(re.fullmatch(".*".join(map(re.escape, form.split("*"))), text, re.DOTALL) for form in forms)
