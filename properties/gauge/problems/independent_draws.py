"""A backend of Hypothesis that draws every choice anew and uniformly, whatever else was drawn or is imported.

Hypothesis' own search mutates earlier examples and mixes in constants of whichever modules are imported: the same seed
would draw other problems beside other code, and most of the time would go into a search where nothing is to be found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Any, NoReturn

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, PrimitiveProvider

BACKEND = "stepgauge"
_SEED: ContextVar[int] = ContextVar("seed of the draws")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What the backend draws from, for functions that are run within."""
    token = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(token)


class IndependentDraws(PrimitiveProvider):
    """Booleans and whole numbers within bounds, which all of our strategies are made of."""

    lifetime = "test_function"

    def __init__(self, conjecture_data: None) -> None:
        super().__init__(conjecture_data)
        self.random = Random(_SEED.get())

    def draw_boolean(self, p: float = 0.5) -> bool:
        return self.random.random() < p

    def draw_integer(self, min_value: int | None = None, max_value: int | None = None, **_: Any) -> int:
        assert min_value is not None
        assert max_value is not None
        return self.random.randint(min_value, max_value)

    def draw_float(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("problems are made of choices")

    def draw_string(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("problems are made of choices")

    def draw_bytes(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("problems are made of choices")


AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.{IndependentDraws.__name__}"
