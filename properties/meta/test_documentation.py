"""The examples in docstrings and in the README do what they say."""

import doctest
import importlib
import pkgutil
import re
from types import ModuleType

import pytest

import stepgauge.properties.gauge
import stepgauge.reference
from stepgauge.reference import RULES


def _modules(package: ModuleType) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(m.name for m in found if not m.name.endswith("__main__"))]


DOCUMENTED = [*_modules(stepgauge.reference), *_modules(stepgauge.properties.gauge)]


@pytest.mark.parametrize("module", DOCUMENTED)
def test_docstring_examples(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_readme_has_every_rule_in_its_table(pytestconfig: pytest.Config) -> None:
    readme = pytestconfig.rootpath / "README.md"
    if not readme.exists():
        pytest.skip("not in a checkout: the README is not installed")
    _, heading, table = readme.read_text().partition("| rule | dialects | reference |")
    assert heading
    rows = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines()[2:]]
    named = {name.replace("-", "").lower() for row in rows for name in re.findall(r"[\w-]+", row)}
    assert named >= set(RULES)


def test_readme_examples(pytestconfig: pytest.Config) -> None:
    readme = pytestconfig.rootpath / "README.md"
    if not readme.exists():
        pytest.skip("not in a checkout: the README is not installed")
    failed, attempted = doctest.testfile(str(readme), module_relative=False)
    assert failed == 0
    assert attempted > 0
