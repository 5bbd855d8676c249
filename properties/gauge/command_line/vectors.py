"""`stepgauge vectors`: recorded trajectories, made, replayed and exported."""

import argparse
import sys
from pathlib import Path
from typing import Any

from stepgauge.properties.gauge.checks.options import DTYPES, LEVELS, Handling
from stepgauge.properties.gauge.command_line.arguments import (
    add_rename,
    assignment,
    natural,
    require_folder,
    require_new,
)
from stepgauge.properties.gauge.command_line.output import ExitStatus, usage_error
from stepgauge.properties.gauge.errors import StepError, TargetError, UsageError


def add(commands: Any) -> None:
    vectors = commands.add_parser("vectors", help="replay recorded trajectories").add_subparsers(
        required=True, metavar="ACTION"
    )
    verify = vectors.add_parser("verify", help="replay files through the reference or a target; 0 if all agree, else 1")
    verify.add_argument("files", nargs="+", type=Path, metavar="FILE", help="as `schema vectors` has it")
    verify.add_argument("--target", metavar="TARGET", help="replay them through this target, as `check` has it")
    add_rename(verify)
    verify.set_defaults(command=_verify)
    export = vectors.add_parser("export", help="write what released code computed, or what `check` draws")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.add_argument(
        "--problems", action="store_true", help="the problems that `check` draws, with the reference and its allowance"
    )
    export.add_argument("--rule", action="append", metavar="NAME", help="of this rule (default: of every rule)")
    export.add_argument("--level", choices=LEVELS, default="quick", help="how many problems")
    export.add_argument("--dtype", choices=DTYPES, default="float64", help="the precision of the port")
    export.add_argument("--seed", type=natural, default=0, metavar="N", help="draw other problems")
    export.set_defaults(command=_export)
    record = vectors.add_parser("record", help="record what an optimizer computes on problems that are fixed")
    record.add_argument("target", metavar="TARGET", help="as `check` has it")
    record.add_argument("--rule", metavar="NAME", help="the rule that it computes, or none (default: by the name)")
    record.add_argument(
        "--dialect", default="auto", metavar="NAME", help="the dialect that it computes (default: the first)"
    )
    record.add_argument(
        "--set", action="append", default=[], type=assignment, metavar="KEY=VALUE", help="keep a hyperparameter at this"
    )
    add_rename(record)
    record.add_argument("--output", required=True, type=Path, metavar="FILE", help="a file that is not there yet")
    record.set_defaults(command=_record)


def _verify(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.vectors.format import VectorError

    statuses = set()
    for file in chosen.files:
        try:
            statuses.add(_verify_file(file, chosen))
        except VectorError as error:
            statuses.add(usage_error(f"{file} {error}"))
        except UsageError as error:
            statuses.add(usage_error(str(error)))
        except TargetError as error:
            print(f"stepgauge: {chosen.target} {error}", file=sys.stderr)
            statuses.add(ExitStatus.NOT_LOADED)
    return next(
        status
        for status in (ExitStatus.USAGE, ExitStatus.NOT_LOADED, ExitStatus.DIVERGES, ExitStatus.CONFORMS)
        if status in statuses
    )


def _verify_file(file: Path, chosen: argparse.Namespace) -> int:
    """Replay a file, and say how far it agrees."""
    from stepgauge.properties.gauge.vectors.format import read
    from stepgauge.properties.gauge.vectors.replay import replay_case

    cases = read(file)
    target = None
    if chosen.target is not None:
        from stepgauge.properties.gauge.api import Asked

        target = Asked.of(chosen.target, cases[0].problem.rule).built(Handling(dict(chosen.rename)))
    apart = [replay for case in cases if (replay := replay_case(case, target)).divergence]
    print(f"{file}: {len(cases) - len(apart)} of {len(cases)} cases replay")
    for replay in apart:
        print(f"  {replay.case}: {replay.divergence}")
    return ExitStatus.DIVERGES if apart else ExitStatus.CONFORMS


def _export(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.vectors.format import export

    try:
        require_folder("export", chosen.folder)
        written = _export_problems(chosen) if chosen.problems else export(chosen.folder)
    except UsageError as error:
        return usage_error(str(error))
    print(f"{chosen.folder}: {len(written)} files")
    return ExitStatus.CONFORMS


def _export_problems(chosen: argparse.Namespace) -> list[Path]:
    """Write the drawn problems of each rule and dialect; a second run replaces the files.

    Raises:
        UsageError: there is no such rule, or a file cannot be written.
    """
    from stepgauge.properties.gauge.cache.run import run_cache
    from stepgauge.properties.gauge.checks.options import Options
    from stepgauge.properties.gauge.targets.rules import known_rule
    from stepgauge.properties.gauge.vectors.drawn_problems import drawn_cases
    from stepgauge.properties.gauge.vectors.format import write_all
    from stepgauge.properties.gauge.verdicts.environment import environment
    from stepgauge.reference import RULES

    written = []
    options = Options(chosen.level, chosen.seed)
    for rule in [known_rule(name) for name in chosen.rule or RULES]:
        for dialect in RULES[rule].dialects:
            file = chosen.folder / f"{rule}-{dialect}-{chosen.dtype}.json"
            with run_cache():
                cases, left_out = drawn_cases(rule, dialect, chosen.dtype, options)
            drawn = {"drawn": f"--level {chosen.level} --seed {chosen.seed}", "left out": left_out}
            try:
                write_all(cases, {**drawn, **environment()["versions"]}, file)
            except OSError as error:
                raise UsageError(f"{file} cannot be written ({error.strerror})") from error
            said = f"; {left_out} left out, on which rounding may do anything" if left_out else ""
            print(f"{file}: {len(cases)} problems{said}")
            written.append(file)
    return written


def _record(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.api import Asked
    from stepgauge.properties.gauge.vectors.format import write_all
    from stepgauge.properties.gauge.vectors.record import record, source_of

    try:
        require_new("--output", chosen.output)
        asked = Asked.of(chosen.target, chosen.rule)
        cases, refused = record(asked.built(Handling(dict(chosen.rename))), chosen.dialect, dict(chosen.set))
        source = source_of(chosen.target, asked.load())
        write_all(cases, source, chosen.output)
    except UsageError as error:
        return usage_error(str(error))
    except (TargetError, StepError) as error:
        print(f"stepgauge: {chosen.target} {error}", file=sys.stderr)
        return ExitStatus.NOT_LOADED
    release = f"{source['project']} {source['version']}" if "project" in source else chosen.target
    of = "without a rule" if asked.rule == "none" else f"of {asked.rule}"
    print(f"{chosen.output}: {len(cases)} cases {of}, recorded from {release}")
    for name, how in refused.items():
        print(f"not recorded with {name}, which it refuses: {how}")
    return ExitStatus.CONFORMS
