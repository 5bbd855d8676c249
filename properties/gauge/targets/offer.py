"""What the user offers as a target."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from stepgauge.properties.gauge.targets.keywords import Keywords


@dataclass(frozen=True)
class Offer:
    """What the user offers as a target: a factory or an instance, the rule, and what goes with it.

    Attributes:
        after_build: the method of a torch optimizer that is called once it is built.
    """

    name: str
    factory: Any
    rule: str
    keywords: Mapping[str, Any]
    renames: Mapping[str, str]
    device: str = "cpu"
    after_build: str = ""

    @property
    def of_packages(self) -> frozenset[str]:
        """The packages that the factory, its bases or its type are from."""
        owner = self.factory if hasattr(self.factory, "__module__") else type(self.factory)
        classes = getattr(owner, "__mro__", ()) if isinstance(owner, type) else (owner, *type(owner).__mro__)
        return frozenset(str(getattr(c, "__module__", "")).partition(".")[0] for c in classes)

    def maker(self, built: str) -> "tuple[Offer, Keywords]":
        """The same of what makes fresh optimizers, and its keywords: of copies of what is `built` already.

        Only what has been built has an attribute of that name.
        """
        if isinstance(self.factory, type) or not hasattr(self.factory, built):
            return self, Keywords.of(self.factory, skip=0)
        return replace(self, factory=lambda: deepcopy(self.factory)), Keywords({}, is_open=False)
