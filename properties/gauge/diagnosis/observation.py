"""What the rule computes where a target diverges: the local variables of its step, seen from outside."""

from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np

from stepgauge.properties.gauge.checks.comparison import Divergence
from stepgauge.properties.gauge.edits.editable_source import DRIVER, EditableSource, traced
from stepgauge.properties.gauge.problems.problem import Problem


def values_at(source: EditableSource, problem: Problem, dialect: str, divergence: Divergence) -> dict[str, Any]:
    """The local variables of the rule's step where the target diverges: numbers, and of arrays the entry there.

    None for a problem with layers, whose parameters the rule sees as parts of matrices.
    """
    observed = _Observed(source, divergence.parameter)
    before = replace(problem, gradients=problem.gradients[: divergence.step])
    if not problem.layers:
        with np.errstate(all="ignore"), traced(observed.trace):
            list(source.trajectory(before, source.groups(problem, dialect)))
    found = {}
    for name, x in observed.variables.items():
        shown = _entry(x, divergence.index)
        if shown is not None:
            found[name] = shown
    return found


class _Observed:
    """The local variables of the rule's latest step of one parameter, seen from outside.

    Which parameter a step is of is told by the array: the driver hands it to `Rule.step` as it was given it. Both call
    it by the names of their public arguments, which a test of diagnoses holds.
    """

    def __init__(self, source: EditableSource, parameter: int) -> None:
        self.variables: dict[str, Any] = {}
        self._whole = source.modules[DRIVER].step.__code__  # a step of the whole model
        self._steps = [piece.live.__code__ for piece in source.own if getattr(piece.node, "name", "") == "step"]
        self._parameter = parameter
        self._array: Any = None
        self._outermost: FrameType | None = None  # a rule may step by another, which is given other arrays

    def trace(self, frame: FrameType, _event: str, _: Any) -> Any:
        if frame.f_code is self._whole:
            self.variables.clear()
            self._array = frame.f_locals["params"][self._parameter]
        elif frame.f_code in self._steps:
            if self._outermost is None and frame.f_locals["p"] is self._array:
                self._outermost = frame
            return self._trace_step if self._outermost else None
        return None

    def _trace_step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "return":
            self.variables.update(frame.f_locals)
            if frame is self._outermost:
                self._outermost = None
        return self._trace_step


def _entry(x: Any, index: tuple[int, ...]) -> float | int | bool | None:
    """A number, or the entry of an array that has one at this index."""
    if isinstance(x, np.ndarray):
        inside = x.ndim == len(index) and all(i < n for i, n in zip(index, x.shape, strict=True))
        return float(x[index]) if inside else None
    return x if isinstance(x, (bool, int, float)) else None
