"""Options: what the user may choose, as the command line has it, and what the levels mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from stepgauge.properties.gauge.problems.problem import Dtype
from stepgauge.properties.gauge.problems.recipe import Hyperparameters

Level = Literal["quick", "standard", "deep"]
LEVELS: tuple[Level, ...] = get_args(Level)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

# Problems of each focus, and of each law.
PROBLEMS: Mapping[Level, int] = {"quick": 2, "standard": 10, "deep": 60}
LAW_PROBLEMS: Mapping[Level, int] = {"quick": 1, "standard": 4, "deep": 30}
TRAINING_PROBLEMS: Mapping[Level, int] = {"quick": 4, "standard": 10, "deep": 60}
LONG_STEPS: Mapping[Level, int] = {"quick": 110, "standard": 2060, "deep": 5000}


@dataclass(frozen=True)
class Options:
    """What the user may choose, as the command line has it."""

    level: Level = "standard"
    seed: int = 0
    dialect: str = "auto"
    set: Hyperparameters = field(default_factory=dict)
    only: str = "*"
    skip: str = ""
    diagnosis: bool = True  # whether the cause of a divergence is sought
    dtype: Dtype | Literal[""] = ""  # that decides; if empty, the finest that the target steps


class Handling(NamedTuple):
    """How a target is driven; `make_target` takes each by its name."""

    renames: Mapping[str, str] = MappingProxyType({})
    device: str = "cpu"
    adapter: str | None = None
    after_build: str = ""
