"""Reports in words: a table and lines of plain text with a style beside each part, which a terminal may colour."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from enum import StrEnum
from textwrap import dedent
from typing import NamedTuple

from stepgauge.properties.gauge.checks.results import SCORES, Category, Result, Status
from stepgauge.properties.gauge.edits.editable_source import Hunk
from stepgauge.properties.gauge.problems.recipe import Recipe
from stepgauge.properties.gauge.verdicts.record import AtDefaults, Diagnosis, Record, Verdict

REFUSED = ("cannot be built", "refused")  # how the messages of those begin
NAMED = 4  # of the checks that fail alike
NARROWED = "+"  # beside a verdict
NOTE = "float64, float32: the worst error as a share of what is allowed, beyond 1 a divergence; others: checks passed"


class Style(StrEnum):
    """How a part of a line is meant."""

    PLAIN = "plain"
    HEADING = "heading"
    REMARK = "remark"  # beside the point
    GOOD = "good"
    BAD = "bad"
    UNSURE = "unsure"
    BROKEN = "broken"  # nothing can be said


class Part(NamedTuple):
    """A piece of text in one style."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Part, ...]

OF_VERDICT: Mapping[Verdict, Style] = {
    Verdict.CONFORMS: Style.GOOD,
    Verdict.DIVERGES: Style.BAD,
    Verdict.NOT_ESTABLISHED: Style.UNSURE,
    Verdict.ERROR: Style.BROKEN,
}


class Column(NamedTuple):
    """A column of a table of verdicts; a name may be of any length, and is broken where it is too long."""

    heading: str
    is_number: bool = False
    is_name: bool = False


COLUMNS = (
    Column("target", is_name=True),
    *map(Column, ("rule", "verdict", "dialect")),
    *(Column(heading, is_number=True) for heading in ("float64", "float32", *SCORES, "seconds")),
)


def row_of(report: Record) -> list[Part]:
    """A report's row of the table, a part for each column."""
    return [
        Part(report.target),
        Part(f"{report.rule}*" if report.inferred else report.rule or ""),
        Part(f"{report.verdict}{narrowed(report)}", OF_VERDICT[report.verdict]),
        Part(report.dialect or ""),
        *(Part(_share(report.share(f"trajectory/{dtype}"))) for dtype in ("float64", "float32")),
        *(Part(score(report, category)) for category in SCORES),
        Part(f"{report.seconds:.1f}"),
    ]


def notes(reports: Sequence[Record]) -> list[str]:
    """What explains the table."""
    said = [NOTE]
    if any(report.inferred for report in reports):
        said.append("* rule inferred from the name")
    if settings := dict.fromkeys(filter(None, map(_settings, reports))):
        said.append(f"{NARROWED} asked only with {'; '.join(settings)}")
    return said


def narrowed(report: Record) -> str:
    """The mark of a verdict that holds only for what --set fixed, or in a precision other than the finest."""
    return NARROWED if _settings(report) else ""


def _settings(report: Record) -> str:
    """What --set fixed, or a precision other than the finest, so that the verdict holds only for that."""
    told = [f"{name}={value}" for name, value in report.coverage.get("set", {}).items()]
    dtype = report.coverage.get("dtype", "float64")
    return ", ".join([*told, *([dtype] if dtype != "float64" else [])])


def as_text(reports: Sequence[Record]) -> str:
    """Table, notes and details as plain text."""
    rows = [[column.heading for column in COLUMNS], *([part.text for part in row_of(r)] for r in reports)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for text, width, column in zip(row, widths, COLUMNS, strict=True):
            cells.append(text.rjust(width) if column.is_number else text.ljust(width))
        lines.append(" ".join(cells).rstrip())
    lines += notes(reports)
    for report in reports:
        told = details(report)
        if told:
            lines.append(report.target)
            lines += ["  " + "".join(part.text for part in line) for line in told]
    return "\n".join(lines) + "\n"


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{share:.2f}" if share < 10 else f"{share:.0e}"


def score(report: Record, category: str) -> str:
    """How many checks of a category passed, of those that could be asked."""
    results = [r for r in report.results if r.category == category and r.status != Status.NOT_APPLICABLE]
    return f"{sum(r.status == Status.PASS for r in results)}/{len(results)}" if results else "-"


def details(report: Record) -> list[Line]:
    """What the table has no room for: the divergence, its cause, and every failed check."""
    lines: list[Line] = []
    style = OF_VERDICT[report.verdict]
    if report.mapped:
        names = ", ".join(f"{our}={their}" for our, their in report.mapped.items())
        lines.append((Part(f"names taken for the rule's: {names}", Style.REMARK),))
    if report.message:
        lines.append((Part(report.message, style),))
    if report.when:
        lines.append((Part(f"only with {report.when}", style),))
    if report.divergence:
        lines.append((Part(f"first {report.divergence}"),))
        lines += _at_defaults(report)
    lines += _held(report)
    if report.diagnosis:
        lines += _diagnosis(report.diagnosis)
    for name, refusal in report.coverage.get("left_out", {}).items():
        lines.append((Part(f"not asked with {name}, which it refuses: {refusal}", Style.REMARK),))
    lines += _own(report)
    lines += _found(report)
    lines += _alike(_remarks(report), Style.REMARK)
    lines += _alike(_unasked(report), Style.REMARK)
    lines += _alike(report.failures(deciding=True), Style.BAD)
    lines += _alike(report.failures(deciding=False), Style.UNSURE)
    return lines


def _at_defaults(report: Record) -> Iterator[Line]:
    """What the divergence means to those who set nothing."""
    if found := report.at_defaults:
        yield (Part(f"at its own defaults, in float32, it is {strays(found)} off after {found.steps} steps"),)


def strays(found: AtDefaults) -> str:
    """An error as a share of the way.

    >>> strays(AtDefaults(100, 0.5, 2.0)), strays(AtDefaults(100, 3e-7, 1.0))
    ('25% of the way', '3e-07 of the way')
    """
    share = f"{found.share:.0%}" if 0.005 <= found.share < 10 else f"{found.share:.0e}"
    return f"{share} of the way"


def _held(report: Record) -> Iterator[Line]:
    """The hyperparameters that a target does not offer, which may go by another name there; what it rounds."""
    held = [f"{name}={value}" for name, value in report.coverage.get("held", {}).items()]
    extra = ", ".join(report.coverage.get("extra", []))
    if held:
        also = f"; if {extra} is one of these, say --rename OURS=THEIRS" if extra else ""
        yield (Part(f"it does not offer {', '.join(held)}: compared at that{also}", Style.REMARK),)
    rounded = ", ".join(report.coverage.get("rounded", []))
    if rounded and report.verdict != Verdict.CONFORMS:  # whose message has it
        yield (Part(f"it rounds {rounded} to float32: compared at values that float32 has", Style.REMARK),)


def _own(report: Record) -> Iterator[Line]:
    """What a target has beyond its rule, which nobody turned on or off."""
    if (own := ", ".join(report.coverage.get("extra", []))) and not report.coverage.get("held"):  # which names them
        yield (Part(f"left at its defaults, being none of the rule's: {own}", Style.REMARK),)


def _diagnosis(diagnosis: Diagnosis) -> Iterator[Line]:
    """The smallest problem, what the reference computes there, and the cause."""
    recipe = diagnosis.smallest.problem.recipe
    if recipe is not None:
        yield (Part(f"on {recipe_in_words(recipe)}", Style.REMARK),)
    if diagnosis.values:
        shown = ", ".join(f"{name} = {_value(value)}" for name, value in diagnosis.values.items())
        yield (Part(f"where the reference has {shown}", Style.REMARK),)
    yield from _reason(diagnosis)


def _reason(diagnosis: Diagnosis) -> Iterator[Line]:
    """A cause, and those of what it leaves unexplained."""
    yield (Part(_cause(diagnosis), Style.HEADING if diagnosis.hunks else Style.PLAIN),)
    yield from diff(diagnosis.hunks)
    if diagnosis.link:
        yield (Part(f"  known from {diagnosis.link}", Style.REMARK),)
    for other in diagnosis.others:
        yield from _reason(other)
    if diagnosis.unexplained:
        yield (Part(f"none of that explains {diagnosis.unexplained} of {diagnosis.failing} problems"),)


def diff(hunks: Sequence[Hunk]) -> Iterator[Line]:
    """Edits as a diff."""
    for hunk in hunks:
        yield (Part(f"  {hunk.file}:{hunk.line}", Style.REMARK),)
        before, after = hunk.before.splitlines(), hunk.after.splitlines()
        lines = dedent("\n".join([*before, *after])).split("\n")
        yield from ((Part(f"    - {line}", Style.BAD),) for line in lines[: len(before)])
        yield from ((Part(f"    + {line}", Style.GOOD),) for line in lines[len(before) :])


def _value(value: float | bool) -> str:
    return str(value) if isinstance(value, bool) else f"{value:.6g}"


def _cause(diagnosis: Diagnosis) -> str:
    """What is known of it, in one line."""
    if not diagnosis.hunks:
        return "cause unknown: no edit of the reference that was tried computes this"
    known = f": {diagnosis.name}" if diagnosis.name else ""
    right = f"right on {diagnosis.explained} of {diagnosis.failing}"
    if not diagnosis.is_cause:
        return f"a guess, {right} problems{known}"
    if diagnosis.where or diagnosis.others or diagnosis.unexplained:
        where = f" with {' and '.join(diagnosis.where)}" if diagnosis.where else ""
        alone = f"right by itself on {diagnosis.explained} of {diagnosis.failing}"
        return f"one of several causes, confirmed on {diagnosis.confirmed_on} fresh problems{where}, {alone}{known}"
    but = f", but {right} others" if diagnosis.explained < diagnosis.failing else ""
    return f"cause, confirmed on {diagnosis.confirmed_on} fresh problems{but}{known}"


def recipe_in_words(recipe: Recipe) -> str:
    """A problem in a line: shapes, hyperparameters, and what is not plain about it."""
    shapes = ", ".join(str(shape) for shape in recipe.all_shapes)
    groups = "; ".join(", ".join(f"{n}={v}" for n, v in h.items()) for h, _ in recipe.groups)
    said = ("rule", "groups", "shapes", "layers", "steps", "focus")
    others = [f for f in fields(recipe) if f.name not in said and getattr(recipe, f.name) != f.default]
    odd = [f"{f.name}={getattr(recipe, f.name)}" for f in others]
    return f"parameters {shapes}; {recipe.steps} steps; {groups}" + (f"; {', '.join(odd)}" if odd else "")


def _found(report: Record) -> Iterator[Line]:
    """What a target without a rule turns out to obey."""
    held = [r.message for r in report.results if r.category == Category.FOUND and r.status == Status.PASS]
    if held:
        yield Part("found: ", Style.REMARK), Part(f"steps are {'; '.join(held)}")


def _remarks(report: Record) -> list[Result]:
    """Trajectory checks that passed with a remark."""
    passed = [r for r in report.results if r.category == Category.TRAJECTORY and r.status == Status.PASS]
    return [r for r in passed if r.message]


def _unasked(report: Record) -> list[Result]:
    """Laws that could not be asked because the target refused what they are about."""
    laws = [r for r in report.results if r.category == Category.LAW and r.status == Status.NOT_APPLICABLE]
    return [replace(r, message=f"not asked: {r.message}") for r in laws if r.message.startswith(REFUSED)]


def _alike(results: Sequence[Result], style: Style) -> Iterator[Line]:
    """Messages, each after the checks that it holds for."""
    ids_by_message: dict[str, list[str]] = {}
    for result in results:
        ids_by_message.setdefault(result.message, []).append(result.id)
    for message, ids in ids_by_message.items():
        named = ", ".join(ids) if len(ids) <= NAMED else f"{', '.join(ids[:NAMED])} and {len(ids) - NAMED} more"
        yield Part(f"{named}: ", style), Part(message)
