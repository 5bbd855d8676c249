"""Rows of the tables, made from what is measured."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepgauge.properties.gauge.cache.run import run_cache
from stepgauge.properties.gauge.checks.options import Level, Options
from stepgauge.properties.gauge.examine import examine
from stepgauge.properties.gauge.reports.strength import power
from stepgauge.properties.gauge.strength.mutants import Strength
from stepgauge.properties.gauge.strength.resolution import COORDINATE, Resolution
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.meta.figures import Row, stored
from stepgauge.properties.meta.misreadings import PORTS
from stepgauge.properties.meta.reorderings import REORDERINGS
from stepgauge.properties.meta.test_strength import SEEDS

HORIZONS = ("float64", "float32", "long")  # the trajectory checks with columns of their own
LEGAL_PORTS = (*PORTS, *REORDERINGS)


def mutants_row(found: Strength) -> Row:
    """What became of the edits of a rule's text."""
    return {
        "rule": found.rule,
        "dialect": found.dialect,
        "edits": str(found.mutants),
        "killed": str(found.killed),
        "equivalent": str(found.equivalent),
        "missed": str(found.missed),
    }


def resolution_row(found: Resolution) -> Row:
    """The smallest errors of lr and of one coordinate that show, the laws that see them, the coarsest of the rest."""
    row = {"rule": found.rule, "dialect": found.dialect}
    errors = {"lr": "lr", "coordinate": COORDINATE}
    for horizon in HORIZONS:
        seen = found.checks[f"trajectory/{horizon}"]
        row |= {f"{horizon} {heading}": power(seen[wrong]) for heading, wrong in errors.items()}
    laws = [seen for id_, seen in found.checks.items() if id_.startswith("law/")]
    row["laws"] = str(len(laws))
    row |= {f"laws {heading}": str(sum(seen[wrong] is not None for seen in laws)) for heading, wrong in errors.items()}
    coarsest = max(found.hyperparameters, key=lambda name: found.hyperparameters[name] or 1.0)
    return row | {"others": power(found.hyperparameters[coarsest]), "coarsest": coarsest}


def headroom_row(rule: str) -> Row:
    """The worst errors of the legal ports of a rule, as shares of what is allowed.

    Those of trajectories in float64 and float32 and over many steps at the standard level, and at the quick one those
    of the first two over other draws.
    """
    ports = [port for port in LEGAL_PORTS if port.rule == rule]
    with run_cache():
        worst = np.max([_shares(port) for port in ports], axis=0)
    shares = {horizon: f"{share:.2f}" for horizon, share in zip(HORIZONS, worst, strict=True)}
    return {"rule": rule, "ports": str(len(ports)), **shares, "other draws": _worst_of_draws(ports, "quick")}


def nearest_rows(rule: str) -> list[Row]:
    """The rows of those ports of a rule that are stored as the nearest: over the same draws, at the standard level."""
    names = [row["port"] for row in stored("nearest") if row["rule"] == rule]
    nearest = [port for port in LEGAL_PORTS if port.__name__ in names]
    return [{"rule": rule, "port": port.__name__, "share": _worst_of_draws([port], "standard")} for port in nearest]


def _worst_of_draws(ports: Sequence[Any], level: Level) -> str:
    worst = 0.0
    for seed in SEEDS:
        with run_cache():  # the ports of a rule share its problems
            for port in ports:
                worst = max(worst, *_shares(port, HORIZONS[:2], level, seed))
    return f"{worst:.2f}"


def _shares(port: Any, horizons: Sequence[str] = HORIZONS, level: Level = "standard", seed: int = 0) -> list[float]:
    """The worst error of a port in each trajectory check, as a share of what is allowed."""
    checks = [f"trajectory/{horizon}" for horizon in horizons]
    options = Options(level, seed, only=",".join(checks), diagnosis=False)
    report = examine(make_target(port.__name__, port, port.rule), options)
    return [report.share(check) or 0.0 for check in checks]
