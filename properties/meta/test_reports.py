"""Reports as files: they say what the terminal says, need no network, and are written whole or not at all."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stepgauge.properties.gauge.checks.results import Category, Result, Status
from stepgauge.properties.gauge.command_line.main import main
from stepgauge.properties.gauge.files import read_text, write_whole
from stepgauge.properties.gauge.reports.badge import as_badge
from stepgauge.properties.gauge.reports.html import as_html, error_by_step
from stepgauge.properties.gauge.reports.markdown import LONGEST, as_markdown
from stepgauge.properties.gauge.reports.page import page_of
from stepgauge.properties.gauge.reports.terminal import show
from stepgauge.properties.gauge.verdicts.record import CurvePoint, Evidence, Verdict
from stepgauge.properties.gauge.verdicts.report import Report, failed

PORT = """
import torch

class NoLookAhead(torch.optim.SGD):
    def __init__(self, params, lr=0.1, momentum=0.9, dampening=0, weight_decay=0, nesterov=True):
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov)

    def step(self, closure=None):
        asked = [group["nesterov"] for group in self.param_groups]
        for group in self.param_groups:
            group["nesterov"] = False
        super().step(closure)
        for group, nesterov in zip(self.param_groups, asked):
            group["nesterov"] = nesterov
"""
FORMS = ("json", "markdown", "html", "badge")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


@pytest.fixture(scope="module")
def divergence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all reports on a port that ignores nesterov, as the command writes them."""
    folder = tmp_path_factory.mktemp("divergence")
    (folder / "port.py").write_text(PORT)
    files = [word for form in FORMS for word in (f"--{form}", str(folder / f"report.{form}"))]
    arguments = ["check", f"{folder / 'port.py'}:NoLookAhead", "--rule", "sgd", "--level", "quick", *files]
    assert main([*arguments, "--only", "trajectory/*"]) == 1
    yield folder
    sys.modules.pop("port", None)


def test_the_curve_leaves_the_allowance_where_the_divergence_is(divergence: Path) -> None:
    (result,) = json.loads((divergence / "report.json").read_text())["results"]
    curve, first = result["divergence"]["curve"], result["divergence"]["step"]
    assert [point["step"] for point in curve] == list(range(1, len(curve) + 1))
    assert len(curve) >= 40
    beyond = [point["step"] for point in curve if point["error"] > point["allowed"]]
    assert beyond[0] == first


def test_the_script_of_the_report_reproduces_the_divergence(divergence: Path) -> None:
    (result,) = json.loads((divergence / "report.json").read_text())["results"]
    script = divergence / "script.py"
    script.write_text(result["divergence"]["script"])
    with pytest.raises(SystemExit, match="step 1, parameter 0"):
        runpy.run_path(str(script))


def test_a_port_is_off_at_its_defaults_if_these_show_its_fault(divergence: Path) -> None:
    """Its defaults ask for the look-ahead that it does not do: about one step of some hundred."""
    (result,) = json.loads((divergence / "report.json").read_text())["results"]
    found = result["at_defaults"]
    assert found["steps"] == 100
    assert 1e-3 < found["error"] / found["way"] < 1


def test_an_optimizer_that_conforms_is_off_by_rounding_at_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert main(["check", "torch.optim:AdamW", "--level", "quick", "--json", str(file)]) == 0
    (result,) = json.loads(file.read_text())["results"]
    assert 0 < result["at_defaults"]["error"] / result["at_defaults"]["way"] < 1e-4


def test_markdown_has_the_verdict_in_a_table_and_the_cause_as_a_diff(divergence: Path) -> None:
    text = (divergence / "report.markdown").read_text()
    assert "| sgd | diverges |" in text
    diff = text[text.index("```diff") :]
    assert re.search(r"^- +p = .* self.lr \* d$", diff, re.MULTILINE)
    assert re.search(r"^\+ +p = .* self.lr \* b$", diff, re.MULTILINE)


def test_markdown_fits_a_comment_and_says_what_it_leaves_out() -> None:
    long = Result("law/some", Category.LAW, Status.FAIL, message="x" * 30_000)
    reports = [Report(f"module:Target{k}", "sgd", Verdict.DIVERGES, results=[long]) for k in range(4)]
    text = as_markdown(page_of(reports))
    assert len(text) < LONGEST + 500
    assert all(f"module:Target{k} | sgd" in text for k in range(4))
    assert "No room here for the details of 2 more" in text


@pytest.mark.parametrize("foreign", ["a|b", "<img src=x>", "`tick`", "```", "**bold**", "@everyone"])
def test_markdown_shows_foreign_text_as_it_is(foreign: str) -> None:
    """In the table and titles escaped, in the details within a fence that it cannot close."""
    text = as_markdown(page_of([failed(f"m:{foreign}", "sgd", f"raises {foreign}")]))
    table = next(line for line in text.splitlines() if line.startswith("| m:"))
    assert table.count(" | ") == text.splitlines()[2].count(" | ")
    fence = re.search("^(`{3,})diff$", text, re.MULTILINE)
    assert fence is not None
    assert text.count(f"\n{fence[1]}\n") == 1
    assert "<img" not in text.partition(fence[0])[0]
    assert "@" not in text.partition(fence[0])[0]


def test_the_page_needs_no_network_and_no_script(divergence: Path) -> None:
    text = (divergence / "report.html").read_text()
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=[\"'](?!#)", text)
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_the_page_has_matrix_cause_curve_and_script(divergence: Path) -> None:
    text = (divergence / "report.html").read_text()
    assert "NoLookAhead</td>" in text
    assert re.search(r'<span class="bad">    - p = .* self.lr \* d</span>', text)
    assert text.count("<svg") == 1
    assert "optimizer = Optimizer(" in text


def test_the_page_escapes_foreign_text() -> None:
    evidence = Evidence([], script="</pre><script>alert(1)</script>")
    report = Report("m:<b>", "sgd", Verdict.DIVERGES, message="<script>alert(2)</script>", evidence=evidence)
    assert "<script" not in as_html(page_of([report]))


def test_a_curve_bridges_no_gap_and_survives_what_has_no_logarithm() -> None:
    points = [CurvePoint(1, 0.0, 0.0), CurvePoint(2, float("nan"), 1e-16), CurvePoint(3, 1.0, float("inf"))]
    assert error_by_step(points).startswith("<svg")
    assert error_by_step(points) == error_by_step(points)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on the path (apt-get install chromium)")
def test_a_browser_shows_the_page(divergence: Path, tmp_path: Path) -> None:
    """The page asks the browser for nothing more, and what it draws has the colours of the error and the allowance."""
    from PIL import Image

    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=2000",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,1600"]
    page = (divergence / "report.html").as_uri()
    picture = tmp_path / "page.png"
    subprocess.run([*command, f"--screenshot={picture}", page], check=True, capture_output=True, timeout=120)
    with Image.open(picture) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**24) or ()}
    assert {(0xB3, 0x26, 0x1E), (0x2A, 0x7D, 0x4F)} <= colours
    shown = subprocess.run([*command, "--dump-dom", page], check=True, capture_output=True, text=True, timeout=120)
    assert "A script that reproduces it" in shown.stdout


@pytest.mark.parametrize(
    ("reports", "message", "colour"),
    [
        ([Report("m:A", "adam", Verdict.CONFORMS, "torch")], "conforms (adam torch)", "brightgreen"),
        ([Report("m:A", "adam", Verdict.DIVERGES)], "diverges (adam)", "red"),
        ([Report("m:A", "adam", Verdict.CONFORMS), failed("m:B", "sgd", "no")], "1 conforms, 1 error", "lightgrey"),
        ([Report("m:A", "adam", Verdict.NOT_ESTABLISHED)], "not-established (adam)", "yellow"),
        ([], "no verdict", "lightgrey"),
    ],
)
def test_badge(reports: list[Report], message: str, colour: str) -> None:
    expected = {"schemaVersion": 1, "label": "stepgauge", "message": message, "color": colour}
    assert json.loads(as_badge(reports)) == expected


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_long_path_leaves_the_table_whole(width: int) -> None:
    """It is broken into lines; what the other columns hold is not cut, however narrow the terminal."""
    path = f"{'deeply/nested/' * 10}optim.py:MyAdamP"
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115  # closed with the console
    show([Report(path, "adamp", Verdict.NOT_ESTABLISHED, "published"), failed("m:B", "sgd", "")], console)
    text = console.export_text()
    console.file.close()
    heading, *rows = text.splitlines()[: 3 + len(path) // 20]
    assert "…" not in text
    assert {"adamp", "not-established", "published"} <= set(rows[0].split())
    assert "".join(row[: heading.index("rule")].strip() for row in rows).startswith(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("path", "sentence"),
    [("nowhere/report", "there is no folder"), (".", "cannot be written (Is a directory)"), ("taken/x", "no folder")],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    form: str,
    path: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    assert main(["check", "no.such:SGD", f"--{form}", path]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"stepgauge: --{form} {path}: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_two_reports_in_one_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "report")
    assert main(["check", "no.such:SGD", "--json", file, "--html", file]) == 2
    assert "--json is written there already" in capsys.readouterr().err


def test_a_missing_extra_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "jinja2", raising=False)
    assert main(["check", "no.such:SGD", "--html", str(tmp_path / "report.html")]) == 2
    assert "this needs matplotlib: pip install 'stepgauge[report]'" in capsys.readouterr().err


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report"
    write_whole(file, "before")
    file.chmod(0o640)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            write_whole(file, "after")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
    write_whole(file, "after \ud800")
    assert file.read_text() == "after \\ud800"
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_one_and_a_device_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "end").write_text("")
    (tmp_path / "link").symlink_to("end")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "end").read_text() == "text"
    write_whole(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        read_text(tmp_path / "pipe")
