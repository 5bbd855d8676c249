"""What was measured is what is drawn."""

import json
from pathlib import Path

import plots

ROWS = [
    {"rule": "SGD", "model": "10M", "share": 0.9},
    {"rule": "AdamP", "model": "1000 x 1k", "share": 0.5},
    {"varied": "elements", "subject": "Lion", "scaling": {"10": 0.1, "100": 0.2}, "slope_of_larger_half": 0.3},
    {"target": "mine:Adam", "level": "quick", "cold_s": 2.0, "warm_s": 1.0},
    {"module": "numpy", "cpu_s": 0.1},
]


def test_each_kind_of_measure_has_its_figure(tmp_path: Path) -> None:
    measured = tmp_path / "benchmarks.json"
    measured.write_text(json.dumps({"benchmarks": [{"extra_info": row} for row in ROWS]}))
    plots.main(measured, tmp_path)
    drawn = {file.name: file.read_text() for file in tmp_path.glob("*.svg")}
    assert sorted(drawn) == ["bench-growth.svg", "bench-limit.svg", "bench-verdicts.svg"]
    assert "AdamP" in drawn["bench-limit.svg"]
    assert "Lion (0.30)" in drawn["bench-growth.svg"]
    assert "mine:Adam" in drawn["bench-verdicts.svg"]


def test_what_was_not_measured_is_not_drawn() -> None:
    assert list(plots.figures(ROWS[:2])) == ["limit"]
    assert plots.figures(ROWS[-1:]) == {}
