"""What `stepgauge rules` and `stepgauge explain` print: from the reference's own text."""

import inspect
import sys
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from stepgauge.properties.gauge.rewriting import PACKAGE, parse
from stepgauge.reference import RULES, Rule

PLUMBING = {PACKAGE, *(f"{PACKAGE}.{part}" for part in ("rule", "driver", "network"))}  # no part of any rule


def rules_table() -> Table:
    """Every rule: hyperparameters with defaults, dialects, source."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("rule", "hyperparameters", "dialects", "source"):
        table.add_column(heading, overflow="fold")
    for name, rule in RULES.items():
        table.add_row(name, _signature(rule), _dialects(rule), _source(rule))
    return table


def _signature(rule: type[Rule]) -> str:
    defaults = rule.defaults()
    return ", ".join(f"{n}={defaults[n]}" if n in defaults else n for n in rule.hyperparameter_names())


def _dialects(rule: type[Rule]) -> str:
    return ", ".join([*rule.dialects, *(f"{name} (= {same})" for name, same in rule.same_as.items())])


def _source(rule: type[Rule]) -> str:
    """The first sentence of the module's docstring, which names the source."""
    text = inspect.getdoc(sys.modules[rule.__module__]) or ""
    return " ".join(text.split("\n\n")[0].split())


def explanation(rule: str) -> RenderableType:
    """The text of a rule and of the parts it uses, with their citations."""
    modules = list(dict.fromkeys(_modules(RULES[rule].__module__)))
    parts: list[RenderableType] = [Text(f"{rule}: dialects {_dialects(RULES[rule])}", style="bold")]
    parts += [Text(f"{differences(rule)}\n")] if differences(rule) else [Text()]
    for module in modules:
        source = inspect.getsource(sys.modules[module])
        parts += [Text(f"# {module}", style="dim"), Syntax(source, "python", background_color="default"), Text()]
    return Group(*parts)


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
