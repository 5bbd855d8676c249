"""The examples in docstrings and documents do what they say, and the documents show what is stored."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import stepgauge.properties.gauge
import stepgauge.properties.meta.transcripts
import stepgauge.reference
from stepgauge.properties.gauge.command_line.main import parser
from stepgauge.properties.meta.transcripts import comparable, run_again, transcripts

ROOT = Path(__file__).parents[2]
SLOW = ("conforms", "expected-failures", "saved", "demo-adai", "demo-frog")  # that take longer than the rest


def _modules(package: ModuleType) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(m.name for m in found if not m.name.endswith("__main__"))]


DOCUMENTED = [
    *_modules(stepgauge.reference),
    *_modules(stepgauge.properties.gauge),
    stepgauge.properties.meta.transcripts.__name__,
]


@pytest.mark.parametrize("module", DOCUMENTED)
def test_docstring_examples(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.fixture
def pages() -> list[Path]:
    """The documents, which are in a checkout only."""
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("not in a checkout: the documents are not installed")
    return [readme, *sorted(ROOT.glob("docs/*.md")), ROOT / "properties/gauge/tolerance/README.md"]


def test_examples_in_documents(pages: list[Path]) -> None:
    for page in pages:
        assert doctest.testfile(str(page), module_relative=False).failed == 0, page


def test_documents_show_what_is_stored(pages: list[Path]) -> None:
    cogapp = pytest.importorskip("cogapp", reason="cog is not installed")
    arguments = ["cog", "--check", "--check-fail-msg=run make docs", *map(str, pages)]
    assert cogapp.Cog().main(arguments) == 0


def test_documents_name_tests_that_are_there(pages: list[Path]) -> None:
    texts = [path.read_text() for path in (ROOT / "properties").rglob("test_*.py")]
    there = set(re.findall(r"^def (test_\w+)", "\n".join(texts), re.MULTILINE))
    named = {name for page in pages for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert named
    assert named <= there


def test_documents_link_to_what_is_there(pages: list[Path]) -> None:
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page} links to {link}"


@pytest.mark.parametrize(
    "transcript",
    [pytest.param(file, id=file.stem, marks=[pytest.mark.slow] if file.stem in SLOW else []) for file in transcripts()],
)
def test_commands_print_what_is_shown(transcript: Path) -> None:
    if "adamp:" in transcript.read_text():
        pytest.importorskip("adamp", reason="the released package is not installed")
    assert comparable(run_again(transcript)) == comparable(transcript.read_text().splitlines())


@pytest.mark.usefixtures("pages")
def test_the_workflow_to_copy_gives_the_command_what_it_takes() -> None:
    """Its options exist, and what it shows and keeps is what the command is told to write."""
    text = (ROOT / "docs/workflows/optimizer.yml").read_text()
    found = re.search(r"^ +stepgauge (check .+\n(?: +--.+\n)+)", text, re.MULTILINE)
    assert found is not None
    chosen = parser().parse_args(found[1].split())
    assert chosen.rule == "adamp"
    for file in (chosen.markdown, chosen.html, chosen.badge):
        assert text.count(str(file)) >= 2
