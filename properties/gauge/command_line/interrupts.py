"""Ctrl-C, or a request to end: remembered, so that what is finished is reported before the command ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)
INTERRUPTS: list[int] = []


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is remembered meanwhile, and what a job's runner sends when its time is over."""
    INTERRUPTS.clear()
    before = {number: signal.signal(number, _interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(signal_number: int, _: object) -> None:
    """An interrupt; remembered, because where Python cannot raise (in a callback of its collector) it only prints.

    What is finished is then reported, which a second one must not cut off.
    """
    INTERRUPTS.append(signal_number)
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def is_interrupted() -> bool:
    """Whether somebody has interrupted; a KeyboardInterrupt without that is a target's own."""
    return bool(INTERRUPTS)


def raise_if_interrupted() -> None:
    if is_interrupted():
        raise KeyboardInterrupt
