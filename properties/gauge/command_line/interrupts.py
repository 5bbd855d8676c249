"""Ctrl-C: remembered, so that what is finished is reported before the command ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTS: list[int] = []


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is remembered meanwhile."""
    INTERRUPTS.clear()
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(signal_number: int, _: object) -> None:
    """Ctrl-C; remembered, because where Python cannot raise (in a callback of its collector) it only prints.

    What is finished is then reported, which a second one must not cut off.
    """
    INTERRUPTS.append(signal_number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    if INTERRUPTS:
        raise KeyboardInterrupt
