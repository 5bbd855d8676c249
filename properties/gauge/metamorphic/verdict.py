"""The verdict on a target without a rule."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.checks.registry import load_checks
from stepgauge.properties.gauge.checks.results import Category, Result, Status
from stepgauge.properties.gauge.checks.runner import Runner
from stepgauge.properties.gauge.errors import StepError, TargetError
from stepgauge.properties.gauge.metamorphic.context import MATRICES, MetamorphicContext
from stepgauge.properties.gauge.targets.base import NO_RULE, Target
from stepgauge.properties.gauge.verdicts.promises import broken_promises
from stepgauge.properties.gauge.verdicts.record import Verdict
from stepgauge.properties.gauge.verdicts.report import Report, failed


def examine_without_rule(target: Target, options: Options, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Run the laws on a target without a rule and conclude.

    What decides are numbers that are silently others than was promised: a broken law, or a broken promise of torch's
    that shows in the parameters (a resumed run that leaves the course), is a divergence. What is refused aloud, and
    what concerns names, is a score beside it, as with a rule. "conforms" stands for "to the laws alone", which the
    message says, and no dialect is named: the status must tell a sound optimizer from a broken one, and a user who asks
    for no rule knows that none was compared. "not-established" is left to what it means elsewhere: a law that could
    not be decided, or did not run.

    Raises:
        UsageError: the options name a hyperparameter that the target lacks, or a dialect.
    """
    start = time.perf_counter()
    context = MetamorphicContext(target, options)
    runner = Runner(context)
    progress("first steps")
    try:
        context.obstacle  # noqa: B018  # the first steps: a target that takes none is an error, and no check is asked
    except (TargetError, StepError) as error:
        return failed(target.name, NO_RULE, str(error))
    results = runner.run_all(progress)
    return replace(conclude_without_rule(context, results), seconds=time.perf_counter() - start)


def conclude_without_rule(context: MetamorphicContext, results: Sequence[Result]) -> Report:
    """The report on a target without a rule of which these checks said this."""
    draft = Report(context.target.name, NO_RULE, Verdict.CONFORMS, results=results, coverage=_coverage(context))
    laws = [r for r in draft.results if r.category is Category.LAW]
    if context.obstacle:
        return replace(draft, verdict=Verdict.NOT_ESTABLISHED, message=context.obstacle)
    if raised := [r for r in laws if r.status is Status.ERROR]:
        return replace(draft, verdict=Verdict.ERROR, message=f"{raised[0].id}: {raised[0].message}")
    failed = [r for r in laws if r.status is Status.FAIL]
    if broken := [r.id for r in [*failed, *broken_promises(draft.results)]]:
        return replace(draft, verdict=Verdict.DIVERGES, message=f"breaks {', '.join(broken)}")
    if missing := [
        c.id
        for c in load_checks()
        if c.category is Category.LAW and c.applies(context.target) and c.id not in {r.id for r in laws}
    ]:
        return replace(draft, verdict=Verdict.NOT_ESTABLISHED, message=f"did not run: {', '.join(missing)}")
    if undecided := [r for r in laws if r.status is Status.INCONCLUSIVE]:
        return replace(draft, verdict=Verdict.NOT_ESTABLISHED, message=f"{undecided[0].id}: {undecided[0].message}")
    held = sum(r.status is Status.PASS for r in laws)
    matrices = ", asked of matrices alone" if context.shapes == MATRICES else ""
    return replace(draft, message=f"to the laws alone ({held} of them{matrices}): no rule was compared")


def _coverage(context: MetamorphicContext) -> dict[str, Any]:
    return {
        "level": context.options.level,
        "seed": context.options.seed,
        "problems": 0 if context.obstacle else len(context.law_problems),
        "shapes": [list(shape) for shape in context.shapes],
        "defaults": {n: repr(v) for n, v in sorted(context.target.defaults.items())},
        "set": dict(context.plain),
        "switched_on": {} if context.obstacle else {n: v for n, v in context.example.items() if n not in context.plain},
    }
