"""The optimizers of thinc, spaCy's (`thinc.optimizers:Adam(grad_clip=0.0)`)."""

from typing import Any

from stepgauge.properties.gauge.errors import TargetError
from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import KeywordTarget
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array

ATTRIBUTES = {"beta1": "b1", "beta2": "b2"}  # the keywords that are kept under other names
SCHEDULED = frozenset({"learn_rate", "beta1", "beta2", "eps", "L2"})  # what thinc itself takes a schedule for


class ThincTarget(KeywordTarget):
    kind = "an optimizer of thinc"
    takes_scalars = False

    def _movable(self) -> frozenset[str]:
        return frozenset(n for n in self.offers if self.names.keywords(n) <= SCHEDULED)

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> Any:
        return self.factory(**keywords)

    def advance(self, made: Any, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        from thinc.schedules import constant

        for name in SCHEDULED & keywords.keys():
            setattr(made, ATTRIBUTES.get(name, name), constant(keywords[name]))
        try:
            after = [made((i, "W"), p, g)[0] for i, (p, g) in enumerate(zip(params, grads, strict=True))]
        except NotImplementedError as error:  # which says nothing more
            raise TargetError("takes no beta1 and no beta2 of 0, unless both are") from error
        made.step_schedules()
        return after


class Adapter(BaseAdapter):
    name = "thinc"
    words = "an optimizer of thinc"

    def fits(self, offer: Offer) -> bool:
        return "thinc" in offer.of_packages

    def target(self, offer: Offer) -> Target:
        offer, theirs = offer.maker(built="step_schedules")
        return ThincTarget(offer, theirs)
