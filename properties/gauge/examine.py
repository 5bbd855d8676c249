"""One target, examined: checks, verdict, and the cause of a divergence."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from stepgauge.properties.gauge.cache.run import run_cache
from stepgauge.properties.gauge.checks.comparison import Outcome, alternatives, only_when
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.checks.registry import has_rule
from stepgauge.properties.gauge.checks.results import Result
from stepgauge.properties.gauge.checks.runner import Runner
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, TargetError, describe
from stepgauge.properties.gauge.metamorphic.context import MetamorphicContext
from stepgauge.properties.gauge.metamorphic.verdict import examine_without_rule
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.vectors.evidence import evidence_of
from stepgauge.properties.gauge.verdicts.conclusion import by_nearness, conclude
from stepgauge.properties.gauge.verdicts.record import Diagnosis
from stepgauge.properties.gauge.verdicts.report import Report, failed
from stepgauge.properties.gauge.verdicts.severity import at_defaults

Progress = Callable[[str], None]


def context_of(target: Target, options: Options) -> Context:
    """The context of a target, with a rule or without.

    Raises:
        UsageError: the options do not fit it.
    """
    if has_rule(target):
        return Context(target, options)
    return MetamorphicContext(target, options)


def examine(target: Target, options: Options, progress: Progress = lambda _: None) -> Report:
    """Run the checks on a target and conclude; only options that do not fit raise.

    Raises:
        UsageError: the options name a hyperparameter or dialect that the rule lacks, or a value out of its range.
    """
    with run_cache():
        if has_rule(target):
            return _examine_by_rule(target, options, progress)
        return examine_without_rule(target, options, progress)


def _examine_by_rule(target: Target, options: Options, progress: Progress) -> Report:
    start = time.perf_counter()
    context = Context(target, options)
    try:
        results = Runner(context).run_all(progress)
    except TargetError as error:
        return failed(target.name, target.rule, str(error))
    report = conclude(context, results)
    if options.diagnosis and report.divergence and context.dtype != "bfloat16":  # too coarse to tell edits apart
        progress("diagnosis")
        report = _with_cause(context, results, report)
    return replace(_with_evidence(context, report), seconds=time.perf_counter() - start)


def _with_evidence(context: Context, report: Report) -> Report:
    """The report with what a divergence looks like, and how far the target strays at its defaults."""
    if dialect := report.dialect or report.nearest:
        report = replace(report, at_defaults=at_defaults(context, dialect))
    return replace(report, evidence=evidence_of(report, context.target)) if report.divergence else report


def _with_cause(context: Context, results: Sequence[Result], report: Report) -> Report:
    """The report with its cause, at the smallest problem that shows the divergence.

    A cause is sought beside the nearest dialect and, unless it is a known one, beside the others; the report is about
    the one beside which the edit is smallest, else about the nearest.

    Raises:
        Interrupted: with the report as it stands.
    """
    from stepgauge.properties.gauge.diagnosis.search import Unrepeatable, diagnose  # only divergences need it

    outcomes = [o for r in results for o in r.outcomes if o.counts]
    telling = [o for o in outcomes if report.nearest in o.divergences]  # the others tell dialects apart, not errors
    best = report
    try:
        for dialect in by_nearness(context.dialects, outcomes):
            found = diagnose(context, telling, dialect)
            if found and (best.diagnosis is None or _better(found, best.diagnosis)):
                beside = report if dialect == report.nearest else conclude(context, results, nearest=dialect)
                best = _at_smallest(beside, found, dialect, outcomes)
            if found and found.is_cause and found.name:
                break
    except KeyboardInterrupt:
        raise Interrupted(best) from None
    except Unrepeatable:
        return replace(best, message="what it computes is another thing each time, so that no cause was sought")
    except FOREIGN_ERRORS as error:  # the verdict stands without its cause
        return replace(best, message=f"its cause was not found ({describe(error)})")
    return best


def _better(found: Diagnosis, best: Diagnosis) -> bool:
    """Whether a diagnosis beside another dialect is a cause, and a plainer one."""
    plainness = [(d.is_cause, not d.unexplained, bool(d.name), -_changed(d)) for d in (found, best)]
    return found.is_cause and plainness[0] > plainness[1]


def _changed(diagnosis: Diagnosis) -> int:
    """How many words of the reference an edit puts in or takes out."""
    return sum(len(set(hunk.before.split()) ^ set(hunk.after.split())) for hunk in diagnosis.hunks)


def _at_smallest(report: Report, found: Diagnosis, dialect: str, outcomes: Sequence[Outcome]) -> Report:
    """The report about the smallest problem, which has no regime that does not matter."""
    failing = [o.regimes for o in outcomes if dialect in o.divergences]
    passing = [o.regimes for o in outcomes if o.follows(dialect)]
    regimes = [*failing, found.smallest.regimes], passing
    place = found.smallest.divergences[dialect]
    told = replace(report, only_when=only_when(*regimes), alternatives=alternatives(*regimes))
    return replace(told, diagnosis=found, smallest=found.smallest, divergence=place)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while the cause was sought; the report is finished without it."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report
