"""Why a target diverges: the edit of the reference's text that computes what the target computes.

The smallest failing problem is recorded with the target's trajectory on it. Every small edit of the text is run on it,
up to the first step in which it leaves the target; what is left is tried on other problems on which the target fails,
and the plainest of that on fresh ones, within the edited text's own tolerance. What holds there is a cause.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from stepgauge.properties.gauge.checks.comparison import Outcome, only_when
from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.diagnosis.conduct import conducts_of, ignoring
from stepgauge.properties.gauge.diagnosis.failing_run import COARSER, FailingRun, Precision
from stepgauge.properties.gauge.diagnosis.failures import Failures
from stepgauge.properties.gauge.diagnosis.observation import values_at
from stepgauge.properties.gauge.diagnosis.suspects import Suspects
from stepgauge.properties.gauge.edits.editable_source import DRIVER, Hunk, editable_source, short
from stepgauge.properties.gauge.edits.known_misreadings import Misreading, misreadings_of
from stepgauge.properties.gauge.tolerance.envelope import ROUNDOFF
from stepgauge.properties.gauge.verdicts.record import CONFIRMATIONS, Diagnosis
from stepgauge.reference import RULES

TRIED = 12  # of the edits that explain most
PEELING = 4  # suspects that are tried for each cause of some divergences
PEELED = 3  # causes, each of what those before leave unexplained
ALIKE = 2  # failing runs that a cause of some of them has to explain
MOSTLY = 0.75  # of the failing runs: the target may branch, and rounding decides what a singular text computes


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
        self.failures = Failures(context, dialect, outcomes)
        self.source = editable_source(context.target.rule)
        self.suspects = Suspects(self.source, self.failures)
        self.tried: set[tuple[Misreading, float]] = set()

    def diagnose(self) -> Diagnosis | None:
        """The cause, else the best guess, else only the smallest problem; None where no trajectory diverges."""
        if not self.failures.outcomes:
            return None
        smallest = self.failures.smallest()
        outcome = self.failures.compare(smallest)
        if self.failures.dialect not in outcome.divergences or not all(run.repeats for run in self.failures.runs):
            raise Unrepeatable
        values = values_at(self.source, smallest, self.failures.dialect, outcome.divergences[self.failures.dialect])
        found = Diagnosis(outcome, values, failing=len(self.failures.runs))
        first = self.failures.run_on(smallest)
        kin = self._kin(found, first)
        singles: list[Misreading] = []
        cause = self._conduct(found, first)
        if cause:
            return cause
        for more in self._singles(first):
            singles = self.suspects.ranked([*singles, *more])
            cause = self._first_cause(found, singles)
            if cause:
                break
        if kin:  # an edit says where the other rule is another one
            return replace(cause, name=kin.name) if cause else kin
        cause = cause or self._coarse(found) or self._first_cause(found, self.suspects.pairs(singles))
        if cause:
            return cause
        peeled = self._peeled(found, singles)
        if peeled and not peeled.unexplained:
            return peeled
        mostly = self._conduct(found, first, MOSTLY) or self._first_cause(found, singles, MOSTLY)
        return mostly or peeled or self._guess(found, singles)

    def _singles(self, first: FailingRun) -> Iterator[list[Misreading]]:
        """What agrees with the target on the smallest problem: the known misreadings first, which are few."""
        yield [known for known in misreadings_of(self.source) if self.suspects.agrees(first, known.edits)]
        yield self.suspects.edits(first, self.source.own)
        yield self.suspects.edits(first, self.source.feeding)

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
        explains = partial(self.suspects.explains, edits=suspect.edits)
        within = partial(self.suspects.within, edits=suspect.edits)
        return Theory(self.source.hunks(suspect.edits), suspect.name, suspect.link, explains, within)

    def _proved(self, found: Diagnosis, theory: Theory, share: float = 1.0) -> Diagnosis | None:
        """The theory as the cause, if it explains this share of the failing runs and is confirmed."""
        explained = len(self.failures.runs)
        for run in self.failures.runs:
            explained -= not theory.explains(run)
            if explained < share * len(self.failures.runs):  # whatever becomes of the others
                return None
        confirmed, missed = self._confirmed(theory, exact=share == 1)
        return theory.diagnosed(found, explained, confirmed, missed) if confirmed >= CONFIRMATIONS else None

    def _kin(self, found: Diagnosis, first: FailingRun) -> Diagnosis | None:
        """Another rule, or a dialect of this one that it was not compared with, if the target computes that."""
        own = self.failures.context.target.rule
        for rule, record in RULES.items():
            for dialect in record.dialects:
                is_it = partial(FailingRun.is_rule, rule=rule, dialect=dialect)
                compared = rule == own and dialect in self.failures.context.dialects
                if not compared and is_it(first):
                    hunk = Hunk(short(RULES[own].__module__), 1, f"{own} {self.failures.dialect}", f"{rule} {dialect}")
                    theory = Theory([hunk], f"it computes {rule} ({dialect})", "", is_it, is_it)
                    cause = self._proved(found, theory)
                    if cause:
                        return cause
        return None

    def _conduct(self, found: Diagnosis, first: FailingRun, share: float = 1.0) -> Diagnosis | None:
        """What the target does around the rule's text, if that explains this share of the failing runs."""
        problems = [run.problem for run in self.failures.runs]
        moved = dict.fromkeys(change.name for problem in problems for change in problem.changes)
        scheduled = ["lr"] if any(len(set(problem.schedule)) > 1 for problem in problems) else []
        for conduct in (*ignoring(self.failures.runs), *conducts_of(first.problem, [*scheduled, *moved])):
            if conduct.shows(first):
                hunk = Hunk(short(DRIVER), 1, conduct.before, conduct.after)
                cause = self._proved(found, Theory([hunk], conduct.name, "", conduct.shows, conduct.shows), share)
                if cause:
                    return cause
        return None

    def _peeled(self, found: Diagnosis, singles: Sequence[Misreading]) -> Diagnosis | None:
        """Causes of some of the divergences each, one after the other, of what those before leave unexplained."""
        left, causes, suspects, last = list(self.failures.runs), list[Diagnosis](), list(singles), None
        while left and len(causes) < PEELED:
            ranked = sorted(suspects, key=lambda s: -sum(self.suspects.agrees(run, s.edits) for run in left))
            peeled = next((p for s in ranked[:PEELING] if (p := self._cause_of_some(found, s, left))), None)
            if peeled is None:
                break
            last, cause = peeled
            causes.append(cause)
            left = [run for run in left if not self.suspects.explains(run, last.edits)]
            if left:
                suspects = [*misreadings_of(self.source), *self.suspects.edits(left[0], self.source.own)]
                suspects += self.suspects.edits(left[0], self.source.own, last)
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
        others = [run.problem.regimes for run in self.failures.runs if run not in explained]
        where = only_when([run.problem.regimes for run in explained], others)
        confirmed = missed = 0
        for fresh in self.failures.fresh():
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
            if precision.roundoff > ROUNDOFF[self.failures.dtype] and self._round(precision.roundoff):
                within = partial(_within, precision=precision)
                hunk = Hunk(short(DRIVER), 1, self.failures.dtype, name)
                theory = Theory([hunk], f"something is kept or computed in {name}", "", within, within)
                cause = self._proved(found, theory)
                if cause:
                    return cause
        return None

    def _round(self, roundoff: float) -> bool:
        """Whether the target rounds to a coarser precision on most of the failing runs."""
        rounded = [run for run in self.failures.runs if run.within(roundoff) and run.rounds(roundoff)]
        return 2 * len(rounded) > len(self.failures.runs)

    def _guess(self, found: Diagnosis, suspects: Sequence[Misreading]) -> Diagnosis:
        """The suspect that explains most, if it is more than half."""
        explained = self.suspects.explained(suspects[0]) if suspects else 0
        if 2 * explained <= len(self.failures.runs):
            return found
        return self._theory(suspects[0]).diagnosed(found, explained)

    def _confirmed(self, theory: Theory, *, exact: bool) -> tuple[int, int]:
        """On how many fresh problems with a divergence a theory holds, and how many of all it misses on the way.

        An exact one may miss none; another one a divergence, and any number of problems on which there is none.
        """
        confirmed = missed = unconfirmed = 0
        for fresh in self.failures.fresh():
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


def _within(run: FailingRun, precision: Precision) -> bool:
    """Whether a run has nothing against a coarser precision."""
    return run.beneath(precision) or run.within(precision.roundoff)
