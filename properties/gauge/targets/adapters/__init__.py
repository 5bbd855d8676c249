"""Adapters: one file for each kind of target, found by looking into this folder.

A module has a class `Adapter`; what its library is needed for, it imports where it is needed.
"""

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import ClassVar

from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.offer import Offer


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
