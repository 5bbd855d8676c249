"""What a layer sees between two steps, noted by hooks, and the choice of samples.

A draw is seeded by the optimizer's seed, the layer, the steps that it has made and the passes that it has seen since:
all of that is in a checkpoint, so that a resumed run draws what the uninterrupted one does, and torch's own generators,
which dropout and data loaders draw from, are left alone.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

Generator = Callable[[], np.random.Generator]  # made where something is drawn, which often nothing is
Rows = tuple[Tensor, ...]  # tensors with the same samples in them, such as inputs and signals
OnForward = Callable[["Recorder", Any, Tensor, Tensor], None]


def draw(population: int, size: int | None, generator: Generator) -> Tensor | None:
    """Indices drawn without replacement; None, for all, where `size` is not less."""
    if size is None or size >= population:
        return None
    return torch.from_numpy(generator().choice(population, size, replace=False))


def select(x: Tensor, indices: Tensor | None) -> Tensor:
    """The samples of x with these indices, all for None."""
    return x if indices is None else x.index_select(0, indices.to(x.device, non_blocking=True))


class Reservoir:
    """Samples of several passes: at most as many as asked, each as likely to be kept as any other.

    Attributes:
        parts: samples of one pass each, as images may differ in size between passes.
        seen: how many samples there were.
    """

    def __init__(self) -> None:
        self.parts: list[Rows] = []
        self.seen = 0

    @property
    def kept(self) -> int:
        """How many samples are kept."""
        return sum(len(part[0]) for part in self.parts)

    def add(self, part: Rows, seen: int, size: int | None, generator: Generator) -> None:
        """Add samples of a pass, chosen at random from `seen`; keep `size` of all, or all for None."""
        kept, new = self.kept, len(part[0])
        if size is not None and kept + new > size:
            rng = generator()
            old = min(int(rng.hypergeometric(self.seen, seen, size)), kept)
            self._keep(rng.choice(kept, old, replace=False))
            part = _rows(part, rng.choice(new, min(size - old, new), replace=False))
        if len(part[0]):
            self.parts.append(part)
        self.seen += seen

    def _keep(self, chosen: Any) -> None:
        """Keep these samples, counted through all parts."""
        first, parts = 0, []
        for part in self.parts:
            last = first + len(part[0])
            own = chosen[(first <= chosen) & (chosen < last)] - first
            if len(own):
                parts.append(_rows(part, own))
            first = last
        self.parts = parts


def _rows(part: Rows, rows: Any) -> Rows:
    indices = torch.from_numpy(rows)
    return tuple(select(x, indices) for x in part)


class Recorder:
    """The forward hook of a layer's module, and what it has noted since the last step.

    Copied with its module, it is idle, unless its optimizer is copied in the same go and takes the copy over; what it
    has noted is not copied, as gradients are not.

    Attributes:
        index: of the layer in the model.
        reservoirs: of inputs and signals in one, or of each in its own; empty before the first pass.
        passes: how many backward passes came through the layer.
        is_stale: whether the gradient that they added up to has been zeroed.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.handle: RemovableHandle | None = None
        self.owner: Callable[[], OnForward | None] = _nobody
        self.forget()

    def forget(self) -> None:
        """Forget what was noted."""
        self.reservoirs: list[Reservoir] = []
        self.passes = 0
        self.is_stale = False

    @property
    def counting(self) -> int:
        """How many of its passes count beside the next."""
        return 0 if self.is_stale else self.passes

    @property
    def is_empty(self) -> bool:
        """Whether there were passes, but no sample in them."""
        return self.passes > 0 and not any(reservoir.kept for reservoir in self.reservoirs)

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        on_forward = self.owner()
        if on_forward is None:
            self.remove()
        elif torch.is_grad_enabled() and output.requires_grad and module.weight.requires_grad:
            if module.weight.grad is None:  # so that what it was made of is of no use
                self.forget()
            on_forward(self, module, args[0] if args else kwargs["input"], output)

    def note(self, samples: Sequence[tuple[Rows, int | None]], seen: int, seed: Sequence[int]) -> None:
        """Note a backward pass.

        Args:
            samples: for each reservoir those chosen of it, and how many it keeps.
            seen: how many there were.
            seed: of the choice between these and those noted before.
        """
        if self.is_stale:
            self.forget()
        self.reservoirs = self.reservoirs or [Reservoir() for _ in samples]
        for k, (reservoir, (rows, size)) in enumerate(zip(self.reservoirs, samples, strict=True)):
            reservoir.add(rows, seen, size, functools.partial(np.random.default_rng, [*seed, k]))
        self.passes += 1

    def remove(self) -> None:
        """Take the hook out of the module."""
        if self.handle is not None:
            self.handle.remove()
        self.owner = _nobody
        self.forget()

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "handle": self.handle}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, owner=_nobody)
        self.forget()


def _nobody() -> None:
    return None
