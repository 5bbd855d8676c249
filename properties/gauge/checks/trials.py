"""Trials: what a target refuses and what it rounds, found out over a few steps before anything is asked of it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from stepgauge.properties.gauge.errors import StepError, TargetError
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, LayerRecipe, ParameterGroup, Recipe, Shape
from stepgauge.properties.gauge.problems.regimes import GROUPED, LINEAR, SAME, off_value
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.reference import Convolution
from stepgauge.reference.layers import same_padding

INVISIBLE, VISIBLE = 2.0**-30, 2.0**-18  # of a value, in float32

# Kinds of layers that a target of a rule that looks at layers may lack; checks of conventions ask for each.
OPTIONAL_LAYERS = {
    LINEAR: LayerRecipe(4, 3, bias=False),
    GROUPED: LayerRecipe(4, 4, (4, 4), Convolution((2, 2), groups=2)),
    SAME: LayerRecipe(2, 3, (4, 4), Convolution((2, 2), padding=same_padding((2, 2)))),
}
SCALARS, ABSENT, LATE = "0-d parameters", "absent gradients", "late gradients"


class Trials:
    """A target on small problems; `chosen` are the hyperparameters that the user sets or the target's keywords give."""

    def __init__(self, target: Target, chosen: Hyperparameters) -> None:
        self.target, self.record, self.chosen = target, target.record, chosen

    @property
    def steps(self) -> bool:
        """Whether the target steps at all, or at least at its own defaults."""
        return any(self._refusal(self._problem(h)) is None for h in (self._lively, self._usual))

    @cached_property
    def refused(self) -> Mapping[str, str]:
        """What the target refuses of what is optional, by name, and how; it is not asked for it.

        Hyperparameters beyond a value that they may be held at, kinds of layers, 0-d parameters, missing gradients.
        """
        found = dict(self._refused_hyperparameters())
        usual = {**self._lively, **{name: self.held(name) for name in found}}
        if self._refusal(self._problem(usual)) is None:
            for name, problem in self._optional(usual):
                if refusal := self._refusal(problem):
                    found[name] = refusal
        return found

    def held(self, name: str) -> Any:
        """At what a hyperparameter is held whose other values the target refuses: off, or at its own default."""
        off = off_value(self.target.rule, name)
        return self._usual[name] if off is None else off

    @cached_property
    def _known_lively(self) -> Hyperparameters:
        """The lively values, of those that have one by themselves."""
        lively = {n: self.record.hyperparameter(n).lively for n in self.record.hyperparameter_names()}
        return {n: value for n, value in lively.items() if value is not None}

    @property
    def _usual(self) -> Hyperparameters:
        """The target's own defaults, and what stands for them where it has none."""
        return {**self._known_lively, **self.record.neutral(), **self.target.defaults, **self.chosen}

    @property
    def _lively(self) -> Hyperparameters:
        """Hyperparameters under which every part of the rule matters, but no switch is on."""
        return {**self.record.neutral(), **self._known_lively, **self.chosen}

    def _free(self) -> Iterator[str]:
        """The hyperparameters that can be tried."""
        yield from (n for n in self.record.hyperparameter_names() if n in self.target.offers and n not in self.chosen)

    def _refused_hyperparameters(self) -> Iterator[tuple[str, str]]:
        """Those of which the target takes one value only: sought where it refuses several that are not its defaults."""
        usual = self._usual
        held = {name: self.held(name) for name in self._free() if name != "lr"}
        tried = {name: other for name in held if (other := self._another(name, usual)) is not None}
        varied = self._problem({**self._lively, **tried})
        if varied is None or self._refusal(varied) is None or self._refusal(self._problem({**usual, **held})):
            return
        for name, other in tried.items():
            if refusal := self._refusal(self._problem({**usual, **held, name: other})):
                yield name, refusal

    def _another(self, name: str, usual: Hyperparameters) -> Any:
        """A value that is not the usual one; None for a switch, which is asked by itself."""
        known = self.record.hyperparameter(name)
        if self.record.is_switch(name):
            return None
        values = [known.lively, *known.values]
        return next((v for v in values if v is not None and v not in (usual.get(name), self.held(name))), None)

    def _optional(self, usual: Hyperparameters) -> Iterator[tuple[str, Problem | None]]:
        """What a target may lack, by name, and a problem that has it."""
        for name in self._free():
            if self.record.is_switch(name):
                yield name, self._problem({**usual, name: True})
        for regime, layer in OPTIONAL_LAYERS.items() if self.record.sees_layers else ():
            if regime != GROUPED or self.record.takes_groups:
                yield regime, self._problem(usual, layers=(layer,))
        if self.target.takes_scalars:
            yield SCALARS, self._problem(usual, shapes=((2, 3), ()))
        if self.target.takes_absent:
            yield ABSENT, self._problem(usual, shapes=((2, 3), (2, 3)), absent=((1,), ()), steps=3)
            yield LATE, self._problem(usual, shapes=((2, 3), (2, 3)), absent=((0,), ()), steps=3)

    def _refusal(self, problem: Problem | None) -> str | None:
        """What the target raises on a problem; None if nothing, or if there is no such problem."""
        try:
            if problem is not None:
                self.target.run(problem)
        except (TargetError, StepError) as refusal:
            return str(refusal)
        return None

    def _problem(
        self,
        hyperparameters: Hyperparameters,
        *,
        shapes: Sequence[Shape] = ((2, 3),),
        layers: Sequence[LayerRecipe] = (),
        absent: tuple[tuple[int, ...], ...] = (),
        steps: int = 2,
    ) -> Problem | None:
        """A small problem on a matrix; None if no rule has these hyperparameters."""
        count = sum(len(layer.shapes) for layer in layers) + len(shapes)
        try:
            group = ParameterGroup(self.record(**hyperparameters).hyperparameters(), tuple(range(count)))
        except ValueError:  # the rule itself refuses one beside the others
            return None
        recipe = Recipe(self.target.rule, (group,), tuple(shapes), steps=steps, layers=tuple(layers), absent=absent)
        return expand(recipe)

    def rounds(self, name: str) -> bool:
        """Whether the target rounds a hyperparameter to float32, as it does by keeping it in such a tensor.

        Told by two values that only float64 tells apart: nothing moves otherwise, and a little farther apart all does.
        """
        known = self.record.hyperparameter(name)
        drawn = sorted(v for v in known.drawn if isinstance(v, float))
        middle = known.lively or (drawn[len(drawn) // 2] if drawn else None)
        if not isinstance(middle, float):
            return False
        value = float(np.float32(middle))  # from where a nudge crosses no midpoint
        trial = self._problem({**self._lively, name: value})
        if trial is None:
            return False
        try:
            asked = [trial.with_hyperparameters(**{name: value * (1 + nudge)}) for nudge in (0.0, INVISIBLE, VISIBLE)]
            plain, near, far = (self.target.run(each) for each in asked)
            exact, apart, _ = (reference_trajectory(each, each.rule_groups(self.record)) for each in asked)
        except (ValueError, TargetError, StepError):
            return False
        # Where float64 itself does not tell them apart, as of an eps that is small, nobody rounds.
        return np.array_equal(plain, near) and not np.array_equal(plain, far) and not np.array_equal(exact, apart)
