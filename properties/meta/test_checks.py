"""The registry of checks: ids in words, found by entry points, told by a command, old ids answered with the new."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgauge.properties.gauge.checks.registry import CHECKS, GROUP, Check, load_checks, register
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.targets.base import NO_RULE
from stepgauge.reference import RULES

FORMER = {check.formerly: check for check in load_checks() if check.formerly}


@pytest.fixture
def without_what_is_added() -> Iterator[None]:
    known = dict(CHECKS)
    yield
    CHECKS.clear()
    CHECKS.update(known)


@pytest.mark.parametrize("check", load_checks(), ids=lambda check: check.id)
def test_an_id_is_words_and_a_docstring_says_what_is_asked(check: Check) -> None:
    assert re.fullmatch(r"[a-z]+(/[a-z0-9]+(-[a-z0-9]+)*)+", check.id)
    assert not re.search(r"/[a-z]{1,2}[0-9]+(/|$)", check.id), "a code of some other document"
    assert check.says.endswith(".")


def test_a_law_says_its_rules() -> None:
    for check in load_checks():
        if check.rules is not None:
            assert set(check.rules) <= RULES.keys(), check.id
            for dialect in check.dialects:
                assert any(dialect in RULES[rule].dialects for rule in check.rules), check.id


@pytest.mark.parametrize("former", FORMER)
def test_a_former_id_is_answered_with_the_present_one(former: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "torch.optim:SGD", "--only", former]) == 2
    assert f"no check is called {former!r}: it is {FORMER[former].id!r} now" in capsys.readouterr().out


def test_no_former_id_is_in_use() -> None:
    assert not FORMER.keys() & CHECKS.keys()


@pytest.mark.parametrize("rule", [*RULES, NO_RULE])
def test_a_rule_lists_its_checks(rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks", rule]) == 0
    listed = capsys.readouterr().out
    for check in load_checks():
        if check.category == "law":
            holds = rule in check.rules if check.rules is not None else rule == NO_RULE
            assert (f"{check.id}  law;" in listed) is holds, check.id


def test_all_checks_are_listed_with_what_they_ask(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    for check in load_checks():
        assert f"{check.id} {check.category}; " in listed
        assert check.says in listed


def test_an_unknown_rule_has_no_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks", "adamq"]) == 2
    assert "unknown rule 'adamq'" in capsys.readouterr().err


def test_the_explanation_of_a_rule_ends_with_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "sgdp"]) == 0
    assert "law/projection/rows-are-orthogonal  law; adamp, sgdp" in capsys.readouterr().out


@pytest.mark.usefixtures("without_what_is_added")
def test_two_checks_of_one_id_are_refused() -> None:
    def another(_: object) -> None:
        """Another check."""

    with pytest.raises(ValueError, match=r"two checks are called 'trajectory/float64', in .*trajectories\.py and"):
        register(Check("trajectory/float64", another, lambda _: True))


def test_anybody_adds_checks_by_an_entry_point(tmp_path: Path) -> None:
    """A distribution with an entry point of the group is enough; nothing of stepgauge names it."""
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nelsewhere = elsewhere\n")
    (tmp_path / "elsewhere.py").write_text(
        "from stepgauge.properties.gauge.checks.registry import check\n"
        "@check('convention/from-elsewhere')\n"
        "def elsewhere(context):\n"
        "    '''It is asked elsewhere.'''\n"
    )
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + (
        "from stepgauge.properties.gauge.command_line.main import main\nsys.exit(main(['checks', 'sgd']))"
    )
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "convention/from-elsewhere  convention; every rule" in listed
    assert "It is asked elsewhere." in listed
