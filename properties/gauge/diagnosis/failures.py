"""The problems on which a target leaves a dialect: those that were found, the smallest, and fresh ones."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import count

from stepgauge.properties.gauge.checks.comparison import Outcome, compare
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.diagnosis.failing_run import FailingRun
from stepgauge.properties.gauge.errors import StepError, TargetError
from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.foci import foci_of
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import Recipe
from stepgauge.properties.gauge.problems.shrinking import shrink
from stepgauge.properties.gauge.targets.base import PLAIN

RUNS = 12  # failing problems, beside the smallest, that an edit has to explain
SEED = 7919  # apart from what any user chooses


class Failures:
    """The outcomes that leave a dialect, in one precision, and of the target driven in one way.

    Attributes:
        context: of the target as it was driven in all of them.
        dtype: their precision.
        outcomes: those that are left, the smallest first.
    """

    def __init__(self, context: Context, dialect: str, outcomes: Sequence[Outcome]) -> None:
        failing = [o for o in outcomes if dialect in o.divergences and o.problem.recipe]
        # What diverges only where it is driven otherwise is examined so.
        plain = any(o.variant == PLAIN for o in failing)
        variant = PLAIN if plain else next((o.variant for o in failing), PLAIN)
        self.context, self.dialect = context.varied(variant), dialect
        failing = [o for o in failing if o.variant == variant]
        # In float64 least is hidden by rounding; a target may diverge in float32 only.
        self.dtype = "float64" if any(o.dtype == "float64" for o in failing) else "float32"
        failing = [o for o in failing if o.dtype == self.dtype]
        self.outcomes = sorted(failing, key=lambda o: (o.divergences[dialect].step, o.problem.size))
        self._fresh: list[FailingRun] = []
        self._drawn = self._draw()

    def smallest(self) -> Problem:
        """The smallest problem that shows the divergence, made smaller as far as it still does."""
        problem = self.outcomes[0].problem
        assert problem.recipe is not None

        def fails(recipe: Recipe) -> bool:
            try:
                outcome = self.compare(self.context.expanded(recipe))
            except (TypeError, ValueError):  # not every combination of the simpler parts is a problem
                return False
            return not outcome.ambiguous and self.dialect in outcome.divergences

        small = shrink(problem.recipe, self.context.fixed, fails)
        place = self.compare(self.context.expanded(small)).divergences.get(self.dialect)
        ended = replace(small, steps=place.step if place else small.steps)
        return self.context.expanded(ended if fails(ended) else small)

    def compare(self, problem: Problem) -> Outcome:
        """What comes of a problem beside the dialect, driven as in these."""
        return compare(self.context.target, problem, self.dtype, (self.dialect,))

    def run_on(self, problem: Problem) -> FailingRun:
        """What the target computes on a problem."""
        return FailingRun(self.context.target, problem, self.dialect, self.dtype)

    @cached_property
    def runs(self) -> list[FailingRun]:
        """Those of various regimes."""
        step = max(1, len(self.outcomes) // RUNS)
        return [self.run_on(outcome.problem) for outcome in self.outcomes[::step][:RUNS]]

    def fresh(self) -> Iterator[FailingRun]:
        """Fresh problems that the target can be run on; they are drawn once."""
        for k in count():
            if k == len(self._fresh):
                drawn = next(self._drawn, None)
                if drawn is None:
                    return
                self._fresh.append(drawn)
            yield self._fresh[k]

    def _draw(self) -> Iterator[FailingRun]:
        for problem in self._problems():
            with suppress(StepError, TargetError):
                yield self.run_on(problem)

    def _problems(self) -> Iterator[Problem]:
        """Problems of every focus, then more of those in which the target was seen to diverge."""
        target, seed = self.context.target, self.context.options.seed + SEED
        often = {o.problem.recipe.focus for o in self.outcomes if o.problem.recipe} & foci_of(target.rule).keys()
        if any(o.problem.changes or o.problem.in_place for o in self.outcomes):
            yield from self.context.training_problems(seed)
        draw = partial(problems_of, target.rule, fixed=self.context.fixed, maximize=target.takes_maximize)
        yield from map(self.context.expanded, draw(1, seed))
        for k, each in enumerate((4, 8, 16, 32), 1):
            yield from map(self.context.expanded, draw(each, seed + k, only=often))
