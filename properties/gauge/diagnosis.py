"""Why a target diverges: the edit of the reference's text that computes what the target computes.

The smallest failing problem is recorded with the target's trajectory on it. Every small edit of the text is run on it,
up to the first step in which it leaves the target; what is left is tried on other problems on which the target fails,
and the plainest of that on fresh ones, within the edited text's own tolerance. What holds there is a cause.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property, partial
from itertools import count
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from stepgauge.properties.gauge.catalogue import Misreading, misreadings_of
from stepgauge.properties.gauge.drawing import foci_of, problems_of
from stepgauge.properties.gauge.examination import Examination
from stepgauge.properties.gauge.judge import Divergence, Outcome, judge
from stepgauge.properties.gauge.problem import Problem
from stepgauge.properties.gauge.recipe import Recipe, expand
from stepgauge.properties.gauge.shrinking import shrunk
from stepgauge.properties.gauge.target import STRANGERS, StepError, TargetError
from stepgauge.properties.gauge.text import DRIVER, Edit, Hunk, Piece, Text, short, text_of, traced
from stepgauge.properties.gauge.tolerance import ROUNDOFF
from stepgauge.properties.gauge.witness import COARSER, Witness
from stepgauge.reference import RULES

CONFIRMATIONS = 3
WITNESSES = 12  # failing problems, beside the smallest, that an edit has to explain
TRIED = 12  # of the edits that explain most
PAIRED = 1  # of them, that a second edit is sought for
MOSTLY = 0.75  # of the witnesses: the target may branch, and rounding decides what a singular text computes
SEED = 7919  # apart from what any user chooses


class Unrepeatable(Exception):
    """The target does not compute the same twice."""


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a divergence.

    Attributes:
        witness: the smallest problem found on which the target diverges, and where it does there.
        values: what the reference computes there, by its names.
        hunks: the edit of the reference that computes what the target does; empty if none was found.
        name: of the misreading, if it is a known one; `link` points at a port that has it.
        confirmed_on: on how many fresh problems with a divergence the edit computes the same.
        explained: on how many it does of the `failing` others, on which the target or the edit leaves the reference.
    """

    witness: Outcome
    values: Mapping[str, Any]
    hunks: Sequence[Hunk] = ()
    name: str = ""
    link: str = ""
    explained: int = 0
    failing: int = 0
    confirmed_on: int = 0

    @property
    def is_cause(self) -> bool:
        return self.confirmed_on >= CONFIRMATIONS

    def to_list(self) -> list[dict[str, Any]]:
        """The "diagnosis" of the JSON: an entry for each place that the edit changes."""
        kind = "cause" if self.is_cause else "guess"
        more = {"kind": kind, "name": self.name, "link": self.link, "explained": self.explained, "of": self.failing}
        return [{**hunk._asdict(), "confirmed_on": self.confirmed_on, **more} for hunk in self.hunks]


class Theory(NamedTuple):
    """What may explain a target, as an edit of the text, and whether it does on a problem.

    `explains` may be coarse, to be quick; `confirms` is to within the theory's own tolerance.
    """

    hunks: Sequence[Hunk]
    name: str
    link: str
    explains: Callable[[Witness], bool]
    confirms: Callable[[Witness], bool]

    def diagnosed(self, found: Diagnosis, explained: int, confirmed: int = 0, missed: int = 0) -> Diagnosis:
        """What was found, with this as the reason; it may have missed some fresh problems."""
        because = replace(found, hunks=self.hunks, name=self.name, link=self.link, confirmed_on=confirmed)
        return replace(because, explained=explained, failing=found.failing + missed)


def diagnose(exam: Examination, outcomes: Sequence[Outcome], dialect: str) -> Diagnosis | None:
    """Why the target does not follow a dialect, by the problems on which it leaves it; None without any.

    Raises:
        Unrepeatable: what it computes on them is another thing each time.
    """
    return Search(exam, dialect, outcomes).diagnose()


class Search:
    """The search for the edits that explain one target."""

    def __init__(self, exam: Examination, dialect: str, outcomes: Sequence[Outcome]) -> None:
        self.exam, self.dialect = exam, dialect
        self.text = text_of(exam.target.rule)
        failing = [o for o in outcomes if dialect in o.divergences and o.problem.recipe]
        self.dtype = "float64" if any(o.dtype == "float64" for o in failing) else "float32"
        failing = [o for o in failing if o.dtype == self.dtype]
        self.scores: dict[Misreading, int] = {}
        self.tried: set[tuple[Misreading, float]] = set()
        self.fresh: list[Witness] = []
        self.drawn = self._drawn()
        self.failing = sorted(failing, key=lambda o: (o.divergences[dialect].step, o.problem.size))

    def diagnose(self) -> Diagnosis | None:
        """The cause, else the best guess, else the smallest problem alone; None where no trajectory diverges."""
        if not self.failing:
            return None
        smallest = self._smallest(self.failing[0].problem)
        outcome = self._judged(smallest)
        if self.dialect not in outcome.divergences or not all(w.repeats for w in self.witnesses):
            raise Unrepeatable
        values = values_at(self.text, smallest, self.dialect, outcome.divergences[self.dialect])
        found = Diagnosis(outcome, values, failing=len(self.witnesses))
        first = self._witness(smallest)
        kin = self._kin(found, first)
        singles: list[Misreading] = []
        cause = None
        for more in self._singles(first):
            singles = self._ranked([*singles, *more])
            cause = self._first_cause(found, singles)
            if cause:
                break
        if kin:
            return replace(cause, name=kin.name) if cause else kin
        return (
            cause
            or self._coarse(found)
            or self._first_cause(found, self._pairs(singles))
            or self._first_cause(found, singles, MOSTLY)
            or self._guess(found, singles)
        )

    def _singles(self, first: Witness) -> Iterator[list[Misreading]]:
        """What agrees with the target on the smallest problem: the known misreadings first, which are few."""
        yield [known for known in misreadings_of(self.text) if self._agrees(first, known.edits)]
        yield self._edits(first, self.text.own)
        yield self._edits(first, self.text.feeding)

    def _first_cause(self, found: Diagnosis, suspects: Sequence[Misreading], share: float = 1.0) -> Diagnosis | None:
        """The first suspect that explains this share of the witnesses and is confirmed; none is tried again."""
        untried = [suspect for suspect in suspects[:TRIED] if (suspect, share) not in self.tried]
        self.tried.update((suspect, share) for suspect in untried)
        proved = (self._proved(found, self._theory(suspect), share) for suspect in untried)
        return next(filter(None, proved), None)

    def _theory(self, suspect: Misreading) -> Theory:
        explains, within = (partial(test, edits=suspect.edits) for test in (self._explains, self._within))
        return Theory(self.text.hunks(suspect.edits), suspect.name, suspect.link, explains, within)

    def _proved(self, found: Diagnosis, theory: Theory, share: float = 1.0) -> Diagnosis | None:
        """The theory as the cause, if it explains this share of the witnesses and is confirmed."""
        explained = len(self.witnesses)
        for witness in self.witnesses:
            explained -= not theory.explains(witness)
            if explained < share * len(self.witnesses):
                return None
        confirmed, missed = self._confirmed(theory, exact=share == 1)
        return theory.diagnosed(found, explained, confirmed, missed) if confirmed >= CONFIRMATIONS else None

    def _kin(self, found: Diagnosis, first: Witness) -> Diagnosis | None:
        """Another rule, or a dialect of this one that it was not compared with, if the target computes that."""
        own = (self.exam.target.rule, self.dialect)
        compared = {(own[0], dialect) for dialect in self.exam.dialects}
        for rule, dialect in ((r, d) for r in RULES for d in RULES[r].dialects if (r, d) not in compared):
            is_it = partial(Witness.is_rule, rule=rule, dialect=dialect)
            hunk = Hunk(short(RULES[own[0]].__module__), 1, " ".join(own), f"{rule} {dialect}")
            theory = Theory([hunk], f"it computes {rule} ({dialect})", "", is_it, is_it)
            cause = self._proved(found, theory) if is_it(first) else None
            if cause:
                return cause
        return None

    def _coarse(self, found: Diagnosis) -> Diagnosis | None:
        """A coarser precision, if the target rounds to it somewhere and computes the rule but for that."""
        for precision, roundoff in COARSER.items():
            if roundoff > ROUNDOFF[self.dtype] and self._round(roundoff):
                within = partial(Witness.within, roundoff=roundoff)
                hunk = Hunk(short(DRIVER), 1, self.dtype, precision)
                theory = Theory([hunk], f"something is kept or computed in {precision}", "", within, within)
                cause = self._proved(found, theory)
                if cause:
                    return cause
        return None

    def _round(self, roundoff: float) -> bool:
        """Whether the target rounds to a coarser precision on most of the witnesses."""
        return 2 * sum(w.within(roundoff) and w.rounds(roundoff) for w in self.witnesses) > len(self.witnesses)

    def _guess(self, found: Diagnosis, suspects: Sequence[Misreading]) -> Diagnosis:
        """The suspect that explains most, if it is more than half."""
        explained = self._explained(suspects[0]) if suspects else 0
        if 2 * explained <= len(self.witnesses):
            return found
        return self._theory(suspects[0]).diagnosed(found, explained)

    def _ranked(self, suspects: Sequence[Misreading]) -> list[Misreading]:
        """Those that explain most come first, and among them the known ones, then the smallest."""
        explained = {suspect: self._explained(suspect) for suspect in suspects}
        most = max(explained.values(), default=0)
        plausible = [suspect for suspect in suspects if 2 * explained[suspect] >= most]
        return sorted(plausible, key=lambda s: (-explained[s], not s.name, self._cost(s.edits)))

    def _explained(self, suspect: Misreading) -> int:
        if suspect not in self.scores:
            self.scores[suspect] = sum(self._agrees(witness, suspect.edits) for witness in self.witnesses)
        return self.scores[suspect]

    def _pairs(self, singles: Sequence[Misreading]) -> list[Misreading]:
        """The best edits, if they are plausible by themselves, with a second one for what they leave unexplained."""
        pairs: list[Misreading] = []
        for single in singles[:PAIRED]:
            if 4 * self._explained(single) < len(self.witnesses):
                break
            left = [w for w in self.witnesses if not self._agrees(w, single.edits)]
            if left:
                pairs += self._edits(left[0], self.text.pieces, single)
        return self._ranked(pairs)

    def _smallest(self, problem: Problem) -> Problem:
        assert problem.recipe is not None

        def fails(recipe: Recipe) -> bool:
            try:
                outcome = self._judged(expand(recipe))
            except (TypeError, ValueError):  # not every combination of the simpler parts is a problem
                return False
            return not outcome.ambiguous and self.dialect in outcome.divergences

        small = shrunk(problem.recipe, self.exam.fixed, fails)
        place = self._judged(expand(small)).divergences.get(self.dialect)
        ended = replace(small, steps=place.step if place else small.steps)
        return expand(ended if fails(ended) else small)

    def _judged(self, problem: Problem) -> Outcome:
        return judge(self.exam.target, problem, self.dtype, (self.dialect,))

    def _witness(self, problem: Problem) -> Witness:
        return Witness(self.exam.target, problem, self.dialect, self.dtype)

    @cached_property
    def witnesses(self) -> list[Witness]:
        """Failing problems of various regimes."""
        step = max(1, len(self.failing) // WITNESSES)
        return [self._witness(outcome.problem) for outcome in self.failing[::step][:WITNESSES]]

    def _edits(self, first: Witness, pieces: Sequence[Piece], beside: Misreading | None = None) -> list[Misreading]:
        """The small edits that agree with the target on one problem, beside others that are made already."""
        made = beside.edits if beside else ()
        name = beside.name if beside else ""
        with np.errstate(all="ignore"), warnings.catch_warnings(), self.text.edited(made):
            warnings.simplefilter("ignore")  # of Python, at odd texts
            try:
                groups = self.text.groups(first.problem, self.dialect)
            except STRANGERS:  # what is made already refuses these hyperparameters
                return []
            coverage = self.text.coverage([first.problem], self.dialect)
            return [
                Misreading((*made, Edit(piece, change)), name)
                for piece in pieces
                for change in piece.changes(coverage[piece.module])
                if self._holds(Edit(piece, change), first, groups)
            ]

    def _holds(self, edit: Edit, witness: Witness, groups: Sequence[Any]) -> bool:
        try:
            with self.text.edited([edit]):
                return witness.agrees(self.text, groups)
        except STRANGERS:  # an odd text may raise anything
            return False

    def _agrees(self, witness: Witness, edits: Sequence[Edit]) -> bool:
        """Whether an edit computes about what the target does."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(), self.text.edited(edits):
                warnings.simplefilter("ignore")
                return witness.agrees(self.text, self.text.groups(witness.problem, self.dialect))
        except STRANGERS:
            return False

    def _explains(self, witness: Witness, edits: Sequence[Edit]) -> bool:
        """Whether an edit computes the target's trajectory: coarsely, or within its own tolerance."""
        return self._agrees(witness, edits) or self._within(witness, edits)

    def _within(self, witness: Witness, edits: Sequence[Edit]) -> bool:
        """Whether the target is within what rounding may do to the edited text."""
        try:
            return witness.confirms(self.text, edits)
        except STRANGERS:
            return False

    def _cost(self, edits: Sequence[Edit]) -> float:
        """How much of the text an edit changes, in characters."""
        hunks = self.text.hunks(edits)
        return sum(_distance(h.before, h.after) for h in hunks)

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
            if confirmed == CONFIRMATIONS or unconfirmed > 1 or (exact and missed):
                break
        return (0, missed) if unconfirmed > 1 or (exact and missed) else (confirmed, missed)

    def _fresh(self) -> Iterator[Witness]:
        """Fresh problems that the target can be run on; they are drawn once."""
        for k in count():
            if k == len(self.fresh):
                drawn = next(self.drawn, None)
                if drawn is None:
                    return
                self.fresh.append(drawn)
            yield self.fresh[k]

    def _drawn(self) -> Iterator[Witness]:
        for problem in self._problems():
            with suppress(StepError, TargetError):
                yield self._witness(problem)

    def _problems(self) -> Iterator[Problem]:
        """Problems of every focus, then more of those in which the target was seen to diverge."""
        target, seed = self.exam.target, self.exam.options.seed + SEED
        often = {o.problem.recipe.focus for o in self.failing if o.problem.recipe} & foci_of(target.rule).keys()
        for k, (each, only) in enumerate(((1, set[str]()), (4, often), (8, often), (16, often), (32, often))):
            maximize = target.takes_maximize
            recipes = problems_of(target.rule, each, seed + k, fixed=self.exam.fixed, maximize=maximize, only=only)
            yield from map(expand, recipes)


def values_at(text: Text, problem: Problem, dialect: str, divergence: Divergence) -> dict[str, Any]:
    """The local variables of the rule's step where the target diverges: numbers, and of arrays the entry there.

    None for a problem with layers, whose parameters the rule sees as parts of matrices.
    """
    found: dict[str, Any] = {}
    steps = [piece.live.__code__ for piece in text.own if getattr(piece.node, "name", "") == "step"]
    loop = text.modules[DRIVER]._step.__code__  # over the parameters

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is loop:
            found.clear()
        elif frame.f_code in steps:
            if event == "return" and _parameter(frame, loop) == divergence.parameter:
                found.update(frame.f_locals)
            return trace
        return None

    before = replace(problem, gradients=problem.gradients[: divergence.step])
    if not problem.layers:
        with np.errstate(all="ignore"), traced(trace):
            list(text.trajectory(before, text.groups(problem, dialect)))
    return {name: shown for name, x in found.items() if (shown := _entry(x, divergence.index)) is not None}


def _parameter(frame: FrameType | None, loop: CodeType) -> int:
    """The parameter that a frame under the driver's loop is about."""
    while frame is not None and frame.f_code is not loop:
        frame = frame.f_back
    assert frame is not None
    index: int = frame.f_locals["i"]
    return index


def _entry(x: Any, index: tuple[int, ...]) -> float | int | bool | None:
    """A number, or the entry of an array that has one at this index."""
    if isinstance(x, np.ndarray):
        inside = x.ndim == len(index) and all(i < n for i, n in zip(index, x.shape, strict=True))
        return float(x[index]) if inside else None
    return x if isinstance(x, (bool, int, float)) else None


def _distance(before: str, after: str) -> float:
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return len(before) + len(after) - 2 * sum(block.size for block in blocks)
