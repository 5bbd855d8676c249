"""Loading a factory from what the user wrote: `module:Factory(keyword=value)` or `path.py:Factory`."""

import ast
import importlib.util
import shlex
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, TargetError, UsageError, describe
from stepgauge.properties.gauge.targets.adapters.keras import choose_backend
from stepgauge.properties.gauge.targets.adapters.program import Program
from stepgauge.properties.gauge.targets.base import quiet

PROGRAM = "program:"


class Specification(NamedTuple):
    """What the user wrote: `module:Factory` or `path.py:Factory`, and keywords for the factory alone."""

    text: str
    module: str
    attribute: str
    keywords: dict[str, Any]

    @property
    def goes_by(self) -> str:
        """The name that may tell the rule: of the factory, or of the program's file."""
        if self.module != PROGRAM:
            return self.attribute
        return Path(shlex.split(self.attribute)[0]).stem

    @classmethod
    def parse(cls, text: str) -> "Specification":
        if text.startswith(PROGRAM) and text != PROGRAM:
            return cls(text, PROGRAM, text.removeprefix(PROGRAM), {})
        module, colon, call = text.partition(":")
        relative = module.startswith(".") and not module.endswith(".py")
        if relative or not (module and colon and call):
            raise UsageError(
                f"{text!r} is no target: write module:Factory, path.py:Factory or module:Factory(key=value)"
            )
        try:
            node = ast.parse(call, mode="eval").body
            keywords: dict[str, Any] = {}
            if isinstance(node, ast.Call):
                if node.args or any(k.arg is None for k in node.keywords):
                    raise UsageError(f"{text!r} is no target: the factory takes key=value alone")
                keywords = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
                node = node.func
            return cls(text, module, _dotted(node), keywords)
        except (SyntaxError, ValueError, TypeError):  # the last of an unhashable key
            raise UsageError(
                f"{text!r} is no target: {call!r} must be a name, or a name with literal keywords"
            ) from None

    def load(self) -> Callable[..., Any]:
        """The factory.

        Raises:
            TargetError: the module does not exist or does not import, or has no such callable.
        """
        if self.module == PROGRAM:
            return Program(self.attribute)  # type: ignore[return-value]  # which the adapter of programs starts
        try:
            choose_backend()
            with quiet():
                found: Any = _import(self.module)
        except FOREIGN_ERRORS as error:
            raise TargetError(f"cannot be imported: {describe(error)}") from error
        for part in self.attribute.split("."):
            if not hasattr(found, part):
                raise TargetError(f"cannot be loaded: {self.module} has no {self.attribute!r}{_close(part, found)}")
            found = getattr(found, part)
        if not (callable(found) or _steps(found)):
            raise TargetError(f"is no optimizer: {self.attribute} is {found!r:.40}, not a class or a factory")
        loaded: Callable[..., Any] = found
        return loaded


def _steps(made: Any) -> bool:
    """Whether this is an optimizer that has been built already."""
    return any(callable(getattr(made, name, None)) for name in ("step", "update", "apply"))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError


def _import(module: str) -> Any:
    if not module.endswith(".py"):
        if "" not in sys.path:
            sys.path.insert(0, "")  # a console script does not see the working directory; a target often lies there
        return importlib.import_module(module)
    path = Path(module)
    if not path.is_file():
        raise FileNotFoundError(f"no file {module}")
    if str(path.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(path.parent.resolve()))  # as for a script, so that it finds its neighbours
    name = f"stepgauge_target_{zlib.crc32(bytes(path.resolve())):08x}_{path.stem}"  # two files may have one stem
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[loaded.__name__] = loaded  # pickle looks classes up there
    specification.loader.exec_module(loaded)
    return loaded


def _close(name: str, found: Any) -> str:
    import difflib

    matches = difflib.get_close_matches(name, dir(found), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""
