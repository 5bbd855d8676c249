"""The survey: every row a process of its own, and one sentence for whatever is wrong with one."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.schemas.published import schema_text
from stepgauge.properties.gauge.schemas.validation import registry
from stepgauge.properties.gauge.survey.implementations import (
    Ambiguous,
    Implementation,
    NotInstalled,
    installed_version,
    known,
    read,
)
from stepgauge.properties.gauge.targets.rules import known_rule
from stepgauge.reference import RULES

STRANGERS = {
    "wrong.py": """
import torch

class SGD(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        return super().step()
""",
    "dies.py": "import os\nos._exit(7)\n",
    "crashes.py": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "fails.py": "raise RuntimeError('no such GPU')\n",
    "hangs.py": "import time\ntime.sleep(600)\n",
    "prints.py": """
import os, torch
os.write(1, b"noise on a descriptor")
print("noise")

class SGD(torch.optim.SGD):
    pass
""",
    "leaves.py": """
import os, subprocess, sys, torch
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("child", "w") as file:
    file.write(str(child.pid))

class SGD(torch.optim.SGD):
    pass
""",
}
Survey = Callable[..., tuple[int, Any]]


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    """Runs a survey of a list in the test's folder, beside the strangers; its status and its document."""
    monkeypatch.chdir(tmp_path)
    for name, text in STRANGERS.items():
        (tmp_path / name).write_text(text)

    def run(rows: str, *options: str) -> tuple[int, Any]:
        (tmp_path / "page.toml").write_text(rows)
        status = main(["survey", "page.toml", "--level", "quick", "--no-diagnosis", "--json", "s.json", *options])
        file = tmp_path / "s.json"
        return status, json.loads(file.read_text()) if file.exists() else None

    return run


def _rows(*targets: str, more: str = "") -> str:
    return "".join(f'[[implementation]]\ntarget = "{target}"\nrule = "sgd"\n{more}\n' for target in targets)


def test_no_row_spoils_another(survey: Survey, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a package does on import, the verdicts before and after it stand, and what it prints is not shown."""
    targets = ("wrong.py:SGD", "dies.py:SGD", "crashes.py:SGD", "fails.py:SGD", "no.such:SGD", "prints.py:SGD")
    status, document = survey(_rows(*targets), "-j", "2")
    assert status == 0
    found = {row["result"]["target"]: (row["result"]["verdict"], row["result"]["message"]) for row in document["rows"]}
    assert found == {
        "wrong.py:SGD": ("diverges", ""),
        "dies.py:SGD": ("error", "ends its process with status 7 (at loading)"),
        "crashes.py:SGD": ("error", "is killed by signal 11 (at loading)"),
        "fails.py:SGD": ("error", "cannot be imported: RuntimeError: no such GPU"),
        "no.such:SGD": ("error", "cannot be imported: ModuleNotFoundError: No module named 'no'"),
        "prints.py:SGD": ("conforms", ""),
    }
    assert [row["result"]["target"] for row in document["rows"]] == list(targets)
    assert "noise" not in capfd.readouterr().out


def test_two_rows_of_one_target_are_two_verdicts(survey: Survey) -> None:
    rows = _rows("torch.optim:SGD", more="skip = ['law/*']") + _rows("torch.optim:SGD", more="seconds = 0.01")
    status, document = survey(rows)
    assert status == 0
    first, second = (row["result"] for row in document["rows"])
    assert first["verdict"] == "not-established"
    assert second["message"].startswith("does not finish within 0.01 seconds")


def test_what_hangs_is_ended_and_so_is_what_it_started(survey: Survey, tmp_path: Path) -> None:
    rows = _rows("hangs.py:SGD") + _rows("leaves.py:SGD", more="seconds = 600")
    status, document = survey(rows, "-j", "2", "--timeout", "1")
    assert status == 0
    assert [row["result"]["verdict"] for row in document["rows"]] == ["error", "conforms"]
    child = int((tmp_path / "child").read_text())
    with pytest.raises(ProcessLookupError):
        _require_gone(child)


def _require_gone(process: int) -> None:
    for _ in range(100):
        os.kill(process, 0)
        if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
            raise ProcessLookupError
        time.sleep(0.05)


def test_the_command_of_a_row_repeats_it(survey: Survey, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows("torch.optim:SGD(momentum=0.9)", more="set = { lr = 0.5 }\nskip = ['contract/*', 'convention/*']")
    _, document = survey(rows)
    (row,) = document["rows"]
    program, *arguments = shlex.split(row["command"])
    assert program == "stepgauge"
    assert row["result"]["verdict"] == "conforms"
    capsys.readouterr()
    assert main(arguments) == 0
    assert "conforms" in capsys.readouterr().out


def test_a_row_may_name_a_method_to_call_once_it_is_built(survey: Survey) -> None:
    _, document = survey(_rows("torch.optim:SGD", more="after_build = 'zero_grad'"))
    (row,) = document["rows"]
    assert row["command"].endswith("--after-build zero_grad --level quick")
    assert row["result"]["verdict"] == "conforms"


def test_the_document_is_valid_and_says_versions(survey: Survey) -> None:
    torch = _rows("torch.optim:SGD", more="requirement = 'torch>=2'\nnote = 'a note'")
    rows = torch + _rows("some:SGD", more="requirement = 'no-such-package'")
    status, document = survey(rows + _rows("torch.optim:SGD", more="requirement = 'torch<1'"))
    assert status == 0
    Draft202012Validator(json.loads(schema_text("survey")), registry=registry()).validate(document)
    (row,) = document["rows"]
    installed = document["environment"]["versions"]["torch"]
    assert (row["package"], row["version"], row["note"]) == ("torch", installed, "a note")
    assert document["left_out"] == ["no-such-package", f"torch<1 (there is {installed})"]


def test_nothing_installed_is_said(survey: Survey, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = survey(_rows("some:SGD", more="requirement = 'no-such-package'"))
    assert status == 2
    assert document["rows"] == []
    assert "nothing of the list is installed: no-such-package" in capsys.readouterr().err


def test_several_versions_of_a_package_are_an_error_of_their_rows_alone(
    survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "1.1"):
        folder = tmp_path / version / f"twice-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: twice\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path / version)
    status, document = survey(_rows("wrong.py:SGD") + _rows("twice:SGD", more="requirement = 'twice'"))
    assert status == 0
    assert [row["result"]["verdict"] for row in document["rows"]] == ["diverges", "error"]
    assert "1.0 and 1.1 of twice are installed" in document["rows"][1]["result"]["message"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_what_is_finished_when_it_is_interrupted_is_reported(kind: signal.Signals, tmp_path: Path) -> None:
    """Also if what a job's runner sends ends it; no process is left behind."""
    for name, text in STRANGERS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "hangs.py").write_text(
        "import os, time\nopen('worker', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    (tmp_path / "page.toml").write_text(_rows("fails.py:SGD", "hangs.py:SGD", "wrong.py:SGD"))
    command = [sys.executable, "-m", "stepgauge.properties.gauge.command_line", "survey", "page.toml"]
    process = subprocess.Popen(
        [*command, "--json", "s.json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if (tmp_path / "worker").exists() and (tmp_path / "worker").read_text():
            break
        time.sleep(0.1)
    process.send_signal(kind)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: 1 of 3 targets are finished" in error
    assert "no such GPU" in out
    assert [r["result"]["target"] for r in json.loads((tmp_path / "s.json").read_text())["rows"]] == ["fails.py:SGD"]
    with pytest.raises(ProcessLookupError):
        _require_gone(int((tmp_path / "worker").read_text()))


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("", "it has no 'implementation'"),
        ("implementation = []", "implementation: [] should not be empty"),
        ("[[implementation]]\nrule = 'sgd'", "implementation[0]: it has no 'target'"),
        ("[[implementation]]\ntarget = 'a:SGD'\nrules = 'sgd'", "implementation[0]: it has 'rules', which is none of"),
        ("[[implementation]]\ntarget = 3", "implementation[0].target: 3 should be a string"),
        ("[[implementation]]\ntarget = 'a:SGD'\nseconds = 0", "implementation[0].seconds: 0 "),
        ("[[implementation]]\ntarget = 'a'", "implementation[0]: 'a' is no target: write module:Factory"),
        ("[[implementation]]\ntarget = 'a:Some'", "implementation[0]: cannot tell the rule of 'Some' from its name"),
        ("[[implementation]]\ntarget = 'a:SGD'\nrule = 'adamq'", "implementation[0]: unknown rule 'adamq'"),
        ("[[implementation]]\ntarget = 'a:SGD'\nrequirement = 'a b'", "implementation[0].requirement: 'a b' is no req"),
        ("[[implementation]", "is no TOML"),
        (b"\xff", "it is not in UTF-8"),
        ("[[implementation]]\ntarget = 'a:SGD'\ntarget = 'b:SGD'", "is no TOML: Cannot overwrite a value"),
    ],
)
def test_a_list_that_is_none_gets_one_sentence(
    page: str | bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.toml"
    file.write_bytes(page if isinstance(page, bytes) else page.encode())
    assert main(["survey", str(file)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"stepgauge: {file}")
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_other_mistakes_get_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for arguments, sentence in {
        (str(tmp_path / "nowhere.toml"),): "cannot be read: No such file or directory",
        (str(tmp_path / "pipe"),): "cannot be read: it is no regular file",
        ("--only", "adam:*"): "--only 'adam:*': no target of the list is called that",
        ("--json", str(tmp_path / "no" / "folder")): "there is no folder",
    }.items():
        assert main(["survey", *arguments]) == 2
        assert sentence in capsys.readouterr().err


def test_the_packaged_list_can_be_read_and_names_rules() -> None:
    listed = known()
    assert len(listed) > 30
    assert {row.rule for row in listed} <= set(RULES)
    assert all(row.requirement is not None for row in listed)
    assert len({(row.target, row.rule) for row in listed}) == len(listed)


def test_an_implementation_of_no_package_is_always_there() -> None:
    assert installed_version(Implementation("a:SGD", known_rule("sgd"))) == ""


def test_versions(tmp_path: Path) -> None:
    def row(requirement: str) -> Implementation:
        (tmp_path / "page.toml").write_text(_rows("a:SGD", more=f"requirement = '{requirement}'"))
        (found,) = read(tmp_path / "page.toml")
        return found

    assert installed_version(row("numpy>=1"))
    with pytest.raises(NotInstalled, match=r"numpy<1 \(there is"):
        installed_version(row("numpy<1"))
    with pytest.raises(NotInstalled, match="no-such-package"):
        installed_version(row("no-such-package"))
    assert not issubclass(Ambiguous, NotInstalled)
    assert not issubclass(NotInstalled, UsageError)
