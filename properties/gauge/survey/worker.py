"""The process that examines one implementation: it reads a job, and leaves a report in the file that it is told."""

import os
import pickle
import sys
import tempfile
from pathlib import Path

from stepgauge.properties.gauge.api import report_on
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.errors import UsageError, describe
from stepgauge.properties.gauge.survey.rows import Job
from stepgauge.properties.gauge.verdicts.report import Report, failed


def report_of(job: Job) -> Report:
    """The report on an implementation, whatever is wrong with it."""
    row = job.implementation
    options = Options(job.level, job.seed, row.dialect, dict(row.set), skip=",".join(row.skip), diagnosis=job.diagnosis)
    try:
        return report_on(row.target, row.rule, options, dict(row.rename), "cpu")
    except UsageError as error:
        return failed(row.target, row.rule, str(error), usage=True)
    except BaseException as error:
        return failed(row.target, row.rule, f"cannot be examined: {describe(error)}")


def main() -> None:
    from hypothesis.configuration import set_hypothesis_home_dir

    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "stepgauge-hypothesis")
    answer = Path(sys.argv[1])
    report = report_of(pickle.load(sys.stdin.buffer))
    draft = answer.with_suffix(".draft")
    draft.write_bytes(pickle.dumps(report))
    os.replace(draft, answer)


if __name__ == "__main__":
    main()
