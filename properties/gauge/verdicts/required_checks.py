"""What must have been asked of a target before a verdict says that it conforms."""

from collections.abc import Sequence

from stepgauge.properties.gauge.checks.registry import load_checks
from stepgauge.properties.gauge.checks.results import DECIDING, Category, Result, Status
from stepgauge.properties.gauge.targets.base import Target

INCONCLUSIVE_CAP = 0.1  # of a check's problems; beyond it, nothing is established, but one of several is no share
NAMED = 4  # of the checks that did not run
TRAJECTORIES = 8  # checks of this category that are asked of every rule


def required_of(target: Target) -> int:
    """How many trajectories and laws must have been asked."""
    return TRAJECTORIES + target.record.required_laws


def shortfall(target: Target, results: Sequence[Result]) -> str:
    """Why the checks that ran establish nothing; empty if they do."""
    deciding = [r for r in results if r.category in DECIDING]
    ran = {r.id for r in deciding if _answers(r)}
    if len(ran) < required_of(target):
        return _shortage(target, deciding, ran)
    for result in deciding:
        asked, undecided = len(result.outcomes), sum(o.ambiguous for o in result.outcomes)
        if undecided > max(INCONCLUSIVE_CAP * asked, min(asked - 1, 1)):
            share = f"{undecided / asked:.0%} of the problems of {result.id}"
            return f"{share} decide nothing (at most {INCONCLUSIVE_CAP:.0%} may, or one of several)"
    return ""


def _answers(result: Result) -> bool:
    """Whether a check said something of the target, if only that it cannot be asked of it."""
    if result.category is Category.TRAJECTORY and result.status is not Status.NOT_APPLICABLE:
        return any(o.counts for o in result.outcomes)
    return result.status is not Status.INCONCLUSIVE


def _shortage(target: Target, deciding: Sequence[Result], ran: set[str]) -> str:
    """Which checks are missing among those that the rule requires."""
    for result in deciding:
        if result.status is Status.INCONCLUSIVE:
            return f"{result.id} decides nothing: {result.message}"
    required = required_of(target)
    known = [c.id for c in load_checks() if c.category in DECIDING and c.applies(target)]
    missing = [name for name in known if name not in ran]
    if not missing:
        return f"knows {len(known)} of the {required} checks that {target.rule} requires"
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"did not run: {', '.join(missing[:NAMED])}{more} ({target.rule} requires {required} checks)"
