"""The command `stepgauge`."""

import argparse
import ast
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough: no word at exit
        return INTERRUPTED
    except OSError as error:
        return _usage(f"the output cannot be written ({error.strerror})")


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
    vectors = commands.add_parser("vectors", help="replay recorded trajectories").add_subparsers(
        required=True, metavar="ACTION"
    )
    verify = vectors.add_parser("verify", help="replay files through the reference; 0 if all agree, else 1")
    verify.add_argument("files", nargs="+", type=Path, metavar="FILE")
    verify.set_defaults(command=_verify)
    return parser


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
    check.add_argument(
        "--rename",
        action="append",
        default=[],
        type=_renaming,
        metavar="OURS=THEIRS",
        help="the target's name for a hyperparameter; betas.0=b1 for an item of a tuple",
    )
    check.add_argument("--level", choices=("quick", "standard", "deep"), default="standard", help="how many problems")
    check.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where torch targets run")
    check.add_argument("--only", default="*", metavar="GLOB", help="run only the checks whose id matches")
    check.add_argument("--skip", default="", metavar="GLOB", help="leave out the checks whose id matches")
    check.add_argument("--strict", action="store_true", help="exit 1 for any failed check, of whatever category")
    check.add_argument("--seed", type=_natural, default=0, metavar="N", help="draw other problems")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    check.set_defaults(command=_check)


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

    from stepgauge.properties.gauge.report import show, write_json
    from stepgauge.properties.gauge.target import UsageError, known_rule

    try:
        if chosen.rule is not None:
            chosen.rule = known_rule(chosen.rule, or_none=True)
        _require_device(chosen.device)
        _require_writable(chosen.json)
    except UsageError as error:
        return _usage(str(error))
    reports: list[Report] = []
    interrupted = _examine_all(chosen, reports, Console(stderr=True))
    if reports:
        show(reports, _console())
    if chosen.json:
        write_json(reports, chosen.json)
    return INTERRUPTED if interrupted else exit_status(reports, strict=chosen.strict)


def _examine_all(chosen: argparse.Namespace, reports: "list[Report]", console: "Console") -> bool:
    """Examine target after target, adding to `reports`; whether the user interrupted it."""
    from hypothesis.configuration import set_hypothesis_home_dir

    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "stepgauge-hypothesis")  # and not in the user's folder
    INTERRUPTS.clear()
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        with console.status("starting") as status:
            for text in chosen.targets:
                reports.append(_examine(text, chosen, partial(_tell, status, text)))
    except KeyboardInterrupt:
        console.print(f"interrupted: {len(reports)} of {len(chosen.targets)} targets are finished")
        return True
    finally:
        signal.signal(signal.SIGINT, before)
    return False


INTERRUPTS: list[int] = []


def _interrupt(signal_number: int, _: object) -> None:
    """Ctrl-C; remembered, because where Python cannot raise (in a callback of its collector) it only prints."""
    INTERRUPTS.append(signal_number)
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

    options = Options(chosen.level, chosen.seed, chosen.dialect, dict(chosen.set), chosen.only, chosen.skip)
    try:
        return examined(text, chosen.rule, options, dict(chosen.rename), chosen.device, progress)
    except UsageError as error:
        return failed(text, chosen.rule, str(error), usage=True)
    except Exception as error:  # so that whatever goes wrong here loses nobody else's verdict
        return failed(text, chosen.rule, f"cannot be examined: {described(error)}")


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
    try:
        with file.open("a"):
            pass
    except OSError as error:
        raise UsageError(f"--json {file}: cannot be written ({error.strerror})") from error


def _rules(_: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.explanation import rules_table

    _console().print(rules_table())
    return 0


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
    from stepgauge.properties.gauge.vectors import VectorError, verify

    statuses = set()
    for file in chosen.files:
        try:
            replays = verify(file)
        except VectorError as error:
            statuses.add(_usage(f"{file} {error}"))
            continue
        apart = [replay for replay in replays if replay.divergence]
        print(f"{file}: {len(replays) - len(apart)} of {len(replays)} cases replay")
        for replay in apart:
            print(f"  {replay.case}: {replay.divergence}")
        statuses.add(DIVERGES if apart else CONFORMS)
    return next(status for status in (USAGE, DIVERGES, CONFORMS) if status in statuses)


if __name__ == "__main__":
    sys.exit(main())
