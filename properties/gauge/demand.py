"""What must have been asked of a target before a verdict says that it conforms."""

from collections.abc import Mapping, Sequence

from stepgauge.properties.gauge.check import DECIDING, Result
from stepgauge.properties.gauge.examination import load_checks
from stepgauge.properties.gauge.target import Target

# How many trajectories and laws must have been asked, by rule: stated, so that one which gets lost is missed.
DEMANDED: Mapping[str, int] = {
    "sgd": 8,
    "adam": 4,
    "adamw": 5,
    "rmsprop": 4,
    "adamp": 15,
    "sgdp": 16,
    "fsgdm": 15,
    "adai": 14,
    "adaiv2": 9,
    "sgd_c": 9,
    "rmsprop_c": 7,
    "adam_c": 8,
    "adamw_c": 7,
    "frog": 11,
    "kfrog": 8,
}

INCONCLUSIVE_CAP = 0.1  # of a check's problems; beyond it, nothing is established
NAMED = 4  # of the checks that did not run


def lacking(target: Target, results: Sequence[Result]) -> str:
    """Why the checks that ran establish nothing; empty if they do."""
    deciding = [r for r in results if r.category in DECIDING]
    ran = {r.id for r in deciding if _answers(r)}
    if len(ran) < DEMANDED[target.rule]:
        return _shortage(target, deciding, ran)
    for result in deciding:
        undecided = sum(o.ambiguous for o in result.outcomes) / max(len(result.outcomes), 1)
        if undecided > INCONCLUSIVE_CAP:
            return f"{undecided:.0%} of the problems of {result.id} decide nothing (at most {INCONCLUSIVE_CAP:.0%} may)"
    return ""


def _answers(result: Result) -> bool:
    """Whether a check said something of the target, if only that it cannot be asked of it."""
    if result.category == "trajectory" and result.status != "not-applicable":
        return any(o.judged for o in result.outcomes)
    return result.status != "inconclusive"


def _shortage(target: Target, deciding: Sequence[Result], ran: set[str]) -> str:
    """Which checks are missing among those that the rule demands."""
    for result in deciding:
        if result.status == "inconclusive":
            return f"{result.id} decides nothing: {result.message}"
    demanded = DEMANDED[target.rule]
    known = [c.id for c in load_checks() if c.category in DECIDING and c.applies(target)]
    missing = [name for name in known if name not in ran]
    if not missing:
        return f"knows {len(known)} of the {demanded} checks that {target.rule} demands"
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"did not run: {', '.join(missing[:NAMED])}{more} ({target.rule} demands {demanded} checks)"
