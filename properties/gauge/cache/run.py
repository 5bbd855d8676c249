"""What a run has computed of its problems.

Ten targets of one rule share problems, and what rounding may do to them. A run (a command, a call, a session of pytest)
opens a cache of its own, so that nothing in memory outlives it and none grows without end. What is `stored` is the same
in every run with the same texts, settings and versions, and is kept for later ones.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from stepgauge.properties.gauge.cache.encoding import Unstorable, decode, encode
from stepgauge.properties.gauge.cache.fingerprint import fingerprint
from stepgauge.properties.gauge.cache.store import FILE, Store, digest, folder

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")
KEPT = 16_384  # entries: a deep check of one rule has some thousand problems, each with a few


class Cache:
    """Values by function and arguments; the one longest unused goes first."""

    def __init__(self) -> None:
        self.values: OrderedDict[Any, Any] = OrderedDict()
        self._store: Store | None = None

    def get(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key in self.values:
            self.values.move_to_end(key)
            return self.values[key]
        value = self.values[key] = compute()
        if len(self.values) > KEPT:
            self.values.popitem(last=False)
        return value

    @property
    def store(self) -> Store | None:
        """What outlives the run, opened when it is first asked for; None if the user wants nothing kept."""
        if self._store is None and (place := folder()):
            self._store = Store(place / FILE)
        return self._store

    def close(self) -> None:
        """Write what is to outlive the run."""
        if self._store is not None:
            self._store.close()
            self._store = None


_CURRENT: ContextVar[Cache | None] = ContextVar("cache of the run", default=None)


@contextmanager
def run_cache(own: Cache | None = None) -> Iterator[None]:
    """A run: what `cached` functions compute within it is kept, in its own cache, or in that of the run around it."""
    around = _CURRENT.get()
    cache = around or own or Cache()
    token = _CURRENT.set(cache)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        if around is None:
            cache.close()


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


def stored(function: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """Keep what a function of plain data computes, also plain data, for later runs."""
    name = f"{function.__module__}.{function.__qualname__}".encode()

    @wraps(function)
    def look_up(*arguments: Parameters.args, **options: Parameters.kwargs) -> Value:
        cache = _CURRENT.get()
        store = cache.store if cache else None
        if store is None:
            return function(*arguments, **options)
        try:
            key = digest(fingerprint(), name, encode((arguments, dict(sorted(options.items())))))
        except Unstorable:
            return function(*arguments, **options)
        known = store.get(key)
        if known is not None:
            value: Value = decode(known)
            return value
        value = function(*arguments, **options)
        store.put(key, encode(value))
        return value

    return look_up
