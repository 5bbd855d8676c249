"""A divergence as a script that stands alone: for a bug report, without stepgauge."""

import keyword
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

from stepgauge.properties.gauge.targets.base import Target
from stepgauge.properties.gauge.targets.loading import Specification
from stepgauge.properties.gauge.vectors.format import Case
from stepgauge.reference import Array

TEMPLATE = '''\
"""{target} does not compute {rule} ({dialect}):
{divergence}.

Exits with 1 as long as it does, with 0 once it is mended, with 125 if the optimizer cannot be imported. Needs NumPy,
torch and the optimizer; run it from the folder from which the optimizer was checked. Recorded by stepgauge {stepgauge}
with NumPy {numpy} and torch {torch}.
"""

import sys

import numpy as np
import torch

sys.path.insert(0, {folder!r})
try:
    from {module} import {name} as Optimizer
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(125)  # which `git bisect run` takes for "cannot be tested"

# For each parameter; then for each step and parameter: the gradient, what the parameter should be afterwards, and how
# far from that rounding may lead.
INITIAL = {initial}
GRADIENTS = {gradients}
EXPECTED = {expected}
ALLOWED = {allowed}


def tensor(numbers):
    return torch.tensor(numbers, dtype=torch.{dtype}{device})


params = [torch.nn.Parameter(tensor(p)) for p in INITIAL]
optimizer = {call}
{prepared}{changes}{rates}for t, grads in enumerate(GRADIENTS):
{schedule}    for p, g in zip(params, grads):
        {feed}
    optimizer.step()
    for i, p in enumerate(params):
        got, expected = p.detach().cpu().double().numpy(), np.array(EXPECTED[t][i])
        wrong = np.argwhere(~(abs(got - expected) <= ALLOWED[t][i]))
        if len(wrong):
            at = tuple(map(int, wrong[0]))
            sys.exit(f"step {{t + 1}}, parameter {{i}}{{list(at) or ''}}: got {{got[at]}}, expected {{expected[at]}}")
print("agrees in every step")
'''
RATES = """\
FACTORS = {factors}  # of the learning rate in each step
rates = [group.get("{lr}") for group in optimizer.param_groups]
"""
CHANGES = """\
# From a step on (counted from 0), in every group.
CHANGES = {changes}
"""
CHANGE = """\
    for group in optimizer.param_groups:
        group.update({key: value for step, key, value in CHANGES if step <= t})
"""
FRESH = "p.grad = None if g is None else tensor(g)"
# As with zero_grad(set_to_none=False): every gradient in the memory of the one before.
MEMORY = "memory = {}  # of the gradients\n"
IN_PLACE = "p.grad = None if g is None else memory.setdefault(p, tensor(g)).copy_(tensor(g))"
SCHEDULE = """\
    for group, rate in zip(optimizer.param_groups, rates):
        if rate is not None:
            group["{lr}"] = rate * FACTORS[t]
"""


class NoScript(Exception):
    """A script for this target would not stand alone, or not be short; the message says why."""


def script(case: Case, target: Target, divergence: str, versions: Mapping[str, str]) -> str:
    """The text of the script.

    Raises:
        NoScript: see there.
    """
    from stepgauge.properties.gauge.targets.torch_optimizer import TorchTarget

    if not isinstance(target, TorchTarget):
        raise NoScript("the target has the interface of stepgauge's own rules, and is driven by stepgauge")
    if target.model:
        raise NoScript("the target looks at what the layers of a network see")
    folder, module, attribute = _home(Specification.parse(target.name))
    problem, lr = case.problem, target.group_names["lr"]
    factors = [problem.lr_factor(t) for t in range(len(case.params))]
    changes = [
        (change.step, key, value)
        for change in problem.changes
        for key, value in target.group_names.translate({change.name: change.value}).items()
    ]
    scheduled = any(factor != 1 for factor in factors)
    return TEMPLATE.format(
        **{"torch": "unknown", "numpy": "unknown", "stepgauge": "unknown", **versions},
        target=_quoted(target.name),
        dialect=case.dialect,
        rule=problem.rule,
        divergence=_quoted(divergence),
        folder=folder,
        module=module,
        name=attribute.partition(".")[0],
        initial=_numbers(problem.initial),
        gradients=_by_step(problem.gradients),
        expected=_by_step(case.params),
        allowed=_by_step(case.allowed or ()),
        dtype=case.dtype,
        device="" if target.device == "cpu" else f", device={target.device!r}",
        call=_call(".".join(["Optimizer", *attribute.split(".")[1:]]), case, target),
        prepared=f"optimizer.{target.after_build}()\n" if target.after_build else "",
        rates=RATES.format(factors=factors, lr=lr) if scheduled else "",
        schedule=f"{SCHEDULE.format(lr=lr) if scheduled else ''}{CHANGE if changes else ''}",
        changes=f"{CHANGES.format(changes=changes) if changes else ''}{MEMORY if problem.in_place else ''}",
        feed=IN_PLACE if problem.in_place else FRESH,
    )


def _home(specification: Specification) -> tuple[str, str, str]:
    """The folder on whose path the target is found, the module in it, and the factory."""
    folder, module = "", specification.module
    if module.endswith(".py"):
        folder, module = str(Path(module).parent), Path(module).stem
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in module.split(".")) or (
        folder and "." in module
    ):
        raise NoScript(f"{module!r} is no name that a script can import")
    return folder, module, specification.attribute


def _call(attribute: str, case: Case, target: Any) -> str:
    """The construction of the optimizer, as the target was built for the case."""
    groups = [target.hyperparameters_of(hyperparameters) for hyperparameters, _ in case.problem.groups]
    members = [f"[{', '.join(f'params[{i}]' for i in group.members)}]" for group in case.problem.groups]
    maximize = {"maximize": True} if case.problem.maximize else {}
    own = [f"{name}={value!r}" for name, value in {**target.keywords, **groups[0], **maximize}.items()]
    if len(groups) == 1:
        return _lines(attribute, "()", ["params", *own])
    dicts = [
        "".join([f'{{"params": {params}', *(f', "{name}": {value!r}' for name, value in group.items()), "}"])
        for params, group in zip(members, groups, strict=True)
    ]
    return _lines(attribute, "()", [_indented(_lines("", "[]", dicts)), *own])


def _lines(before: str, brackets: str, items: Sequence[str]) -> str:
    """Items in brackets, each on a line of its own."""
    return "\n".join([before + brackets[0], *(f"    {item}," for item in items), brackets[1]])


def _by_step(steps: Sequence[Sequence[Array | None]]) -> str:
    return _lines("", "[]", [_indented(_numbers(arrays)) for arrays in steps])


def _numbers(arrays: Sequence[Array | None]) -> str:
    """Arrays as nested lists, each on lines of its own."""
    nested = [None if x is None else x.tolist() for x in arrays]
    return _lines("", "[]", [_indented(pformat(x, width=110, compact=True)) for x in nested])


def _indented(text: str) -> str:
    """Text whose first line stands four columns further right already."""
    return text.replace("\n", "\n    ")


def _quoted(text: str) -> str:
    """Text as it may stand in a docstring."""
    return " ".join(text.split()).replace("\\", r"\\").replace('"', r"\"")
