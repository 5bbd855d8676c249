"""The adapter that fits what a user's factory makes."""

from collections.abc import Callable, Mapping
from typing import Any

from stepgauge.core import Optimizer
from stepgauge.properties.gauge.errors import TargetError, UsageError
from stepgauge.properties.gauge.targets.adapters import BaseAdapter, adapters
from stepgauge.properties.gauge.targets.base import NO_RULE, Target
from stepgauge.properties.gauge.targets.core_optimizer import CoreTarget
from stepgauge.properties.gauge.targets.numpy_rule import RuleTarget
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Rule


def make_target(
    name: str,
    factory: Callable[..., Any],
    rule: str,
    *,
    keywords: Mapping[str, Any] | None = None,
    renames: Mapping[str, str] | None = None,
    device: str = "cpu",
    adapter: str | None = None,
    after_build: str = "",
) -> Target:
    """The target around a factory: one of the reference's rules, an optimizer of the core, or what an adapter takes.

    Raises:
        TargetError: it cannot be built, or what it builds is no optimizer.
        UsageError: a rename does not fit, or `after_build` is said of what is no torch optimizer.
    """
    if isinstance(factory, type) and issubclass(factory, Rule | Optimizer):
        if rule == NO_RULE:
            raise TargetError("is no torch optimizer, of which alone the laws without a rule are asked")
        if renames:
            raise UsageError(f"--rename: {name} has the names of stepgauge's own rules")
        if after_build:
            raise UsageError(f"--after-build {after_build}: {name} is no torch optimizer, whose method that could be")
        if issubclass(factory, Optimizer):
            return CoreTarget(name, factory, rule, keywords or {})
        return RuleTarget(name, factory, rule, keywords or {})
    offer = Offer(name, factory, rule, keywords or {}, renames or {}, device, after_build)
    chosen = _adapter(offer, adapter)
    if after_build and chosen.name != "torch":
        raise UsageError(f"--after-build {after_build}: {name} is {chosen.words}, not a torch optimizer")
    return chosen.target(offer)


def _adapter(offer: Offer, named: str | None) -> BaseAdapter:
    """The adapter that the user named, or the first that the offer fits; else torch's, which says what is missing.

    Raises:
        UsageError: there is no adapter of that name.
        TargetError: the laws without a rule are asked of what is no torch optimizer.
    """
    known = adapters()
    if named is not None and named not in known:
        raise UsageError(f"--adapter {named}: the adapters are {', '.join(known)}")
    chosen = known[named] if named else next((a for a in known.values() if a.fits(offer)), known["torch"])
    if offer.rule == NO_RULE and chosen.name != "torch":
        raise TargetError("is no torch optimizer, of which alone the laws without a rule are asked")
    return chosen
