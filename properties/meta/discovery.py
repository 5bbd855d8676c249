"""Ports found by the modules that they are written in, so that a new module has to be listed nowhere."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from torch.optim import Optimizer


def modules_of(package: str) -> list[ModuleType]:
    """The modules of a package, by name; packages within it are left to themselves."""
    found = iter_modules(import_module(package).__path__, f"{package}.")
    return [import_module(module.name) for module in found if not module.ispkg]


def gathered(package: str, name: str) -> tuple[Any, ...]:
    """What the modules of a package list under a name, end to end."""
    return tuple(port for module in modules_of(package) for port in getattr(module, name, ()))


def optimizers_of(package: str) -> Iterator[Any]:
    """The optimizers that the modules of a package define, for whatever rule."""
    for module in modules_of(package):
        for made in vars(module).values():
            if isinstance(made, type) and issubclass(made, Optimizer) and made.__module__ == module.__name__:
                yield made
