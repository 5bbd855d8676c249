"""Rules by the names that users and classes give them."""

import re
from collections.abc import Mapping
from typing import Any

from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.targets.base import NO_RULE
from stepgauge.reference import RULES

# What ports and kernels put before or after a rule's name without meaning another rule.
DECORATIONS = re.compile(r"^(fused|foreach|pytorch)|(optimizer|legacy|tf|fused)$")
ALIASES = {"sgdw": "sgd", "momentum": "sgd", "sgdmomentum": "sgd"}


def infer_rule(name: str) -> str:
    """The rule that a class name means.

    Raises:
        UsageError: none of the rules goes by that name.
    """
    plain = name.rpartition(".")[2].replace("_", "").lower()
    known = {rule.replace("_", ""): rule for rule in RULES} | ALIASES
    while plain not in known and (bare := DECORATIONS.sub("", plain)) != plain:
        plain = bare
    if plain in known:
        return known[plain]
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


def require_settings(rule: str, settings: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that the rule does not have or allow.

    Raises:
        UsageError: see there.
    """
    names = RULES[rule].hyperparameter_names()
    for name, value in settings.items():
        if name not in names:
            raise UsageError(f"{rule} has no hyperparameter {name!r}: it has {', '.join(names)}")
        try:
            RULES[rule].checked(name, value)
        except ValueError as error:
            raise UsageError(str(error)) from error
