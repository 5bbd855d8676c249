"""The small edits rest on names in the reference; whoever changes one is told here what else goes by it."""

import ast
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from stepgauge.properties.gauge.edits.editable_source import DRIVEN, DRIVER, POOLS_OVER, RECORDED, editable_source
from stepgauge.properties.gauge.edits.expression_edits import STEPS
from stepgauge.properties.gauge.tolerance.reference_copies import parse
from stepgauge.reference import RULES, Rule, driver
from stepgauge.reference.layers import LayerGradient


def test_edited_functions_of_the_driver_are_there() -> None:
    missing = set(DRIVEN) - vars(driver).keys()
    assert not missing, f"reference/driver.py has no {missing}: say the new names in DRIVEN of edits/editable_source.py"


def test_all_that_a_step_of_the_driver_calls_is_edited() -> None:
    """Of its own functions, which would else never be suspected."""
    functions = {node.name: node for node in parse(DRIVER).body if isinstance(node, ast.FunctionDef)}
    called = {
        node.id
        for name in DRIVEN
        for node in ast.walk(functions[name])
        if isinstance(node, ast.Name) and node.id in functions
    }
    assert called <= set(DRIVEN), f"DRIVEN of edits/editable_source.py lacks {called - set(DRIVEN)}"


@pytest.mark.parametrize("method", [Rule.init, Rule.step, Rule.skip, Rule.statistic])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_names_its_arguments_as_every_rule_does(rule: str, method: Callable[..., Any]) -> None:
    own = inspect.signature(getattr(RULES[rule], method.__name__)).parameters
    names = list(inspect.signature(method).parameters)
    assert list(own) == names, f"{rule}.{method.__name__} has to take {names}: edits of its text go by these names"


def test_values_in_a_report_find_their_parameter() -> None:
    """By the array that a step of the model and that of its rule are both given."""
    assert "params" in inspect.signature(driver.step).parameters, (
        "diagnosis/observation.py looks for `params` in a step"
    )
    assert "p" in inspect.signature(Rule.step).parameters, "diagnosis/observation.py looks for `p` in a rule's step"


@pytest.mark.parametrize("rule", RULES)
def test_the_number_of_steps_goes_by_one_name(rule: str) -> None:
    """So that it is known for a number, of which nobody takes a mean."""
    names = set()
    for piece in editable_source(rule).own:
        for node in ast.walk(piece.node):
            if isinstance(node, ast.Assign) and ast.unparse(node.value) == "s.step + 1":
                names |= {ast.unparse(target) for target in node.targets}
    assert names <= {STEPS}, f"{rule} calls the number of steps {names}: edits/expression_edits.py knows it as {STEPS}"


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.pools_over != "nothing"])
def test_what_a_rule_pools_over_is_edited(rule: str) -> None:
    constants = [piece for piece in editable_source(rule).own if isinstance(piece.node, ast.AnnAssign)]
    assert constants, f"no text of {rule} assigns {POOLS_OVER}: edits/editable_source.py looks for this name"


def test_what_a_layer_saw_can_be_named_in_an_edit() -> None:
    assert RECORDED == ["grad", "inputs", "signals"]
    assert set(RECORDED) <= set(LayerGradient._fields)
