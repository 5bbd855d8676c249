"""Suspects: edits of the reference's text that agree with a target, and which of them a reader would believe."""

import ast
import warnings
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from stepgauge.properties.gauge.diagnosis.failing_run import FailingRun
from stepgauge.properties.gauge.diagnosis.failures import Failures
from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource, Piece
from stepgauge.properties.gauge.edits.known_misreadings import Misreading, misreadings_of
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS

PAIRED = 2  # of the edits that explain most, that a second edit is sought for


class Suspects:
    """The edits of a text that may explain a target's failures."""

    def __init__(self, source: EditableSource, failures: Failures) -> None:
        self.source, self.failures = source, failures
        self._scores: dict[Misreading, int] = {}

    def edits(self, first: FailingRun, pieces: Sequence[Piece], beside: Misreading | None = None) -> list[Misreading]:
        """The small edits that agree with the target on one problem, beside others that are made already."""
        made = beside.edits if beside else ()
        name = beside.name if beside else ""
        with np.errstate(all="ignore"), warnings.catch_warnings(), self.source.edited(made):
            warnings.simplefilter("ignore")  # of Python, at odd texts
            try:
                groups = self.source.groups(first.problem, self.failures.dialect)
            except FOREIGN_ERRORS:  # what is made already refuses these hyperparameters
                return []
            coverage = self.source.coverage([first.problem], self.failures.dialect)
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

    def agrees(self, run: FailingRun, edits: Sequence[Edit]) -> bool:
        """Whether an edit computes about what the target does."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings(), self.source.edited(edits):
                warnings.simplefilter("ignore")
                return run.agrees(self.source, self.source.groups(run.problem, self.failures.dialect))
        except FOREIGN_ERRORS:
            return False

    def explains(self, run: FailingRun, edits: Sequence[Edit]) -> bool:
        """Whether an edit computes the target's trajectory: coarsely, or within its own tolerance."""
        return self.agrees(run, edits) or self.within(run, edits)

    def within(self, run: FailingRun, edits: Sequence[Edit]) -> bool:
        """Whether the target is within what rounding may do to the edited text."""
        try:
            return run.confirms(self.source, edits)
        except FOREIGN_ERRORS:
            return False

    def _cost(self, edits: Sequence[Edit]) -> float:
        """How much of the text an edit changes, in characters."""
        return sum(_distance(before, after) for before, after in self.source.canonical_hunks(edits))

    def ranked(self, suspects: Sequence[Misreading]) -> list[Misreading]:
        """Those that explain most come first, and among them the known ones, then the smallest."""
        explained = {suspect: self.explained(suspect) for suspect in suspects}
        most = max(explained.values(), default=0)
        plausible = [suspect for suspect in suspects if 2 * explained[suspect] >= most]
        return sorted(plausible, key=lambda s: (-explained[s], not s.name, _negates(s), self._cost(s.edits)))

    def explained(self, suspect: Misreading) -> int:
        """On how many of the failing runs it computes about what the target does."""
        if suspect not in self._scores:
            self._scores[suspect] = sum(self.agrees(run, suspect.edits) for run in self.failures.runs)
        return self._scores[suspect]

    def pairs(self, singles: Sequence[Misreading]) -> list[Misreading]:
        """The best edits, each with a second one for what it leaves unexplained.

        What explains the smallest problem may explain no other: there the lesser of two faults shows alone.
        """
        pairs: list[Misreading] = []
        for single in singles[:PAIRED]:
            unexplained = [run for run in self.failures.runs if not self.agrees(run, single.edits)]
            if unexplained:
                pairs += [pair for pair in self._known_beside(single) if self.agrees(unexplained[0], pair.edits)]
                pairs += self.edits(unexplained[0], self.source.pieces, single)
        return self.ranked(pairs)

    def _known_beside(self, single: Misreading) -> Iterator[Misreading]:
        """Known misreadings of other functions, beside an edit."""
        edited = {edit.piece for edit in single.edits}
        for known in misreadings_of(self.source):
            if edited.isdisjoint(edit.piece for edit in known.edits):
                name = f"{single.name}, and {known.name}" if single.name else known.name
                yield Misreading((*single.edits, *known.edits), name, known.link)


def _negates(suspect: Misreading) -> bool:
    """Whether an edit only turns a sign, which may be right by turning an order: nobody writes that."""
    return any(isinstance(e.change.new, ast.UnaryOp) and isinstance(e.change.new.op, ast.USub) for e in suspect.edits)


def _distance(before: str, after: str) -> float:
    """How many characters have to be taken out and put in.

    >>> _distance("np.max(cos)", "np.mean(cos)")
    3
    """
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return len(before) + len(after) - 2 * sum(block.size for block in blocks)
