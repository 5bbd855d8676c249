"""Law: what `stepgauge check` is not given by itself conforms: further dialects, and the path beside the core."""

from typing import Any

import pytest

from stepgauge import check_optimizer, torch_bind
from stepgauge.properties.layers.torch_cases import OF_EACH
from stepgauge.reference import RULES

DIALECTS = [(rule, dialect) for rule in OF_EACH for dialect in RULES[rule].own_dialects()[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "dialect"), DIALECTS)
def test_every_dialect_conforms(rule: str, dialect: str) -> None:
    name = torch_bind.RULES[rule].__name__
    report = check_optimizer(f"stepgauge.torch_bind:{name}(dialect={dialect!r})", level="quick", diagnosis=False)
    assert (report.verdict, report.dialect) == ("conforms", dialect), str(report)


@pytest.mark.slow
@pytest.mark.parametrize("rule", OF_EACH)
def test_the_functions_of_tensors_conform(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: nothing fits the core."""

    def nothing(*_: Any, **__: Any) -> bool:
        return False

    monkeypatch.setattr("stepgauge.torch_bind.in_core.fits", nothing)
    report = check_optimizer(torch_bind.RULES[rule], rule=rule, level="quick", diagnosis=False, skip="contract/*")
    assert report.verdict in ("conforms", "not-established"), str(report)
    assert not [c for c in report.to_dict()["checks"] if c["status"] not in ("pass", "not-applicable")]
