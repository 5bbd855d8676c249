"""From results to a verdict: which dialect, or where it diverges and only when."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from stepgauge.properties.gauge.checks.comparison import OPTIONAL, Outcome, alternatives, only_when
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.registry import CHECKS
from stepgauge.properties.gauge.checks.results import DECIDING, FAILING, Result, Status
from stepgauge.properties.gauge.problems.regimes import off_value
from stepgauge.properties.gauge.verdicts.promises import broken_promises
from stepgauge.properties.gauge.verdicts.record import Verdict
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.gauge.verdicts.required_checks import shortfall

NEVER_ASKED = (
    "complex parameters",
    "sparse gradients",
    "non-leaf parameters",
    "found_inf and grad_scale",
    "another default dtype",
)
REFUSAL_CAP = 0.5  # of all problems: a target that refuses more is one that could not be built


def by_nearness(dialects: Sequence[str], outcomes: Sequence[Outcome]) -> list[str]:
    """The dialects, that which is followed on most problems first."""
    return sorted(dialects, key=lambda d: -sum(o.follows(d) for o in outcomes))


def conclude(context: Context, results: Sequence[Result], nearest: str | None = None) -> Report:
    """The report on a target of which these checks said this, beside a dialect that is named or the nearest."""
    drawn = [o for r in results for o in r.outcomes]
    outcomes = [o for o in drawn if o.counts]
    raised = [o for o in outcomes if o.failure is not None]
    survivors = [d for d in context.dialects if all(o.follows(d) for o in outcomes)]
    nearest = nearest or by_nearness(context.dialects, outcomes)[0]
    dialect = survivors[0] if survivors else nearest
    results = [_in_dialect(r, dialect) for r in results]
    coverage = _coverage(context, drawn, survivors)
    draft = Report(context.target.name, context.target.rule, Verdict.CONFORMS, None, results, coverage=coverage)
    broken = [r for r in results if r.category in DECIDING and r.status in FAILING]
    refusals = [o.refusal for o in drawn if o.refusal is not None]
    if len(refusals) > REFUSAL_CAP * len(drawn):
        return replace(draft, verdict=Verdict.ERROR, message=refusals[0])
    calculated = [o for o in outcomes if o.failure is None]
    if raised and any(all(o.follows(d) for o in calculated) for d in context.dialects):
        when = only_when([o.regimes for o in raised], [o.regimes for o in calculated])
        return replace(draft, verdict=Verdict.ERROR, message=raised[0].failure or "", only_when=when)
    errors = [r.message for r in broken if r.status is Status.ERROR and not r.outcomes]
    if survivors and errors:
        return replace(draft, verdict=Verdict.ERROR, message=errors[0])
    if not survivors or broken:
        return _divergent(draft, nearest, outcomes, broken)
    if promises := broken_promises(results):
        message = f"breaks {', '.join(r.id for r in promises)}"
        return replace(draft, verdict=Verdict.DIVERGES, nearest=nearest, message=message)
    if missing := shortfall(context.target, results):
        return replace(draft, verdict=Verdict.NOT_ESTABLISHED, message=missing)
    if narrow := _never_varied(context):
        return replace(draft, verdict=Verdict.NOT_ESTABLISHED, message=narrow)
    if len(survivors) > 1:
        agree = f"{' and '.join(survivors)} agree on every problem that fits these settings"
        return replace(draft, message="; ".join([*_limits(context), agree]))
    others = [_departure(d, outcomes) for d in context.dialects if d not in survivors]
    return replace(draft, dialect=dialect, message="; ".join([*_limits(context), *others]))


def _limits(context: Context) -> Iterator[str]:
    """What limits a comparison: a precision that is not float64, no schedule, hyperparameters that are rounded."""
    if context.dtype != "float64":
        why = "" if context.options.dtype else ": it steps nothing finer"
        yield f"compared in {context.dtype} alone{why}"
    if not context.target.takes_schedule:
        yield "lr cannot be moved between steps: no schedule is asked"
    if rounded := ", ".join(context.rounded):
        yield f"{rounded} is rounded to float32: compared at values that float32 has"


def _never_varied(context: Context) -> str:
    """What could not be varied though it matters; empty if everything could, or is fixed on purpose.

    A part of a rule that is gone (no momentum, no decay) is no loss: the target is held to the rule without it.
    """
    refused = {n: context.fixed[n] for n in context.refused if n in context.target.offers}
    held = {n: v for n, v in {**_held(context), **refused}.items() if n not in context.options.set}
    narrow = [f"{n}={v}" for n, v in held.items() if (off := off_value(context.target.rule, n)) is None or v != off]
    if not narrow:
        return ""
    said = f"conforms at its defaults only: {', '.join(narrow)} cannot be set"
    extra = ", ".join(context.target.extra)
    other = f"; if {extra} is one of these, say --rename OURS=THEIRS" if extra else ""
    return f"{said} (if that is what you ask: --set {narrow[0]}{other})"


def _departure(dialect: str, outcomes: Sequence[Outcome]) -> str:
    """How a target that follows another dialect leaves this one, where the two were compared."""
    compared = [o for o in outcomes if dialect in o.worst]
    failing = [o for o in compared if not o.follows(dialect)]
    when = only_when([o.regimes for o in failing], [o.regimes for o in compared if o.follows(dialect)])
    remark = f"leaves {dialect} on {len(failing)} of {len(compared)} problems"
    return f"{remark}, only with {' and '.join(when)}" if when else remark


def _divergent(draft: Report, dialect: str, outcomes: Sequence[Outcome], broken: Sequence[Result]) -> Report:
    """The report on a divergence: its regimes, and the place where it shows first, in the smallest problem."""
    failing = [o for o in outcomes if dialect in o.divergences]
    regimes = [o.regimes for o in failing], [o.regimes for o in outcomes if o.follows(dialect)]
    first = smallest_failure(outcomes, dialect)
    place = first.divergences[dialect] if first else None
    message = "" if first else broken[0].message
    found = replace(draft, verdict=Verdict.DIVERGES, smallest=first, nearest=dialect, divergence=place)
    return replace(found, only_when=only_when(*regimes), alternatives=alternatives(*regimes), message=message)


def smallest_failure(outcomes: Sequence[Outcome], dialect: str) -> Outcome | None:
    """The smallest problem that shows a divergence, rather one in which rounding sways nothing; None if none does."""
    failing = [o for o in outcomes if dialect in o.divergences]
    return min(failing, key=lambda o: (o.ambiguous, o.divergences[dialect].step, o.problem.size), default=None)


def _in_dialect(result: Result, dialect: str) -> Result:
    """A result as it stands in the dialect that the verdict names."""
    if (obeying := CHECKS[result.id].dialects) and dialect not in obeying:
        message = f"a law of {' and '.join(obeying)} only"
        return Result(result.id, result.category, Status.NOT_APPLICABLE, message=message)
    if not result.outcomes or result.status is not Status.PASS:
        return result
    counted = [o for o in result.outcomes if o.counts]
    worst = max((o.worst[dialect] for o in counted if dialect in o.worst), default=None)
    failing = [o for o in counted if not o.follows(dialect)]
    raised = [o for o in counted if o.failure is not None]
    remarks = list(_remarks(result.outcomes))
    if raised:
        remarks.insert(0, raised[0].failure or "")
    elif failing:
        remarks.insert(0, f"leaves {dialect} on {len(failing)} of {len(counted)} problems")
    return Result(
        result.id,
        result.category,
        Status.ERROR if raised else Status.FAIL if failing else Status.PASS,
        worst.error if worst else None,
        worst.allowed if worst else None,
        "; ".join(remarks),
        result.outcomes,
    )


def _remarks(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What limits a trajectory check beside its failures."""
    if refused := [o.refusal for o in outcomes if o.refusal is not None]:
        yield f"not asked on {len(refused)} of {len(outcomes)} problems: {refused[0]}"
    unjudged = [o for o in outcomes if o.failure is not None and not o.counts]
    for failure in dict.fromkeys(_what(o) for o in unjudged):
        alike = [o.regimes for o in unjudged if _what(o) == failure]
        common = [name for name in OPTIONAL if all(name in regimes for regimes in alike)]
        yield f"not judged on {len(alike)} of {len(outcomes)} problems with {' and '.join(common)}: {failure}"
    if any(o.narrow_scalars for o in outcomes):
        yield "within bounds only because scalars such as lr and beta**t may be in float32, too"
    if undecided := sum(o.ambiguous for o in outcomes):
        yield f"{undecided} of {len(outcomes)} problems decide nothing: rounding may do anything, or sways a decision"


def _what(outcome: Outcome) -> str:
    """What a target raised, in whichever step."""
    return (outcome.failure or "").rpartition(", in step ")[0]


def _coverage(context: Context, outcomes: Sequence[Outcome], survivors: Sequence[str]) -> dict[str, Any]:
    """What was covered: problems, regimes, hyperparameters, and which dialects the problems told apart."""
    regimes: dict[str, int] = {}
    for outcome in outcomes:
        for regime in outcome.regimes:
            regimes[regime] = regimes.get(regime, 0) + 1
    return {
        "level": context.options.level,
        "seed": context.options.seed,
        "dtype": context.dtype,
        "rounded": list(context.rounded),
        "never_asked": list(NEVER_ASKED),
        "problems": len(outcomes),
        "refused": sum(o.refusal is not None for o in outcomes),
        "raised": sum(o.failure is not None and not o.counts for o in outcomes),
        "inconclusive": sum(o.ambiguous for o in outcomes),
        "regimes": dict(sorted(regimes.items())),
        "not_offered": list(context.not_offered),
        "set": dict(context.options.set),
        "held": _held(context) if outcomes else {},
        "left_out": dict(context.refused),
        "extra": list(context.target.extra),
        "dialects_compared": list(context.dialects),
        "dialects_left": list(survivors),
    }


def _held(context: Context) -> dict[str, Any]:
    """At what the hyperparameters are held that the target lacks."""
    return {name: context.fixed[name] for name in context.not_offered if name not in context.target.pinned}
