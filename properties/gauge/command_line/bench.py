"""`stepgauge bench`: what a step of an optimizer costs beside ours and torch's, and whether it is the same step."""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgauge.properties.gauge.checks.options import LEVELS, Handling, Options
from stepgauge.properties.gauge.command_line.arguments import assignment, natural, require_writable
from stepgauge.properties.gauge.command_line.check import exit_status
from stepgauge.properties.gauge.command_line.examination import Question, reports_on
from stepgauge.properties.gauge.command_line.interrupts import interruptible
from stepgauge.properties.gauge.command_line.isolation import Job, Lost, Pool, Tell
from stepgauge.properties.gauge.command_line.output import console, usage_error
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.files import write_whole

if TYPE_CHECKING:
    from rich.table import Table

    from stepgauge.properties.gauge.bench.contest import Costs, Entrant, Measured
    from stepgauge.properties.gauge.verdicts.report import Report

SECONDS = 1800.0  # for the measurement, and for each verdict


def add(commands: Any) -> None:
    bench = commands.add_parser("bench", help="time, memory, operators and the verdict, beside ours and torch's")
    bench.add_argument("targets", nargs="+", metavar="TARGET", help="torch optimizers, as `check` takes them")
    bench.add_argument("--rule", metavar="NAME", help="the rule of all targets (default: by the name)")
    bench.add_argument(
        "--set",
        action="append",
        default=[],
        type=assignment,
        metavar="KEY=VALUE",
        help="a hyperparameter that all are timed at (default: each at its own defaults)",
    )
    bench.add_argument("--level", choices=LEVELS, default="quick", help="how many problems the verdicts rest on")
    bench.add_argument(
        "-j", "--jobs", type=natural, default=1, metavar="N", help="verdicts at a time, after the timing"
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    bench.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from stepgauge.properties.gauge.bench.contest import entrants

    try:
        require_writable("--json", chosen.json)
        taking_part, missing = entrants(chosen.targets, _known(chosen.rule))
        settings = _settings(chosen, taking_part)
    except UsageError as error:
        return usage_error(str(error))
    with interruptible(), Console(stderr=True).status("starting") as status:
        measured = _measured(taking_part, settings, status.update)
        reports = _verdicts(taking_part, chosen, status.update)
    if isinstance(measured, Lost):
        return usage_error(f"nothing was measured: it {measured.why}")
    if chosen.json:
        from stepgauge.properties.gauge.reports.json import as_json

        try:
            write_whole(chosen.json, as_json(_document(taking_part, measured, reports, missing)))
        except OSError as error:
            return usage_error(f"--json {chosen.json}: cannot be written ({error.strerror})")
    terminal = console()
    terminal.print(_table(taking_part, measured, reports))
    for line in _said(taking_part, measured, reports, missing):
        terminal.print(line, style="dim", soft_wrap=True)
    return exit_status([report for entrant, report in zip(taking_part, reports, strict=True) if entrant.is_theirs])


def _known(rule: str | None) -> str | None:
    from stepgauge.properties.gauge.targets.rules import known_rule

    return None if rule is None else known_rule(rule)


def _settings(chosen: argparse.Namespace, entrants: "Sequence[Entrant]") -> dict[str, Any]:
    from stepgauge.properties.gauge.targets.rules import require_settings

    settings = dict(chosen.set)
    for rule in {entrant.rule for entrant in entrants}:
        try:
            require_settings(rule, settings)
        except UsageError as error:
            raise UsageError(f"--set: {error}") from error
    return settings


def _measured(entrants: "Sequence[Entrant]", settings: dict[str, Any], say: Tell) -> "Measured | Lost":
    """All in one process, so that they take turns, and apart from ours, which they might break."""
    job = Job(partial(_measure, entrants, settings), SECONDS)
    ((_, result),) = Pool(1, lambda _, model: say(f"stepping {model}")).results([job])
    return result


def _measure(entrants: "Sequence[Entrant]", settings: dict[str, Any], tell: Tell) -> "Measured":
    from stepgauge.properties.gauge.bench.contest import measure

    return measure(entrants, settings, tell)


def _verdicts(entrants: "Sequence[Entrant]", chosen: argparse.Namespace, say: Tell) -> "list[Report]":
    """Once nothing is timed any more."""
    options = Options(chosen.level, diagnosis=False)
    questions = [Question(entrant.target, entrant.rule, options, Handling(), SECONDS) for entrant in entrants]
    found = dict(reports_on(questions, max(1, chosen.jobs), lambda k, check: say(f"{entrants[k].target}: {check}")))
    return [found[k] for k in range(len(entrants))]


def _table(entrants: "Sequence[Entrant]", measured: "Measured", reports: "Sequence[Report]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from stepgauge.properties.gauge.bench.models import MODELS

    table = Table(box=None, pad_edge=False, header_style="dim", collapse_padding=True)
    table.add_column("", overflow="fold")
    for heading in (*MODELS, "operators", "state", "temporary"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for entrant, costs, report in zip(entrants, measured.costs, reports, strict=True):
        verdict = " ".join(filter(None, (report.verdict, report.dialect)))
        name = Text(entrant.target, style="bold" if entrant.is_theirs else "")
        table.add_row(name, *_cells(costs, MODELS), verdict)
    return table


def _cells(costs: "Costs", models: Any) -> Iterator[str]:
    for model in models:
        middle, spread = costs.cpu_ms.get(model, (None, None))
        yield "-" if middle is None else f"{middle:.2f} ±{spread:.2f}"
    yield "-" if costs.operators is None else str(costs.operators)
    for share in (costs.state, costs.temporary):
        yield "-" if share is None else f"{share:.2f}"


def _said(
    entrants: "Sequence[Entrant]", measured: "Measured", reports: "Sequence[Report]", missing: Sequence[str]
) -> Iterator[str]:
    """What the table does not say."""
    from stepgauge.properties.gauge.bench.contest import COUNTED
    from stepgauge.properties.gauge.bench.machine import BUSY

    yield "CPU milliseconds of a step on one thread, in float32: median and half the range between the quartiles"
    yield f"state, temporary: bytes kept from step to step, and held at most in one, by those of {COUNTED}'s parameters"
    if measured.share is None:
        yield "whether others used the machine meanwhile cannot be told"
    elif measured.share > BUSY:
        yield (
            f"the machine is busy: others took {measured.share:.0%} of it, so believe operators, bytes and verdicts, "
            "not times"
        )
    yield from missing
    for entrant, costs, report in zip(entrants, measured.costs, reports, strict=True):
        if reason := costs.failure or report.message:
            yield f"{entrant.target}: {reason}"
        elif report.verdict == "diverges":
            yield f"{entrant.target} computes something else than {entrant.rule}, whatever it costs"


def _document(
    entrants: "Sequence[Entrant]", measured: "Measured", reports: "Sequence[Report]", missing: Sequence[str]
) -> dict[str, Any]:
    from stepgauge.properties.gauge.bench.machine import BUSY, identity, versions

    rows = [
        {"target": e.target, "rule": e.rule, "verdict": r.verdict, "dialect": r.dialect, **c.to_dict()}
        for e, c, r in zip(entrants, measured.costs, reports, strict=True)
    ]
    return {
        "schema": 1,
        "contestants": rows,
        "missing": list(missing),
        "share_taken_by_others": measured.share,
        "busy": None if measured.share is None else measured.share > BUSY,
        "machine": identity(),
        "versions": versions(),
    }
