"""Critical gradients: any rule, fed with its gradient aggregated with the largest past ones.

(McRae, Parthasarathi et al., "Memory Augmented Optimizers for Deep Learning", arXiv 2106.10708; the cgoptimizer
package.) The gradient is aggregated with the buffer as it stands before this step, then enters it, then keys decay.
With kappa = 0 the buffer is passed by, and the rule is its base.

A gradient that is not finite goes into its parameter as in the base, but never into a buffer; with `synced` none of its
group's gradients of that step does. (`released` stores an infinite one; `released_eff` stores NaN too, and nothing
after that.)
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from stepgauge.reference.critical_buffer import BUFFERS, RunningSum, TopC
from stepgauge.reference.hyperparameters import AT_LEAST_ZERO, POSITIVE_INTEGER, Hyperparameter, Range
from stepgauge.reference.rule import Array, Rule, Sum

AGGREGATIONS = ("sum", "mid", "mean")


@dataclass(frozen=True)
class Critical(Rule):
    """What the critical form of a rule adds to it: a buffer, and the hyperparameters of that."""

    aggr: str = "mean"
    kappa: float = 1.0
    topC: int = 10
    decay: float = 0.7
    synced: bool = True

    dialects: ClassVar[tuple[str, ...]] = ("published", "released", "released_eff")
    own_hyperparameters: ClassVar[dict[str, Hyperparameter]] = {
        "aggr": Hyperparameter(
            Range(AGGREGATIONS.__contains__, f"one of {', '.join(AGGREGATIONS)}"), ("mean", "sum", "mid")
        ),
        "kappa": Hyperparameter(AT_LEAST_ZERO, (1.0, 0.45, 1.9)),
        "topC": Hyperparameter(POSITIVE_INTEGER, (2, 1, 3, 20), moves=False),  # nobody says which slots go
        "decay": Hyperparameter(Range(lambda x: 0 < x <= 1, "in (0, 1]"), (0.7, 0.93, 0.36)),
    }
    pools_over: ClassVar[Literal["group"]] = "group"

    class State(NamedTuple):
        buffer: TopC | RunningSum  # of gradients with shape and dtype of p
        base: Any  # the state of the base rule

    def check(self) -> None:
        if self.kappa == 0 and self.dialect != "published" and not self.honours_kappa:
            raise ValueError("Invalid kappa: 0.0 (the released code fails at it; say dialect published)")
        self.base.check()

    @property
    @abstractmethod
    def base(self) -> Rule:
        """The rule that steps along the aggregated gradient."""

    honours_kappa: ClassVar[bool] = False  # released: whether the aggregation sees kappa

    def stored(self, p: Array, g: Array) -> Array:
        """The gradient as it is aggregated and stored."""
        return g

    def init(self, p: Array) -> State:
        return self.State(BUFFERS[self.dialect](), self.base.init(p))

    def statistic(self, p: Array, g: Array, s: State) -> Sum:
        return Sum(float(np.sqrt(np.sum(g * g))), 1)  # of the raw gradient, before decay

    def aggregated(self, g: Array, buffer: TopC | RunningSum) -> Array:
        size = len(buffer.entries)
        if size == 0:
            return g
        kappa = self.kappa if self.dialect == "published" or self.honours_kappa else 1.0
        if self.dialect == "released_eff":
            return g + buffer.sum / size
        if self.aggr == "sum":
            return g + kappa * (buffer.sum / size)
        if self.aggr == "mid":
            return (g + kappa * (buffer.sum / size)) / 2
        return (g + kappa * buffer.sum) / (size + 1)

    def step(self, p: Array, g: Array, s: State, pooled: Sum | None = None) -> tuple[Array, State]:
        key = self.statistic(p, g, s).total if pooled is None or not self.synced else pooled.total
        g = self.stored(p, g)
        u = self.aggregated(g, s.buffer) if self.kappa else g
        buffer = s.buffer.insert(key, g, self.topC).decayed(self.decay)
        p, base = self.base.step(p, u, s.base)
        return p, self.State(buffer, base)
