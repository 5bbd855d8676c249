"""torch optimizers, and what looks like one: anything that takes parameters first and makes `step`, `param_groups`.

An optimizer that has been built already stands for its class with the hyperparameters of its first group.
"""

import sys
from typing import Any

from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import NO_RULE, Target
from stepgauge.properties.gauge.targets.offer import Offer


class Adapter(BaseAdapter):
    name = "torch"
    words = "a class that takes parameters first and has step and param_groups"

    def fits(self, offer: Offer) -> bool:
        """Of classes that say so; whatever no other adapter takes is tried as one, too."""
        torch = sys.modules.get("torch")
        made = offer.factory if isinstance(offer.factory, type) else type(offer.factory)
        return torch is not None and issubclass(made, torch.optim.Optimizer)

    def target(self, offer: Offer) -> Target:
        factory, keywords = offer.factory, dict(offer.keywords)
        if not isinstance(factory, type) and self.fits(offer):
            factory, keywords = type(factory), _settings(factory)
        if offer.rule == NO_RULE:
            from stepgauge.properties.gauge.targets.ruleless_torch import RulelessTorchTarget

            return RulelessTorchTarget(offer.name, factory, keywords, offer.renames, offer.device, offer.after_build)
        from stepgauge.properties.gauge.targets.torch_optimizer import TorchTarget

        return TorchTarget(offer.name, factory, offer.rule, keywords, offer.renames, offer.device, offer.after_build)


def _settings(optimizer: Any) -> dict[str, Any]:
    """The keywords that an optimizer was built with, as far as its first group keeps them."""
    from stepgauge.properties.gauge.targets.keywords import Keywords

    named = Keywords.of(type(optimizer)).named
    return {n: v for n, v in optimizer.param_groups[0].items() if n in named}
