"""Ctrl-C, or a request to end: remembered, so that what is finished is reported before the command ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTS: list[int] = []


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is remembered meanwhile, and what a job's runner sends when its time is over."""
    INTERRUPTS.clear()
    before = {kind: signal.signal(kind, _interrupt) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _interrupt(signal_number: int, _: object) -> None:
    """Ctrl-C; remembered, because where Python cannot raise (in a callback of its collector) it only prints.

    What is finished is then reported, which a second one must not cut off.
    """
    INTERRUPTS.append(signal_number)
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    if INTERRUPTS:
        raise KeyboardInterrupt
