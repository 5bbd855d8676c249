"""Running checks: those that the options choose, one after the other; whatever one raises becomes its result."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from stepgauge.properties.gauge.checks.context import Context
from stepgauge.properties.gauge.checks.registry import Check, load_checks, present_id
from stepgauge.properties.gauge.checks.results import Failed, Finding, Inconclusive, NotApplicable, Result, Status
from stepgauge.properties.gauge.errors import FOREIGN_ERRORS, StepError, UsageError, describe


class Runner:
    """The checks of a context.

    Raises:
        UsageError: `only` or `skip` is no text, matches no check, or leaves none that the target can be asked.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._only, self._skip = (_globs(given) for given in (context.options.only, context.options.skip))
        if not any(self.selected()):
            but = f" but --skip {context.options.skip!r}" if context.options.skip else ""
            raise UsageError(f"--only {context.options.only!r}{but} leaves no check that this target can be asked")

    def selected(self) -> Iterator[Check]:
        """The checks to run."""
        for check in load_checks():
            wanted = any(fnmatchcase(check.id, glob) for glob in self._only)
            skipped = any(fnmatchcase(check.id, glob) for glob in self._skip)
            if wanted and not skipped and check.applies(self.context.target):
                yield check

    def run(self, check: Check) -> Result:
        """Run one check; whatever it raises becomes a result."""
        return run_check(self.context, check)

    def run_all(self, progress: Callable[[str], None] = lambda _: None) -> list[Result]:
        """Run the selected checks, telling `progress` the id of each before it starts."""
        results = []
        for check in self.selected():
            progress(check.id)
            results.append(self.run(check))
        return results


def run_check(context: Context, check: Check) -> Result:
    """Run one check on a target; whatever it raises becomes a result."""
    if context.obstacle:
        return Result(check.id, check.category, Status.INCONCLUSIVE, message=context.obstacle)
    try:
        with context.surroundings():
            finding = check.body(context) or Finding()
    except UsageError:
        raise
    except Failed as failure:
        return Result(check.id, check.category, Status.FAIL, failure.error, failure.allowed, str(failure))
    except NotApplicable as reason:
        return Result(check.id, check.category, Status.NOT_APPLICABLE, message=str(reason))
    except Inconclusive as reason:
        return Result(check.id, check.category, Status.INCONCLUSIVE, message=str(reason))
    except StepError as error:
        return Result(check.id, check.category, Status.ERROR, message=str(error))
    except FOREIGN_ERRORS as error:
        return Result(check.id, check.category, Status.ERROR, message=describe(error))
    return Result(
        check.id, check.category, Status.PASS, finding.error, finding.allowed, finding.message, finding.outcomes
    )


def _globs(given: str) -> list[str]:
    """The globs in a list that is separated by commas.

    Raises:
        UsageError: it is no text, or one of them matches no check.
    """
    if not isinstance(given, str):
        raise UsageError(f"{given!r:.40} must be a text, with commas between several globs")
    globs = [glob for part in given.split(",") if (glob := part.strip())]
    known = [check.id for check in load_checks()]
    for glob in globs:
        if not any(fnmatchcase(id_, glob) for id_ in known):
            now = present_id(glob)
            raise UsageError(f"no check is called {glob!r}" + (f": it is {now!r} now" if now else ""))
    return globs
