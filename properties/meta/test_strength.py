"""Every misreading diverges, and no legal order of operations does."""

import pytest

from stepgauge.properties.gauge.examination import Options
from stepgauge.properties.gauge.target import make_target
from stepgauge.properties.gauge.verdict import Report, examine
from stepgauge.properties.meta.misreadings import MISREADINGS
from stepgauge.properties.meta.misreadings.adamp import AdamPPort
from stepgauge.properties.meta.misreadings.fsgdm import FSGDMPort
from stepgauge.properties.meta.misreadings.sgdp import SGDPPort
from stepgauge.properties.meta.reorderings import REORDERINGS

PORTS = (AdamPPort, SGDPPort, FSGDMPort)
SEEDS = range(20)


def _report(port: type, seed: int = 0) -> Report:
    target = make_target(port.__name__, port, port.rule)  # type: ignore[attr-defined]  # every port names its rule
    return examine(target, Options(seed=seed, only="trajectory/*,law/*"))


@pytest.mark.parametrize("port", MISREADINGS)
def test_misreading_diverges(port: type) -> None:
    assert _report(port).verdict == "diverges", port.__doc__


@pytest.mark.parametrize("port", [*PORTS, *REORDERINGS])
def test_legal_port_conforms(port: type) -> None:
    report = _report(port, seed=1)
    assert report.verdict == "conforms", f"{port.__doc__}\n{report}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("port", REORDERINGS)
def test_legal_port_conforms_on_any_problems(port: type, seed: int) -> None:
    report = _report(port, seed)
    assert report.verdict == "conforms", f"{port.__doc__}\n{report}"
