"""FSGDM is a filter of the gradients: its response in every stage."""

import numpy as np

from stepgauge.properties.gauge.checks.law import law, with_start, within
from stepgauge.properties.gauge.checks.results import Failed
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.base import Target
from stepgauge.reference import Array

STAGES, LENGTH, C, V = 4, 1000, 0.05, 0.7
FREQUENCIES = np.linspace(0.0, np.pi, 9)
SETTINGS = {
    "lr": 1.0,
    "weight_decay": 0.0,
    "c_scaling": C,
    "v_coefficient": V,
    "n_stages": STAGES,
    "sigma": STAGES * LENGTH,
}


def _poles() -> Array:
    """u_k of the stages k = 0, 1, ..., from the closed form."""
    k = np.arange(STAGES)
    return k / (k + C * STAGES)


def _tolerance(pole: float) -> float:
    """What the transient of the stage before leaves after half a stage."""
    return float(max(1e-9, 10 * pole ** (LENGTH / 2) / (1 - pole)))


def _responses(target: Target) -> Array:
    """The complex gain of each stage at each frequency, fitted to the second half of the stage."""
    times = np.arange(1, STAGES * LENGTH)
    waves = np.cos(np.outer(times, FREQUENCIES))
    problem = Problem(
        "fsgdm", (ParameterGroup(SETTINGS, (0,)),), [np.zeros(len(FREQUENCIES))], [[wave] for wave in waves]
    )
    buffers = -np.diff(with_start(problem, target.run(problem)), axis=0)  # lr is 1
    gains = np.empty((STAGES, len(FREQUENCIES)), dtype=complex)
    for k in range(STAGES):
        settled = slice(k * LENGTH + LENGTH // 2, (k + 1) * LENGTH - 1)
        for j, w in enumerate(FREQUENCIES):
            basis = np.column_stack([np.cos(w * times[settled]), np.sin(w * times[settled])])
            (a, b), *_ = np.linalg.lstsq(basis, buffers[settled, j], rcond=1e-6)
            gains[k, j] = a - 1j * b
    return gains


@law("frequency/stage-has-its-response", formerly="F3", rules=["fsgdm"], where=SETTINGS, gradients=None)
def test_response_of_every_stage(target: Target) -> None:
    """Stage k passes the frequency w with gain H = v / (1 - u_k exp(-iw)), in amplitude and phase."""
    gains = _responses(target)
    for k, u in enumerate(_poles()):
        expected = V / (1 - u * np.exp(-1j * FREQUENCIES))
        within(gains[k].real, expected.real, np.full(len(FREQUENCIES), _tolerance(u)), f"stage {k}, in phase")
        within(gains[k].imag, expected.imag, np.full(len(FREQUENCIES), _tolerance(u)), f"stage {k}, in quadrature")


@law("frequency/gain-falls-with-frequency", formerly="F4", rules=["fsgdm"], where=SETTINGS, gradients=None)
def test_low_frequencies_pass_best(target: Target) -> None:
    """For 0 < u < 1, |H| falls from v / (1 - u) at w = 0 to v / (1 + u) at w = pi, strictly."""
    amplitudes = np.abs(_responses(target))
    for k, u in enumerate(_poles()):
        ends = np.array([V / (1 - u), V / (1 + u)])
        within(amplitudes[k, [0, -1]], ends, np.full(2, _tolerance(u)), f"gain of stage {k} at frequencies 0 and pi")
        if u > 0 and not np.all(np.diff(amplitudes[k]) < 0):
            raise Failed(f"the gain of stage {k} does not fall with the frequency: {amplitudes[k]}")
