"""The report on one target: what is concluded from its results (the chain is drawn in `checks.results`)."""

from stepgauge.properties.gauge.verdicts.record import Record, Verdict
from stepgauge.properties.gauge.verdicts.wording import as_text


class Report(Record):
    """A record in words: `str(report)` is what the terminal shows."""

    def __str__(self) -> str:
        return as_text([self])


def failed(target: str, rule: str | None, message: str, *, usage: bool = False) -> Report:
    """The report on a target that could not be examined."""
    return Report(target, rule, Verdict.ERROR, message=message, usage=usage)
