"""Programs that speak JSON lines on stdin and stdout (`program:./my_optimizer --flag`); the schema has the messages.

One process steps one group. It is started once, and every `begin` makes it forget what was before.
"""

import inspect
import json
import math
import os
import selectors
import shlex
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from stepgauge.properties.gauge.errors import TargetError, one_line
from stepgauge.properties.gauge.targets.adapters import BaseAdapter
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.keyword_target import Instances, KeywordTarget
from stepgauge.properties.gauge.targets.keywords import Keywords
from stepgauge.properties.gauge.targets.offer import Offer
from stepgauge.reference import Array

PROTOCOL = 1
PATIENCE = 20.0  # seconds for one answer
SHOWN = 60  # characters of a bad answer
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Program:
    """A command line, as the user wrote it after `program:`."""

    command: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.command)


class Silent(Exception):
    """The program does not answer in time."""


class Answer(ValueError):
    """The program answers something else than it should."""


class Conversation:
    """A running program, and the number of the message that it is to answer next."""

    def __init__(self, program: Program) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the program
        try:
            self.process = subprocess.Popen(
                program.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0
            )
        except (OSError, ValueError, IndexError) as error:
            self.errors.close()
            raise TargetError(f"cannot be started: {one_line(str(error))}") from error
        self.number = 0
        self.buffer = b""
        for pipe in (self.process.stdin, self.process.stdout):
            os.set_blocking(_number_of(pipe), False)
        self.end = weakref.finalize(self, _end, self.process, self.errors)

    def ask(self, message: str, **content: Any) -> dict[str, Any]:
        """Its answer to a message.

        Raises:
            Silent: it gives none.
            Answer: it is none, or one to another message; or the program ended.
        """
        self.number += 1
        said = {"message": message, "id": self.number, **content}
        line = self._exchange(json.dumps(said, allow_nan=False).encode() + b"\n")
        try:
            answer = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            if isinstance(error, Answer):
                raise
            raise Answer(f"answers what is no JSON: {_shown(line)}") from None
        if not isinstance(answer, dict):
            raise Answer(f"answers what is no JSON object: {_shown(line)}")
        if "error" in answer:
            raise ValueError(one_line(str(answer["error"])))
        if answer.get("id") != self.number:
            raise Answer(f"answers message {answer.get('id')!r:.20} when asked message {self.number}")
        return answer

    def _exchange(self, line: bytes) -> bytes:
        """Write a line, and read one meanwhile: a program may begin to answer before it has read everything."""
        deadline, left = time.monotonic() + PATIENCE, memoryview(line)
        with selectors.DefaultSelector() as selector:
            selector.register(_number_of(self.process.stdin), selectors.EVENT_WRITE)
            selector.register(_number_of(self.process.stdout), selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise Silent(f"gives no answer within {PATIENCE:g} seconds")
                for key, event in ready:
                    if event & selectors.EVENT_WRITE:
                        left = self._write(key.fd, left)
                        if not left:
                            selector.unregister(key.fd)
                    elif chunk := os.read(key.fd, 1 << 16):
                        self.buffer += chunk
                    else:
                        raise Answer(self._ended())
        answer, _, self.buffer = self.buffer.partition(b"\n")
        return answer

    def _write(self, pipe: int, line: memoryview) -> memoryview:
        try:
            return line[os.write(pipe, line[: 1 << 16]) :]
        except BlockingIOError:
            return line
        except BrokenPipeError:
            return line[len(line) :]  # what it said before it ended is still to be read

    def _ended(self) -> str:
        """How the program ended, with the last line that it complained in."""
        try:
            status = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closes its output and goes on running"
        self.errors.seek(0)
        lines = self.errors.read()[-4096:].decode(errors="replace").strip().splitlines()
        how = f"ends with status {status}" if status >= 0 else f"is killed by signal {-status}"
        half = f" in the middle of a line, {_shown(self.buffer)}" if self.buffer else " instead of an answer"
        return how + half + (f" ({one_line(lines[-1])})" if lines else "")


class ProgramTarget(KeywordTarget):
    kind = "a program"

    def __init__(self, offer: Offer, started: Conversation, theirs: Keywords) -> None:
        self.conversations = {0: started}
        self.silent = ""  # what was said of it when it did not answer; nobody waits for it again
        super().__init__(offer, theirs)

    def require_buildable(self) -> None:
        """Its first `begin` will show."""

    def init(self, params: Any, groups: Any, *rest: Any, **options: Any) -> Instances:
        self.begun = 0
        return super().init(params, groups, *rest, **options)

    def begin(self, params: list[Array], keywords: dict[str, Any]) -> int:
        """The place of the conversation about a group."""
        place, self.begun = self.begun, self.begun + 1
        self._ask(
            place,
            "begin",
            dtype=str(params[0].dtype) if params else "float64",
            shapes=[list(p.shape) for p in params],
            params=[_sent(p) for p in params],
            hyperparameters=_plain(keywords),
        )
        return place

    def advance(self, made: int, params: list[Array], grads: list[Array], keywords: dict[str, Any]) -> list[Array]:
        answer = self._ask(made, "step", grads=[_sent(g) for g in grads], hyperparameters=_plain(keywords))
        return _received(answer.get("params"), params)

    def _ask(self, place: int, message: str, **content: Any) -> dict[str, Any]:
        if self.silent:
            raise TargetError(self.silent)
        if place not in self.conversations:
            self.conversations[place] = Conversation(self.factory)
        try:
            return self.conversations[place].ask(message, **content)
        except Silent as error:
            self.silent = str(error)
            self._end(place)
            raise TargetError(self.silent) from error
        except Answer:
            self._end(place)
            raise

    def _end(self, place: int) -> None:
        self.conversations.pop(place).end()


class Adapter(BaseAdapter):
    name = "program"
    words = "a program that speaks JSON lines, written program:COMMAND"

    def fits(self, offer: Offer) -> bool:
        return isinstance(offer.factory, Program)

    def target(self, offer: Offer) -> Target:
        if not self.fits(offer):
            raise TargetError("is no program: write program:COMMAND")
        started = Conversation(offer.factory)
        try:
            described = started.ask("describe", protocol=PROTOCOL, rule=offer.rule)
            return ProgramTarget(offer, started, _described(described))
        except (ValueError, Silent) as error:
            started.end()
            raise TargetError(f"is no program that speaks the protocol of docs/targets.md: it {error}") from error


def _described(answer: Mapping[str, Any]) -> Keywords:
    """The hyperparameters that a program says it takes, as if they were a signature."""
    told = answer.get("hyperparameters")
    if not isinstance(told, dict) or not told:
        raise Answer(f"describes its hyperparameters as {told!r:.40}, not as an object from names to defaults")
    odd = [n for n, v in told.items() if not (v is None or isinstance(v, (bool, int, float)))]
    if odd:
        raise Answer(f"has {told[odd[0]]!r:.40} as the default of {odd[0]}, which is neither a number nor null")
    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    named = {}
    for name, default in told.items():
        if not name.isidentifier():
            raise Answer(f"has a hyperparameter {name!r:.40}, which is no name")
        named[name] = inspect.Parameter(name, kind, default=empty if default is None else default)
    return Keywords(named, is_open=False)


def _sent(x: Array) -> list[Any]:
    """An array as a flat list in C order, with names for what JSON has no numbers for."""
    flat = x.ravel().tolist()
    if bool(np.isfinite(x).all()):
        return list(flat)
    return [v if math.isfinite(v) else "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity" for v in flat]


def _received(answered: Any, like: list[Array]) -> list[Array]:
    if not isinstance(answered, list) or len(answered) != len(like):
        raise Answer(f"answers a step with params {answered!r:.30}, not with {len(like)} lists of numbers")
    return [_array(i, values, p) for i, (values, p) in enumerate(zip(answered, like, strict=True))]


def _array(i: int, values: Any, like: Array) -> Array:
    if not isinstance(values, list) or len(values) != like.size:
        raise Answer(f"answers {values!r:.30} for parameter {i}, not a list of {like.size} numbers")
    numbers = [NON_FINITE.get(v, v) if isinstance(v, str) else v for v in values]
    odd = next((v for v in numbers if isinstance(v, bool) or not isinstance(v, (int, float))), None)
    if odd is not None or None in numbers:
        raise Answer(f"answers {odd!r:.30} as a number of parameter {i}")
    return np.array(numbers, dtype=like.dtype).reshape(like.shape)


def _plain(keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {n: list(v) if isinstance(v, tuple) else v for n, v in keywords.items()}


def _refuse_constant(name: str) -> Any:
    raise Answer(f'answers a bare {name}, which JSON does not have: write "{name}"')


def _shown(line: bytes) -> str:
    return one_line(repr(line.decode(errors="replace")))[:SHOWN]


def _number_of(pipe: Any) -> int:
    assert pipe is not None
    return int(pipe.fileno())


def _end(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
    """End a program that may not want to."""
    if process.poll() is None:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, errors):
        if pipe is not None:
            pipe.close()
