"""The cause of a divergence is named: as an edit of the reference, as a known misreading, or as another rule."""

import ast
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from stepgauge.properties.gauge.api import check_optimizer
from stepgauge.properties.gauge.checks.options import Level, Options
from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource, editable_source
from stepgauge.properties.gauge.edits.known_misreadings import entries, misreadings_of
from stepgauge.properties.gauge.examine import Interrupted, examine
from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.expansion import expand
from stepgauge.properties.gauge.problems.problem import Problem, reference_trajectory
from stepgauge.properties.gauge.problems.recipe import ParameterGroup
from stepgauge.properties.gauge.targets.factory import make_target
from stepgauge.properties.gauge.verdicts.record import Diagnosis
from stepgauge.properties.meta.figures import stored_row
from stepgauge.properties.meta.misreadings import MISREADINGS, adamp, baselines, frog
from stepgauge.properties.meta.misreadings.held_out import HELD_OUT
from stepgauge.properties.meta.misreadings.reported import REPORTED
from stepgauge.reference import RULES, SGD


def diagnosed(port: Any, level: Level = "quick") -> Diagnosis | None:
    """The diagnosis of a port, by its problems in float64 alone."""
    target = make_target(port.__name__, port, port.rule)
    return examine(target, Options(level=level, only="trajectory/float64")).diagnosis


def test_an_operator_is_named() -> None:
    found = diagnosed(adamp.AdamPMeanCosine)
    assert found is not None
    assert found.is_cause
    assert [(h.file, h.before.count("np.max"), h.after.count("np.mean")) for h in found.hunks] == [
        ("reference/projection.py", 1, 1)
    ]


def test_a_known_misreading_is_named() -> None:
    found = diagnosed(baselines.SGDMissingGradientIsZero)
    assert found is not None
    assert found.is_cause
    assert found.name == "a missing gradient counts as zero"
    assert found.hunks[0].file == "reference/driver.py"


def test_a_known_misreading_links_to_a_port_that_has_it() -> None:
    target = make_target("port", baselines.AdamWDecayAfterStep, "adamw")
    report = examine(target, Options(level="quick", only="trajectory/float64"))
    assert "known from https://github.com/huggingface/transformers/issues/3407" in str(report)


def test_a_branch_is_edited() -> None:
    found = diagnosed(baselines.SGDAveragedMomentum)
    assert found is not None
    assert found.is_cause
    assert found.hunks[0].before.endswith("else self.momentum * s.momentum_buffer + (1 - self.dampening) * g")
    assert found.hunks[0].after.endswith("else self.momentum * s.momentum_buffer + (1 - self.momentum) * g")


def test_a_coarser_precision_is_named() -> None:
    found = diagnosed(baselines.SGDSingleBuffer)
    assert found is not None
    assert found.is_cause
    assert found.name == "something is kept or computed in single precision"


def test_a_divergence_in_float32_alone_has_a_cause_too() -> None:
    class HalfBuffer(baselines.SGDPort):
        """Keeps the momentum in half precision beside parameters in single precision."""

        def accumulate(self, state: dict[str, torch.Tensor], d: torch.Tensor, group: dict[str, Any]) -> None:
            super().accumulate(state, d, group)
            if d.dtype == torch.float32:
                state["momentum_buffer"] = state["momentum_buffer"].half().float()

    report = examine(make_target("port", HalfBuffer, "sgd"), Options(level="quick", only="trajectory/float*"))
    assert report.diagnosis is not None
    assert report.diagnosis.is_cause
    assert report.diagnosis.name == "something is kept or computed in half precision"


@pytest.mark.slow
def test_the_cause_may_be_beside_the_farther_dialect() -> None:
    """Without the bias, FROG resembles what was released."""
    report = examine(make_target("port", frog.FrogPlainBias, "frog"), Options(only="trajectory/float64"))
    assert report.diagnosis is not None
    assert report.diagnosis.is_cause
    assert report.nearest == "published"


def test_two_edits_are_named_together() -> None:
    class TwiceWrong(baselines.SGDDampensFirst, baselines.SGDNesterovWithoutGradient):
        """Dampens the first gradient, and leaves the gradient out of the look-ahead."""

    found = diagnosed(TwiceWrong)
    assert found is not None
    assert found.is_cause
    changed = "\n".join(hunk.after for hunk in found.hunks)
    assert "1 - self.dampening" in changed
    assert "0 + self.momentum * b" in changed


def test_another_rule_is_named() -> None:
    report = check_optimizer(torch.optim.Adam, rule="adamw", level="quick", only="trajectory/*")
    assert report.verdict == "diverges"
    assert report.diagnosis is not None
    assert report.diagnosis.name == "it computes adam (torch)"


def test_another_dialect_is_named() -> None:
    adamp_package = pytest.importorskip("adamp", reason="the released package is not installed")
    report = check_optimizer(adamp_package.SGDP, dialect="published", level="quick", only="trajectory/*")
    assert report.diagnosis is not None
    assert report.diagnosis.name == "it computes sgdp (released)"


def test_what_no_edit_computes_is_said_so() -> None:
    class Random(torch.optim.SGD):
        """Steps along noise that depends on the gradient."""

        def step(self, closure: Any = None) -> Any:
            for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
                p.data += torch.sin(1e4 * p.grad)
            return closure

    report = check_optimizer(Random, rule="sgd", level="quick", only="trajectory/*")
    assert report.verdict == "diverges"
    assert "cause unknown" in str(report)
    assert report.to_dict()["diagnosis"] == []


def test_the_smallest_problem_is_reported() -> None:
    found = diagnosed(baselines.SGDDoubledDecay)
    assert found is not None
    recipe = found.smallest.problem.recipe
    assert recipe is not None
    assert len(recipe.shapes) == len(recipe.groups) == 1
    assert recipe.steps == found.smallest.divergences["torch"].step
    assert recipe.groups[0].hyperparameters["weight_decay"] > 0
    assert recipe.groups[0].hyperparameters["momentum"] == 0
    assert {"p", "g"} <= found.values.keys()


def test_a_late_divergence_ends_its_problem() -> None:
    class Late(torch.optim.SGD):
        """Shrinks the parameters from the 50th step on."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            self.steps = getattr(self, "steps", 0) + 1
            super().step(closure)
            if self.steps >= 50:
                for p in (p for group in self.param_groups for p in group["params"]):
                    p.mul_(0.999)

    found = check_optimizer(Late, rule="sgd", level="quick", only="trajectory/long").diagnosis
    assert found is not None
    assert found.smallest.divergences["torch"].step == len(found.smallest.problem.gradients) == 50


def test_the_values_are_those_of_the_parameter_that_diverges() -> None:
    class FirstOfTwo(torch.optim.SGD):
        """Steps twice with the first of several parameters."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            first, *others = (p for group in self.param_groups for p in group["params"])
            if others and first.grad is not None:
                first.grad *= 2
            return super().step(closure)

    found = check_optimizer(FirstOfTwo, rule="sgd", level="quick", only="trajectory/float64").diagnosis
    assert found is not None
    place, (group, *_) = found.smallest.divergences["torch"], found.smallest.problem.groups
    assert (place.step, place.parameter, group.hyperparameters["weight_decay"]) == (1, 0, 0)
    start = found.smallest.problem.initial[0][place.index]
    assert place.expected == pytest.approx(start - group.hyperparameters["lr"] * found.values["g"])


def test_no_cause_is_sought_of_what_differs_each_time() -> None:
    class Noisy(torch.optim.SGD):
        """A ten-thousandth of each gradient is random."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
                p.grad *= 1 + 1e-4 * torch.randn_like(p)
            return super().step(closure)

    report = check_optimizer(Noisy, rule="sgd", level="quick", only="trajectory/*")
    assert report.verdict == "diverges"
    assert report.diagnosis is None
    assert "another thing each time, so that no cause was sought" in str(report)


def test_a_cause_of_most_is_no_cause_of_all() -> None:
    """Where some of the problems diverge for another reason, that is said."""
    report = check_optimizer(baselines.SGDDoubledDecay, rule="sgd", level="quick", only="trajectory/float64")
    assert report.diagnosis is not None
    assert "cause, confirmed on 3 fresh problems\n" in str(report)
    partial = replace(report.diagnosis, explained=report.diagnosis.failing - 1)
    said = f"cause, confirmed on 3 fresh problems, but right on {partial.explained} of {partial.failing} others"
    assert said in str(replace(report, diagnosis=partial))


def test_json_has_the_edit() -> None:
    report = check_optimizer(baselines.SGDDoubledDecay, rule="sgd", level="quick", only="trajectory/*")
    (entry,) = report.to_dict()["diagnosis"]
    assert entry["file"] == "reference/sgd.py"
    assert entry["confirmed_on"] == 3
    assert entry["kind"] == "cause"
    assert "weight_decay * p" in entry["before"]
    assert report.to_dict()["divergence"]["problem"]["rule"] == "sgd"


def test_no_diagnosis_is_sought_if_not_asked_for() -> None:
    report = check_optimizer(baselines.SGDDoubledDecay, rule="sgd", level="quick", only="trajectory/*", diagnosis=False)
    assert report.diagnosis is None


def test_ctrl_c_in_a_diagnosis_loses_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stepgauge.properties.gauge.diagnosis.search.diagnose", interrupted)
    target = make_target("port", baselines.SGDDoubledDecay, "sgd")
    with pytest.raises(Interrupted) as interrupt:
        examine(target, Options(level="quick", only="trajectory/defaults"))
    assert interrupt.value.report.verdict == "diverges"


def test_a_text_whose_state_grows_is_stopped() -> None:
    """Twice as long in every step, it would fill the memory before a long trajectory ends."""
    text = editable_source("sgd")
    (step,) = (piece for piece in text.feeding if getattr(piece.node, "name", "") == "_step")
    groups = (ParameterGroup(SGD(lr=0.1, momentum=0.9).hyperparameters(), (0,)),)
    problem = Problem("sgd", groups, [np.ones(2)], [[np.ones(2)]] * 64)
    coverage = text.coverage([problem], "torch")
    (doubled,) = (
        change
        for change in step.changes(coverage[step.module])
        if isinstance(change.new, ast.expr) and ast.unparse(change.new) == "list(states) * 2"
    )
    with text.edited([Edit(step, doubled)]), pytest.raises(ValueError, match="the state grows"):
        list(text.trajectory(problem, text.groups(problem, "torch")))


@pytest.mark.parametrize("rule", RULES)
def test_an_edited_text_is_restored(rule: str) -> None:
    """Whatever was tried, the text computes the rule again, and the reference was never touched."""
    text, dialect = editable_source(rule), RULES[rule].dialects[0]
    problem = expand(problems_of(rule, 1, 0, fixed={}, maximize=False, only={"random"})[0])
    before = reference_trajectory(problem, problem.rule_groups(RULES[rule], dialect))
    coverage = text.coverage([problem], dialect)
    for piece in text.pieces:
        for change in list(piece.changes(coverage[piece.module]))[::29]:
            _same(text, [Edit(piece, change)], problem, dialect, before)
    np.testing.assert_array_equal(list(text.trajectory(problem, text.groups(problem, dialect))), before)
    np.testing.assert_array_equal(reference_trajectory(problem, problem.rule_groups(RULES[rule], dialect)), before)


def test_every_known_misreading_holds_for_some_rule() -> None:
    """An entry whose lines are in no text any more would never be found."""
    found = {m.name for rule in RULES for m in misreadings_of(EditableSource(RULES[rule]))}
    assert found == {entry["name"] for entry in entries()}


def test_known_misreadings_change_what_is_computed() -> None:
    """Of some rule each changes what is computed on some problem."""
    telling: set[str] = set()
    for rule, record in RULES.items():
        text, dialect = editable_source(rule), record.dialects[0]
        problems = [expand(recipe) for recipe in problems_of(rule, 2, 0, fixed={}, maximize=False)]
        expected = [reference_trajectory(p, p.rule_groups(record, dialect)) for p in problems]
        untold = (m for m in misreadings_of(text) if m.name not in telling)
        for m in untold:
            if not all(_same(text, m.edits, p, dialect, e) for p, e in zip(problems, expected, strict=True)):
                telling.add(m.name)
    assert telling == {entry["name"] for entry in entries()}


def _same(text: EditableSource, edits: Any, problem: Any, dialect: str, expected: Any) -> bool:
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(), text.edited(edits):
            warnings.simplefilter("ignore")
            rows = np.array(list(text.trajectory(problem, text.groups(problem, dialect))))
    except Exception:  # odd texts raise odd things
        return False
    return bool(np.array_equal(rows, expected, equal_nan=True))


def test_a_failed_search_does_not_cost_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr("stepgauge.properties.gauge.diagnosis.search.diagnose", fails)
    report = check_optimizer(baselines.SGDDoubledDecay, rule="sgd", level="quick", only="trajectory/*")
    assert report.verdict == "diverges"
    assert "no luck" in report.message


def test_a_target_that_reaches_nan_is_diagnosed() -> None:
    class Cubed(torch.optim.SGD):
        """Divides by zero wherever the parameter is zero."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for p in (p for p in group["params"] if p.grad is not None):
                    p.sub_(group["lr"] * p.grad * p / p)
            return closure

    report = check_optimizer(Cubed, rule="sgd", level="quick", only="trajectory/*")
    assert report.verdict == "diverges"
    assert report.divergence is not None
    assert report.to_dict()["divergence"]["problem"] is not None


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ports"), [("misreadings", MISREADINGS), ("held_out", HELD_OUT)])
def test_as_many_causes_are_named_as_is_stored(kind: str, ports: Sequence[Any]) -> None:
    unnamed = [port.__name__ for port in ports if not ((found := diagnosed(port, "standard")) and found.is_cause)]
    named = {"ports": kind, "wrong": str(len(ports)), "named": str(len(ports) - len(unnamed))}
    assert named == stored_row("causes", ports=kind), unnamed


@pytest.mark.slow
def test_causes_of_what_is_reported_are_named() -> None:
    """Three in four of those that were written before the gauge was taught their kinds."""
    reports = [check_optimizer(port, port.rule, level="quick", only="trajectory/*") for port in REPORTED]
    assert [report.target for report in reports if report.verdict != "diverges"] == []
    unnamed = [r.target for r in reports if not (r.diagnosis and r.diagnosis.is_cause and not r.diagnosis.unexplained)]
    assert len(unnamed) <= len(REPORTED) / 4, unnamed


@pytest.mark.parametrize(
    ("port", "name"),
    [
        ("AdamNoCorrection", "no bias is corrected"),
        ("SGDOneBufferForAll", "parameters of one shape share a state"),
        ("AdamLastGroupForAll", "it steps every group with the hyperparameters of the last"),
        ("AdamWRateOnce", "it reads lr in its first step, and not in later ones"),
        ("SGDStepsWithOldGradients", "where there is no gradient, it steps again with the one before"),
        ("AdamIgnoresAmsgrad", "amsgrad is accepted and changes nothing"),
        (
            "AdamEpsAndCounter",
            "eps is under the root, and one step counter for all groups, advanced by every parameter",
        ),
    ],
)
def test_what_is_reported_has_a_name(port: str, name: str) -> None:
    (wrong,) = (reported for reported in REPORTED if reported.__name__ == port)
    found = check_optimizer(wrong, wrong.rule, level="quick", only="trajectory/*").diagnosis
    assert found is not None
    assert found.is_cause
    assert found.name == name


@pytest.mark.parametrize(
    ("port", "after"),
    [
        ("AdamWritesFirstCorrectionBack", "m / (1 - beta1**t)"),
        ("AdamCountsAfterwards", "max(t - 1, 1)"),
        ("AdaiProductAfterItsUse", "(prod if s.step == 0 else s.beta1_prod)"),
        ("FSGDMCommonMomentum", "u, v = 0.9"),
    ],
)
def test_what_is_reported_has_an_edit(port: str, after: str) -> None:
    (wrong,) = (reported for reported in REPORTED if reported.__name__ == port)
    found = check_optimizer(wrong, wrong.rule, level="quick", only="trajectory/*").diagnosis
    assert found is not None
    assert found.is_cause
    assert after in found.hunks[0].after
