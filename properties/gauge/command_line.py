"""The command `stepgauge`."""

import argparse
import ast
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from stepgauge.properties.gauge.examination import Level
    from stepgauge.properties.gauge.verdict import Report

EXTRAS = {"rich": "check", "hypothesis": "check", "torch": "torch"}  # optional modules, and what brings them
WIDTH = 120  # where there is no terminal to ask

# Exit statuses of `check`; over several targets the first in this order that applies.
USAGE, NOT_LOADED, DIVERGES, NOT_ESTABLISHED, CONFORMS, INTERRUPTED = 2, 3, 1, 5, 0, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    try:
        chosen = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = chosen.command
        return command(chosen)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        return _usage(f"this needs {missing}: pip install 'stepgauge[{EXTRAS[missing]}]'")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _fall_silent()
        return INTERRUPTED
    except OSError as error:
        return _usage(f"the output cannot be written ({error.strerror})")


def run() -> None:
    """The command as a process; one that was interrupted ends as it was told, however often."""
    status = main()
    if INTERRUPTS:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _fall_silent() -> None:
    """Where nobody reads any more, what is left to print is not missed, nor complained about at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stepgauge", description="Tell whether an optimizer computes the update rule it is named for."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_check(commands)
    rules = commands.add_parser("rules", help="list every rule: hyperparameters, defaults, dialects, source")
    rules.set_defaults(command=_rules)
    explain = commands.add_parser("explain", help="print a rule's reference text with its citations")
    explain.add_argument("rule", metavar="RULE")
    explain.set_defaults(command=_explain)
    strength = commands.add_parser(
        "strength", help="what the gauge misses of a rule: every small edit, and how small an error"
    )
    strength.add_argument("rules", nargs="*", metavar="RULE", help="(default: every rule, which takes long)")
    strength.add_argument(
        "--level", choices=("quick", "standard", "deep"), default="standard", help="how many problems"
    )
    strength.set_defaults(command=_strength)
    _add_vectors(commands)
    return parser


def _add_vectors(commands: Any) -> None:
    vectors = commands.add_parser("vectors", help="replay recorded trajectories").add_subparsers(
        required=True, metavar="ACTION"
    )
    verify = vectors.add_parser("verify", help="replay files through the reference or a target; 0 if all agree, else 1")
    verify.add_argument("files", nargs="+", type=Path, metavar="FILE")
    verify.add_argument("--target", metavar="TARGET", help="replay them through this target, as `check` has it")
    _add_rename(verify)
    verify.set_defaults(command=_verify)
    export = vectors.add_parser("export", help="write the recorded trajectories of the authors' released code")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.set_defaults(command=_export)


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="check optimizers against the rules they are named for")
    check.add_argument(
        "targets", nargs="+", metavar="TARGET", help="module:Factory or path.py:Factory, maybe (key=value)"
    )
    check.add_argument("--rule", metavar="NAME", help="the rule to compare with, or none (default: by the name)")
    check.add_argument("--dialect", default="auto", metavar="auto|NAME", help="the dialect to hold targets to")
    check.add_argument(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        metavar="KEY=VALUE",
        help="fix a hyperparameter of the rule, on both sides",
    )
    _add_rename(check)
    check.add_argument("--level", choices=("quick", "standard", "deep"), default="standard", help="how many problems")
    check.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where torch targets run")
    check.add_argument("--only", default="*", metavar="GLOB", help="run only the checks whose id matches")
    check.add_argument("--skip", default="", metavar="GLOB", help="leave out the checks whose id matches")
    check.add_argument("--strict", action="store_true", help="exit 1 for any failed check, of whatever category")
    check.add_argument("--seed", type=_natural, default=0, metavar="N", help="draw other problems")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    check.add_argument("--save", type=Path, metavar="DIR", help="save each divergence there, as data and as a script")
    check.add_argument(
        "--no-diagnosis", dest="diagnosis", action="store_false", help="do not seek the cause of a divergence"
    )
    check.set_defaults(command=_check)


def _add_rename(parser: Any) -> None:
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        type=_renaming,
        metavar="OURS=THEIRS",
        help="the target's name for a hyperparameter; betas.0=b1 for an item of a tuple",
    )


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 0")
    return int(text)


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        return key, ast.literal_eval(value if equals else "")
    except (SyntaxError, ValueError):
        message = f"{text!r} must be KEY=VALUE with a number, True, False or a tuple of numbers"
        raise argparse.ArgumentTypeError(message) from None


def _renaming(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not (ours and equals and theirs.isidentifier()):
        raise argparse.ArgumentTypeError(f"{text!r} must be OURS=THEIRS, such as betas.0=b1")
    return ours, theirs


def _console() -> "Console":
    """Standard output, of a fixed width where it is no terminal."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for `main`: rich itself would exit with the status that says "diverges"

    return Output(width=None if sys.stdout.isatty() else WIDTH)


def _version() -> str:
    from stepgauge import __version__

    return f"stepgauge {__version__}"


def _usage(message: str) -> int:
    print(f"stepgauge: {message}", file=sys.stderr)
    return USAGE


def _check(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from stepgauge.properties.gauge.target import UsageError, known_rule

    try:
        if chosen.rule is not None:
            chosen.rule = known_rule(chosen.rule, or_none=True)
        _require_device(chosen.device)
        _require_writable(chosen.json)
        _require_folder("--save", chosen.save)
    except UsageError as error:
        return _usage(str(error))
    reports: list[Report] = []
    said: list[str] = []
    unwritten: OSError | None = None
    with _interruptible():
        interrupted = _examine_all(chosen, reports, Console(stderr=True))
        try:
            said += _written(reports, chosen)
        except KeyboardInterrupt:
            interrupted = True
        except OSError as error:
            unwritten = error
        _show(reports, said)
    if unwritten:
        return _usage(f"--json {chosen.json}: cannot be written ({unwritten.strerror})")
    return INTERRUPTED if interrupted else exit_status(reports, strict=chosen.strict)


def _written(reports: "Sequence[Report]", chosen: argparse.Namespace) -> Iterator[str]:
    """Write what is asked for; what is to be said of it.

    Raises:
        OSError: the JSON cannot be written; divergences are saved all the same.
    """
    from stepgauge.properties.gauge.report import write_json

    try:
        if chosen.json:
            write_json(reports, chosen.json)
    finally:
        if chosen.save:
            yield from _saved(reports, chosen)


def _show(reports: "Sequence[Report]", said: Sequence[str]) -> None:
    """Print the reports and what else is to be said; whoever reads may have seen enough, the status is for others."""
    from stepgauge.properties.gauge.report import show

    try:
        if reports:
            show(reports, _console())
        for line in said:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _fall_silent()


def _examine_all(chosen: argparse.Namespace, reports: "list[Report]", console: "Console") -> bool:
    """Examine target after target, adding to `reports`; whether the user interrupted it."""
    from hypothesis.configuration import set_hypothesis_home_dir

    from stepgauge.properties.gauge.verdict import Interrupted

    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "stepgauge-hypothesis")  # and not in the user's folder
    try:
        with console.status("starting") as status:
            for text in chosen.targets:
                reports.append(_examine(text, chosen, partial(_tell, status, text)))
    except KeyboardInterrupt as interrupt:
        reports += [interrupt.report] if isinstance(interrupt, Interrupted) else []
        console.print(f"interrupted: {len(reports)} of {len(chosen.targets)} targets are finished")
        return True
    return False


INTERRUPTS: list[int] = []


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is remembered meanwhile."""
    INTERRUPTS.clear()
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(signal_number: int, _: object) -> None:
    """Ctrl-C; remembered, because where Python cannot raise (in a callback of its collector) it only prints.

    What is finished is then reported, which a second one must not cut off.
    """
    INTERRUPTS.append(signal_number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tell(status: "Status", target: str, check: str) -> None:
    if INTERRUPTS:
        raise KeyboardInterrupt
    status.update(f"{target}: {check}")


def _examine(text: str, chosen: argparse.Namespace, progress: Callable[[str], None]) -> "Report":
    """The report on one target, whatever is wrong with it."""
    from stepgauge.properties.gauge.api import examined
    from stepgauge.properties.gauge.examination import Options
    from stepgauge.properties.gauge.target import UsageError, described
    from stepgauge.properties.gauge.verdict import failed

    options = Options(
        chosen.level, chosen.seed, chosen.dialect, dict(chosen.set), chosen.only, chosen.skip, chosen.diagnosis
    )
    try:
        return examined(text, chosen.rule, options, dict(chosen.rename), chosen.device, progress)
    except UsageError as error:
        return failed(text, chosen.rule, str(error), usage=True)
    except Exception as error:  # so that whatever goes wrong here loses nobody else's verdict
        return failed(text, chosen.rule, f"cannot be examined: {described(error)}")


def _saved(reports: "Sequence[Report]", chosen: argparse.Namespace) -> Iterator[str]:
    """Save every divergence; where each is."""
    from stepgauge.properties.gauge.api import Asked
    from stepgauge.properties.gauge.saving import file_names, save
    from stepgauge.properties.gauge.target import TargetError

    divergent = [report for report in reports if report.verdict == "diverges"]
    for report, name in zip(divergent, file_names(divergent), strict=True):
        try:
            target = Asked.of(report.target, report.rule).built(dict(chosen.rename), chosen.device)
            said = save(report, target, chosen.save, name)
        except TargetError as error:  # it was changed since it was examined, or is not built alike every time
            said = f"not saved: {error}"
        except OSError as error:
            said = f"not saved: {error.filename} cannot be written ({error.strerror})"
        yield f"{report.target}: {said}"


def exit_status(reports: "Sequence[Report]", *, strict: bool = False) -> int:
    """The exit status of a run over several targets."""
    verdicts = {report.verdict for report in reports}
    if any(report.usage for report in reports):
        return USAGE
    if "error" in verdicts:
        return NOT_LOADED
    if "diverges" in verdicts or (strict and any(report.failures(deciding=False) for report in reports)):
        return DIVERGES
    return NOT_ESTABLISHED if "not-established" in verdicts else CONFORMS


def _require_device(device: str) -> None:
    from stepgauge.properties.gauge.target import UsageError

    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu")


def _require_writable(file: Path | None) -> None:
    """Find out before the work whether its result can be written."""
    from stepgauge.properties.gauge.target import UsageError

    if file is None:
        return
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--json {file}: there is no folder {file.parent}")
    there = os.path.lexists(file)
    try:
        with file.open("a"):
            pass
        if not there:
            file.unlink()
    except OSError as error:
        raise UsageError(f"--json {file}: cannot be written ({error.strerror})") from error


def _require_folder(what: str, folder: Path | None) -> None:
    """Make the folder if it is not there, and find out before the work whether files can be written in it."""
    from stepgauge.properties.gauge.target import UsageError

    if folder is None:
        return
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{what} {folder}: is no folder that can be written ({error.strerror})") from error


def _rules(_: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.explanation import rules_table

    _console().print(rules_table())
    return 0


def _strength(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.target import UsageError, known_rule
    from stepgauge.reference import RULES

    try:
        rules = [known_rule(name) for name in chosen.rules] or list(RULES)
    except UsageError as error:
        return _usage(str(error))
    for rule in rules:
        for dialect in RULES[rule].dialects:
            _show_strength(rule, dialect, chosen.level)
    return 0


def _show_strength(rule: str, dialect: str, level: "Level") -> None:
    from rich.console import Console

    from stepgauge.properties.gauge.report import show_resolution, show_strength
    from stepgauge.properties.gauge.resolution import resolution_of
    from stepgauge.properties.gauge.strength import strength_of

    with Console(stderr=True).status(f"{rule} {dialect}: edits") as status:
        strength = strength_of(rule, dialect, level)
        resolution = resolution_of(rule, dialect, level, lambda check: status.update(f"{rule} {dialect}: {check}"))
    show_strength([strength], _console())
    show_resolution(resolution, _console())


def _explain(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.explanation import explanation
    from stepgauge.properties.gauge.target import UsageError, known_rule

    try:
        rule = known_rule(chosen.rule)
    except UsageError as error:
        return _usage(str(error))
    _console().print(explanation(rule))
    return 0


def _verify(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.target import TargetError, UsageError
    from stepgauge.properties.gauge.vectors import VectorError

    statuses = set()
    for file in chosen.files:
        try:
            statuses.add(_verify_file(file, chosen))
        except VectorError as error:
            statuses.add(_usage(f"{file} {error}"))
        except UsageError as error:
            statuses.add(_usage(str(error)))
        except TargetError as error:
            print(f"stepgauge: {chosen.target} {error}", file=sys.stderr)
            statuses.add(NOT_LOADED)
    return next(status for status in (USAGE, NOT_LOADED, DIVERGES, CONFORMS) if status in statuses)


def _verify_file(file: Path, chosen: argparse.Namespace) -> int:
    """Replay a file, and say how far it agrees."""
    from stepgauge.properties.gauge.replay import replayed
    from stepgauge.properties.gauge.vectors import read

    cases = read(file)
    target = None
    if chosen.target is not None:
        from stepgauge.properties.gauge.api import Asked

        target = Asked.of(chosen.target, cases[0].problem.rule).built(dict(chosen.rename), "cpu")
    apart = [replay for case in cases if (replay := replayed(case, target)).divergence]
    print(f"{file}: {len(cases) - len(apart)} of {len(cases)} cases replay")
    for replay in apart:
        print(f"  {replay.case}: {replay.divergence}")
    return DIVERGES if apart else CONFORMS


def _export(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.target import UsageError
    from stepgauge.properties.gauge.vectors import export

    try:
        _require_folder("export", chosen.folder)
        written = export(chosen.folder)
    except UsageError as error:
        return _usage(str(error))
    print(f"{chosen.folder}: {len(written)} files")
    return 0


if __name__ == "__main__":
    run()
