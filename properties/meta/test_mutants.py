"""Every small edit of a rule's text is killed, or known to survive with a reason; what is stored says how many."""

import pytest

from stepgauge.properties.gauge import command_line
from stepgauge.properties.gauge.command_line.output import ExitStatus
from stepgauge.properties.gauge.edits.editable_source import editable_source
from stepgauge.properties.gauge.strength.mutants import strength_of
from stepgauge.properties.meta.figures import stored_row
from stepgauge.properties.meta.figures.measured import mutants_row
from stepgauge.reference import RULES


def demand(rule: str) -> None:
    for dialect in RULES[rule].dialects:
        found = strength_of(rule, dialect)
        assert not found.unexplained
        assert mutants_row(found) == stored_row("mutants", rule=rule, dialect=dialect)


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
