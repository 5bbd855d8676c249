"""The pytest plugin: which targets the properties are tested on.

By default the project's own layers; with --target, somebody else's implementation:

    pytest properties --target mylib.optim:AdamP --rule adamp
    pytest -p stepgauge.properties.plugin --pyargs stepgauge.properties --target mylib.optim:AdamP
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest

from stepgauge.properties.gauge.cache.run import run_cache
from stepgauge.properties.gauge.checks.registry import CHECKS, load_checks
from stepgauge.properties.gauge.checks.results import Category
from stepgauge.properties.gauge.errors import TargetError, UsageError
from stepgauge.properties.gauge.targets.base import NO_RULE, Target
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.targets.loading import Specification
from stepgauge.properties.gauge.targets.rules import infer_rule, known_rule
from stepgauge.reference import RULES

RUN = pytest.StashKey[ExitStack]()
NOBODY = object()  # stands for the target of a test that is about no target of this session


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("stepgauge")
    group.addoption("--target", metavar="TARGET", help="test this implementation instead of the project's own layers")
    group.addoption("--rule", metavar="NAME", help="the rule of --target, or none (default: by its name)")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--target") is not None:
        for rule, text in _targets(config):
            _make(rule, text)  # a target that cannot be built is said once, here
    for marker in ("slow: minutes rather than seconds", "gpu: needs a CUDA device"):
        config.addinivalue_line("markers", marker)


def pytest_sessionstart(session: pytest.Session) -> None:
    """A session is a run: its tests share problems and envelopes."""
    session.config.stash[RUN] = ExitStack()
    session.config.stash[RUN].enter_context(run_cache())


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[RUN].close()


def own_layers() -> Iterator[tuple[str, str]]:
    """(rule, target) for the reference, the core and the bindings, as far as they are there.

    Rule by rule, so that the process which tests one layer has the problems of the next.
    """
    from stepgauge import core

    layers: list[tuple[str, Any]] = [("reference", RULES), ("core", core.RULES)]
    try:
        from stepgauge import torch_bind
    except ModuleNotFoundError:  # torch is optional
        pass
    else:
        layers.append(("torch_bind", torch_bind.RULES))
    for rule in RULES:
        for layer, rules in layers:
            if rule in rules:
                yield rule, f"stepgauge.{layer}:{rules[rule].__name__}"


def _targets(config: pytest.Config) -> list[tuple[str, str]]:
    text = config.getoption("--target")
    if text is None:
        return list(own_layers())
    try:
        rule = config.getoption("--rule")
        return [(known_rule(rule, or_none=True) if rule else infer_rule(Specification.parse(text).attribute), text)]
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error


@cache
def _factory(text: str) -> Any:
    """What a specification names, loaded once in a session: pickle finds the class of the latest load alone."""
    return Specification.parse(text).load()


def _make(rule: str, text: str) -> Target:
    try:
        return make_target(text, _factory(text), rule, keywords=Specification.parse(text).keywords)
    except TargetError as error:
        raise pytest.UsageError(f"{text} {error}") from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of a `target` runs on every target whose rule it is about; one of a `check` too, for every check."""
    if "target" not in metafunc.fixturenames:
        return
    of_checks = "check" in metafunc.fixturenames
    rules = getattr(metafunc.function, "rules", (*RULES, NO_RULE) if of_checks else RULES)
    targets = [_make(rule, text) for rule, text in _targets(metafunc.config) if rule in rules]
    if not of_checks:
        metafunc.parametrize("target", targets or [NOBODY], ids=lambda target: getattr(target, "name", "nobody"))
        return
    load_checks()
    pairs = [
        (target, check)
        for target in targets
        if not target.name.startswith("stepgauge.reference:")  # it would be compared with itself
        for check in CHECKS.values()
        if (check.category is not Category.LAW or target.rule == NO_RULE)
        and check.applies(target)  # else a test of its own
    ]
    order = [*rules]
    pairs.sort(key=lambda pair: (order.index(pair[0].rule), pair[1].id))  # each check for all layers of a rule
    named = [pytest.param(target, check, id=f"{target.name}-{check.id}") for target, check in pairs]
    metafunc.parametrize(("target", "check"), named)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --target, only what is about targets; slow tests only with -m slow; gpu tests only where there is one."""
    keep = [item for item in items if _wanted(item, config)]
    config.hook.pytest_deselected(items=[item for item in items if item not in keep])
    items[:] = keep
    if any(item.get_closest_marker("gpu") for item in items) and not _has_cuda():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="torch finds no CUDA device"))


def _wanted(item: pytest.Item, config: pytest.Config) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    about_target = "target" in parameters
    slow = item.get_closest_marker("slow") is not None
    if parameters.get("target") is NOBODY:
        return False  # a law of other rules
    return (about_target or config.getoption("--target") is None) and (bool(config.getoption("-m")) or not slow)


def _has_cuda() -> bool:
    try:
        import torch
    except ModuleNotFoundError:  # torch is optional
        return False
    return torch.cuda.is_available()
