"""The command as its users meet it: verdicts, exit statuses, and one clear sentence for every mistake."""

import errno
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from stepgauge.properties.gauge.command_line.main import main
from stepgauge.reference import RULES

QUICK = ("--level", "quick")
HEAD = b'{"schema": 1, "rule": "sgd", "dialect": "torch", '
STRANGERS = '''
import torch

class Faithful(torch.optim.SGD):
    """Its own class, torch's step."""

class NoOptimizer:
    def __init__(self, params, lr=0.1):
        pass

class RaisesInThirdStep(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3:
            raise RuntimeError("boom")
        return super().step(closure)

class NaNFromThirdStep(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        for p in (p for group in self.param_groups for p in group["params"] if self.steps >= 3):
            p.data.fill_(float("nan"))

class NeedsMore(torch.optim.SGD):
    def __init__(self, params, model, lr=0.1):
        super().__init__(params, lr)

class RefusesMomentum(torch.optim.SGD):
    def __init__(self, params, lr=0.1, momentum=0.0):
        if momentum:
            raise ValueError("no momentum, please")
        super().__init__(params, lr)

class Renamed(torch.optim.Adam):
    def __init__(self, params, alpha=1e-3, b1=0.9, b2=0.999, eps=1e-8):
        super().__init__(params, alpha, (b1, b2), eps)
        for group in self.param_groups:
            for name, value in (("alpha", alpha), ("b1", b1), ("b2", b2)):
                group.setdefault(name, value)
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"], group["betas"] = group["alpha"], (group["b1"], group["b2"])
        return super().step(closure)

class StepsTwice(torch.optim.SGD):
    def step(self, closure=None):
        super().step(closure)
        return super().step()

class BadGroups:
    param_groups = [3]
    def __init__(self, params, lr=0.1):
        pass
    def step(self):
        pass

class OtherRate(torch.optim.SGD):
    def __init__(self, params, rate=0.1):
        super().__init__(params, rate)

number = 3
'''


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[str]:
    file = tmp_path / "strangers.py"
    file.write_text(STRANGERS)
    yield str(file)
    sys.modules.pop("strangers", None)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("no.such.module:SGD",), 3, "cannot be imported: ModuleNotFoundError: No module named 'no'"),
        (("nowhere.py:SGD",), 3, "cannot be imported: FileNotFoundError: no file nowhere.py"),
        (("{}:Faithfull", "--rule", "sgd"), 3, "has no 'Faithfull' (did you mean Faithful?)"),
        (("{}:number", "--rule", "sgd"), 3, "is no optimizer: number is 3"),
        (("{}:NoOptimizer", "--rule", "sgd"), 3, "is no optimizer: it makes a NoOptimizer without step"),
        (("{}:BadGroups", "--rule", "sgd"), 3, "a BadGroups whose param_groups are [3], not dictionaries"),
        (("{}:NeedsMore", "--rule", "sgd"), 3, "missing 1 required positional argument: 'model'"),
        (("torch.optim:SGD", "--rule", "frog"), 3, "takes no model, which frog needs; say --rename model=THEIRS"),
        (("{}:RaisesInThirdStep", "--rule", "sgd"), 3, "raises RuntimeError: boom, in step 3"),
        (("{}:RefusesMomentum", "--rule", "sgd", "--set", "momentum=0.5"), 3, "ValueError: no momentum, please"),
        (("{}:StepsTwice", "--rule", "sgd"), 1, "first in step 1, parameter"),
        (("{}:Faithful", "--rule", "sgd", "--only", "contract/*"), 5, "did not run: trajectory/float64"),
        (("{}:Faithful",), 2, "cannot tell the rule of 'Faithful' from its name; give --rule, one of: sgd, adam"),
        (("{}:Faithful", "--rule", "adamq"), 2, "unknown rule 'adamq': the rules are sgd, adam"),
        (("torch.optim:SGD", "--set", "lr=-1"), 2, "Invalid lr: -1 (must be at least 0 and finite)"),
        (("torch.optim:SGD", "--set", "speed=1"), 2, "sgd has no hyperparameter 'speed': it has lr, momentum"),
        (("torch.optim:SGD", "--set", "nesterov=True", "--set", "momentum=0"), 2, "leave no legal ones to draw"),
        (
            ("torch.optim:Adam(eps=1e-3)", "--set", "eps=1e-6"),
            2,
            "--set eps: the target's own keywords give it already",
        ),
        (
            ("{}:Renamed(b1=0.8)", "--rule", "adam", "--rename", "betas.0=b1", "--rename", "betas.1=b2"),
            2,
            "fixes a part of betas: give b2, too, or none",
        ),
        (("torch.optim:SGD", "--skip", "contrat/*"), 2, "no check is called 'contrat/*'"),
        (("torch.optim:SGD", "--only", "trajectory/float64, law"), 2, "no check is called 'law'"),
        (
            ("torch.optim:SGD", "--rename", "lr=momentum", "--rename", "dampening=momentum"),
            2,
            "is renamed to that, too",
        ),
        (("stepgauge.reference:SGD", "--rename", "lr=rate"), 2, "has the names of stepgauge's own rules"),
        (("torch.optim:SGD", "--dialect", "published"), 2, "Invalid dialect: published (SGD has: torch, keras)"),
        (("torch.optim",), 2, "'torch.optim' is no target: write module:Factory"),
        (("torch.optim:SGD(0.1)",), 2, "the factory takes key=value alone"),
        (("torch.optim:SGD(lr={{[]: 1}})",), 2, "must be a name, or a name with literal keywords"),
        (("torch.optim:SGD(lr=x)",), 2, "must be a name, or a name with literal keywords"),
        (("torch.optim:SGD", "--json", "no/such/folder.json"), 2, "there is no folder no/such"),
    ],
)
def test_mistake_gets_one_sentence_and_its_status(
    arguments: tuple[str, ...], status: int, sentence: str, strangers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *(a.format(strangers) for a in arguments), *QUICK]) == status
    printed = capsys.readouterr()
    assert sentence in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err


@pytest.mark.parametrize("arguments", [("--set", "lr"), ("--set", "lr=fast"), ("--rename", "lr"), ("--level", "huge")])
def test_malformed_option_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["check", "torch.optim:SGD", *arguments])
    assert exit_.value.code == 2


def test_a_mistake_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.json"
    assert main(["check", "torch.optim:SGD", "--json", str(file), "--save", "/no/such/folder"]) == 2
    assert not file.exists()


def test_where_a_link_leads_nothing_is_left(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "there.json")
    assert main(["check", "no.such:SGD", "--json", str(link)]) == 3
    assert link.is_symlink()
    assert json.loads(link.read_text())["results"][0]["verdict"] == "error"


def test_a_full_disk_loses_no_verdict(
    strangers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stepgauge.properties.gauge.command_line.written.write_whole", full)
    options = ["--rule", "sgd", "--no-diagnosis", "--only", "trajectory/defaults", *QUICK]
    files = ["--json", str(tmp_path / "a.json"), "--save", str(tmp_path / "saved")]
    assert main(["check", f"{strangers}:StepsTwice", *options, *files]) == 2
    printed = capsys.readouterr()
    assert "first in step 1, parameter" in printed.out
    assert "saved to " in printed.out
    assert "a.json: cannot be written (No space left on device)" in printed.err


def test_what_cannot_be_saved_loses_no_verdict(
    strangers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--rule", "sgd", "--no-diagnosis", "--only", "trajectory/defaults", "--save", "saved", *QUICK]
    assert main(["check", f"{strangers}:StepsTwice", *options]) == 1
    capsys.readouterr()
    (script,) = Path("saved").glob("*.py")
    script.unlink()
    script.mkdir()
    assert main(["check", f"{strangers}:StepsTwice", *options]) == 1
    printed = capsys.readouterr().out
    assert "first in step 1, parameter" in printed
    assert f"not saved: {script} cannot be written (Is a directory)" in printed


@pytest.mark.parametrize("pause", [0.003, 0.03])
def test_a_second_ctrl_c_loses_nothing(pause: float, strangers: str, tmp_path: Path) -> None:
    file, mark = tmp_path / "verdicts.json", tmp_path / "mark"
    Path(strangers).write_text(
        f"""{STRANGERS}
import pathlib, time

class Slow(torch.optim.SGD):
    def step(self, closure=None):
        pathlib.Path({str(mark)!r}).touch()
        time.sleep(60)
"""
    )
    options = ["--rule", "sgd", "-j1", "--only", "trajectory/defaults", "--json", str(file), *QUICK]
    targets = [f"{strangers}:Faithful", f"{strangers}:Slow"]
    command = [sys.executable, "-m", "stepgauge.properties.gauge.command_line", "check", *targets, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not mark.exists():
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        time.sleep(pause)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate()
    assert running.returncode == 130
    assert "Faithful" in out
    assert "1 of 2 targets are finished" in err
    assert "Traceback" not in err
    assert len(json.loads(file.read_text())["results"]) == 1


def test_what_nobody_reads_loses_nothing(strangers: str, tmp_path: Path) -> None:
    """As with `| head`: the files are written, and the status is the verdict's."""
    file, folder = tmp_path / "verdicts.json", tmp_path / "saved"
    options = ["--rule", "sgd", "--json", str(file), "--save", str(folder), "--no-diagnosis", "--level", "quick"]
    target = [f"{strangers}:StepsTwice", "--only", "trajectory/defaults"]
    command = [sys.executable, "-m", "stepgauge.properties.gauge.command_line", "check", *target, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.wait() == 1
        assert b"BrokenPipe" not in running.stderr.read()
    assert json.loads(file.read_text())["results"][0]["verdict"] == "diverges"
    assert len(list(folder.iterdir())) == 2


def test_what_is_not_offered_may_have_another_name(strangers: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", f"{strangers}:OtherRate", "--rule", "sgd", "--no-diagnosis", *QUICK]
    assert main(arguments) == 5
    printed = capsys.readouterr().out
    assert "conforms at its defaults only: lr=0.1 cannot be set" in printed  # the groups tell it
    assert "if rate is one of these, say --rename OURS=THEIRS" in printed
    assert main([*arguments, "--rename", "lr=rate"]) == 0
    assert main(["check", f"{strangers}:StepsTwice(lr=0.1)", *arguments[2:], "--only", "trajectory/defaults"]) == 1
    assert "it does not offer lr" not in capsys.readouterr().out  # it is fixed by the user


def test_other_targets_keep_their_verdicts(strangers: str, tmp_path: Path) -> None:
    """The worst status wins, and nobody's verdict is lost."""
    file = tmp_path / "verdicts.json"
    targets = [f"{strangers}:StepsTwice", "no.such:SGD", "torch.optim:SGD"]
    assert main(["check", *targets, "--rule", "sgd", "--json", str(file), *QUICK]) == 3
    document = json.loads(file.read_text())
    assert document["schema"] == 1
    assert [r["verdict"] for r in document["results"]] == ["diverges", "error", "conforms"]
    assert [r["target"] for r in document["results"]] == targets


def test_targets_of_one_name_are_told_apart(strangers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One target twice, and a class of that name in a file of that name elsewhere, which is another."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sound = elsewhere / Path(strangers).name
    sound.write_text("import torch\nclass StepsTwice(torch.optim.SGD): pass")
    file, folder = tmp_path / "verdicts.json", tmp_path / "saved"
    targets = [f"{strangers}:StepsTwice", f"{sound}:StepsTwice", f"{strangers}:StepsTwice"]
    options = ["--rule", "sgd", "--json", str(file), "--save", str(folder), "--no-diagnosis"]
    assert main(["check", *targets, *options, "--only", "trajectory/defaults", *QUICK]) == 1
    results = json.loads(file.read_text())["results"]
    assert [r["target"] for r in results] == targets
    assert [r["verdict"] for r in results] == ["diverges", "not-established", "diverges"]
    said = [line for line in capsys.readouterr().out.splitlines() if "saved to" in line]
    assert len(said) == 2
    assert len(list(folder.glob("*.json"))) == len(list(folder.glob("*.py"))) == 2
    assert all(str(saved) in "".join(said) for saved in folder.iterdir())


def test_nan_is_a_divergence_and_named(strangers: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also by the laws, which compare the target with itself."""
    assert main(["check", f"{strangers}:NaNFromThirdStep", "--rule", "sgd", "--no-diagnosis", *QUICK]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"first in step 3, parameter \d(\[.*\])?: got nan, expected ", printed)
    (alike,) = (
        line for line in printed.splitlines() if re.match("  law/.*: reaches NaN or infinity along ordin", line)
    )
    for law in ("scale/gradient-scale-cancels-with-rate", "growth/squared-norms-add-up", "symmetry/rotations-commute"):
        assert f"law/{law}" in alike
    assert "nan apart" not in printed
    assert main(["check", f"{strangers}:NaNFromThirdStep", "--rule", "none", *QUICK]) == 5
    assert "  reaches NaN or infinity along ordinary gradients\n" in capsys.readouterr().out


def test_json_has_the_promised_fields(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.json"
    assert main(["check", "torch.optim:RMSprop", "--json", str(file), *QUICK]) == 0
    document = json.loads(file.read_text())
    (result,) = document["results"]
    promised = {
        "target", "rule", "verdict", "dialect", "checks", "divergence", "diagnosis", "coverage", "contract", "seconds",
    }  # fmt: skip
    assert promised <= result.keys()
    assert (result["rule"], result["verdict"], result["dialect"]) == ("rmsprop", "conforms", "torch")
    assert result["divergence"] is None
    assert result["contract"].keys() == {"passed", "failed"}
    assert all(c.keys() == {"id", "category", "status", "error", "allowed", "message"} for c in result["checks"])
    assert {"python", "versions"} <= document["environment"].keys()


def test_divergence_is_located(strangers: str, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.json"
    assert main(["check", f"{strangers}:StepsTwice", "--rule", "sgd", "--json", str(file), *QUICK]) == 1
    divergence = json.loads(file.read_text())["results"][0]["divergence"]
    assert divergence.keys() >= {"only_when", "step", "parameter", "index", "got", "expected"}
    assert divergence["step"] == 1


def test_renamed_and_split_hyperparameters(strangers: str) -> None:
    renames = ["--rename", "lr=alpha", "--rename", "betas.0=b1", "--rename", "betas.1=b2"]
    assert main(["check", f"{strangers}:Renamed", "--rule", "adam", *renames, *QUICK]) == 0


def test_strict_counts_scores_beside_the_verdict() -> None:
    pytest.importorskip("fsgdm", reason="installed by `make check` alone")
    assert main(["check", "fsgdm:FSGDM", *QUICK]) == 0
    assert main(["check", "fsgdm:FSGDM", "--strict", *QUICK]) == 1


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)  # importing it raises ModuleNotFoundError
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["rules"]) == 2
    assert "pip install 'stepgauge[check]'" in capsys.readouterr().err


def test_rules_lists_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    printed = capsys.readouterr().out
    assert all(rule in printed for rule in RULES)


def test_explain_prints_the_text_with_its_parts_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "sgdp"]) == 0
    printed = capsys.readouterr().out
    assert "released differs from published in" in printed
    assert "def project(" in printed


def test_vectors_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = Path(str(files("stepgauge.properties").joinpath("vectors", "sgdp.json")))
    assert main(["vectors", "verify", str(recorded)]) == 0
    document = json.loads(recorded.read_text())
    document["cases"][1]["steps"][2]["params"][0][0] += 1e-12
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(document))
    assert main(["vectors", "verify", str(wrong)]) == 1
    assert "in step 3, parameter 0[0, 0]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "is no JSON"),
        (b"", "is no JSON"),
        (b"\xff\xfe{\x00}\x00", "cannot be read: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
        (b"[]", "is no vector file: [] should be an object"),
        (b"[" * 100_000, "is no vector file: it is nested too deeply"),
        (b"[" * 900 + b"]" * 900, "is no vector file: "),
        (b"{}", "is no vector file: it has no 'schema'"),
        (b'{"schema": 1, "schema": 1}', "is corrupt: an object in it has 'schema' twice"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "is corrupt: it holds a number beyond float64"),
        (b'{"schema": 1e999}', "has schema Infinity; this version reads 1"),
        (b'{"schema": 2, "cases": 3}', "has schema 2; this version reads 1"),
        (HEAD + b'"dtype": "int8", "cases": []}', 'is corrupt: dtype: "int8" should be "float64" or "float32"'),
        (HEAD + b'"dtype": "float64", "cases": 3}', "is corrupt: cases: 3 should be a list"),
        (HEAD + b'"dtype": "float64", "cases": []}', "is corrupt: cases: [] should not be empty"),
        (HEAD + b'"dtype": "float64", "cases": [{"id": "a"}]}', "is corrupt: a: it has no 'hyperparameters'"),
        (HEAD + b'"dtype": "float64", "cases": [{"id": "\\ud800\\n"}]}', "is corrupt:   : it has no 'hyperparameters'"),
    ],
)
def test_corrupt_vector_file_gets_one_sentence(
    content: bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vectors.json"
    file.write_bytes(content)
    good = str(files("stepgauge.properties").joinpath("vectors", "sgdp.json"))
    assert main(["vectors", "verify", str(file), good]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert len(printed.err.splitlines()) == 1
    assert "8 of 8 cases replay" in printed.out


def test_import_is_lazy() -> None:
    heavy = {"torch", "scipy", "hypothesis", "rich", "jsonschema"}
    code = f"import stepgauge, sys; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
