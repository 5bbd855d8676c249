"""What is kept from run to run changes no figure, and nothing that happens to it stops a run."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.cache import run
from stepgauge.properties.gauge.cache import store as stores
from stepgauge.properties.gauge.cache.encoding import Unstorable, decode, encode
from stepgauge.properties.gauge.cache.run import run_cache, stored
from stepgauge.properties.gauge.cache.store import FILE, VARIABLE, Store
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.tolerance.envelope import Envelope, envelopes
from stepgauge.reference import RULES

KEY, VALUE = b"key", b"value"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own, outside the run that the session is."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "kept"))
    outside = run._CURRENT.set(None)
    yield tmp_path / "kept"
    run._CURRENT.reset(outside)


def _computed(rule: str) -> list[tuple[Problem, list[Envelope]]]:
    with run_cache():
        problems = [expand(recipe) for recipe in problems_of(rule, 1, 3, fixed={}, maximize=True)[:4]]
        return [(problem, envelopes(problem, RULES[rule].dialects[0], "float64")) for problem in problems]


@pytest.mark.parametrize("rule", ["adamp", "sgd_c", "kfrog", "lion"])
def test_what_was_kept_is_what_was_computed(rule: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encode(_computed(rule))
    assert (place / FILE).exists()
    monkeypatch.setattr("stepgauge.properties.gauge.tolerance.envelope.Reference", None)  # nothing is computed again
    again = encode(_computed(rule))
    monkeypatch.undo()
    monkeypatch.setenv(VARIABLE, "off")
    assert first == again == encode(_computed(rule))


def test_verdict_does_not_depend_on_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    optim = pytest.importorskip("torch.optim")
    reports = [check_optimizer(optim.SGD, level="quick").to_dict() for _ in range(2)]
    monkeypatch.setenv(VARIABLE, "off")
    reports.append(check_optimizer(optim.SGD, level="quick").to_dict())
    for report in reports:
        del report["seconds"]
    assert reports[0] == reports[1] == reports[2]


@pytest.mark.parametrize(
    "value",
    [
        None,
        -0.0,
        float("inf"),
        [1, True, "x", b"\0"],
        {"a": (1.5, 2), 3: frozenset({"y", "x"})},
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        [np.zeros((0, 2)), np.array(1.5), None],
    ],
)
def test_values_survive(value: Any) -> None:
    restored = decode(encode(value))
    assert encode(restored) == encode(value)
    assert repr(restored) == repr(value)


def test_arrays_that_were_kept_can_be_written_to() -> None:
    decode(encode(np.ones(3)))[0] = 2.0


@pytest.mark.parametrize("value", [object(), lambda: None, np.array([None]), np.float64(1), 1j])
def test_only_plain_data_is_kept(value: Any) -> None:
    with pytest.raises(Unstorable):
        encode([value])


def test_what_cannot_be_kept_is_computed() -> None:
    calls = []

    @stored
    def compute(function: Any) -> int:
        calls.append(function)
        return len(calls)

    with run_cache():
        assert (compute(print), compute(print)) == (1, 2)


def test_other_texts_or_versions_find_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    @stored
    def compute(x: float) -> float:
        calls.append(x)
        return 2 * x

    for version in (b"one", b"two"):
        monkeypatch.setattr("stepgauge.properties.gauge.cache.run.fingerprint", lambda version=version: version)
        for _ in range(2):
            with run_cache():
                assert compute(1.5) == 3.0
    assert len(calls) == 2


def _filled(file: Path) -> None:
    store = Store(file)
    for k in range(100):
        store.put(b"%d" % k, os.urandom(2000))
    store.put(KEY, VALUE)
    store.close()


def _damage_the_start(file: Path) -> None:
    file.write_bytes(b"no database" + file.read_bytes()[11:])


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _swap_an_entry(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE entries SET value = ? WHERE key = ?", (b"other", KEY))
    connection.close()


def _other_table(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE entries")
        connection.execute("CREATE TABLE entries (something TEXT)")
    connection.close()


@pytest.mark.parametrize("damage", [_damage_the_start, _cut, _swap_an_entry])
def test_damaged_file_is_made_anew_and_said_once(damage: Any, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = place / FILE
    _filled(file)
    damage(file)
    store = Store(file)
    assert store.get(KEY) in (None, VALUE)  # half a file may still hold the one asked for, or not
    for k in range(100):
        store.get(b"%d" % k)
    store.put(KEY, VALUE)
    store.close()
    with closing(Store(file)) as again:
        assert again.get(KEY) == VALUE
    assert [str(file) in record.getMessage() for record in caplog.records] == [True]


def test_file_of_another_layout_is_left_alone(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    _filled(place / FILE)
    _other_table(place / FILE)
    store = Store(place / FILE)
    assert store.get(KEY) is None
    store.put(KEY, VALUE)
    store.close()
    assert len(caplog.records) == 1


def test_folder_that_cannot_be_made_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "taken"))
    optim = pytest.importorskip("torch.optim")
    assert check_optimizer(optim.SGD, level="quick").verdict == "conforms"
    (message,) = (record.getMessage() for record in caplog.records)
    assert VARIABLE in message


def test_older_half_makes_room(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "LARGEST", 1 << 20)
    store = Store(place / FILE)
    for k in range(1000):
        store.put(b"%d" % k, os.urandom(5000))
    store.close()
    assert (place / FILE).stat().st_size <= 1 << 20
    with closing(Store(place / FILE)) as again:
        assert again.get(b"999") is not None
        assert again.get(b"0") is None


def test_entry_larger_than_all_is_not_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stores, "LARGEST", 1 << 16)
    store = Store(place / FILE)
    store.put(KEY, os.urandom(1 << 17))
    store.close()
    assert len(caplog.records) == 1


WRITE_MANY = """
import sys
from pathlib import Path
from stepgauge.properties.gauge.cache.store import Store
store = Store(Path(sys.argv[1]))
for k in range(300):
    store.put(f"{sys.argv[2]}-{k}".encode(), b"%d" % k)
store.close()
"""


def test_two_runs_at_once_share_a_file(place: Path) -> None:
    commands = [[sys.executable, "-c", WRITE_MANY, str(place / FILE), name] for name in "ab"]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [one.communicate()[1] for one in runs] == ["", ""]
    with closing(Store(place / FILE)) as store:
        assert all(store.get(f"{name}-{k}".encode()) == b"%d" % k for name in "ab" for k in range(300))


def test_command_tells_and_clears(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert "nothing is kept yet" in capsys.readouterr().out
    _filled(place / FILE)
    assert main(["cache"]) == 0
    assert "at most" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert not (place / FILE).exists()
    assert "removed" in capsys.readouterr().out


def test_command_says_that_it_is_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    assert main(["cache", "clear"]) == 0
    assert "off" in capsys.readouterr().out
