"""Edited copies of the reference's text, executed.

A rule's module and the parts it imports are parsed, transformed and executed as new modules; the reference itself is
never touched. The contract (`rule`), the driver and the unfolding of layers stay as they are: they feed a rule.
"""

import ast
import builtins
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from stepgauge.reference import Rule

PACKAGE = "stepgauge.reference"
KEPT = {PACKAGE, *(f"{PACKAGE}.{part}" for part in ("rule", "driver", "network", "layers"))}

Transformation = Callable[[str, ast.Module], ast.Module]


def parse(module: str) -> ast.Module:
    """The syntax tree of a module of the reference."""
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def file_of(module: str) -> str:
    """The source file of a module."""
    return sys.modules[module].__file__ or module


def execute(module: str, tree: ast.Module, names: Mapping[str, Any] | None = None) -> ModuleType:
    """A module of this name and text."""
    made = ModuleType(module)
    made.__dict__.update(names or {})
    exec(compile(ast.fix_missing_locations(tree), file_of(module), "exec"), made.__dict__)
    return made


def copies(
    rule: type[Rule],
    transform: Transformation,
    names: Mapping[str, Any] | None = None,
    stand_ins: Mapping[str, Any] | None = None,
) -> dict[str, ModuleType]:
    """A transformed copy of every module of a rule's text, by name.

    Args:
        rule: a rule of the reference.
        transform: turns the tree of a named module into the one to execute; may change it in place.
        names: what the transformed text refers to beyond its own imports.
        stand_ins: modules to import in place of the ones so named.
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
        if name.startswith(f"{PACKAGE}.") and name not in KEPT:
            return load(name)
        return __import__(name, *context)

    load(rule.__module__)
    return made


def rewrite(rule: type[Rule], transform: Transformation, *context: Mapping[str, Any]) -> type[Rule]:
    """The class `rule` of a transformed copy of its text; see `copies`."""
    copy: type[Rule] = getattr(copies(rule, transform, *context)[rule.__module__], rule.__name__)
    return copy
