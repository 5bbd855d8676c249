"""A page in GitHub's Markdown, short enough for a comment on a pull request or the summary of a job."""

import re
from collections.abc import Iterator, Sequence

from stepgauge.properties.gauge.reports.page import Page, Section

LONGEST = 65_000  # characters; GitHub refuses a comment of more than 65,536


def as_markdown(page: Page) -> str:
    """The table and its notes, then the details of each row, folded; the last of these left out where room ends."""
    text = "\n".join([f"**stepgauge**: {page.title}", "", *_table(page), "", *map(_small, page.notes), ""])
    left_out = []
    for section in filter(_has_more, page.sections):
        told = "\n".join(_section(section))
        if len(text) + len(told) > LONGEST:
            left_out.append(section.title)
        else:
            text += told
    if left_out:
        text += f"\nNo room here for the details of {len(left_out)} more; `--html` and `--json` have all of them.\n"
    return text


def _has_more(section: Section) -> bool:
    return bool(section.lines or section.command)


def _table(page: Page) -> Iterator[str]:
    yield _row([column.heading for column in page.columns])
    yield _row(["---:" if column.is_number else ":---" for column in page.columns])
    for row in page.rows:
        yield _row([escaped(part.text) for part in row])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _small(note: str) -> str:
    return f"<sub>{escaped(note)}</sub><br>"


def _section(section: Section) -> Iterator[str]:
    """The lines as a block of code, which shows a diff in colours and any letter as it is."""
    text = ["".join(part.text for part in line) for line in section.lines]
    fence = "`" * (1 + max((len(run) for line in text for run in re.findall("`{2,}", line)), default=2))
    yield f"\n<details><summary>{escaped(section.title)}</summary>\n"
    if section.command:
        yield f"{fence}\n{section.command}\n{fence}\n"
    if text:
        yield "\n".join([f"{fence}diff", *(re.sub(r"^ +([-+] )", r"\1", line) for line in text), fence, ""])
    yield "</details>\n"


def escaped(text: str) -> str:
    r"""Foreign text as it may stand in a table.

    >>> print(escaped("a|b <i> *x* `y` @z"))
    a\|b &lt;i&gt; \*x\* \`y\` &#64;z
    """
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return re.sub(r"([|*_`\\\[\]])", r"\\\1", plain)
