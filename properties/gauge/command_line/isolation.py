"""Each target in a process of its own: what one does to itself, nobody else meets.

The processes are forked before anything heavy is loaded, in sessions of their own, so that one is ended with all that
it started. What a target prints goes nowhere; its report comes back through a pipe.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from stepgauge.properties.gauge.command_line.interrupts import interruptible, raise_if_interrupted
from stepgauge.properties.gauge.errors import describe

Job = Callable[[Callable[[str], None]], Any]  # gets what to tell of its progress; its result can be pickled
GRACE = 10.0  # seconds to report what is finished after an interrupt


@dataclass(frozen=True)
class Lost:
    """What stands in the place of a result that did not come."""

    why: str


class Stopped:
    """Stands for the result of a job that was interrupted."""


@dataclass
class Running:
    """A process, and what it last said that it was doing."""

    index: int
    pid: int
    pipe: Connection
    deadline: float
    doing: str = "loading"


@dataclass
class Pool:
    """Runs jobs apart, so many at a time.

    Attributes:
        patience: seconds for each; None for as long as it takes.
        told: is called with a job's place and what it is doing.
    """

    workers: int
    patience: float | None
    told: Callable[[int, str], None]
    running: list[Running] = field(default_factory=list)

    def results(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """The place of each job and what came of it, as they finish; `Lost` where nothing did.

        An interrupt is passed on to those that run; what they then report comes before it is raised.
        """
        left = list(enumerate(jobs))
        try:
            while left or self.running:
                while left and len(self.running) < self.workers:
                    self.running.append(self._started(*left.pop(0)))
                for index, result in self._finished():
                    if isinstance(result, Stopped):
                        raise KeyboardInterrupt
                    yield index, result
                raise_if_interrupted()
        except KeyboardInterrupt:
            yield from self._interrupted()
            raise
        finally:
            for process in self.running:
                _end(process)

    def _started(self, index: int, job: Job) -> Running:
        here, there = multiprocessing.Pipe(duplex=False)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            here.close()
            _work(job, there)
        there.close()
        deadline = float("inf") if self.patience is None else time.monotonic() + self.patience
        return Running(index, pid, here, deadline)

    def _finished(self) -> Iterator[tuple[int, Any]]:
        """What has come of jobs when next one says something or is out of time."""
        nearest = min(process.deadline for process in self.running)
        left = None if nearest == float("inf") else max(0.0, nearest - time.monotonic())
        ready = wait([process.pipe for process in self.running], left)
        for process in list(self.running):
            if process.pipe in ready:
                result = self._heard(process)
            elif time.monotonic() >= process.deadline:
                result = Lost(f"does not finish within {self.patience:g} seconds (at {process.doing})")
            else:
                continue
            if result is not None:
                self.running.remove(process)
                _end(process)
                yield process.index, result

    def _heard(self, process: Running) -> Any:
        """What a process says; None if only what it is doing."""
        try:
            kind, said = process.pipe.recv()
        except EOFError:
            return Lost(f"{_ended(process)} (at {process.doing})")
        except Exception as error:
            return Lost(f"cannot be examined: its report cannot be read ({describe(error)})")
        if kind == "doing":
            process.doing = said
            self.told(process.index, said)
            return None
        return Stopped() if kind == "interrupted" else said

    def _interrupted(self) -> Iterator[tuple[int, Any]]:
        for process in self.running:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
            process.deadline = time.monotonic() + GRACE
        while self.running:
            yield from ((i, result) for i, result in self._finished() if not isinstance(result, Lost | Stopped))


def _work(job: Job, pipe: Connection) -> NoReturn:
    """In the process of its own: do the job, and say what came of it."""
    os.setsid()
    faulthandler.disable()  # it would write where the parent's does
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    owner = os.getpid()

    def tell(what: str) -> None:
        if os.getpid() == owner:
            pipe.send(("doing", what))

    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with interruptible():
            pipe.send(("result", job(tell)))
    except KeyboardInterrupt as interrupt:
        report = getattr(interrupt, "report", None)
        pipe.send(("interrupted", None) if report is None else ("result", report))
    except BaseException as error:
        pipe.send(("result", Lost(f"cannot be examined: {describe(error)}")))
    finally:
        pipe.close()
        os._exit(0)


def _ended(process: Running) -> str:
    """How a process ended that reported nothing."""
    _, status = os.waitpid(process.pid, 0)
    process.pid = 0
    if os.WIFSIGNALED(status):
        return f"is killed by signal {os.WTERMSIG(status)}"
    return f"ends its process with status {os.WEXITSTATUS(status)}"


def _end(process: Running) -> None:
    """End a process, with what it started."""
    process.pipe.close()
    if not process.pid:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(process.pid, 0)
    process.pid = 0
