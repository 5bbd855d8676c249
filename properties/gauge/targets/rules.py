"""Rules by the names that users and classes give them."""

from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.targets.base import NO_RULE
from stepgauge.reference import RULES


def infer_rule(name: str) -> str:
    """The rule that a class name means.

    Raises:
        UsageError: none of the rules goes by that name.
    """
    plain = name.rpartition(".")[2].replace("_", "").lower()
    for rule in RULES:
        if rule.replace("_", "") == plain:
            return rule
    raise UsageError(
        f"cannot tell the rule of {name!r} from its name; give --rule, one of: {', '.join(RULES)}, or {NO_RULE}"
    )


def known_rule(name: str, *, or_none: bool = False) -> str:
    """`name` as the rules are listed, whatever its case; maybe "none", which is no rule.

    Raises:
        UsageError: no such rule.
    """
    plain = str(name).lower()
    if plain in RULES or (or_none and plain == NO_RULE):
        return plain
    known = [*RULES, NO_RULE] if or_none else RULES
    raise UsageError(f"unknown rule {name!r}: the rules are {', '.join(known)}")
