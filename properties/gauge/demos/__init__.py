"""What the papers say that their rules do, at a scale that takes seconds, beside baselines at the same learning rate.

Each module is a demo, found by looking into this folder. It names its `RULES`, and its `demo(rule)` takes the measures
and says what they show and what they do not. Rules are stepped by the core, which computes what the reference computes.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from stepgauge.properties.gauge.demos.demo import Demo as Demo
from stepgauge.properties.gauge.errors import UsageError


def demos_of(rule: str) -> list[Demo]:
    """All demos of a rule, measured now.

    Raises:
        UsageError: there is none.
    """
    found = [module.demo(rule) for module in _modules() if rule in module.RULES]
    if not found:
        raise UsageError(f"{rule} has no demo: there are some of {', '.join(demonstrated())}")
    return found


def demonstrated() -> list[str]:
    """The rules that have a demo."""
    return sorted({rule for module in _modules() for rule in module.RULES})


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{found.name}")
        if hasattr(module, "RULES"):
            yield module
