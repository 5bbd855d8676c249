"""`stepgauge survey`: every known implementation that is installed, in one matrix."""

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgauge.properties.gauge.checks.options import LEVELS, Handling, Options
from stepgauge.properties.gauge.command_line.arguments import natural
from stepgauge.properties.gauge.command_line.examination import Question, reports_on
from stepgauge.properties.gauge.command_line.interrupts import interruptible
from stepgauge.properties.gauge.command_line.output import ExitStatus, console, usage_error
from stepgauge.properties.gauge.command_line.written import (
    Unwritten,
    add_reports,
    require_all_writable,
    write_reports,
    written_files,
)
from stepgauge.properties.gauge.errors import UsageError

if TYPE_CHECKING:
    from stepgauge.properties.gauge.survey.implementations import Implementation
    from stepgauge.properties.gauge.survey.rows import Row

SECONDS = 1800.0  # for one implementation: a divergence whose cause is sought among all edits takes minutes


def add(commands: Any) -> None:
    survey = commands.add_parser("survey", help="check every known implementation that is installed, in one matrix")
    survey.add_argument(
        "page", nargs="?", type=Path, metavar="FILE", help="a list of your own (`schema implementations` describes it)"
    )
    survey.add_argument("--only", action="append", default=[], metavar="GLOB", help="only the targets that match")
    survey.add_argument("--level", choices=LEVELS, default="standard", help="how many problems")
    survey.add_argument("--seed", type=natural, default=0, metavar="N", help="draw other problems")
    survey.add_argument("-j", "--jobs", type=natural, default=1, metavar="N", help="examine N at a time")
    survey.add_argument(
        "--timeout", type=natural, default=SECONDS, metavar="SECONDS", help="for each target that has no limit itself"
    )
    survey.add_argument(
        "--no-diagnosis", dest="diagnosis", action="store_false", help="do not seek the cause of a divergence"
    )
    add_reports(survey, "survey")
    survey.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.reports.json import as_json
    from stepgauge.properties.gauge.reports.terminal import show_page
    from stepgauge.properties.gauge.survey.matrix import document_of, page_of

    try:
        listed = _listed(chosen)
        require_all_writable(written_files(chosen))
    except UsageError as error:
        return usage_error(str(error))
    present, left_out, rows = _installed(listed)
    with interruptible():
        interrupted = _examine_all(present, rows, chosen)
        done = [rows[target] for target in sorted(rows)]
        page = page_of(done, left_out)
        try:
            write_reports(chosen, page, lambda: as_json(document_of(done, left_out)), [row.report for row in done])
        except Unwritten as error:
            return usage_error(str(error))
        if done:
            show_page(page, console())
    if interrupted:
        return ExitStatus.INTERRUPTED
    if not done:
        return usage_error(f"nothing of the list is installed: {', '.join(dict.fromkeys(left_out))}")
    return ExitStatus.CONFORMS


def _listed(chosen: argparse.Namespace) -> "list[Implementation]":
    """The rows of the list that are asked for.

    Raises:
        UsageError: the list cannot be read, or a glob matches none of them.
    """
    from stepgauge.properties.gauge.survey.implementations import known, read

    listed = known() if chosen.page is None else read(chosen.page)
    for glob in chosen.only:
        if not any(fnmatchcase(row.target, glob) for row in listed):
            raise UsageError(f"--only {glob!r}: no target of the list is called that")
    return [row for row in listed if not chosen.only or any(fnmatchcase(row.target, glob) for glob in chosen.only)]


def _installed(
    listed: "Sequence[Implementation]",
) -> "tuple[dict[int, tuple[Implementation, str]], list[str], dict[int, Row]]":
    """What is installed, with its version; what is not; and the rows that are finished without being asked."""
    from stepgauge.properties.gauge.survey.implementations import Ambiguous, NotInstalled, installed_version
    from stepgauge.properties.gauge.survey.rows import Row
    from stepgauge.properties.gauge.verdicts.report import failed

    present, left_out, rows = {}, [], {}
    for k, row in enumerate(listed):
        try:
            present[k] = row, installed_version(row)
        except NotInstalled as error:
            left_out.append(str(error))
        except Ambiguous as error:
            rows[k] = Row(row, "", failed(row.target, row.rule, f"cannot be told: {error}"), row.command())
    return present, left_out, rows


def _examine_all(
    present: "dict[int, tuple[Implementation, str]]", rows: "dict[int, Row]", chosen: argparse.Namespace
) -> bool:
    """Examine what is installed, each in a process of its own, adding to `rows`; whether the user interrupted it."""
    from rich.console import Console

    from stepgauge.properties.gauge.survey.rows import Row

    repeated = [] if chosen.level == "standard" else ["--level", chosen.level]
    repeated += ["--seed", str(chosen.seed)] if chosen.seed else []
    places = list(present)
    questions = [_question(row, chosen) for row, _ in present.values()]
    terminal = Console(stderr=True)
    finished = 0
    try:
        with terminal.status("starting") as status:

            def tell(k: int, doing: str) -> None:
                status.update(f"{finished} of {len(questions)}: {questions[k].target}: {doing}")

            for k, report in reports_on(questions, max(chosen.jobs, 1), tell):
                row, version = present[places[k]]
                rows[places[k]] = Row(row, version, report, row.command(*repeated))
                finished += 1
    except KeyboardInterrupt:
        terminal.print(f"interrupted: {finished} of {len(questions)} targets are finished")
        return True
    return False


def _question(row: "Implementation", chosen: argparse.Namespace) -> Question:
    options = Options(
        chosen.level,
        chosen.seed,
        row.dialect,
        dict(row.set),
        skip=",".join(row.skip),
        diagnosis=chosen.diagnosis,
        dtype=row.dtype,
    )
    handling = Handling(dict(row.rename), adapter=row.adapter, after_build=row.after_build)
    return Question(row.target, row.rule, options, handling, row.seconds or chosen.timeout)
