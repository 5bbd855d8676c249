"""The stored figures are about what there is; `test_mutants` and `test_resolution` hold what they say."""

import csv
from pathlib import Path

import pytest

from stepgauge.properties.meta import figures
from stepgauge.properties.meta.figures import store, stored, stored_row
from stepgauge.properties.meta.figures.measured import LEGAL_PORTS
from stepgauge.reference import RULES

DIALECTS = [(name, dialect) for name, rule in RULES.items() for dialect in rule.dialects]


@pytest.mark.parametrize("table", ["mutants", "resolution"])
def test_every_rule_and_dialect_has_a_row(table: str) -> None:
    assert [(row["rule"], row["dialect"]) for row in stored(table)] == DIALECTS


def test_every_rule_has_its_headroom() -> None:
    assert [row["rule"] for row in stored("headroom")] == list(RULES)


def test_every_edit_is_counted_once() -> None:
    for row in stored("mutants"):
        assert int(row["edits"]) == sum(int(row[column]) for column in ("killed", "equivalent", "missed")), row


def test_every_legal_port_is_counted() -> None:
    counted = {row["rule"]: int(row["ports"]) for row in stored("headroom")}
    assert counted == {rule: sum(port.rule == rule for port in LEGAL_PORTS) for rule in RULES}


def test_no_legal_port_reaches_its_bounds() -> None:
    for row in stored("headroom"):
        assert max(float(row[column]) for column in ("float64", "float32", "long", "other draws")) < 1, row
    for row in stored("nearest"):
        assert float(row["share"]) < 1, row


def test_a_row_takes_the_place_of_that_about_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("rule", "dialect", "edits"), ("adam", "torch", "1"), ("sgdp", "released", "2")])
    renewed = {"rule": "adam", "dialect": "torch", "edits": "3"}
    new = {"rule": "sgdp", "dialect": "published", "edits": "4"}
    store("table", [new, renewed])
    assert stored("table") == [renewed, new, {"rule": "sgdp", "dialect": "released", "edits": "2"}]
    assert stored_row("table", rule="adam") == renewed
    with pytest.raises(LookupError, match="no row for adamw"):
        stored_row("table", rule="adamw")
