"""What is known of a hyperparameter by its name, for every rule that has it.

A name means the same in every rule. One that a single rule has, or takes differently, stands on that rule, in its
`own_hyperparameters`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple


class Range(NamedTuple):
    """The values a hyperparameter may take, as a test and in words."""

    holds: Callable[[Any], bool]
    words: str


AT_LEAST_ZERO = Range(lambda x: 0 <= x < math.inf, "at least 0 and finite")
ABOVE_ZERO = Range(lambda x: x > 0, "above 0")
FRACTION = Range(lambda x: 0 <= x < 1, "in [0, 1)")
POSITIVE_INTEGER = Range(lambda x: x >= 1, "an integer of at least 1")
EITHER = Range(lambda _: True, "True or False")
ANY = Range(lambda x: not math.isnan(x), "a number, not NaN")


@dataclass(frozen=True)
class Hyperparameter:
    """What is known of a hyperparameter.

    Attributes:
        allowed: the values it may take; of a tuple, those of each item.
        drawn: the values that verification tries, chosen so that a port which confuses two hyperparameters shows: no
            value of one is a value of another, nor its complement to 1. A `range` stands for its integers, a tuple of
            tuples for one choice for each item. Empty for True and False.
        neutral: the value of a port that lacks it, if that is not the rule's default.
        off: the value at which a part of the rule is gone; None if it has none. (For a bool it is False.)
        lively: a value under which no part of a rule is idle for hundreds of steps; None if that is up to the rest.
        moves: whether a rule says what happens if it changes in mid-run (of lr, all do).
        refused: a value out of range that an unvalidated port would take; None if none is asked.
    """

    allowed: Range
    drawn: tuple[Any, ...] | range = ()
    neutral: Any = None
    off: Any = None
    lively: Any = None
    refused: Any = None
    moves: bool = True

    @property
    def values(self) -> list[Any]:
        """Those that verification tries, one by one.

        >>> Hyperparameter(EITHER).values, Hyperparameter(POSITIVE_INTEGER, (range(1, 3), 12)).values
        ([False, True], [1, 2, 12])
        >>> Hyperparameter(FRACTION, ((0.0, 0.5), (0.9,))).values
        [(0.0, 0.9), (0.5, 0.9)]
        """
        if not self.drawn:
            return [False, True]
        if all(isinstance(choices, tuple) for choices in self.drawn):
            return list(product(*self.drawn))
        flat = [value for choice in self.drawn for value in (choice if isinstance(choice, range) else [choice])]
        return list(dict.fromkeys(flat))


SWITCH = Hyperparameter(EITHER)

# At the defaults of AdamP 1 - beta1, delta and wd_ratio are all 0.1; no two of the values drawn here are as near.
HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    "lr": Hyperparameter(AT_LEAST_ZERO, (0.05, 0.3, 0.008, 0.001, 2.5), lively=0.05, refused=-1.0),
    "weight_decay": Hyperparameter(
        AT_LEAST_ZERO, (0.0, 0.02, 0.35, 0.0, 0.8), neutral=0.0, off=0, lively=0.02, refused=-1.0
    ),
    "eps": Hyperparameter(AT_LEAST_ZERO, (1e-8, 1e-3, 1e-14, 0.07, 1.5), refused=-1.0),
    "betas": Hyperparameter(
        FRACTION,
        ((0.87, 0.6, 0.95, 0.0, 0.985), (0.992, 0.71, 0.999, 0.99995)),
        lively=(0.87, 0.999),
        refused=(1.5, 0.9),
    ),
    "alpha": Hyperparameter(FRACTION, (0.97, 0.66, 0.99, 0.9985), refused=-1.0),
    "momentum": Hyperparameter(AT_LEAST_ZERO, (0.82, 0.0, 0.47, 0.91, 0.993), off=0, lively=0.9, refused=-1.0),
    "dampening": Hyperparameter(ANY, (0.0, 0.28, 0.61), off=0, lively=0.0),
    "delta": Hyperparameter(ANY, (0.11, 0.37, 0.06, 2.3, 40.0)),
    "wd_ratio": Hyperparameter(AT_LEAST_ZERO, (0.22, 0.55, 0.04), refused=-1.0),
    # No less than any batch has, so that nothing is left to chance.
    "sample_size": Hyperparameter(POSITIVE_INTEGER, (None, 64)),
    # Fewer than any layer has unknowns: past convergence, rounding decides.
    "num_iters": Hyperparameter(POSITIVE_INTEGER, range(1, 5)),
    "nesterov": SWITCH,
    "amsgrad": SWITCH,
    "centered": SWITCH,
    "decoupled": SWITCH,
    "synced": SWITCH,
    "batch_averaged": SWITCH,
}
