"""Expected failures of checks: each has a reason, and may have an end."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class ExpectedFailure:
    """Why a check is known to fail, where that is discussed, and until when it is accepted.

    `expires` is the version of the package that provides the optimizer with which the failure must be gone.

    Raises:
        ValueError: the reason is empty, or `expires` is no version.
    """

    reason: str
    link: str = ""
    expires: str = ""

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("an expected failure needs a reason")
        try:
            Version(self.expires or "0")
        except InvalidVersion:
            raise ValueError(f"an expected failure expires with a version, which {self.expires!r} is not") from None

    def __str__(self) -> str:
        return f"{self.reason} ({self.link})" if self.link else self.reason

    def overdue(self, factory: Callable[..., Any]) -> str:
        """With what it expired; empty if it has not.

        Raises:
            ValueError: the optimizer comes from no installed package.
        """
        if not self.expires:
            return ""
        package = provider(factory)
        if package is None:
            raise ValueError(f"an expected failure cannot expire with {self.expires}: {_NO_PACKAGE}")
        installed = metadata.version(package)
        over = Version(installed) >= Version(self.expires)
        return f"expired with {package} {self.expires}, and {installed} is installed" if over else ""


_NO_PACKAGE = "the optimizer comes from no installed package"


def provider(factory: Callable[..., Any]) -> str | None:
    """The distribution that provides an optimizer; None if no installed one does."""
    module = getattr(factory, "func", factory).__module__.partition(".")[0]  # what functools.partial wraps, if it does
    distributions = metadata.packages_distributions()
    if module in distributions:
        return distributions[module][0]
    try:
        return metadata.distribution(module).name  # an editable install may list no modules
    except metadata.PackageNotFoundError:
        return None
