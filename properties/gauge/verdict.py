"""From results to a verdict: which dialect, or where it diverges and only when."""

import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stepgauge.properties.gauge.check import CHECKS, DECIDING, Result
from stepgauge.properties.gauge.demand import lacking
from stepgauge.properties.gauge.examination import Examination, Options
from stepgauge.properties.gauge.judge import OPTIONAL, Divergence, Outcome, only_when, shares_of
from stepgauge.properties.gauge.target import STRANGERS, Target, TargetError, described

if TYPE_CHECKING:
    from stepgauge.properties.gauge.diagnosis import Diagnosis

Verdict = Literal["conforms", "diverges", "not-established", "error"]

REFUSAL_CAP = 0.5  # of all problems: a target that refuses more is one that could not be built


@dataclass(frozen=True)
class Report:
    """What is said of one target.

    `bool(report)` tells whether it conforms; `str(report)` is what the terminal shows; `to_dict()` is one entry of the
    JSON's "results". Of a divergence, `witness` is the smallest problem that shows it, and `nearest` the dialect that
    it is measured against.
    """

    target: str
    rule: str | None
    verdict: Verdict
    dialect: str | None = None
    results: Sequence[Result] = ()
    only_when: Sequence[str] = ()
    divergence: Divergence | None = None
    diagnosis: "Diagnosis | None" = None
    witness: Outcome | None = None
    nearest: str | None = None
    message: str = ""
    coverage: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    inferred: bool = False  # the rule, from the target's name
    usage: bool = False  # an error of the user's, not of the target

    def __bool__(self) -> bool:
        return self.verdict == "conforms"

    def __str__(self) -> str:
        from stepgauge.properties.gauge.report import as_text

        return as_text([self])

    def share(self, check: str) -> float | None:
        """The worst error of a trajectory check as a share of what is allowed, in the dialect named or the nearest."""
        result = next((r for r in self.results if r.id == check), None)
        if result is None or result.error is None or result.allowed is None:
            return None
        return float(shares_of(np.array(result.error), np.array(result.allowed)))

    def failures(self, *, deciding: bool) -> list[Result]:
        return [r for r in self.results if r.status in ("fail", "error") and (r.category in DECIDING) is deciding]

    def to_dict(self) -> dict[str, Any]:
        divergence = None
        if self.verdict == "diverges":
            place = self.divergence._asdict() if self.divergence else dict.fromkeys(Divergence._fields)
            divergence = {"only_when": list(self.only_when), **place}
            if self.diagnosis:
                recipe = self.diagnosis.witness.problem.recipe
                divergence |= {"problem": asdict(recipe) if recipe else None, "values": dict(self.diagnosis.values)}
        contract = [r for r in self.results if r.category == "contract"]
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
            "coverage": self.coverage,
            "contract": {
                "passed": sum(r.status == "pass" for r in contract),
                "failed": sum(r.status in ("fail", "error") for r in contract),
            },
            "seconds": round(self.seconds, 3),
        }


def examine(target: Target, options: Options, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Run the checks on a target and conclude; only settings that do not fit the rule raise.

    Raises:
        UsageError: the options name a hyperparameter or dialect that the rule lacks, or a value out of its range.
    """
    start = time.perf_counter()
    exam = Examination(target, options)
    try:
        results = exam.run_all(progress)
    except TargetError as error:
        return failed(target.name, target.rule, str(error))
    report = conclude(exam, results, time.perf_counter() - start)
    if not (options.diagnosis and report.divergence):
        return report
    progress("diagnosis")
    return replace(_diagnosed(exam, results, report), seconds=time.perf_counter() - start)


def _diagnosed(exam: Examination, results: Sequence[Result], report: Report) -> Report:
    """The report with its cause, at the smallest problem that shows the divergence.

    A cause is sought beside the nearest dialect, then beside the others; the report is about the one that it is found
    beside, else about the nearest.

    Raises:
        Interrupted: with the report as it stands.
    """
    from stepgauge.properties.gauge.diagnosis import Unrepeatable, diagnose

    outcomes = [o for r in results for o in r.outcomes if o.judged]
    telling = [o for o in outcomes if report.nearest in o.divergences]  # the others tell dialects apart, not errors
    best = report
    try:
        for dialect in by_nearness(exam.dialects, outcomes):
            found = diagnose(exam, telling, dialect)
            if found and (best.diagnosis is None or found.is_cause):
                beside = report if dialect == report.nearest else conclude(exam, results, nearest=dialect)
                place = found.witness.divergences[dialect]
                best = replace(beside, diagnosis=found, witness=found.witness, divergence=place)
            if found and found.is_cause:
                break
    except KeyboardInterrupt:
        raise Interrupted(best) from None
    except Unrepeatable:
        return replace(best, message="what it computes is another thing each time, so that no cause was sought")
    except STRANGERS as error:  # the verdict stands without its cause
        return replace(best, message=f"its cause was not found ({described(error)})")
    return best


def by_nearness(dialects: Sequence[str], outcomes: Sequence[Outcome]) -> list[str]:
    """The dialects, that which is followed on most problems first."""
    return sorted(dialects, key=lambda d: -sum(o.follows(d) for o in outcomes))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while the cause was sought; the report is finished without it."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


def failed(target: str, rule: str | None, message: str, *, usage: bool = False) -> Report:
    """The report on a target that could not be examined."""
    return Report(target, rule, "error", message=message, usage=usage)


def conclude(exam: Examination, results: Sequence[Result], seconds: float = 0.0, nearest: str | None = None) -> Report:
    """The report on a target of which these checks said this, beside a dialect that is named or the nearest."""
    drawn = [o for r in results for o in r.outcomes]
    outcomes = [o for o in drawn if o.judged]
    raised = [o for o in outcomes if o.failure is not None]
    survivors = [d for d in exam.dialects if all(o.follows(d) for o in outcomes)]
    nearest = nearest or by_nearness(exam.dialects, outcomes)[0]
    dialect = survivors[0] if survivors else nearest
    results = [_in_dialect(r, dialect) for r in results]
    coverage = _coverage(exam, drawn, survivors)
    draft = Report(exam.target.name, exam.target.rule, "conforms", None, results, coverage=coverage, seconds=seconds)
    broken = [r for r in results if r.category in DECIDING and r.status in ("fail", "error")]
    refusals = [o.refusal for o in drawn if o.refusal is not None]
    if len(refusals) > REFUSAL_CAP * len(drawn):
        return replace(draft, verdict="error", message=refusals[0])
    calculated = [o for o in outcomes if o.failure is None]
    if raised and any(all(o.follows(d) for o in calculated) for d in exam.dialects):
        when = only_when([o.regimes for o in raised], [o.regimes for o in calculated])
        return replace(draft, verdict="error", message=raised[0].failure or "", only_when=when)
    errors = [r.message for r in broken if r.status == "error" and not r.outcomes]
    if survivors and errors:
        return replace(draft, verdict="error", message=errors[0])
    if not survivors or broken:
        return _divergent(draft, nearest, outcomes, broken)
    if missing := lacking(exam.target, results):
        return replace(draft, verdict="not-established", message=missing)
    if len(survivors) > 1:
        return replace(draft, message=f"{' and '.join(survivors)} agree on every problem that fits these settings")
    others = [_departure(d, outcomes) for d in exam.dialects if d not in survivors]
    return replace(draft, dialect=dialect, message="; ".join(others))


def _departure(dialect: str, outcomes: Sequence[Outcome]) -> str:
    """How a target that follows another dialect leaves this one."""
    failing = [o for o in outcomes if not o.follows(dialect)]
    when = only_when([o.regimes for o in failing], [o.regimes for o in outcomes if o.follows(dialect)])
    remark = f"leaves {dialect} on {len(failing)} of {len(outcomes)} problems"
    return f"{remark}, only with {' and '.join(when)}" if when else remark


def _divergent(draft: Report, dialect: str, outcomes: Sequence[Outcome], broken: Sequence[Result]) -> Report:
    """The report on a divergence: its regimes, and the place where it shows first, in the smallest problem."""
    failing = [o for o in outcomes if dialect in o.divergences]
    when = only_when([o.regimes for o in failing], [o.regimes for o in outcomes if o.follows(dialect)])
    first = witness_of(outcomes, dialect)
    place = first.divergences[dialect] if first else None
    message = "" if first else broken[0].message
    found = replace(draft, verdict="diverges", witness=first, nearest=dialect, divergence=place)
    return replace(found, only_when=when, message=message)


def witness_of(outcomes: Sequence[Outcome], dialect: str) -> Outcome | None:
    """The smallest problem that shows a divergence, rather one in which rounding sways nothing; None if none does."""
    failing = [o for o in outcomes if dialect in o.divergences]
    return min(failing, key=lambda o: (o.ambiguous, o.divergences[dialect].step, o.problem.size), default=None)


def _in_dialect(result: Result, dialect: str) -> Result:
    """A result as it stands in the dialect that the verdict names."""
    if (obeying := CHECKS[result.id].dialects) and dialect not in obeying:
        return Result(result.id, result.category, "not-applicable", message=f"a law of {' and '.join(obeying)} alone")
    if not result.outcomes or result.status != "pass":
        return result
    judged = [o for o in result.outcomes if o.judged]
    worst = max((o.worst[dialect] for o in judged if dialect in o.worst), default=None)
    failing = [o for o in judged if not o.follows(dialect)]
    raised = [o for o in judged if o.failure is not None]
    remarks = list(_remarks(result.outcomes))
    if raised:
        remarks.insert(0, raised[0].failure or "")
    elif failing:
        remarks.insert(0, f"leaves {dialect} on {len(failing)} of {len(judged)} problems")
    return Result(
        result.id,
        result.category,
        "error" if raised else "fail" if failing else "pass",
        worst.error if worst else None,
        worst.allowed if worst else None,
        "; ".join(remarks),
        result.outcomes,
    )


def _remarks(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What limits a trajectory check beside its failures."""
    if refused := [o.refusal for o in outcomes if o.refusal is not None]:
        yield f"not asked on {len(refused)} of {len(outcomes)} problems: {refused[0]}"
    unjudged = [o for o in outcomes if o.failure is not None and not o.judged]
    for failure in dict.fromkeys(_what(o) for o in unjudged):
        alike = [o.regimes for o in unjudged if _what(o) == failure]
        common = [name for name in OPTIONAL if all(name in regimes for regimes in alike)]
        yield f"not judged on {len(alike)} of {len(outcomes)} problems with {' and '.join(common)}: {failure}"
    if any(o.narrow_scalars for o in outcomes):
        yield "within bounds only if scalars, too, may be rounded to float32"
    if undecided := sum(o.ambiguous for o in outcomes):
        yield f"{undecided} of {len(outcomes)} problems decide nothing: rounding may do anything, or sways a decision"


def _what(outcome: Outcome) -> str:
    """What a target raised, in whichever step."""
    return (outcome.failure or "").rpartition(", in step ")[0]


def _coverage(exam: Examination, outcomes: Sequence[Outcome], survivors: Sequence[str]) -> dict[str, Any]:
    """What was covered: problems, regimes, hyperparameters, and which dialects the problems told apart."""
    regimes: dict[str, int] = {}
    for outcome in outcomes:
        for regime in outcome.regimes:
            regimes[regime] = regimes.get(regime, 0) + 1
    return {
        "level": exam.options.level,
        "seed": exam.options.seed,
        "problems": len(outcomes),
        "refused": sum(o.refusal is not None for o in outcomes),
        "raised": sum(o.failure is not None and not o.judged for o in outcomes),
        "inconclusive": sum(o.ambiguous for o in outcomes),
        "regimes": dict(sorted(regimes.items())),
        "not_offered": list(exam.not_offered),
        "held": _held(exam) if outcomes else {},
        "extra": list(exam.target.extra),
        "dialects_compared": list(exam.dialects),
        "dialects_left": list(survivors),
    }


def _held(exam: Examination) -> dict[str, Any]:
    """At what the hyperparameters are held that the target lacks."""
    return {name: exam.fixed[name] for name in exam.not_offered if name not in exam.target.pinned}


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for name in ("stepgauge", "numpy", "torch", "hypothesis", "adamp", "fsgdm"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "byteorder": sys.byteorder,
        "versions": versions,
    }
