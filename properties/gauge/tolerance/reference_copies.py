"""Edited copies of the reference's text, executed.

Modules and the parts they import are parsed, transformed and executed as new modules; the reference itself is never
touched. The contract (`rule`) stays as it is, and for a rule's copy what feeds it: the driver, the unfolding of layers.
"""

import ast
import builtins
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from types import ModuleType
from typing import Any

from stepgauge.reference import Rule

PACKAGE = "stepgauge.reference"
CONTRACT = (f"{PACKAGE}.rule", f"{PACKAGE}.hyperparameters")
FEEDING = tuple(f"{PACKAGE}.{part}" for part in ("driver", "network", "layers"))
Transformation = Callable[[str, ast.Module], ast.Module]


def source_of(module: str) -> str:
    """The text of a module of the reference."""
    return inspect.getsource(importlib.import_module(module))


def parse(module: str) -> ast.Module:
    """The syntax tree of a module of the reference."""
    return ast.parse(source_of(module))


def file_of(module: str) -> str:
    """The source file of a module."""
    return sys.modules[module].__file__ or module


def execute(module: str, tree: ast.Module, names: Mapping[str, Any] | None = None) -> ModuleType:
    """A module of this name and text."""
    made = ModuleType(module)
    made.__dict__.update(names or {})
    exec(compile(ast.fix_missing_locations(tree), file_of(module), "exec"), made.__dict__)
    return made


def copy_modules(
    modules: Sequence[str],
    transform: Transformation,
    names: Mapping[str, Any] | None = None,
    stand_ins: Mapping[str, Any] | None = None,
    kept: Set[str] = frozenset(),
) -> dict[str, ModuleType]:
    """A transformed copy of modules of the reference, and of all that they import of it, by name.

    Args:
        modules: by name.
        transform: turns the tree of a named module into the one to execute; may change it in place.
        names: what the transformed text refers to beyond its own imports.
        stand_ins: modules to import in place of the ones so named.
        kept: modules that are not copied, beside the contract.
    """
    made: dict[str, ModuleType] = {}

    def load(module: str) -> ModuleType:
        if module not in made:
            hooked = {**vars(builtins), "__import__": import_copy}
            made[module] = execute(module, transform(module, parse(module)), {**(names or {}), "__builtins__": hooked})
        return made[module]

    def import_copy(name: str, *context: Any) -> Any:
        if name in (stand_ins or {}):
            return (stand_ins or {})[name]
        if name.startswith(f"{PACKAGE}.") and name not in {*CONTRACT, *kept}:
            return load(name)
        return __import__(name, *context)

    for module in modules:
        load(module)
    return made


def copy_rule(
    rule: type[Rule], transform: Transformation, names: Mapping[str, Any], stand_ins: Mapping[str, Any]
) -> type[Rule]:
    """The class `rule` of a transformed copy of only its own text; see `copy_modules`."""
    made = copy_modules([rule.__module__], transform, names, stand_ins, kept=set(FEEDING))
    copy: type[Rule] = getattr(made[rule.__module__], rule.__name__)
    return copy
