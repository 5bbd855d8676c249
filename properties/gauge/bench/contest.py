"""A user's optimizers beside ours and torch's: who takes part, and what each of them costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median, quantiles
from typing import Any

from stepgauge import core
from stepgauge.properties.gauge.api import Asked
from stepgauge.properties.gauge.bench.costs import Step, interleaved, operators, peak, state_bytes, torch_peak
from stepgauge.properties.gauge.bench.machine import Others
from stepgauge.properties.gauge.bench.models import MODELS, Shape, arrays
from stepgauge.properties.gauge.checks.options import Handling
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, TargetError, UsageError, describe
from stepgauge.properties.gauge.targets.base import NO_RULE, quiet
from stepgauge.reference import RULES

ROUNDS = 9
WARM = 12  # steps after which every buffer is full
COUNTED = "ResNet-18"  # the model that operators and bytes are counted on
FORMS = ("foreach", "fused")  # of torch's


@dataclass(frozen=True)
class Entrant:
    """Who takes part, and the rule that it is held to."""

    target: str
    rule: str
    is_theirs: bool = False


@dataclass
class Costs:
    """Of a step of one contestant, or why it takes none.

    Attributes:
        cpu_ms: median and half the range between the quartiles, by model.
        state: bytes kept from step to step, and `temporary` held at most within one, as shares of the parameters'.
    """

    cpu_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    operators: int | None = None
    state: float | None = None
    temporary: float | None = None
    failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """The costs of all entrants, and the share of the machine that others took meanwhile; None if nobody can tell."""

    costs: list[Costs]
    share: float | None


def entrants(targets: Sequence[str], rule: str | None) -> tuple[list[Entrant], list[str]]:
    """The user's targets, and for each of their rules ours and torch's; then who is missing, in a sentence each.

    Raises:
        UsageError: a text is no target, or what it names steps along what layers see.
    """
    theirs = [Entrant(target, Asked.of(target, rule).rule, True) for target in targets]
    for entrant in theirs:
        if entrant.rule == NO_RULE or entrant.rule not in core.OPTIMIZERS:
            raise UsageError(f"{entrant.target}: bench steps plain parameters, of {', '.join(core.OPTIMIZERS)}")
    others, missing = [], []
    for name in dict.fromkeys(entrant.rule for entrant in theirs):
        found, absent = _known(name)
        others += found
        missing += absent
    return theirs + [other for other in others if other.target not in targets], missing


def _known(rule: str) -> tuple[list[Entrant], list[str]]:
    import torch

    name = RULES[rule].__name__
    ours = Entrant(f"stepgauge.torch_bind:{name}", rule)
    if not hasattr(torch.optim, name):
        return [ours], [f"torch.optim has no {name}"]
    forms = [form for form in FORMS if form in _signature(getattr(torch.optim, name))]
    absent = [f"torch.optim.{name} is not {form}" for form in FORMS if form not in forms]
    return [ours, *(Entrant(f"torch.optim:{name}({form}=True)", rule) for form in forms)], absent


def _signature(factory: Any) -> Sequence[str]:
    from inspect import signature

    return tuple(signature(factory).parameters)


def measure(entrants: Sequence[Entrant], settings: Mapping[str, Any], tell: Callable[[str], None]) -> Measured:
    """Step every model with every entrant, in turns, on one thread."""
    import torch

    torch.set_num_threads(1)
    others = Others()
    costs = [Costs() for _ in entrants]
    for model, shapes in MODELS.items():
        tell(model)
        steps: dict[str, Step] = {}
        for k, (entrant, own) in enumerate(zip(entrants, costs, strict=True)):
            if own.failure:
                continue
            try:
                with quiet():
                    steps[str(k)] = _warmed(entrant, shapes, settings, own if model == COUNTED else None)
            except TargetError as error:
                own.failure = str(error)
            except FOREIGN_ERRORS as error:
                own.failure = f"cannot be stepped: {describe(error)}"
        with quiet():
            for name, turns in interleaved(steps, ROUNDS).items():
                low, _, high = quantiles(turns, n=4)
                costs[int(name)].cpu_ms[model] = median(turns), (high - low) / 2
    return Measured(costs, others.share())


def _warmed(entrant: Entrant, shapes: list[Shape], settings: Mapping[str, Any], own: Costs | None) -> Step:
    """A step of an entrant over a model, once its buffers are full; what is counted goes into `own`."""
    import torch

    target: Any = Asked.of(entrant.target, entrant.rule).built(Handling())
    if not hasattr(target, "build"):
        raise TargetError("is no torch optimizer, which alone are stepped beside each other")
    params = [torch.nn.Parameter(torch.from_numpy(p)) for p in arrays(shapes, 0.05, seed=0)]
    for p, g in zip(params, arrays(shapes, 1.0, seed=1), strict=True):
        p.grad = torch.from_numpy(g)
    optimizer = target.build(params, {**target.required, **settings})
    step: Step = partial(optimizer.step)
    for _ in range(WARM):
        step()
    if own is not None:
        size = sum(p.nbytes for p in params)
        own.operators = operators(step)
        own.state = state_bytes(optimizer) / size
        own.temporary = (peak(step) + torch_peak(step)) / size
    return step
