"""Reports as files: the options that ask for them, whether they can be written, and writing them."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgauge.properties.gauge.command_line.arguments import require_writable
from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.files import write_whole

if TYPE_CHECKING:
    from stepgauge.properties.gauge.reports.page import Page
    from stepgauge.properties.gauge.verdicts.record import Record

FORMS = ("json", "markdown", "html", "badge")


class Unwritten(Exception):
    """A report cannot be written; the message names the option, the file and why."""


def add_reports(parser: Any, schema: str) -> None:
    """The options for reports, whose JSON a published schema describes."""
    helps = (
        f"write the results there (`schema {schema}` describes them)",
        "write them there for a comment on a pull request, or the summary of a job",
        "write them there as a page, with every divergence drawn",
        "write there what shields.io makes a badge of",
    )
    for form, what in zip(FORMS, helps, strict=True):
        parser.add_argument(f"--{form}", type=Path, metavar="FILE", help=what)


def written_files(chosen: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """The option and the file of each report that is asked for."""
    for form in FORMS:
        file = getattr(chosen, form)
        if file is not None:
            yield f"--{form}", file


def require_all_writable(files: Iterator[tuple[str, Path]]) -> None:
    """Find out before the work whether its reports can be written.

    Raises:
        UsageError: one of them cannot, or two are the same file.
    """
    seen: dict[Path, str] = {}
    for option, file in files:
        require_writable(option, file)
        if first := seen.get(file.absolute()):
            raise UsageError(f"{option} {file}: {first} is written there already; choose another name")
        seen[file.absolute()] = option
        if option == "--html":
            import jinja2  # noqa: F401
            import matplotlib  # noqa: F401  # or the command says, before the work, which extra is missing


def write_reports(
    chosen: argparse.Namespace, page: "Page", as_json: Callable[[], str], reports: "Sequence[Record]"
) -> None:
    """Write the reports that are asked for.

    Raises:
        Unwritten: one of them cannot be written; the others are.
    """
    failed: list[str] = []
    for form in FORMS:
        file = getattr(chosen, form)
        if file is None:
            continue
        try:
            write_whole(file, _text(form, page, as_json, reports))
        except OSError as error:
            failed.append(f"--{form} {file}: cannot be written ({error.strerror})")
    if failed:
        raise Unwritten("; ".join(failed))


def _text(form: str, page: "Page", as_json: Callable[[], str], reports: "Sequence[Record]") -> str:
    if form == "json":
        return as_json()
    if form == "markdown":
        from stepgauge.properties.gauge.reports.markdown import as_markdown

        return as_markdown(page)
    if form == "html":
        from stepgauge.properties.gauge.reports.html import as_html

        return as_html(page)
    from stepgauge.properties.gauge.reports.badge import as_badge

    return as_badge(reports)
