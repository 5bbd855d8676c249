"""The adapter that fits what a user's factory makes."""

from collections.abc import Callable, Mapping
from typing import Any

from stepgauge.core import Optimizer
from stepgauge.properties.gauge.errors import TargetError, UsageError
from stepgauge.properties.gauge.targets.base import NO_RULE, Target
from stepgauge.properties.gauge.targets.core_optimizer import CoreTarget
from stepgauge.properties.gauge.targets.numpy_rule import RuleTarget
from stepgauge.reference import Rule


def make_target(
    name: str,
    factory: Callable[..., Any],
    rule: str,
    *,
    keywords: Mapping[str, Any] | None = None,
    renames: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> Target:
    """The target around a factory: a rule with the reference's interface, an optimizer of the core, or one of torch.

    Raises:
        TargetError: it cannot be built, or what it builds is no optimizer.
        UsageError: a rename does not fit.
    """
    if isinstance(factory, type) and issubclass(factory, Rule | Optimizer):
        if rule == NO_RULE:
            raise TargetError("is no torch optimizer, of which alone the laws without a rule are asked")
        if renames:
            raise UsageError(f"--rename: {name} has the names of stepgauge's own rules")
        if issubclass(factory, Optimizer):
            return CoreTarget(name, factory, rule, keywords or {})
        return RuleTarget(name, factory, rule, keywords or {})
    if rule == NO_RULE:
        from stepgauge.properties.gauge.targets.ruleless_torch import RulelessTorchTarget

        return RulelessTorchTarget(name, factory, keywords or {}, renames or {}, device)
    from stepgauge.properties.gauge.targets.torch_optimizer import TorchTarget

    return TorchTarget(name, factory, rule, keywords or {}, renames or {}, device)
