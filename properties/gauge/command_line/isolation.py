"""Each target in a process of its own: what one does to itself, nobody else meets.

The processes come from a server that has loaded nothing, whatever the caller has (a copy of a process whose threads
compute would wait for them for ever), in sessions of their own, so that one is ended with all that it started. What a
target prints goes nowhere; its report comes back through a pipe.
"""

import faulthandler
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, NamedTuple, NoReturn

from stepgauge.properties.gauge.command_line.interrupts import interruptible, raise_if_interrupted
from stepgauge.properties.gauge.errors import describe

Tell = Callable[[str], None]  # is called with what a job is doing
PROCESSES = multiprocessing.get_context("forkserver")
GRACE = 10.0  # seconds to report what is finished after an interrupt


class Job(NamedTuple):
    """What a process is to do, and how many seconds it may take; its work and its result can be pickled."""

    work: Callable[[Tell], Any]
    seconds: float


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
    process: ForkServerProcess
    pipe: Connection
    seconds: float
    deadline: float
    doing: str = "loading"


@dataclass
class Pool:
    """Runs jobs apart, so many at a time.

    Attributes:
        told: is called with a job's place and what it is doing.
    """

    workers: int
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
            for one in self.running:
                _end(one)

    def _started(self, index: int, job: Job) -> Running:
        here, there = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_work, args=(job.work, there, dict(os.environ)))
        process.start()
        there.close()
        return Running(index, process, here, job.seconds, time.monotonic() + job.seconds)

    def _finished(self) -> Iterator[tuple[int, Any]]:
        """What has come of jobs when next one says something, ends, or is out of time."""
        left = max(0.0, min(one.deadline for one in self.running) - time.monotonic())
        ready = wait([source for one in self.running for source in (one.pipe, one.process.sentinel)], left)
        for one in list(self.running):
            if one.pipe in ready:
                result = self._heard(one)
            elif one.process.sentinel in ready:  # what it started may have kept its end of the pipe
                result = _ended(one)
            elif time.monotonic() >= one.deadline:
                result = Lost(f"does not finish within {one.seconds:g} seconds (at {one.doing})")
            else:
                continue
            if result is not None:
                self.running.remove(one)
                _end(one)
                yield one.index, result

    def _heard(self, one: Running) -> Any:
        """What a process says; None if only what it is doing."""
        try:
            kind, said = one.pipe.recv()
        except EOFError:
            return _ended(one)
        except Exception as error:
            return Lost(f"cannot be examined: its report cannot be read ({describe(error)})")
        if kind == "doing":
            one.doing = said
            self.told(one.index, said)
            return None
        return Stopped() if kind == "interrupted" else said

    def _interrupted(self) -> Iterator[tuple[int, Any]]:
        for one in self.running:
            with suppress(ProcessLookupError):
                os.kill(_pid(one), signal.SIGINT)
            one.deadline = time.monotonic() + GRACE
        while self.running:
            yield from ((i, result) for i, result in self._finished() if not isinstance(result, Lost | Stopped))


def _work(work: Callable[[Tell], Any], pipe: Connection, environment: Mapping[str, str]) -> NoReturn:
    """In the process of its own: do the job, and say what came of it."""
    os.setsid()
    faulthandler.disable()  # it would write where the parent's does
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.environ.clear()
    os.environ.update(environment)  # the caller's, not what it was when the server began
    owner = os.getpid()

    def tell(what: str) -> None:
        if os.getpid() == owner:
            pipe.send(("doing", what))

    try:
        with interruptible():
            pipe.send(("result", work(tell)))
    except KeyboardInterrupt as interrupt:
        report = getattr(interrupt, "report", None)
        pipe.send(("interrupted", None) if report is None else ("result", report))
    except BaseException as error:
        pipe.send(("result", Lost(f"cannot be examined: {describe(error)}")))
    finally:
        pipe.close()
        os._exit(0)


def _ended(one: Running) -> Lost:
    """How a process ended that reported nothing."""
    one.process.join()
    status = one.process.exitcode or 0
    how = f"is killed by signal {-status}" if status < 0 else f"ends its process with status {status}"
    return Lost(f"{how} (at {one.doing})")


def _end(one: Running) -> None:
    """End a process, with what it started."""
    one.pipe.close()
    with suppress(ProcessLookupError, PermissionError):  # it has no session yet, or all in it have ended
        os.killpg(_pid(one), signal.SIGKILL)
    one.process.kill()
    one.process.join()


def _pid(one: Running) -> int:
    assert one.process.pid is not None  # it was started
    return one.process.pid
