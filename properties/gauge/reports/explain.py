"""What `stepgauge rules`, `explain` and `checks` print: from the reference's own text, and the checks' docstrings."""

import inspect
import sys
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from stepgauge.properties.gauge.checks.registry import Check, load_checks
from stepgauge.properties.gauge.targets.base import NO_RULE, Support
from stepgauge.properties.gauge.tolerance.reference_copies import PACKAGE, parse
from stepgauge.reference import RULES, Rule

PLUMBING = {
    PACKAGE,
    *(f"{PACKAGE}.{part}" for part in ("rule", "hyperparameters", "driver", "network")),
}  # no part of any rule


def rules_table() -> Table:
    """Every rule: hyperparameters with defaults, dialects, source."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("rule", "hyperparameters", "dialects", "source"):
        table.add_column(heading, overflow="fold")
    for name, rule in RULES.items():
        table.add_row(name, _signature(rule), dialects_in_words(rule), _source(rule))
    return table


def _signature(rule: type[Rule]) -> str:
    defaults = rule.defaults()
    return ", ".join(f"{n}={defaults[n]}" if n in defaults else n for n in rule.hyperparameter_names())


def dialects_in_words(rule: type[Rule]) -> str:
    """The names of all dialects; of a name for one of the others, which."""
    return ", ".join([*rule.dialects, *(f"{name} (= {same})" for name, same in rule.same_as.items())])


def _source(rule: type[Rule]) -> str:
    """The first sentence of the module's docstring, which names the source."""
    text = inspect.getdoc(sys.modules[rule.__module__]) or ""
    return " ".join(text.split("\n\n")[0].split())


def explanation(rule: str) -> RenderableType:
    """The text of a rule and of the parts it uses, with their citations."""
    modules = list(dict.fromkeys(_modules(RULES[rule].__module__)))
    parts: list[RenderableType] = [Text(f"{rule}: dialects {dialects_in_words(RULES[rule])}", style="bold")]
    parts += [Text(f"{differences(rule)}\n")] if differences(rule) else [Text()]
    for module in modules:
        source = inspect.getsource(sys.modules[module])
        parts += [Text(f"# {module}", style="dim"), Syntax(source, "python", background_color="default"), Text()]
    return Group(*parts, Text(f"checks of {rule}", style="bold"), list_of_checks(rule))


def list_of_checks(rule: str | None = None) -> RenderableType:
    """The checks of a rule (of no rule, if it is "none"), or all: id, category, what they ask, and of whom."""
    lines: list[RenderableType] = []
    for check in load_checks():
        if rule is None or check.applies(_TargetsOf(rule)):
            lines.append(Text.assemble((check.id, "bold"), (f"  {check.category}; {_of_whom(check)}", "dim")))
            lines.append(Padding(Text(check.says), (0, 0, 0, 4)))
    return Group(*lines)


class _TargetsOf(NamedTuple):
    """All targets of a rule, or of none, whatever they support."""

    rule: str
    supports: frozenset[Support] = frozenset(Support)

    @property
    def record(self) -> type[Rule]:
        return RULES.get(self.rule, Rule)


def _of_whom(check: Check) -> str:
    """The rules and dialects that a check holds for, in words."""
    rules = [rule for rule in RULES if check.applies(_TargetsOf(rule))]
    words = ["every rule"] if len(rules) == len(RULES) else rules
    if check.applies(_TargetsOf(NO_RULE)):
        words = [*words, "no rule"]
    if not any(check.applies(_TargetsOf(rule, frozenset())) for rule in (*rules, NO_RULE)):
        words = [*words, "torch optimizers only"]
    if check.dialects:
        words = [*words, f"{' and '.join(check.dialects)} only"]
    return ", ".join(words)


def differences(rule: str) -> str:
    """The list "released differs from published in" of a rule, or of the rule that it is a form of."""
    for module in _modules(RULES[rule].__module__):
        paragraphs = (inspect.getdoc(sys.modules[module]) or "").split("\n\n")
        for paragraph in paragraphs:
            if paragraph.startswith("released differs from published in"):
                return paragraph
    return ""


def _modules(module: str) -> Iterator[str]:
    """The module and the parts of the reference that it imports, in that order."""
    yield module
    for node in parse(module).body:
        imported = getattr(node, "module", None) or ""
        if imported.startswith(f"{PACKAGE}.") and imported not in PLUMBING:
            yield from _modules(imported)
