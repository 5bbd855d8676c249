"""The project's own laws: importing this registers those of every `test_*.py` beside it."""

from importlib import import_module
from pkgutil import iter_modules

import stepgauge.properties

for _module in iter_modules(stepgauge.properties.__path__):
    if _module.name.startswith("test_"):
        import_module(f"stepgauge.properties.{_module.name}")
