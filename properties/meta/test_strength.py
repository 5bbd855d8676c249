"""Every misreading diverges, and no legal order of operations does."""

from collections.abc import Iterable
from typing import Any

import pytest

from stepgauge.properties.gauge.examination import Options
from stepgauge.properties.gauge.target import make_target
from stepgauge.properties.gauge.verdict import Report, examine
from stepgauge.properties.meta.misreadings import MISREADINGS, adai, adamp, baselines, critical, frog, fsgdm, sgdp
from stepgauge.properties.meta.reorderings import REORDERINGS

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
SAMPLE = MISREADINGS[::4]  # of every rule, for every commit; the rest takes minutes
SEEDS = range(20)


def _report(port: type, seed: int = 0) -> Report:
    target = make_target(port.__name__, port, port.rule)  # type: ignore[attr-defined]  # every port names its rule
    return examine(target, Options(seed=seed, only="trajectory/*,law/*"))


def by_rule(ports: Iterable[type]) -> Any:
    """The ports as parameters; those of one rule in one process, which keeps the rule's problems."""
    return [pytest.param(port, marks=pytest.mark.xdist_group(port.rule)) for port in ports]  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize("port", by_rule(SAMPLE))
def test_misreading_diverges(port: type) -> None:
    assert _report(port).verdict == "diverges", port.__doc__


@pytest.mark.slow
@pytest.mark.parametrize("port", by_rule(port for port in MISREADINGS if port not in SAMPLE))
def test_every_other_misreading_diverges(port: type) -> None:
    assert _report(port).verdict == "diverges", port.__doc__


@pytest.mark.parametrize("port", by_rule([*PORTS, *REORDERINGS]))
def test_legal_port_conforms(port: type) -> None:
    report = _report(port)
    assert report.verdict == "conforms", f"{port.__doc__}\n{report}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("port", by_rule([*PORTS, *REORDERINGS]))
def test_legal_port_conforms_on_any_problems(port: type, seed: int) -> None:
    report = _report(port, seed)
    assert report.verdict == "conforms", f"{port.__doc__}\n{report}"
