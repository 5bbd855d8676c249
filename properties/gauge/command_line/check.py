"""`stepgauge check`: verdicts on optimizers."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgauge.properties.gauge.checks.options import DTYPES, LEVELS
from stepgauge.properties.gauge.command_line.arguments import (
    add_rename,
    assignment,
    natural,
    require_device,
    require_folder,
)
from stepgauge.properties.gauge.command_line.interrupts import interruptible, raise_if_interrupted
from stepgauge.properties.gauge.command_line.output import ExitStatus, console, fall_silent, usage_error
from stepgauge.properties.gauge.command_line.written import (
    Unwritten,
    add_reports,
    require_all_writable,
    write_reports,
    written_files,
)
from stepgauge.properties.gauge.errors import TargetError, UsageError, describe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from stepgauge.properties.gauge.verdicts.report import Report


def add(commands: Any) -> None:
    check = commands.add_parser("check", help="check optimizers against the rules they are named for")
    check.add_argument(
        "targets", nargs="+", metavar="TARGET", help="module:Factory or path.py:Factory, maybe (key=value)"
    )
    check.add_argument("--rule", metavar="NAME", help="the rule to compare with, or none (default: by the name)")
    check.add_argument("--dialect", default="auto", metavar="auto|NAME", help="the dialect to hold targets to")
    check.add_argument(
        "--set",
        action="append",
        default=[],
        type=assignment,
        metavar="KEY=VALUE",
        help="fix a hyperparameter of the rule, on both sides",
    )
    add_rename(check)
    check.add_argument("--level", choices=LEVELS, default="standard", help="how many problems")
    check.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where torch targets run")
    check.add_argument(
        "--dtype",
        choices=DTYPES,
        default="",
        help="the precision that decides (default: the finest that a target steps)",
    )
    check.add_argument("--only", action="append", default=[], metavar="GLOB", help="run only the checks that match")
    check.add_argument("--skip", action="append", default=[], metavar="GLOB", help="leave out the checks that match")
    check.add_argument("--strict", action="store_true", help="exit 1 for any failed check, of whatever category")
    check.add_argument("--seed", type=natural, default=0, metavar="N", help="draw other problems")
    add_reports(check, "report")
    check.add_argument("--save", type=Path, metavar="DIR", help="save each divergence there, as data and as a script")
    check.add_argument(
        "--no-diagnosis", dest="diagnosis", action="store_false", help="do not seek the cause of a divergence"
    )
    check.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from stepgauge.properties.gauge.targets.rules import known_rule

    try:
        if chosen.rule is not None:
            chosen.rule = known_rule(chosen.rule, or_none=True)
        require_device(chosen.device)
        require_all_writable(written_files(chosen))
        require_folder("--save", chosen.save)
    except UsageError as error:
        return usage_error(str(error))
    reports: list[Report] = []
    said: list[str] = []
    unwritten: Unwritten | None = None
    with interruptible():
        interrupted = _examine_all(chosen, reports, Console(stderr=True))
        try:
            said += _written(reports, chosen)
        except KeyboardInterrupt:
            interrupted = True
        except Unwritten as error:
            unwritten = error
        _show(reports, said)
    if unwritten:
        return usage_error(str(unwritten))
    return ExitStatus.INTERRUPTED if interrupted else exit_status(reports, strict=chosen.strict)


def _written(reports: "Sequence[Report]", chosen: argparse.Namespace) -> Iterator[str]:
    """Write what is asked for; what is to be said of it.

    Raises:
        Unwritten: a report cannot be written; the others are, and divergences are saved all the same.
    """
    from stepgauge.properties.gauge.reports.json import as_json, document_of
    from stepgauge.properties.gauge.reports.page import page_of

    try:
        write_reports(chosen, page_of(reports), lambda: as_json(document_of(reports)), reports)
    finally:
        if chosen.save:
            yield from _saved(reports, chosen)


def _show(reports: "Sequence[Report]", said: Sequence[str]) -> None:
    """Print the reports and what else is to be said; whoever reads may have seen enough, the status is for others."""
    from stepgauge.properties.gauge.reports.terminal import show

    try:
        if reports:
            show(reports, console())
        for line in said:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        fall_silent()


def _examine_all(chosen: argparse.Namespace, reports: "list[Report]", terminal: "Console") -> bool:
    """Examine target after target, adding to `reports`; whether the user interrupted it."""
    from hypothesis.configuration import set_hypothesis_home_dir

    from stepgauge.properties.gauge.cache.run import run_cache
    from stepgauge.properties.gauge.examine import Interrupted

    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "stepgauge-hypothesis")  # and not in the user's folder
    try:
        with run_cache(), terminal.status("starting") as status:
            for text in chosen.targets:
                reports.append(_examine(text, chosen, partial(_tell, status, text)))
    except KeyboardInterrupt as interrupt:
        reports += [interrupt.report] if isinstance(interrupt, Interrupted) else []
        terminal.print(f"interrupted: {len(reports)} of {len(chosen.targets)} targets are finished")
        return True
    return False


def _tell(status: "Status", target: str, check: str) -> None:
    raise_if_interrupted()
    status.update(f"{target}: {check}")


def _examine(text: str, chosen: argparse.Namespace, progress: Callable[[str], None]) -> "Report":
    """The report on one target, whatever is wrong with it."""
    from stepgauge.properties.gauge.api import report_on
    from stepgauge.properties.gauge.checks.options import Options
    from stepgauge.properties.gauge.verdicts.report import failed

    only, skip = ",".join(chosen.only) or "*", ",".join(chosen.skip)
    options = Options(
        chosen.level, chosen.seed, chosen.dialect, dict(chosen.set), only, skip, chosen.diagnosis, chosen.dtype
    )
    try:
        return report_on(text, chosen.rule, options, dict(chosen.rename), chosen.device, progress)
    except UsageError as error:
        return failed(text, chosen.rule, str(error), usage=True)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # so that whatever goes wrong here loses nobody else's verdict
        return failed(text, chosen.rule, f"cannot be examined: {describe(error)}")


def _saved(reports: "Sequence[Report]", chosen: argparse.Namespace) -> Iterator[str]:
    """Save every divergence; where each is."""
    from stepgauge.properties.gauge.api import Asked
    from stepgauge.properties.gauge.vectors.saved_divergence import file_names, save

    divergent = [report for report in reports if report.verdict == "diverges"]
    for report, name in zip(divergent, file_names(divergent), strict=True):
        try:
            target = Asked.of(report.target, report.rule).built(dict(chosen.rename), chosen.device)
            said = save(report, target, chosen.save, name)
        except TargetError as error:  # it was changed since it was examined, or is not built alike every time
            said = f"not saved: {error}"
        except OSError as error:
            said = f"not saved: {error.filename} cannot be written ({error.strerror})"
        yield f"{report.target}: {said}"


def exit_status(reports: "Sequence[Report]", *, strict: bool = False) -> int:
    """The exit status of a run over several targets."""
    verdicts = {report.verdict for report in reports}
    if any(report.usage for report in reports):
        return ExitStatus.USAGE
    if "error" in verdicts:
        return ExitStatus.NOT_LOADED
    if "diverges" in verdicts or (strict and any(report.failures(deciding=False) for report in reports)):
        return ExitStatus.DIVERGES
    return ExitStatus.NOT_ESTABLISHED if "not-established" in verdicts else ExitStatus.CONFORMS
