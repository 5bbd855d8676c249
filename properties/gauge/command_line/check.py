"""`stepgauge check`: verdicts on optimizers."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgauge.properties.gauge.checks.options import DTYPES, LEVELS, Handling, Options
from stepgauge.properties.gauge.command_line import per_target
from stepgauge.properties.gauge.command_line.arguments import (
    add_rename,
    assignment,
    natural,
    require_device,
    require_folder,
)
from stepgauge.properties.gauge.command_line.examination import Question, reports_on
from stepgauge.properties.gauge.command_line.interrupts import interruptible
from stepgauge.properties.gauge.command_line.isolation import Job, Lost, Pool
from stepgauge.properties.gauge.command_line.output import ExitStatus, console, fall_silent, usage_error
from stepgauge.properties.gauge.command_line.per_target import Wanted
from stepgauge.properties.gauge.command_line.written import (
    Unwritten,
    add_reports,
    require_all_writable,
    write_reports,
    written_files,
)
from stepgauge.properties.gauge.errors import TargetError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from stepgauge.properties.gauge.verdicts.report import Report


def add(commands: Any) -> None:
    check = commands.add_parser("check", help="check optimizers against the rules they are named for")
    _add_targets(check)
    _add_questions(check)
    add_reports(check, "report")
    check.add_argument("--save", type=Path, metavar="DIR", help="save each divergence there, as data and as a script")
    _add_processes(check)
    check.set_defaults(command=run)


def _add_targets(check: argparse.ArgumentParser) -> None:
    """What is checked, against what, and how it is driven."""
    check.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="module:Factory or path.py:Factory, maybe (key=value), or program:COMMAND; "
        "those of [tool.stepgauge] in pyproject.toml if none is given",
    )
    check.add_argument("--rule", metavar="NAME", help="the rule to compare with, or none (default: by the name)")
    check.add_argument("--dialect", default="auto", metavar="auto|NAME", help="the dialect to hold targets to")
    fix = "fix a hyperparameter of the rule, on both sides"
    check.add_argument("--set", action="append", default=[], type=assignment, metavar="KEY=VALUE", help=fix)
    add_rename(check)
    check.add_argument("--adapter", metavar="NAME", help="what kind of target it is (default: found out)")
    built = "call this method of a torch optimizer once it is built, such as train of schedule-free ones"
    check.add_argument("--after-build", default="", metavar="METHOD", help=built)
    check.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where torch targets run")


def _add_questions(check: argparse.ArgumentParser) -> None:
    """How much is asked, and what counts."""
    check.add_argument("--level", choices=LEVELS, default="standard", help="how many problems")
    check.add_argument("--seed", type=natural, default=0, metavar="N", help="draw other problems")
    finest = "the precision that decides (default: the finest that a target steps)"
    check.add_argument("--dtype", choices=DTYPES, default="", help=finest)
    check.add_argument("--only", action="append", default=[], metavar="GLOB", help="run only the checks that match")
    check.add_argument("--skip", action="append", default=[], metavar="GLOB", help="leave out the checks that match")
    check.add_argument("--strict", action="store_true", help="exit 1 for any failed check, of whatever category")
    unsought = "do not seek the cause of a divergence"
    check.add_argument("--no-diagnosis", dest="diagnosis", action="store_false", help=unsought)


def _add_processes(check: argparse.ArgumentParser) -> None:
    """How many at once, and for how long."""
    cores = len(os.sched_getaffinity(0))
    at_once = "targets at once (default: %(default)s)"
    check.add_argument("-j", "--jobs", type=natural, default=cores, metavar="N", help=at_once)
    patience = "seconds for each target (default: %(default)g)"
    check.add_argument("--timeout", type=float, metavar="S", default=3600.0, help=patience)


def run(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    try:
        chosen.wanted = chosen.wanted or per_target.in_project()
        _validate(chosen)
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
        said += _unexpected(reports, chosen)
        _show(reports, said)
    if unwritten:
        return usage_error(str(unwritten))
    return ExitStatus.INTERRUPTED if interrupted else _status(reports, chosen)


def _validate(chosen: argparse.Namespace) -> None:
    """Refuse what nobody can do, before the work.

    Raises:
        UsageError: see there.
    """
    if not chosen.wanted:
        raise UsageError("no target: give one, or list them in pyproject.toml under [tool.stepgauge]")
    if chosen.timeout <= 0:
        raise UsageError(f"--timeout {chosen.timeout:g}: must be above 0")
    if chosen.jobs < 1:
        raise UsageError("--jobs 0: must be at least 1")
    chosen.wanted = [replace(wanted, rule=_known(wanted.rule)) for wanted in chosen.wanted]
    require_device(chosen.device)
    require_all_writable(written_files(chosen))
    require_folder("--save", chosen.save)


def _known(rule: str | None) -> str | None:
    from stepgauge.properties.gauge.targets.rules import known_rule

    return None if rule is None else known_rule(rule, or_none=True)


def _unexpected(reports: "Sequence[Report]", chosen: argparse.Namespace) -> Iterator[str]:
    """What came otherwise than the project's pyproject.toml expects, and what came as it does."""
    for wanted in chosen.wanted:
        for report in reports:
            if report.target == wanted.target and wanted.expected:
                came = (
                    "as expected" if report.verdict == wanted.expected else f"but was expected to be {wanted.expected}"
                )
                yield f"{report.target}: {report.verdict}, {came} ({wanted.reason})"


def _status(reports: "Sequence[Report]", chosen: argparse.Namespace) -> int:
    """The exit status; a verdict that is expected counts as conforming, any other in its place as a divergence."""
    expected = {wanted.target: wanted.expected for wanted in chosen.wanted if wanted.expected}
    if any(report.verdict != expected.get(report.target, report.verdict) for report in reports):
        return ExitStatus.DIVERGES
    return exit_status([report for report in reports if report.target not in expected], strict=chosen.strict)


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
    """Examine every target in a process of its own, adding to `reports`; whether the user interrupted it."""
    by_place: dict[int, Report] = {}
    wanted = chosen.wanted
    interrupted = False
    with terminal.status("starting") as status:
        questions = [_question(each, chosen) for each in wanted]
        found = reports_on(questions, chosen.jobs, lambda k, check: status.update(f"{wanted[k].target}: {check}"))
        try:
            for k, report in found:
                by_place[k] = report
                _write_so_far([by_place[place] for place in sorted(by_place)], chosen)
        except KeyboardInterrupt:
            interrupted = True
    reports += [by_place[place] for place in sorted(by_place)]
    if interrupted:
        terminal.print(f"interrupted: {len(reports)} of {len(wanted)} targets are finished")
    return interrupted


def _write_so_far(reports: "Sequence[Report]", chosen: argparse.Namespace) -> None:
    """Keep what is finished; that it cannot be written is said at the end, when all of it is to be."""
    from stepgauge.properties.gauge.reports.json import write_json

    if chosen.json and len(reports) < len(chosen.wanted):
        with suppress(OSError):
            write_json(reports, chosen.json)


def _question(wanted: Wanted, chosen: argparse.Namespace) -> Question:
    only, skip = ",".join(chosen.only) or "*", ",".join(chosen.skip)
    options = Options(
        chosen.level, chosen.seed, wanted.dialect, dict(wanted.set), only, skip, chosen.diagnosis, chosen.dtype
    )
    return Question(wanted.target, wanted.rule, options, _handling(wanted, chosen), chosen.timeout)


def _handling(wanted: Wanted, chosen: argparse.Namespace) -> Handling:
    return Handling(wanted.rename, chosen.device, wanted.adapter, wanted.after_build)


def _saved(reports: "Sequence[Report]", chosen: argparse.Namespace) -> Iterator[str]:
    """Save every divergence, again in processes of their own; where each is."""
    from stepgauge.properties.gauge.vectors.saved_divergence import file_names

    divergent = [report for report in reports if report.verdict == "diverges"]
    names = list(file_names(divergent))
    jobs = [
        Job(partial(_save, report, chosen, name), chosen.timeout) for report, name in zip(divergent, names, strict=True)
    ]
    said = dict(Pool(chosen.jobs, lambda *_: None).results(jobs))
    for k, report in enumerate(divergent):
        line = f"not saved: {said[k].why}" if isinstance(said[k], Lost) else said[k]
        yield f"{report.target}: {line}"


def _save(report: "Report", chosen: argparse.Namespace, name: str, _: object) -> str:
    """Save one divergence; what is to be said of it."""
    from stepgauge.properties.gauge.api import Asked
    from stepgauge.properties.gauge.vectors.saved_divergence import save

    wanted = next(each for each in chosen.wanted if each.target == report.target)
    try:
        target = Asked.of(report.target, report.rule).built(_handling(wanted, chosen))
        return save(report, target, chosen.save, name)
    except TargetError as error:  # it was changed since it was examined, or is not built alike every time
        return f"not saved: {error}"
    except OSError as error:
        return f"not saved: {error.filename} cannot be written ({error.strerror})"


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
