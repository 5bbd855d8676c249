"""What a report holds: the verdict on one target, and the cause of a divergence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.checks.comparison import Divergence, Outcome, shares_of
from stepgauge.properties.gauge.checks.results import DECIDING, FAILING, Category, Result, Status
from stepgauge.properties.gauge.edits.editable_source import Hunk

CONFIRMATIONS = 3  # fresh problems on which an edit must compute what the target does, to be called its cause


class Verdict(StrEnum):
    """What is said of a target."""

    CONFORMS = "conforms"
    DIVERGES = "diverges"
    NOT_ESTABLISHED = "not-established"
    ERROR = "error"


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a divergence.

    Attributes:
        smallest: the smallest problem found on which the target diverges, and where it does there.
        values: what the reference computes there, by its names.
        hunks: the edit of the reference that computes what the target does; empty if none was found.
        name: of the misreading, if it is a known one; `link` points at a port that has it.
        confirmed_on: on how many fresh problems with a divergence the edit computes the same.
        explained: on how many it does of the `failing` others, on which the target or the edit leaves the reference.
        others: further causes, each of divergences that those before leave unexplained.
        unexplained: how many of the `failing` none of several causes explains.
        where: the regimes in which it was confirmed, if it is the cause of some of the divergences; empty for all.
    """

    smallest: Outcome
    values: Mapping[str, Any]
    hunks: Sequence[Hunk] = ()
    name: str = ""
    link: str = ""
    explained: int = 0
    failing: int = 0
    confirmed_on: int = 0
    others: Sequence["Diagnosis"] = ()
    where: Sequence[str] = ()
    unexplained: int = 0

    @property
    def is_cause(self) -> bool:
        return self.confirmed_on >= CONFIRMATIONS

    def to_list(self) -> list[dict[str, Any]]:
        """The "diagnosis" of the JSON: an entry for each place that the edit changes."""
        kind = "cause" if self.is_cause else "guess"
        more = {"kind": kind, "name": self.name, "link": self.link, "explained": self.explained, "of": self.failing}
        more |= {"confirmed_on": self.confirmed_on, "where": list(self.where)}
        return [{**hunk._asdict(), **more} for hunk in self.hunks] + [e for d in self.others for e in d.to_list()]


class CurvePoint(NamedTuple):
    """A step (from 1), and the coordinate in it whose error is the largest share of what is allowed."""

    step: int
    error: float
    allowed: float


class Evidence(NamedTuple):
    """What a divergence looks like: the error step by step, and a script that reproduces it, or why there is none."""

    curve: Sequence[CurvePoint]
    script: str = ""
    no_script: str = ""


class AtDefaults(NamedTuple):
    """How far a target at its own defaults strays from the rule in float32.

    `error` is the largest distance of a coordinate over `steps` steps, `way` how far the rule moves one meanwhile.
    """

    steps: int
    error: float
    way: float

    @property
    def share(self) -> float:
        return self.error / self.way if self.way else float("inf") if self.error else 0.0


@dataclass(frozen=True)
class Record:
    """What is said of one target.

    `bool(report)` tells whether it conforms; `to_dict()` is one entry of the JSON's "results". Of a divergence,
    `smallest` is the smallest problem that shows it, and `nearest` the dialect that it is measured against. All
    diverging problems have the regimes of `only_when`, and each of them has those of one of the `alternatives`.
    """

    target: str
    rule: str | None
    verdict: Verdict
    dialect: str | None = None
    results: Sequence[Result] = ()
    only_when: Sequence[str] = ()
    alternatives: Sequence[Sequence[str]] = ()
    divergence: Divergence | None = None
    diagnosis: Diagnosis | None = None
    smallest: Outcome | None = None
    nearest: str | None = None
    evidence: Evidence | None = None
    at_defaults: AtDefaults | None = None
    message: str = ""
    coverage: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    mapped: Mapping[str, str] = field(default_factory=dict)  # the target's names that were taken for the rule's
    inferred: bool = False  # the rule, from the target's name
    usage: bool = False  # an error of the user's, not of the target

    def __bool__(self) -> bool:
        return self.verdict is Verdict.CONFORMS

    @property
    def when(self) -> str:
        """The regimes in which it diverges, in words: "a and b, or c"; empty for always."""
        told = self.alternatives or ([self.only_when] if self.only_when else [])
        return ", or ".join(" and ".join(regimes) for regimes in told)

    def share(self, check: str) -> float | None:
        """The worst error of a trajectory check as a share of what is allowed, in the dialect named or the nearest."""
        result = next((r for r in self.results if r.id == check), None)
        if result is None or result.error is None or result.allowed is None:
            return None
        return float(shares_of(np.array(result.error), np.array(result.allowed)))

    def failures(self, *, deciding: bool) -> list[Result]:
        return [r for r in self.results if r.status in FAILING and (r.category in DECIDING) is deciding]

    def to_dict(self) -> dict[str, Any]:
        divergence = None
        if self.verdict is Verdict.DIVERGES:
            place = self.divergence._asdict() if self.divergence else dict.fromkeys(Divergence._fields)
            apart = [list(regimes) for regimes in self.alternatives]
            divergence = {"only_when": list(self.only_when), "alternatives": apart, **place}
            if self.evidence:
                curve = [point._asdict() for point in self.evidence.curve]
                divergence |= {"curve": curve, "script": self.evidence.script or None}
            if self.diagnosis:
                recipe = self.diagnosis.smallest.problem.recipe
                divergence |= {"problem": asdict(recipe) if recipe else None, "values": dict(self.diagnosis.values)}
        contract = [r for r in self.results if r.category is Category.CONTRACT]
        return {
            "target": self.target,
            "rule": self.rule,
            "verdict": self.verdict,
            "dialect": self.dialect,
            "message": self.message,
            "checks": [
                {name: getattr(r, name) for name in ("id", "category", "status", "error", "allowed", "message")}
                for r in self.results
            ],
            "divergence": divergence,
            "diagnosis": self.diagnosis.to_list() if self.diagnosis else [],
            "at_defaults": self.at_defaults._asdict() if self.at_defaults else None,
            "coverage": self.coverage,
            "contract": {
                "passed": sum(r.status is Status.PASS for r in contract),
                "failed": sum(r.status in FAILING for r in contract),
            },
            "seconds": round(self.seconds, 3),
        }
