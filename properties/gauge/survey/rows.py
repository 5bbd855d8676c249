"""The rows of a survey: each implementation in a process of its own, so that none can spoil another's verdict."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stepgauge.properties.gauge.checks.options import Level
from stepgauge.properties.gauge.errors import describe
from stepgauge.properties.gauge.survey.implementations import Implementation
from stepgauge.properties.gauge.verdicts.report import Report, failed

WORKER = "stepgauge.properties.gauge.survey.worker"
POLL = 0.1  # seconds


class Row(NamedTuple):
    """What is said of an implementation, the version of its package, and the command that says it again."""

    implementation: Implementation
    version: str
    report: Report
    command: str


class Job(NamedTuple):
    """What a process is told: the implementation, and how much is asked."""

    implementation: Implementation
    level: Level
    seed: int
    diagnosis: bool


@dataclass
class Examination:
    """A process that examines an implementation, and leaves its report in a file."""

    job: Job
    seconds: float

    def start(self, folder: Path) -> None:
        self.answer = folder / f"{id(self)}.report"
        self.begin = time.monotonic()
        # A session of its own: what is pressed here does not reach it, and what it starts ends with it.
        self.process = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(self.answer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(pickle.dumps(self.job))
            self.process.stdin.close()

    def report(self) -> Report | None:
        """The report, or what became of the process instead; None as long as it runs."""
        if self.process.poll() is None:
            if time.monotonic() - self.begin < self.seconds:
                return None
            self.kill()
            return self._failed(f"is not finished after {self.seconds:g} s, and was ended")
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it left running
        try:
            found = pickle.loads(self.answer.read_bytes())
        except FileNotFoundError:
            return self._failed(self._end())
        except Exception as error:
            return self._failed(f"gives no report that can be read ({describe(error)})")
        return found if isinstance(found, Report) else self._failed("gives no report")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _end(self) -> str:
        status = self.process.returncode
        if status < 0:
            return f"ended the process that examines it ({signal.Signals(-status).name})"
        return f"ended the process that examines it with status {status}"

    def _failed(self, message: str) -> Report:
        return failed(self.job.implementation.target, self.job.implementation.rule, message)


def examined(
    jobs: Sequence[Job], workers: int, seconds: float, progress: Callable[[Sequence[str]], None]
) -> Iterator[tuple[int, Report]]:
    """The report on each job under its index, in the order in which they are finished.

    At most `workers` run at a time, each for at most `seconds`, or what its implementation says. `progress` is told
    which targets are running. What still runs when this is left is ended.
    """
    waiting = list(enumerate(jobs))[::-1]
    running: dict[int, Examination] = {}
    with tempfile.TemporaryDirectory(prefix="stepgauge-survey-") as folder:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    k, job = waiting.pop()
                    running[k] = Examination(job, job.implementation.seconds or seconds)
                    running[k].start(Path(folder))
                progress([examination.job.implementation.target for examination in running.values()])
                for k, examination in list(running.items()):
                    if (report := examination.report()) is not None:
                        del running[k]
                        yield k, report
                time.sleep(POLL)
        finally:
            for examination in running.values():
                examination.kill()
