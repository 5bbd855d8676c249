"""Proofs that an edited text computes the same: both texts executed on symbols, along every path through either.

A proof holds for every hyperparameter that the rule accepts, and every parameter, gradient and state that is finite, as
all are that problems draw; what a text makes of values that are not finite before the step is not asked. Within the
step a quotient by zero is what it is (see `symbolic.algebra`). The facts that are used:

- the dialect is fixed, and with it the types in the state: those that `init` makes;
- a hyperparameter is in the range that `reference.hyperparameters` states, and no combination is one that the rule's
  `check` refuses; all but lr are the same in every step; what the reference annotates as an integer counts something;
- a gradient, and the arrays of a state that `init` makes like the parameter, have the parameter's shape;
- a rule that pools is given what is pooled, and any other nothing.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from copy import deepcopy
from inspect import getattr_static
from types import FunctionType
from typing import Any

from stepgauge.properties.gauge.edits.editable_source import Edit, EditableSource
from stepgauge.properties.gauge.strength.symbolic import liveness
from stepgauge.properties.gauge.strength.symbolic.assumptions import arguments_of, initial_states
from stepgauge.properties.gauge.strength.symbolic.execution import Execution, Trees
from stepgauge.properties.gauge.strength.symbolic.joint import Case, Decisions, cases
from stepgauge.properties.gauge.strength.symbolic.operations import Following, Function, named
from stepgauge.properties.gauge.strength.symbolic.values import NotUnderstood, Record, Refused
from stepgauge.properties.gauge.tolerance.reference_copies import CONTRACT, FEEDING, parse
from stepgauge.reference import Rule

Arguments = Mapping[str, Any]
NONE: frozenset[Function] = frozenset()
OBSERVED = ("init", "step", "statistic", "skip", "preconditioned", "chosen")  # what the driver calls of a rule


class Prover:
    """The proofs about one dialect of a rule."""

    def __init__(self, source: EditableSource, dialect: str) -> None:
        self.source, self.dialect = source, dialect
        self.edited = functions_of(source)
        self.original = deepcopy(self.edited)
        self.mentioned = {name: _mentioned(tree) for name, tree in self.original.items()}
        self.straight = {name for name, tree in self.original.items() if _is_straight(tree)}

    def proves(self, edits: Sequence[Edit]) -> bool:
        """Whether the text, with some edits in force, is proved to compute the same as without."""
        if any(edit.piece.module in FEEDING or not isinstance(edit.piece.live, FunctionType) for edit in edits):
            return False  # of what drives the rule, and of the constants of its class, nothing is known here
        functions = [edit.piece.live for edit in edits]
        with self.source.edited(edits):
            return any(attempt() for attempt in self._attempts(functions))

    def _attempts(self, functions: Sequence[FunctionType]) -> Iterator[Callable[[], bool]]:
        """Ways to prove it, the cheapest first; each but the last may fail because it looks at too little."""
        yield lambda: self._same(functions, Following(NONE, NONE))  # whatever the functions that they call compute
        if any(function.__name__.startswith("__") for function in functions):
            return  # Python calls these without naming them
        leading = self._leading_to(functions)
        seen = [f for f in map(self._observed, OBSERVED) if f is not None and named(f) in leading]
        few, all_others = Following(leading, self.straight), Following(leading, self.original.keys())
        if not set(functions) <= set(seen):
            yield lambda: self._same(functions, few)
        yield lambda: self._same(seen, few)  # as the driver sees it
        yield lambda: self._same_but_for_dead_state(seen, few)
        yield lambda: self._same(seen, all_others)

    def _observed(self, name: str) -> Any:
        return getattr_static(self.source.rule, name, None)

    def _leading_to(self, functions: Sequence[FunctionType]) -> set[Function]:
        """Functions and all that call them; a name stands for every function that has it."""
        found = set(map(named, functions))
        mentioned = [*self.mentioned.items(), *((name, _mentioned(self.edited[name])) for name in found)]
        while True:
            names = {name.rpartition(".")[2] for _, name in found}
            more = {function for function, inner in mentioned if not names.isdisjoint(inner)}
            if more <= found:
                return found
            found |= more

    def _same(self, functions: Sequence[FunctionType], following: Following) -> bool:
        """Whether each function returns the same, whatever it is called with."""
        try:
            return all(
                self._agree(c)
                for f in functions
                for given in self._arguments(f)
                for c in self._cases(f, given, following)
            )
        except NotUnderstood:
            return False

    def _arguments(self, function: FunctionType) -> Iterator[Arguments]:
        return arguments_of(function, self.source, self.dialect, self.original)

    def _cases(
        self, function: FunctionType, given: Arguments, following: Following, taken: Decisions | None = None
    ) -> Iterator[Case]:
        return cases((self.original, self.edited), function, list(given.values()), following, taken or {})

    def _agree(self, case: Case) -> bool:
        return case.agree() or self._is_refused(case) or case.agree()  # what is not refused is known of the path, then

    def _is_refused(self, case: Case) -> bool:
        """Whether the rule refuses the hyperparameters of a path."""
        rules = [x for x in case.before.arguments if isinstance(x, Record) and issubclass(x.kind, Rule)]
        following = Following(NONE, self.original.keys())
        try:
            for rule in rules:
                Execution(case.path, self.original, following).run(getattr_static(rule.kind, "check"), [rule])
        except Refused:
            return True
        return False

    def _same_but_for_dead_state(self, seen: Sequence[FunctionType], following: Following) -> bool:
        """Whether the step differs in nothing but parts of the state on which no later step depends."""
        step, init = self._observed("step"), self._observed("init")
        if self._observed("skip").__qualname__ != "Rule.skip":
            return False  # what it makes of the state is not looked at
        try:
            rest = [f for f in seen if f not in (step, init)]
            return self._same(rest, following) and all(
                self._live_parts_agree(given, following) for given in self._arguments(step)
            )
        except NotUnderstood:
            return False

    def _live_parts_agree(self, given: Arguments, following: Following) -> bool:
        """The same for what a step is given."""
        found, lasting = [], {tuple[Any, ...]()} if (unlike := self._unlike_at_first(given, following)) else set()
        for case in self._steps(given, following, {}):
            found.append(case)
            names = self._differing(case)
            if "p" in names and not liveness.may_be_constant(case):
                return False
            if names:
                lasting.add(tuple(liveness.lasting(case).items()))
        return all(self._live_parts_agree_if(dict(taken), found, given, unlike, following) for taken in lasting)

    def _live_parts_agree_if(
        self, taken: Decisions, found: Sequence[Case], given: Arguments, unlike: Set[str], following: Following
    ) -> bool:
        """The same where some decisions are taken in every step.

        Parts that then never change are what they are at first, and of those that differ nothing is known.
        """
        first = initial_states(given["self"], given["p"], self.original)
        constant = liveness.constant([case for case in found if liveness.fits(case, taken)], first)
        differing, before = unlike, None
        while differing != before:
            before = differing
            constant = {name: value for name, value in constant.items() if name not in differing}
            state = liveness.with_parts(given["s"], constant, differing)
            now = []
            for case in self._steps({**given, "s": state}, following, taken):
                now.append(case)
                differing = differing | self._differing(case)
                if "p" in differing:
                    return False
        return differing <= liveness.dead(now, self._read_by_statistic(given, following))

    def _steps(self, given: Arguments, following: Following, taken: Decisions) -> Iterator[Case]:
        return self._cases(self._observed("step"), given, following, taken)

    def _differing(self, case: Case) -> set[str]:
        """The parts in which a step differs, unless the rule refuses what leads to it."""
        found = liveness.differing(case)
        return set() if found and self._is_refused(case) else found and liveness.differing(case)

    def _unlike_at_first(self, given: Arguments, following: Following) -> set[str]:
        """The parts of the state that differ before the first step."""
        known = {name: given[name] for name in ("self", "p")}
        found = self._cases(self._observed("init"), known, following)
        return {name for case in found for name in liveness.differing(case)}

    def _read_by_statistic(self, given: Arguments, following: Following) -> set[str]:
        """What the statistic of a step depends on."""
        if self.source.rule.pools_over == "nothing":
            return set()
        known = {name: given[name] for name in ("self", "p", "g", "s")}
        found = list(self._cases(self._observed("statistic"), known, following))
        reads = [liveness.read(case, run) for case in found for run in (case.before, case.after)]
        return {name for parts_read in reads for names in parts_read.values() for name in names}


def functions_of(source: EditableSource) -> Trees:
    """The text of every function of a rule's modules, and of the contract's, by module and name."""
    found: dict[tuple[str, str], ast.FunctionDef] = {}
    for module, tree in {**source.trees, **{module: parse(module) for module in CONTRACT}}.items():
        for node in tree.body:
            held = node.body if isinstance(node, ast.ClassDef) else [node]
            prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
            found |= {(module, prefix + f.name): f for f in held if isinstance(f, ast.FunctionDef)}
    return found


def _mentioned(tree: ast.FunctionDef) -> set[str]:
    """The names in a text that may be of functions: those of a state's fields are not."""
    nodes = list(ast.walk(tree))
    attributes = {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) != "s"}
    return attributes | {n.id for n in nodes if isinstance(n, ast.Name)}


def _is_straight(tree: ast.FunctionDef) -> bool:
    """Whether a text has no statements that branch, so that to execute it adds few paths."""
    return not any(isinstance(node, (ast.If, ast.For, ast.While)) for node in ast.walk(tree))
