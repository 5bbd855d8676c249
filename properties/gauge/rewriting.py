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

Edit = Callable[[str, ast.Module], ast.Module]


def parse(module: str) -> ast.Module:
    """The syntax tree of a module of the reference."""
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def rewrite(rule: type[Rule], edit: Edit, names: Mapping[str, Any], stand_ins: Mapping[str, Any]) -> type[Rule]:
    """The class `rule` of a rewritten copy of its text.

    Args:
        rule: a rule of the reference.
        edit: turns the tree of a named module into the one to execute; may change it in place.
        names: what the edited text refers to beyond its own imports.
        stand_ins: modules to import in place of the ones so named.
    """
    copies: dict[str, ModuleType] = {}

    def load(module: str) -> ModuleType:
        if module not in copies:
            copy = copies[module] = ModuleType(module)
            copy.__dict__.update(names, __builtins__={**vars(builtins), "__import__": import_copy})
            tree = ast.fix_missing_locations(edit(module, parse(module)))
            exec(compile(tree, sys.modules[module].__file__ or module, "exec"), copy.__dict__)
        return copies[module]

    def import_copy(name: str, *context: Any) -> Any:
        if name in stand_ins:
            return stand_ins[name]
        if name.startswith(f"{PACKAGE}.") and name not in KEPT:
            return load(name)
        return __import__(name, *context)

    copy: type[Rule] = getattr(load(rule.__module__), rule.__name__)
    return copy
