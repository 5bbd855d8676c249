"""Running checks: those that the options choose, one after the other; whatever one raises becomes its result."""

from collections.abc import Callable, Iterator, Sequence
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
        self.narrowed: list[Check] = []  # those that did not compare with every dialect
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
        """Run one check; whatever it raises becomes a result.

        A dialect that the target has left is not compared with it again: it cannot be the one that it follows.
        """
        result = run_check(self.context, check)
        if counted := [o for o in result.outcomes if o.counts]:
            if len(self.context.candidates) < len(self.context.dialects):
                self.narrowed.append(check)
            self.context.left = tuple(d for d in self.context.left if all(o.follows(d) for o in counted))
        return result

    def complete(self, results: Sequence[Result]) -> list[Result]:
        """The results, compared with every dialect if the target follows none: any may be the nearest."""
        if not self.narrowed or self.context.left:
            return list(results)
        again = {check.id: run_check(self.context, check) for check in self.narrowed}
        self.narrowed.clear()
        return [again.get(result.id, result) for result in results]

    def run_all(self, progress: Callable[[str], None] = lambda _: None) -> list[Result]:
        """Run the selected checks, telling `progress` the id of each before it starts."""
        results = []
        for check in self.selected():
            progress(check.id)
            results.append(self.run(check))
        return self.complete(results)


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
