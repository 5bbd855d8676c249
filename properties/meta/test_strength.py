"""Every misreading diverges, and no legal order of operations does."""

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pytest

from stepgauge.properties.gauge.checks.options import Level, Options
from stepgauge.properties.gauge.checks.registry import load_checks
from stepgauge.properties.gauge.examine import examine
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.verdicts.report import Report
from stepgauge.properties.meta import misreadings, reorderings
from stepgauge.properties.meta.discovery import optimizers_of
from stepgauge.properties.meta.misreadings import MISREADINGS, PORTS, held_out
from stepgauge.properties.meta.misreadings.held_out import HELD_OUT
from stepgauge.properties.meta.reorderings import REORDERINGS
from stepgauge.reference import RULES

SAMPLE = 12  # one of so many misreadings for every commit; all of them take minutes
SEEDS = range(20)


def _report(port: Any, seed: int = 0, only: str = "trajectory/*,law/*", level: Level = "standard") -> Report:
    skip = "trajectory/training" if only != "trajectory/training" and _only_with_constants(port) else ""
    options = Options(level, seed, only=only, skip=skip, diagnosis=False)
    return examine(make_target(port.__name__, port, port.rule), options)


def _only_with_constants(port: Any) -> bool:
    return getattr(port, "only_with_constants", False)


def _of(rule: str, ports: Iterable[Any]) -> list[Any]:
    """The ports that go by a rule: a test takes all of them, because one process keeps the rule's problems."""
    found = [port for port in ports if port.rule == rule]
    assert found
    return found


def _survivors(ports: Iterable[Any], level: Level = "standard") -> list[Any]:
    """The misreadings that do not diverge; the rest is asked only where trajectories in float64 do not tell."""
    left = [port for port in ports if _report(port, only="trajectory/float64", level=level).verdict != "diverges"]
    return [port for port in left if _report(port, level=level).verdict != "diverges"]


def _alarms(ports: Iterable[Any], seed: int = 0, only: str = "trajectory/*,law/*", level: Level = "standard") -> str:
    """What is said against ports that are legal."""
    reports = [(port, _report(port, seed, only, level)) for port in ports]
    broken = ("diverges", "error")
    return "\n".join(f"{port.__doc__}\n{report}" for port, report in reports if report.verdict in broken)


def test_every_rule_has_one_plain_port_and_others() -> None:
    assert sorted(port.rule for port in PORTS) == sorted(RULES)
    assert {port.rule for port in MISREADINGS} == {port.rule for port in REORDERINGS} == set(RULES)


@pytest.mark.parametrize(
    ("package", "listed", "fewest"),  # of the last there were as many once: a module that is gone is missed
    [(misreadings, (*PORTS, *MISREADINGS), 387), (held_out, HELD_OUT, 75), (reorderings, REORDERINGS, 262)],
)
def test_no_port_is_lost(package: ModuleType, listed: tuple[Any, ...], fewest: int) -> None:
    """Every port that is written is listed, or what listed ones have in common."""
    written = {port for port in optimizers_of(package.__name__) if hasattr(port, "rule")}
    assert written >= {*listed}
    assert not [port for port in written.difference(listed) if not any(issubclass(other, port) for other in listed)]
    assert len(listed) >= fewest


@pytest.mark.parametrize("rule", RULES)
def test_misreadings_diverge_and_legal_ports_conform(rule: str) -> None:
    """At the quick level, on the same problems; what does not diverge there has to at the standard one."""
    assert not _survivors(_survivors(_of(rule, MISREADINGS)[::SAMPLE], "quick"))
    assert not _alarms(_of(rule, PORTS), level="quick")
    assert not _alarms(_of(rule, REORDERINGS)[::SAMPLE], only="trajectory/*", level="quick")


@pytest.mark.parametrize("rule", sorted({port.rule for port in REORDERINGS if _only_with_constants(port)}))
def test_ports_for_constants_alone_diverge_where_they_move(rule: str) -> None:
    """So that none is excused that needs no excuse."""
    ports = [port for port in _of(rule, REORDERINGS) if _only_with_constants(port)]
    for level in ("quick", "standard"):
        ports = [port for port in ports if _report(port, only="trajectory/training", level=level).verdict != "diverges"]
    assert ports == []


@pytest.mark.parametrize("law", [check.id for check in load_checks() if check.id.startswith("law/sign/")])
def test_laws_of_signs_can_be_broken(law: str) -> None:
    assert any(_report(port, only=law).verdict == "diverges" for port in _of("lion", MISREADINGS))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_every_misreading_diverges(rule: str) -> None:
    assert not _survivors(_of(rule, [*MISREADINGS, *HELD_OUT]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rule", RULES)
def test_legal_ports_conform_on_any_problems(rule: str, seed: int) -> None:
    assert not _alarms(_of(rule, [*PORTS, *REORDERINGS]), seed)
