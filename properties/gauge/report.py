"""Reports in the terminal and as JSON."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stepgauge.properties.gauge.check import Result
from stepgauge.properties.gauge.verdict import Report, environment

if TYPE_CHECKING:
    from stepgauge.properties.gauge.diagnosis import Diagnosis
    from stepgauge.properties.gauge.recipe import Recipe
    from stepgauge.properties.gauge.resolution import Resolution
    from stepgauge.properties.gauge.strength import Strength
    from stepgauge.properties.gauge.text import Hunk

COLOURS = {"conforms": "green", "diverges": "red", "not-established": "yellow", "error": "magenta"}
SCORES = ("convention", "interface", "contract")
NAMED = 4  # of the checks that fail alike


def write_json(reports: Sequence[Report], file: Path) -> None:
    """Write the results, and the environment that they depend on."""
    document = {"schema": 1, "results": [r.to_dict() for r in reports], "environment": environment()}
    file.write_text(json.dumps(_finite(document), indent=1, allow_nan=False) + "\n")


def _finite(x: Any) -> Any:
    """The document with null for NaN and infinity, which JSON does not have."""
    if isinstance(x, dict):
        return {key: _finite(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [_finite(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def as_text(reports: Sequence[Report]) -> str:
    """What `show` prints, without colours."""
    console = Console(file=StringIO(), width=120, color_system=None)
    show(reports, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def show(reports: Sequence[Report], console: Console) -> None:
    """The table of verdicts, and below it what is behind each that is not plain."""
    console.print(_table(reports))
    for note in _notes(reports):
        console.print(note, style="dim", soft_wrap=True)
    for report in reports:
        lines = list(_details(report))
        if lines:
            console.print(Text(report.target, style="bold"))
            for line in lines:
                console.print(Text.assemble("  ", line), soft_wrap=True)


def show_strength(found: "Sequence[Strength]", console: Console) -> None:
    """The table of edits, and below it the survivors: each that is missed, and those that are equivalent by reasons."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("rule", "dialect"):
        table.add_column(heading)
    for heading in ("edits", "killed", "equivalent", "missed", "unexplained"):
        table.add_column(heading, justify="right")
    for s in found:
        counts = (s.mutants, s.killed, s.equivalent, s.missed, len(s.unexplained))
        table.add_row(s.rule, s.dialect, *map(str, counts))
    console.print(table)
    for s in found:
        for survivor in (x for x in s.survivors if not x.equivalent):
            console.print(Text(f"{s.rule} {s.dialect}: {survivor.reason or 'survives, and nobody has said why'}"))
            for line in _hunks(survivor.hunks):
                console.print(line, soft_wrap=True)
        reasons = Counter(survivor.reason for survivor in s.survivors if survivor.equivalent)
        for reason, count in reasons.most_common():
            console.print(Text(f"{s.rule} {s.dialect}: {count} equivalent: {reason}"), soft_wrap=True)


def show_resolution(found: "Resolution", console: Console) -> None:
    """The smallest error of each kind that each check sees."""
    errors = list(next(iter(found.checks.values())))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("smallest relative error seen")
    for heading in errors:
        table.add_column(heading, justify="right")
    for check, seen in found.checks.items():
        table.add_row(check, *(power(seen[error]) for error in errors))
    console.print(table)
    for name, smallest in found.hyperparameters.items():
        console.print(f"{name} in trajectory/float64: {power(smallest)}")
    console.print("-: not even a tenth", style="dim")


def power(error: float | None) -> str:
    """A power of ten; a dash where no error shows."""
    return "-" if error is None else f"{error:.0e}"


def _table(reports: Sequence[Report]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", collapse_padding=True)
    table.add_column("target", overflow="fold")
    for heading in ("rule", "verdict", "dialect"):
        table.add_column(heading, no_wrap=True)
    for heading in ("float64", "float32", *SCORES, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        table.add_row(
            Text(report.target),
            f"{report.rule}*" if report.inferred else report.rule or "",
            Text(report.verdict, style=COLOURS[report.verdict]),
            report.dialect or "",
            *(_share(report.share(f"trajectory/{dtype}")) for dtype in ("float64", "float32")),
            *(_score(report, category) for category in SCORES),
            f"{report.seconds:.1f}",
        )
    return table


def _notes(reports: Sequence[Report]) -> Iterator[str]:
    yield "float64, float32: the worst error as a share of what is allowed; other columns: checks passed"
    if any(report.inferred for report in reports):
        yield "* rule inferred from the name"


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{share:.2f}" if share < 10 else f"{share:.0e}"


def _score(report: Report, category: str) -> str:
    results = [r for r in report.results if r.category == category and r.status != "not-applicable"]
    return f"{sum(r.status == 'pass' for r in results)}/{len(results)}" if results else "-"


def _details(report: Report) -> list[Text]:
    """What the table has no room for: the divergence, and every failed check."""
    lines = []
    if report.message:
        lines.append(Text(report.message, style=COLOURS[report.verdict]))
    if report.only_when:
        lines.append(Text(f"only with {' and '.join(report.only_when)}", style=COLOURS[report.verdict]))
    if report.divergence:
        lines.append(Text(f"first {report.divergence}"))
        lines += _held(report)
    if report.diagnosis:
        lines += _diagnosis(report.diagnosis)
    return [*lines, *_found(report), *_alike(_remarks(report), "dim"), *_failures(report)]


def _held(report: Report) -> Iterator[Text]:
    """The hyperparameters that a target does not offer, which may go by another name there."""
    held = [f"{name}={value}" for name, value in report.coverage.get("held", {}).items()]
    extra = ", ".join(report.coverage["extra"])
    if held:
        also = f"; if {extra} is one of these, say --rename OURS=THEIRS" if extra else ""
        yield Text(f"it does not offer {', '.join(held)}: compared at that{also}", style="dim")


def _diagnosis(diagnosis: "Diagnosis") -> Iterator[Text]:
    """The smallest problem, what the reference computes there, and the cause."""
    recipe = diagnosis.witness.problem.recipe
    if recipe is not None:
        yield Text(f"on {described(recipe)}", style="dim")
    if diagnosis.values:
        shown = ", ".join(f"{name} = {_value(value)}" for name, value in diagnosis.values.items())
        yield Text(f"where the reference has {shown}", style="dim")
    yield Text(_cause(diagnosis), style="bold" if diagnosis.hunks else "")
    yield from _hunks(diagnosis.hunks)
    if diagnosis.link:
        yield Text(f"  known from {diagnosis.link}", style="dim")


def _hunks(hunks: "Sequence[Hunk]") -> Iterator[Text]:
    """Edits as a diff."""
    for hunk in hunks:
        yield Text(f"  {hunk.file}:{hunk.line}", style="dim")
        yield from (Text(f"    - {line}", style="red") for line in hunk.before.splitlines())
        yield from (Text(f"    + {line}", style="green") for line in hunk.after.splitlines())


def _value(value: float | bool) -> str:
    return str(value) if isinstance(value, bool) else f"{value:.6g}"


def _cause(diagnosis: "Diagnosis") -> str:
    """What is known of it, in one line."""
    if not diagnosis.hunks:
        return "cause unknown: no edit of the reference that was tried computes this"
    known = f": {diagnosis.name}" if diagnosis.name else ""
    right = f"right on {diagnosis.explained} of {diagnosis.failing}"
    if not diagnosis.is_cause:
        return f"a guess, {right} problems{known}"
    but = f", but {right} others" if diagnosis.explained < diagnosis.failing else ""
    return f"cause, confirmed on {diagnosis.confirmed_on} fresh problems{but}{known}"


def described(recipe: "Recipe") -> str:
    """A problem in a line: shapes, hyperparameters, and what is not plain about it."""
    shapes = ", ".join(str(shape) for shape in recipe.all_shapes)
    groups = "; ".join(", ".join(f"{n}={v}" for n, v in h.items()) for h, _ in recipe.groups)
    said = ("rule", "groups", "shapes", "layers", "steps", "focus")
    others = [f for f in fields(recipe) if f.name not in said and getattr(recipe, f.name) != f.default]
    odd = [f"{f.name}={getattr(recipe, f.name)}" for f in others]
    return f"parameters {shapes}; {recipe.steps} steps; {groups}" + (f"; {', '.join(odd)}" if odd else "")


def _found(report: Report) -> Iterator[Text]:
    """What a target without a rule turns out to obey."""
    held = [r.message for r in report.results if r.category == "found" and r.status == "pass"]
    if held:
        yield Text.assemble(("found: ", "dim"), f"steps are {'; '.join(held)}")


def _remarks(report: Report) -> list[Result]:
    """Trajectory checks that passed with a remark."""
    return [r for r in report.results if r.category == "trajectory" and r.status == "pass" and r.message]


def _failures(report: Report) -> Iterator[Text]:
    """The failed checks, those that decide first."""
    yield from _alike(report.failures(deciding=True), "red")
    yield from _alike(report.failures(deciding=False), "yellow")


def _alike(results: Sequence[Result], style: str) -> Iterator[Text]:
    """Messages, each after the checks that it holds for."""
    alike: dict[str, list[str]] = {}
    for result in results:
        alike.setdefault(result.message, []).append(result.id)
    for message, ids in alike.items():
        named = ", ".join(ids) if len(ids) <= NAMED else f"{', '.join(ids[:NAMED])} and {len(ids) - NAMED} more"
        yield Text.assemble((f"{named}: ", style), message)
