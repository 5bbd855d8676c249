"""The keywords of a factory, as its signature tells them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stepgauge.properties.gauge.errors import TargetError, describe


@dataclass(frozen=True)
class Keywords:
    """The keywords of a factory.

    Attributes:
        named: those in its signature, without the first parameter (the parameters to optimize).
        is_open: whether it passes others on (`**kwargs`), so that it has more than it names.
    """

    named: Mapping[str, inspect.Parameter]
    is_open: bool

    @classmethod
    def of(cls, factory: Callable[..., Any], skip: int = 1) -> "Keywords":
        """Read a factory's signature, but for the first `skip` parameters.

        Raises:
            TargetError: it cannot be read.
        """
        try:
            parameters = list(inspect.signature(factory).parameters.values())
        except (TypeError, ValueError) as error:
            raise TargetError(f"cannot be built: its signature cannot be read ({describe(error)})") from error
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        is_open = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
        rest = (
            parameters if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL else parameters[skip:]
        )
        return cls({p.name: p for p in rest if p.kind in named}, is_open)

    def are_tied(self, names: Iterable[str]) -> bool:
        """Whether the default of any of `names` is None: what stands for it may depend on others."""
        return any(name in self.named and self.named[name].default is None for name in names)

    def may_be_left_out(self, names: Iterable[str]) -> bool:
        """Whether all of `names` have a default; torch's `required` marks one that has none."""
        for name in names:
            default = self.named[name].default if name in self.named else None
            if default is inspect.Parameter.empty or type(default).__name__ == "_RequiredParameter":
                return False
        return True
