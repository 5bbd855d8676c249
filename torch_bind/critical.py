"""Critical gradients in torch: see `stepgauge.reference.critical` for the mathematics and its source."""

from typing import Any, ClassVar

from torch import Tensor

from stepgauge.torch_bind import critical_buffer
from stepgauge.torch_bind.critical_buffer import Buffer, aggregated, inserted, norm
from stepgauge.torch_bind.optimizer import RuleOptimizer
from stepgauge.torch_bind.state import STEP, Fields

BASE = 3  # the most fields of a base rule that the core's kernel looks at


def aggregate(
    g: Tensor,  # the gradient as it is stored
    weight: Tensor,  # at least its norm, shape (), float64
    key: Tensor,  # the norm by which it is kept, likewise
    buffer: Buffer,
    aggr: str,
    kappa: float,
    decay: float,
    dialect: str,
) -> tuple[Tensor, Buffer]:
    """The gradient aggregated with the buffer as it stands, and the buffer after it."""
    return aggregated(g, buffer, aggr, kappa, dialect), inserted(buffer, key, g, weight, decay, dialect)


def norm_of_gradient(p: Tensor, g: Tensor, *state: Tensor | None, **hyperparameters: object) -> Tensor:
    """What a parameter adds to the pool: shape (), float64."""
    return norm(g)


class Critical(RuleOptimizer):
    """What the critical form of a rule adds to it."""

    statistic = staticmethod(norm_of_gradient)
    base: ClassVar[type[RuleOptimizer]]

    @classmethod
    def fields(cls, rule: Any) -> Fields:
        return {**cls.base.fields(rule), **critical_buffer.FIELDS}

    @classmethod
    def core_fields(cls, rule: Any) -> list[str | None]:
        own: list[str | None] = [n if make else None for n, make in cls.base.fields(rule).items() if n != STEP]
        return [*own, *[None] * (BASE - len(own)), *critical_buffer.NAMES]
