"""Every misreading diverges, and no legal order of operations does."""

from collections.abc import Iterable
from typing import Any

import pytest

from stepgauge.properties.gauge.examination import Options
from stepgauge.properties.gauge.target import make_target
from stepgauge.properties.gauge.verdict import Report, examine
from stepgauge.properties.meta.misreadings import MISREADINGS, adai, adamp, baselines, critical, frog, fsgdm, sgdp
from stepgauge.properties.meta.reorderings import REORDERINGS
from stepgauge.reference import RULES

PORTS = (
    adamp.AdamPPort,
    sgdp.SGDPPort,
    fsgdm.FSGDMPort,
    adai.AdaiPort,
    adai.AdaiV2Port,
    baselines.SGDPort,
    baselines.AdamPort,
    baselines.AdamWPort,
    baselines.RMSpropPort,
    critical.SGD_CPort,
    critical.RMSprop_CPort,
    critical.Adam_CPort,
    critical.AdamW_CPort,
    frog.FrogPort,
    frog.KFrogPort,
)
SAMPLE = 4  # one of so many misreadings for every commit; all of them take minutes
SEEDS = range(20)


def _verdicts(ports: Iterable[Any], rule: str, seed: int = 0) -> dict[Any, Report]:
    """The reports on those ports that go by the rule: in one process, which keeps the rule's problems."""
    options = Options(seed=seed, only="trajectory/*,law/*")
    return {p: examine(make_target(p.__name__, p, rule), options) for p in ports if p.rule == rule}


def _assert_diverge(reports: dict[Any, Report]) -> None:
    assert reports
    survivors = [f"{port.__name__}: {report.verdict}. {port.__doc__}" for port, report in reports.items()
                 if report.verdict != "diverges"]  # fmt: skip
    assert not survivors


def _assert_conform(reports: dict[Any, Report]) -> None:
    assert reports
    alarms = [f"{port.__doc__}\n{report}" for port, report in reports.items() if report.verdict != "conforms"]
    assert not alarms, "\n".join(alarms)


@pytest.mark.parametrize("rule", RULES)
def test_misreadings_diverge_and_legal_ports_conform(rule: str) -> None:
    """On the same problems."""
    _assert_diverge(_verdicts(MISREADINGS[::SAMPLE], rule))
    _assert_conform(_verdicts([*PORTS, *REORDERINGS], rule))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_every_misreading_diverges(rule: str) -> None:
    _assert_diverge(_verdicts(MISREADINGS, rule))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", RULES)
def test_legal_ports_conform_on_any_problems(rule: str, seed: int) -> None:
    _assert_conform(_verdicts([*PORTS, *REORDERINGS], rule, seed))
