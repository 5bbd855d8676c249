"""Every small edit of a rule's text is killed, or known to survive with a reason; the README says how many."""

from pathlib import Path

import pytest

from stepgauge.properties.gauge import command_line
from stepgauge.properties.gauge.command_line.output import ExitStatus
from stepgauge.properties.gauge.edits.editable_source import editable_source
from stepgauge.properties.gauge.strength.mutants import Strength, strength_of
from stepgauge.reference import RULES

README = Path(__file__).parents[2] / "README.md"


def row(found: Strength) -> str:
    """As the README's table has it."""
    return (
        f"| {found.rule} | {found.dialect} | {found.mutants} | {found.killed} | {found.equivalent} | {found.missed} |"
    )


def demand(rule: str) -> None:
    for dialect in RULES[rule].dialects:
        found = strength_of(rule, dialect)
        assert not found.unexplained
        assert row(found) in README.read_text()


def test_mutants_are_killed_or_explained() -> None:
    demand("sgd")


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "sgd"])
def test_mutants_of_every_other_rule_are_killed_or_explained(rule: str) -> None:
    demand(rule)


def test_what_survives_without_a_reason_is_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all reasons taken away."""
    monkeypatch.setattr("stepgauge.properties.gauge.strength.mutants._reasons", list)
    assert command_line.main(["strength", "sgd", "--level", "quick"]) == 0
    assert "nobody has said why" in capsys.readouterr().out


def test_an_unknown_rule_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["strength", "adamq"]) == ExitStatus.USAGE
    assert "adamq" in capsys.readouterr().err


def test_edits_see_the_hyperparameters_of_the_rule() -> None:
    (piece,) = (
        p for p in editable_source("sgd").pieces if getattr(p.node, "name", "") == "step" and p.module.endswith("sgd")
    )
    assert {"p", "g", "b", "d", "s.momentum_buffer", "self.lr", "self.nesterov"} <= set(piece.scope.values)
    assert set(piece.scope.scalars) == {"self.lr", "self.momentum", "self.dampening", "self.weight_decay"}
