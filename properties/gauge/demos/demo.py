"""What a demo consists of, and how the rules in it are made to step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from stepgauge.core import SGD, Optimizer
from stepgauge.reference import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Make = Callable[[Sequence[Array]], Optimizer]  # an optimizer of the core around parameters
POINTS = 200  # of a curve that is drawn


@dataclass(frozen=True)
class Demo:
    """An effect as it was measured.

    Attributes:
        setup: what was done, with every number that a repetition needs.
        shows: what the measures say, in a sentence.
        leaves_open: what they do not say, or say against the rule.
        draw: draws them.
    """

    title: str
    setup: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    shows: str
    leaves_open: str
    draw: Callable[["Axes"], None]

    def panel(self, axes: "Axes") -> None:
        """Draw it under its title."""
        self.draw(axes)
        axes.set_title(self.title, loc="left", fontsize="medium")


def averaged(momentum: float, **hyperparameters: Any) -> partial[SGD]:
    """SGD along a moving average of the gradients: momentum whose steps are as long as without."""
    return partial(SGD, momentum=momentum, dampening=momentum, **hyperparameters)


def steps(make: Make, p: Array, gradient: Callable[[Array], Array], count: int) -> Iterator[int]:
    """Step `p` in place; the number of each step once it is taken."""
    optimizer = make([p])
    for t in range(1, count + 1):
        optimizer.step([gradient(p)])
        yield t


def significant(x: float) -> str:
    """Three digits; a dash for what never happened."""
    return f"{float(f'{x:.3g}'):g}" if x < float("inf") else "-"


def curves(
    axes: "Axes", by_name: Mapping[str, Array], ylabel: str, *, log: bool = True, log_steps: bool = False
) -> None:
    """One curve over the steps for each name, thinned out."""
    for name, values in by_name.items():
        kept = range(0, len(values), max(1, len(values) // POINTS))
        axes.plot([t + 1 for t in kept], [values[t] for t in kept], label=name)
    axes.set(xlabel="step", ylabel=ylabel, xscale=_scale(log_steps), yscale=_scale(log))
    legend(axes)


def _scale(log: bool) -> str:
    return "log" if log else "linear"


def legend(axes: "Axes") -> None:
    """Beside the curves, where it hides none."""
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
