"""What a run has computed of its problems, kept as long as the run lasts.

Ten targets of one rule share problems, and what rounding may do to them. A run (a command, a call, a session of pytest)
opens a cache of its own, so that nothing outlives it and none grows without end.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")
KEPT = 16_384  # entries: a deep check of one rule has some thousand problems, each with a few


class Cache:
    """Values by function and arguments; the one longest unused goes first."""

    def __init__(self) -> None:
        self.values: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key in self.values:
            self.values.move_to_end(key)
            return self.values[key]
        value = self.values[key] = compute()
        if len(self.values) > KEPT:
            self.values.popitem(last=False)
        return value


_CURRENT: ContextVar[Cache | None] = ContextVar("cache of the run", default=None)


@contextmanager
def run_cache(own: Cache | None = None) -> Iterator[None]:
    """A run: what `cached` functions compute within it is kept, in its own cache, or in that of the run around it."""
    token = _CURRENT.set(_CURRENT.get() or own or Cache())
    try:
        yield
    finally:
        _CURRENT.reset(token)


def cached(function: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """Keep what a function of hashable arguments computes in the cache of the run; outside a run nothing is kept."""

    @wraps(function)
    def look_up(*arguments: Parameters.args, **options: Parameters.kwargs) -> Value:
        cache = _CURRENT.get()
        if cache is None:
            return function(*arguments, **options)
        key = (function, arguments, tuple(sorted(options.items())))
        value: Value = cache.get(key, lambda: function(*arguments, **options))
        return value

    return look_up
