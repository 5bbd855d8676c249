"""Why a target diverges: the edit of the reference's text that computes what the target computes.

The smallest failing problem is recorded with the target's trajectory on it. Every small edit of the text is run on it,
up to the first step in which it leaves the target; what is left is tried on other problems on which the target fails,
and the plainest of that on fresh ones, within the edited text's own tolerance. What holds there is a cause.
"""

import ast
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import SequenceMatcher
from functools import cached_property, partial
from itertools import count
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.checks.comparison import Divergence, Outcome, only_when
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.diagnosis.conduct import conducts_of, ignoring
from stepgauge.properties.gauge.diagnosis.failing_run import COARSER, FailingRun, Precision
from stepgauge.properties.gauge.edits.editable_source import (
    DRIVER,
    Edit,
    EditableSource,
    Hunk,
    Piece,
    editable_source,
    short,
    traced,
)
from stepgauge.properties.gauge.edits.known_misreadings import Misreading, misreadings_of
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, StepError, TargetError
from stepgauge.properties.gauge.problems.drawing import problems_of
from stepgauge.properties.gauge.problems.foci import foci_of
from stepgauge.properties.gauge.problems.problem import Problem
from stepgauge.properties.gauge.problems.recipe import Recipe
from stepgauge.properties.gauge.problems.shrinking import shrink
from stepgauge.properties.gauge.targets.base import PLAIN
from stepgauge.properties.gauge.tolerance.envelope import ROUNDOFF
from stepgauge.properties.gauge.verdicts.record import CONFIRMATIONS, Diagnosis
from stepgauge.reference import RULES

RUNS = 12  # failing problems, beside the smallest, that an edit has to explain
TRIED = 12  # of the edits that explain most
PAIRED = 2  # of them, that a second edit is sought for
PEELING = 4  # suspects that are tried for each of them
PEELED = 3  # causes, each of what those before leave unexplained
ALIKE = 2  # failing runs that a cause of some of them has to explain
MOSTLY = 0.75  # of the failing runs: the target may branch, and rounding decides what a singular text computes
SEED = 7919  # apart from what any user chooses


class Unrepeatable(Exception):
    """The target does not compute the same twice."""


class Theory(NamedTuple):
    """What may explain a target, as an edit of the text, and whether it does on a problem.

    `explains` may be coarse, to be quick; `confirms` is to within the theory's own tolerance.
    """

    hunks: Sequence[Hunk]
    name: str
    link: str
    explains: Callable[[FailingRun], bool]
    confirms: Callable[[FailingRun], bool]

    def diagnosed(self, found: Diagnosis, explained: int, confirmed: int = 0, missed: int = 0) -> Diagnosis:
        """What was found, with this as the reason; it may have missed some fresh problems."""
        because = replace(found, hunks=self.hunks, name=self.name, link=self.link, confirmed_on=confirmed)
        return replace(because, explained=explained, failing=found.failing + missed)


def diagnose(context: Context, outcomes: Sequence[Outcome], dialect: str) -> Diagnosis | None:
    """Why the target does not follow a dialect, by the problems on which it leaves it; None without any.

    Raises:
        Unrepeatable: what it computes on them is another thing each time.
    """
    return Search(context, dialect, outcomes).diagnose()


class Search:
    """The search for the edits that explain one target."""

    def __init__(self, context: Context, dialect: str, outcomes: Sequence[Outcome]) -> None:
        failing = [o for o in outcomes if dialect in o.divergences and o.problem.recipe]
        # What diverges only where it is driven otherwise is examined so.
        plain = any(o.variant == PLAIN for o in failing)
        self.variant = PLAIN if plain else next((o.variant for o in failing), PLAIN)
        self.context, self.dialect = context.varied(self.variant), dialect
        failing = [o for o in failing if o.variant == self.variant]
        self.source = editable_source(context.target.rule)
        # In float64 least is hidden by rounding; a target may diverge in float32 only.
        self.dtype = "float64" if any(o.dtype == "float64" for o in failing) else "float32"
        failing = [o for o in failing if o.dtype == self.dtype]
        self.scores: dict[Misreading, int] = {}
        self.tried: set[tuple[Misreading, float]] = set()
        self.fresh: list[FailingRun] = []
        self.drawn = self._drawn()
        self.failing = sorted(failing, key=lambda o: (o.divergences[dialect].step, o.problem.size))

    def diagnose(self) -> Diagnosis | None:
        """The cause, else the best guess, else only the smallest problem; None where no trajectory diverges."""
        if not self.failing:
            return None
        smallest = self._smallest(self.failing[0].problem)
        outcome = self._compare(smallest)
        if self.dialect not in outcome.divergences or not all(run.repeats for run in self.failing_runs):
            raise Unrepeatable
        values = values_at(self.source, smallest, self.dialect, outcome.divergences[self.dialect])
        found = Diagnosis(outcome, values, failing=len(self.failing_runs))
        first = self._failing_run(smallest)
        kin = self._kin(found, first)
        singles: list[Misreading] = []
        cause = self._conduct(found, first)
        if cause:
            return cause
        for more in self._singles(first):
            singles = self._ranked([*singles, *more])
            cause = self._first_cause(found, singles)
            if cause:
                break
        if kin:  # an edit says where the other rule is another one
            return replace(cause, name=kin.name) if cause else kin
        cause = cause or self._coarse(found) or self._first_cause(found, self._pairs(singles))
        if cause:
            return cause
        peeled = self._peeled(found, singles)
        if peeled and not peeled.unexplained:
            return peeled
        mostly = self._conduct(found, first, MOSTLY) or self._first_cause(found, singles, MOSTLY)
        return mostly or peeled or self._guess(found, singles)

    def _singles(self, first: FailingRun) -> Iterator[list[Misreading]]:
        """What agrees with the target on the smallest problem: the known misreadings first, which are few."""
        yield [known for known in misreadings_of(self.source) if self._agrees(first, known.edits)]
        yield self._edits(first, self.source.own)
        yield self._edits(first, self.source.feeding)

    def _first_cause(self, found: Diagnosis, suspects: Sequence[Misreading], share: float = 1.0) -> Diagnosis | None:
        """The first suspect that explains this share of the failing runs and is confirmed; none is tried again."""
        for suspect in suspects[:TRIED]:
            if (suspect, share) not in self.tried:
                self.tried.add((suspect, share))
                cause = self._proved(found, self._theory(suspect), share)
                if cause:
                    return cause
        return None

    def _theory(self, suspect: Misreading) -> Theory:
        explains = partial(self._explains, edits=suspect.edits)
        within = partial(self._within, edits=suspect.edits)
        return Theory(self.source.hunks(suspect.edits), suspect.name, suspect.link, explains, within)

    def _proved(self, found: Diagnosis, theory: Theory, share: float = 1.0) -> Diagnosis | None:
        """The theory as the cause, if it explains this share of the failing runs and is confirmed."""
        explained = len(self.failing_runs)
        for run in self.failing_runs:
            explained -= not theory.explains(run)
            if explained < share * len(self.failing_runs):  # whatever becomes of the others
                return None
        confirmed, missed = self._confirmed(theory, exact=share == 1)
        return theory.diagnosed(found, explained, confirmed, missed) if confirmed >= CONFIRMATIONS else None

    def _kin(self, found: Diagnosis, first: FailingRun) -> Diagnosis | None:
        """Another rule, or a dialect of this one that it was not compared with, if the target computes that."""
        own = self.context.target.rule
        for rule, record in RULES.items():
            for dialect in record.dialects:
                is_it = partial(FailingRun.is_rule, rule=rule, dialect=dialect)
                compared = rule == own and dialect in self.context.dialects
                if not compared and is_it(first):
                    hunk = Hunk(short(RULES[own].__module__), 1, f"{own} {self.dialect}", f"{rule} {dialect}")
                    theory = Theory([hunk], f"it computes {rule} ({dialect})", "", is_it, is_it)
                    cause = self._proved(found, theory)
                    if cause:
                        return cause
        return None

    def _conduct(self, found: Diagnosis, first: FailingRun, share: float = 1.0) -> Diagnosis | None:
        """What the target does around the rule's text, if that explains this share of the failing runs."""
        problems = [run.problem for run in self.failing_runs]
        moved = dict.fromkeys(change.name for problem in problems for change in problem.changes)
        scheduled = ["lr"] if any(len(set(problem.schedule)) > 1 for problem in problems) else []
        for conduct in (*ignoring(self.failing_runs), *conducts_of(first.problem, [*scheduled, *moved])):
            if conduct.shows(first):
                hunk = Hunk(short(DRIVER), 1, conduct.before, conduct.after)
                cause = self._proved(found, Theory([hunk], conduct.name, "", conduct.shows, conduct.shows), share)
                if cause:
                    return cause
        return None

    def _peeled(self, found: Diagnosis, singles: Sequence[Misreading]) -> Diagnosis | None:
        """Causes of some of the divergences each, one after the other, of what those before leave unexplained."""
        left, causes, suspects, last = list(self.failing_runs), list[Diagnosis](), list(singles), None
        while left and len(causes) < PEELED:
            ranked = sorted(suspects, key=lambda s: -sum(self._agrees(run, s.edits) for run in left))
            peeled = next((p for s in ranked[:PEELING] if (p := self._cause_of_some(found, s, left))), None)
            if peeled is None:
                break
            last, cause = peeled
            causes.append(cause)
            left = [run for run in left if not self._explains(run, last.edits)]
            if left:
                suspects = [*misreadings_of(self.source), *self._edits(left[0], self.source.own)]
                suspects += self._edits(left[0], self.source.own, last)
        if not causes:
            return None
        return replace(causes[0], others=causes[1:], unexplained=len(left))

    def _cause_of_some(
        self, found: Diagnosis, suspect: Misreading, left: Sequence[FailingRun]
    ) -> tuple[Misreading, Diagnosis] | None:
        """The suspect as the cause of some of the divergences, if it is confirmed in the regimes that these share."""
        theory = self._theory(suspect)
        explained = [run for run in left if theory.explains(run)]
        if len(explained) < ALIKE:
            return None
        others = [run.problem.regimes for run in self.failing_runs if run not in explained]
        where = only_when([run.problem.regimes for run in explained], others)
        confirmed = missed = 0
        for fresh in self._fresh():
            if confirmed >= CONFIRMATIONS or missed > confirmed:
                break
            if fresh.diverges and fresh.problem.regimes.issuperset(where):
                holds = theory.confirms(fresh)
                confirmed, missed = confirmed + holds, missed + (not holds)
        if confirmed < CONFIRMATIONS:
            return None
        return suspect, replace(theory.diagnosed(found, len(explained), confirmed), where=where)

    def _coarse(self, found: Diagnosis) -> Diagnosis | None:
        """A coarser precision, if the target rounds to it somewhere and computes the rule but for that."""
        for name, precision in COARSER.items():
            if precision.roundoff > ROUNDOFF[self.dtype] and self._round(precision.roundoff):
                within = partial(_within, precision=precision)
                hunk = Hunk(short(DRIVER), 1, self.dtype, name)
                theory = Theory([hunk], f"something is kept or computed in {name}", "", within, within)
                cause = self._proved(found, theory)
                if cause:
                    return cause
        return None

    def _round(self, roundoff: float) -> bool:
        """Whether the target rounds to a coarser precision on most of the failing runs."""
        rounded = [run for run in self.failing_runs if run.within(roundoff) and run.rounds(roundoff)]
        return 2 * len(rounded) > len(self.failing_runs)

    def _guess(self, found: Diagnosis, suspects: Sequence[Misreading]) -> Diagnosis:
        """The suspect that explains most, if it is more than half."""
        explained = self._explained(suspects[0]) if suspects else 0
        if 2 * explained <= len(self.failing_runs):
            return found
        return self._theory(suspects[0]).diagnosed(found, explained)

    def _ranked(self, suspects: Sequence[Misreading]) -> list[Misreading]:
        """Those that explain most come first, and among them the known ones, then the smallest."""
        explained = {suspect: self._explained(suspect) for suspect in suspects}
        most = max(explained.values(), default=0)
        plausible = [suspect for suspect in suspects if 2 * explained[suspect] >= most]
        return sorted(plausible, key=lambda s: (-explained[s], not s.name, _negates(s), self._cost(s.edits)))

    def _explained(self, suspect: Misreading) -> int:
        if suspect not in self.scores:
            self.scores[suspect] = sum(self._agrees(run, suspect.edits) for run in self.failing_runs)
        return self.scores[suspect]

    def _pairs(self, singles: Sequence[Misreading]) -> list[Misreading]:
        """The best edits, each with a second one for what it leaves unexplained.

        What explains the smallest problem may explain no other: there the lesser of two faults shows alone.
        """
        pairs: list[Misreading] = []
        for single in singles[:PAIRED]:
            unexplained = [run for run in self.failing_runs if not self._agrees(run, single.edits)]
            if unexplained:
                pairs += [pair for pair in self._known_beside(single) if self._agrees(unexplained[0], pair.edits)]
                pairs += self._edits(unexplained[0], self.source.pieces, single)
        return self._ranked(pairs)

    def _known_beside(self, single: Misreading) -> Iterator[Misreading]:
        """Known misreadings of other functions, beside an edit."""
        edited = {edit.piece for edit in single.edits}
        for known in misreadings_of(self.source):
            if edited.isdisjoint(edit.piece for edit in known.edits):
                name = f"{single.name}, and {known.name}" if single.name else known.name
                yield Misreading((*single.edits, *known.edits), name, known.link)

    def _smallest(self, problem: Problem) -> Problem:
        assert problem.recipe is not None

        def fails(recipe: Recipe) -> bool:
            try:
                outcome = self._compare(self.context.expanded(recipe))
            except (TypeError, ValueError):  # not every combination of the simpler parts is a problem
                return False
            return not outcome.ambiguous and self.dialect in outcome.divergences

        small = shrink(problem.recipe, self.context.fixed, fails)
        place = self._compare(self.context.expanded(small)).divergences.get(self.dialect)
        ended = replace(small, steps=place.step if place else small.steps)
        return self.context.expanded(ended if fails(ended) else small)

    def _compare(self, problem: Problem) -> Outcome:
        return replace(self.context.compare(problem, self.dtype, (self.dialect,)), variant=self.variant)

    def _failing_run(self, problem: Problem) -> FailingRun:
        return FailingRun(self.context.target, problem, self.dialect, self.dtype)

    @cached_property
    def failing_runs(self) -> list[FailingRun]:
        """Failing problems of various regimes."""
        step = max(1, len(self.failing) // RUNS)
        return [self._failing_run(outcome.problem) for outcome in self.failing[::step][:RUNS]]

    def _edits(self, first: FailingRun, pieces: Sequence[Piece], beside: Misreading | None = None) -> list[Misreading]:
        """The small edits that agree with the target on one problem, beside others that are made already."""
        made = beside.edits if beside else ()
        name = beside.name if beside else ""
        with np.errstate(all="ignore"), warnings.catch_warnings(), self.source.edited(made):
            warnings.simplefilter("ignore")  # of Python, at odd texts
            try:
                groups = self.source.groups(first.problem, self.dialect)
            except FOREIGN_ERRORS:  # what is made already refuses these hyperparameters
                return []
            coverage = self.source.coverage([first.problem], self.dialect)
            found = []
            for piece in pieces:
                for change in piece.changes(coverage[piece.module]):
                    edit = Edit(piece, change)
                    if self._holds(edit, first, groups):
                        found.append(Misreading((*made, edit), name))
            return found

    def _holds(self, edit: Edit, run: FailingRun, groups: Sequence[Any]) -> bool:
        try:
            with self.source.edited([edit]):
                return run.agrees(self.source, groups)
        except FOREIGN_ERRORS:  # an odd text may raise anything
            return False

    def _agrees(self, run: FailingRun, edits: Sequence[Edit]) -> bool:
        """Whether an edit computes about what the target does."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(), self.source.edited(edits):
                warnings.simplefilter("ignore")
                return run.agrees(self.source, self.source.groups(run.problem, self.dialect))
        except FOREIGN_ERRORS:
            return False

    def _explains(self, run: FailingRun, edits: Sequence[Edit]) -> bool:
        """Whether an edit computes the target's trajectory: coarsely, or within its own tolerance."""
        return self._agrees(run, edits) or self._within(run, edits)

    def _within(self, run: FailingRun, edits: Sequence[Edit]) -> bool:
        """Whether the target is within what rounding may do to the edited text."""
        try:
            return run.confirms(self.source, edits)
        except FOREIGN_ERRORS:
            return False

    def _cost(self, edits: Sequence[Edit]) -> float:
        """How much of the text an edit changes, in characters."""
        return sum(_distance(before, after) for before, after in self.source.canonical_hunks(edits))

    def _confirmed(self, theory: Theory, *, exact: bool) -> tuple[int, int]:
        """On how many fresh problems with a divergence a theory holds, and how many of all it misses on the way.

        An exact one may miss none; another one a divergence, and any number of problems on which there is none.
        """
        confirmed = missed = unconfirmed = 0
        for fresh in self._fresh():
            if theory.confirms(fresh) if fresh.diverges else theory.explains(fresh):
                confirmed += fresh.diverges
            else:
                missed += 1
                unconfirmed += fresh.diverges
                if exact or unconfirmed > 1:
                    return 0, missed
            if confirmed == CONFIRMATIONS:
                break
        return confirmed, missed

    def _fresh(self) -> Iterator[FailingRun]:
        """Fresh problems that the target can be run on; they are drawn once."""
        for k in count():
            if k == len(self.fresh):
                drawn = next(self.drawn, None)
                if drawn is None:
                    return
                self.fresh.append(drawn)
            yield self.fresh[k]

    def _drawn(self) -> Iterator[FailingRun]:
        for problem in self._problems():
            with suppress(StepError, TargetError):
                yield self._failing_run(problem)

    def _problems(self) -> Iterator[Problem]:
        """Problems of every focus, then more of those in which the target was seen to diverge."""
        target, seed = self.context.target, self.context.options.seed + SEED
        often = {o.problem.recipe.focus for o in self.failing if o.problem.recipe} & foci_of(target.rule).keys()
        if any(o.problem.changes or o.problem.in_place for o in self.failing):
            yield from self.context.training_problems(seed)
        draw = partial(problems_of, target.rule, fixed=self.context.fixed, maximize=target.takes_maximize)
        yield from map(self.context.expanded, draw(1, seed))
        for k, each in enumerate((4, 8, 16, 32), 1):
            yield from map(self.context.expanded, draw(each, seed + k, only=often))


def _negates(suspect: Misreading) -> bool:
    """Whether an edit only turns a sign, which may be right by turning an order: nobody writes that."""
    return any(isinstance(e.change.new, ast.UnaryOp) and isinstance(e.change.new.op, ast.USub) for e in suspect.edits)


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


def _distance(before: str, after: str) -> float:
    """How many characters have to be taken out and put in.

    >>> _distance("np.max(cos)", "np.mean(cos)")
    3
    """
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return len(before) + len(after) - 2 * sum(block.size for block in blocks)


def _within(run: FailingRun, precision: Precision) -> bool:
    """Whether a run has nothing against a coarser precision."""
    return run.beneath(precision) or run.within(precision.roundoff)
