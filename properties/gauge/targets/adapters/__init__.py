"""Adapters: one file for each kind of target, found by looking into this folder.

A module has a class `Adapter`; what its library is needed for, it imports where it is needed.
"""

import pkgutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from stepgauge.properties.gauge.targets.base import Target
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

    def maker(self, built: str) -> tuple[Callable[..., Any], Keywords]:
        """What makes fresh optimizers, and its keywords: the factory, or copies of what is `built` already.

        Only what has been built has an attribute of that name.
        """
        if isinstance(self.factory, type) or not hasattr(self.factory, built):
            return self.factory, Keywords.of(self.factory, skip=0)
        return lambda: deepcopy(self.factory), Keywords({}, is_open=False)


class BaseAdapter:
    """A kind of target.

    Attributes:
        name: as `--adapter` has it.
        words: what it takes.
    """

    name: ClassVar[str]
    words: ClassVar[str]

    def fits(self, offer: Offer) -> bool:
        """Whether the offer is of this kind, as far as can be told without importing its library."""
        raise NotImplementedError

    def target(self, offer: Offer) -> Target:
        """The target around the offer.

        Raises:
            TargetError: it does not fit after all.
        """
        raise NotImplementedError


@cache
def adapters() -> dict[str, BaseAdapter]:
    """All adapters by name, in the order of their files."""
    found: dict[str, BaseAdapter] = {}
    for module in pkgutil.iter_modules(__path__):
        make: Callable[[], BaseAdapter] = import_module(f"{__name__}.{module.name}").Adapter
        adapter = make()
        found[adapter.name] = adapter
    return found
