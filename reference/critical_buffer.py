"""The buffer of critical gradients: the C gradients of largest norm so far, norms decaying from step to step.

(McRae, Parthasarathi et al., "Memory Augmented Optimizers for Deep Learning", arXiv 2106.10708; the cgoptimizer
package.) A buffer is immutable, and full once it holds C gradients; then a new one enters if its key, the norm, is
larger than the smallest key, whose gradient leaves. A key that is not finite is never stored.
"""

import heapq
import math
from typing import NamedTuple, Self

import numpy as np

from stepgauge.reference.rule import Array


class Entry(NamedTuple):
    """A stored gradient and its key; ordered by the key alone."""

    key: float
    value: Array

    def __lt__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.key < other.key


class TopC(NamedTuple):
    """The exact rule. Among equal smallest keys the newest leaves; an incoming one equal to them is refused."""

    entries: tuple[Entry, ...] = ()

    @property
    def keys(self) -> tuple[float, ...]:
        return tuple(entry.key for entry in self.entries)

    @property
    def sum(self) -> Array:
        return np.sum(np.stack([entry.value for entry in self.entries]), axis=0)

    def insert(self, key: float, value: Array, capacity: int) -> Self:
        if not math.isfinite(key):
            return self
        new = Entry(key, value)
        if len(self.entries) < capacity:
            return self._replace(entries=(*self.entries, new))
        newest_first = np.array(self.keys[::-1])
        weakest = len(self.entries) - 1 - int(np.argmin(newest_first))
        if not self.entries[weakest] < new:
            return self
        return self._replace(entries=(*self.entries[:weakest], *self.entries[weakest + 1 :], new))

    def decayed(self, decay: float) -> Self:
        return self._replace(entries=tuple(Entry(entry.key * decay, entry.value) for entry in self.entries))


class ReleasedHeap(TopC):
    """As released: a heap that is cut to its last C entries is none, yet its first is taken for the smallest.

    So a gradient may be refused that is not the smallest. (PriorityDict of cgoptimizer, measured: the first is not
    the smallest in about a quarter of the polls.)
    """

    def insert(self, key: float, value: Array, capacity: int) -> Self:
        new = Entry(key, value)
        if len(self.entries) >= capacity and not self.entries[0] < new:
            return self
        heap = [entry for entry in (*self.entries, new) if entry.key >= 0]
        heapq.heapify(heap)
        return self._replace(entries=tuple(heap[-capacity:]))


class RunningSum(NamedTuple):
    """As in the released `_eff` classes: fixed slots, the first smallest is overwritten, the sum is kept, not taken."""

    entries: tuple[Entry, ...] = ()
    sum: Array | float = 0.0

    @property
    def keys(self) -> tuple[float, ...]:
        return tuple(entry.key for entry in self.entries)

    def insert(self, key: float, value: Array, capacity: int) -> Self:
        new = Entry(key, value)
        if len(self.entries) < capacity:
            return self._replace(entries=(*self.entries, new), sum=self.sum + value)
        weakest = int(np.argmin(np.array(self.keys)))
        if not self.entries[weakest] < new:
            return self
        kept = (*self.entries[:weakest], new, *self.entries[weakest + 1 :])
        return self._replace(entries=kept, sum=self.sum + value - self.entries[weakest].value)

    def decayed(self, decay: float) -> Self:
        return self._replace(entries=tuple(Entry(entry.key * decay, entry.value) for entry in self.entries))


BUFFERS: dict[str, type[TopC] | type[RunningSum]] = {
    "published": TopC,
    "released": ReleasedHeap,
    "released_eff": RunningSum,
}
