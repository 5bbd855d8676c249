"""Recording a release: an optimizer driven through problems that are always the same.

Between them they have several groups, every dimension from 0 to 4, absent, zero and tiny gradients, factors of lr that
no other problem has, and every hyperparameter at several of the values that verification tries.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.options import Options
from stepgauge.properties.gauge.errors import TargetError, UsageError
from stepgauge.properties.gauge.expected_failures import provider
from stepgauge.properties.gauge.metamorphic.context import MetamorphicContext
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.gradients import KINDS
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import Hyperparameters, ParameterGroup, Recipe
from stepgauge.properties.gauge.targets.base import NO_RULE, RulelessTarget, Support, Target, quiet
from stepgauge.properties.gauge.targets.core_optimizer import CoreTarget
from stepgauge.properties.gauge.targets.numpy_rule import RuleTarget
from stepgauge.properties.gauge.vectors.format import Case
from stepgauge.properties.gauge.vectors.replay import STATE_NAMES
from stepgauge.properties.gauge.verdicts.environment import environment
from stepgauge.reference import RULES, Array

WRITTEN = (bool, int, float, str, tuple)  # what a hyperparameter may be in a file
SCHEDULE = (1.0, 0.37, 1.9, 0.06)  # of lr: factors that no other problem has
ATTEMPTS = 1000  # at hyperparameters that are legal together: far more than any rule needs
SMALL = ((3, 4), (5,))
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "random": {"shapes": SMALL, "steps": 12},
    "dimensions": {"shapes": ((), (5,), (3, 4), (2, 3, 2), (2, 2, 1, 3))},
    "groups": {"shapes": ((3, 2), (4,), (2, 2), ()), "members": ((0, 2), (1,), (3,))},
    "absent": {"shapes": ((3, 2), (4,), (2,)), "absent": ((), (0, 1, 2), (1, 3))},
    "schedule": {"shapes": SMALL, "schedule": SCHEDULE},
    "zero": {"shapes": SMALL, "gradients": ("zero", "sparse", "random", "zero")},
    "tiny": {"shapes": SMALL, "magnitude": 1e-9},
    "uneven": {"shapes": SMALL, "gradients": ("uneven",)},
    "kinds": {"shapes": ((4, 3), (2, 7)), "gradients": tuple(KINDS), "steps": len(KINDS)},
    "from zero": {"shapes": SMALL, "scale": 0.0},
    "groups, absent, schedule": {
        "shapes": ((3, 2), (4,), (2, 2)),
        "members": ((0,), (1, 2)),
        "absent": ((2,), (0,), ()),
        "schedule": (0.61, 1.3),
    },
}


class Recording(NamedTuple):
    """What was recorded; `refused` are hyperparameters of which the target takes one value, and what it raises else."""

    cases: list[Case]
    refused: Mapping[str, str] = MappingProxyType({})


def record(target: Target, dialect: str, chosen: Hyperparameters = MappingProxyType({})) -> Recording:
    """What a target computes, as cases of its rule in a dialect ("auto" is the rule's first).

    `chosen` are hyperparameters that are kept at these values. A target without a rule is recorded at its defaults and
    with its switches on, with what rounding may do to it as it is measured on itself.

    Raises:
        UsageError: the rule or the target cannot be recorded, or the rule has no such dialect or hyperparameter.
        TargetError: the target refuses the hyperparameters, or computes what is not finite.
        StepError: it raises in a step.
    """
    if target.record.sees_layers:
        raise UsageError(f"{target.name} cannot be recorded: {target.rule} is no rule of gradients alone")
    if isinstance(target, CoreTarget | RuleTarget):
        raise UsageError(f"{target.name} cannot be recorded: it is stepgauge's own; optimizers of others are")
    if isinstance(target, RulelessTarget):
        return Recording(list(_without_rule(MetamorphicContext(target, Options(dialect=dialect, set=chosen)))))
    context = Context(target, Options(dialect=dialect, set=chosen))
    named = target.record.dialects[0] if dialect == "auto" else dialect
    cases = [_recorded(target, name, problem, named) for name, problem in _problems(target.rule, context.fixed)]
    return Recording(cases, {name: how for name, how in context.refused.items() if name in target.offers})


def _without_rule(context: MetamorphicContext) -> Iterator[Case]:
    """A case for every kind of gradient, at the target's defaults and with its switches on; and under a schedule."""
    if context.obstacle:
        raise TargetError(f"cannot be recorded: it {context.obstacle}")
    with context.surroundings():
        settings = {"defaults": context.plain, "switched on": context.example}
        for name, hyperparameters in settings.items():
            for seed, kind in enumerate(KINDS):
                problem = context.problem_with(hyperparameters, kind, seed)
                yield _measured(context, f"{name}/{kind}", problem)
        problem = context.problem_with(context.plain)
        yield _measured(context, "schedule", replace(problem, schedule=SCHEDULE))
        absent = [[g if (t + i) % 3 else None for i, g in enumerate(gs)] for t, gs in enumerate(problem.gradients)]
        yield _measured(context, "absent", replace(problem, gradients=absent))


def _measured(context: MetamorphicContext, name: str, problem: Problem) -> Case:
    """A case of a target without a rule; its hyperparameters are all that can be written down, set or not."""
    rows, allowed = context.trajectory(problem), context.allowance(problem)
    if not (np.isfinite(rows).all() and np.isfinite(allowed).all()):
        raise TargetError(f"computes numbers that are not finite, which cannot be recorded: on the problem {name!r}")
    kept = {n: v for n, v in context.target.defaults.items() if isinstance(v, WRITTEN)}
    groups = tuple(ParameterGroup({**kept, **h}, members) for h, members in problem.groups)
    params, bounds = ([problem.cut(row) for row in table] for table in (rows, allowed))
    return Case(f"none/{name}", NO_RULE, "float64", replace(problem, groups=groups), params, bounds)


def source_of(name: str, factory: Any) -> dict[str, str]:
    """What was recorded: the target by name, the package that it comes from, the versions that decide its numbers."""
    package = provider(factory)
    installed = environment()["versions"]
    versions = {name: installed[name] for name in ("stepgauge", "numpy", "torch") if name in installed}
    project = {"project": package, "version": metadata.version(package)} if package else {}
    return {**project, "target": name, **versions}


def _problems(rule: str, fixed: Hyperparameters) -> Iterator[tuple[str, Problem]]:
    """The problems of a rule by name; each group of each has hyperparameters of its own, but for those `fixed`."""
    settings = _settings(rule, fixed)
    for seed, (name, scenario) in enumerate(SCENARIOS.items()):
        recipe = dict(scenario)
        members = recipe.pop("members", (tuple(range(len(recipe["shapes"]))),))
        groups = tuple(ParameterGroup(next(settings), group) for group in members)
        yield name, expand(Recipe(rule, groups, **recipe, seed=seed))


def _settings(rule: str, fixed: Hyperparameters) -> Iterator[Hyperparameters]:
    """Legal hyperparameters, which take the values of each in turn.

    A decay beyond 1 in a step is left out, since what it acts on soon overflows.

    Raises:
        UsageError: there are none, or no more.
    """
    record = RULES[rule]
    for k in range(ATTEMPTS):
        names = enumerate(record.hyperparameter_names())
        tried = {name: _value(record.hyperparameter(name).drawn, k, shift) for shift, name in names}
        try:
            settings = record(**{**tried, **fixed}).hyperparameters()
        except ValueError:
            continue
        if settings["lr"] * settings.get("weight_decay", 0.0) <= 1 - min(settings.get("momentum", 0.0), 1):
            yield settings
    raise UsageError(f"no legal hyperparameters of {rule} are left with what the target fixes")


def _value(drawn: Any, k: int, shift: int) -> Any:
    """The k-th of the values that verification tries (see `reference.hyperparameters`), over and over.

    It starts over elsewhere, by `shift`, so that two hyperparameters do not meet in the same values again.
    """
    values = drawn or (False, True)
    if all(isinstance(value, tuple) for value in values):
        return tuple(_value(items, k, shift + j) for j, items in enumerate(values))
    value = values[(k + shift * (1 + k // len(values))) % len(values)]
    return _value(value, k, shift) if isinstance(value, range) else value


def _recorded(target: Any, name: str, problem: Problem, dialect: str) -> Case:
    rows = target.run(problem)
    states = _final_states(target, problem)
    if not (np.isfinite(rows).all() and all(np.isfinite(x).all() for state in states for x in state.values())):
        raise TargetError(f"computes numbers that are not finite, which cannot be recorded: on the problem {name!r}")
    params = [problem.cut(row) for row in rows]
    return Case(f"{target.rule}/{name}", dialect, "float64", problem, params, states={len(params) - 1: states})


def _final_states(target: Any, problem: Problem) -> list[dict[str, Array]]:
    """What the optimizer keeps for each parameter in the end, of what the rule's state has, under its own names.

    Only of what keeps it as torch promises; of others nothing.
    """
    if Support.TORCH not in target.supports:
        return []
    with quiet():
        run = target.init(problem.initial, problem.groups)
        for t, grads in enumerate(problem.gradients):
            target.step(grads, run, problem.moved(t))
    known = set(RULES[target.rule].State._fields)
    return [
        {name: np.asarray(x, np.float64) for name, x in _kept(run, p).items() if STATE_NAMES.get(name, name) in known}
        for p in run.params
    ]


def _kept(run: Any, p: Any) -> Mapping[str, Any]:
    """The numbers and tensors that an optimizer keeps for a parameter."""
    import torch

    state = getattr(run.optimizer, "state", {})
    return {name: x for name, x in state.get(p, {}).items() if isinstance(x, (torch.Tensor, int, float))}
