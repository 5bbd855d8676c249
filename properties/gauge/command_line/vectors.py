"""`stepgauge vectors`: recorded trajectories, made, replayed and exported."""

import argparse
import sys
from pathlib import Path
from typing import Any

from stepgauge.properties.gauge.command_line.arguments import add_rename, require_folder, require_new
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
    export = vectors.add_parser("export", help="write the recorded trajectories of the authors' released code")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.set_defaults(command=_export)
    record = vectors.add_parser("record", help="record what a torch optimizer computes on problems that are fixed")
    record.add_argument("target", metavar="TARGET", help="as `check` has it")
    record.add_argument("--rule", metavar="NAME", help="the rule that it computes (default: by the name)")
    record.add_argument(
        "--dialect", default="auto", metavar="NAME", help="the dialect that it computes (default: the first)"
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

        target = Asked.of(chosen.target, cases[0].problem.rule).built(dict(chosen.rename), "cpu")
    apart = [replay for case in cases if (replay := replay_case(case, target)).divergence]
    print(f"{file}: {len(cases) - len(apart)} of {len(cases)} cases replay")
    for replay in apart:
        print(f"  {replay.case}: {replay.divergence}")
    return ExitStatus.DIVERGES if apart else ExitStatus.CONFORMS


def _export(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.vectors.format import export

    try:
        require_folder("export", chosen.folder)
        written = export(chosen.folder)
    except UsageError as error:
        return usage_error(str(error))
    print(f"{chosen.folder}: {len(written)} files")
    return ExitStatus.CONFORMS


def _record(chosen: argparse.Namespace) -> int:
    from stepgauge.properties.gauge.api import Asked
    from stepgauge.properties.gauge.vectors.format import write_all
    from stepgauge.properties.gauge.vectors.record import record, source_of

    try:
        require_new("--output", chosen.output)
        asked = Asked.of(chosen.target, chosen.rule)
        cases = record(asked.built(dict(chosen.rename), "cpu"), chosen.dialect)
        source = source_of(chosen.target, asked.load())
        write_all(cases, source, chosen.output)
    except UsageError as error:
        return usage_error(str(error))
    except (TargetError, StepError) as error:
        print(f"stepgauge: {chosen.target} {error}", file=sys.stderr)
        return ExitStatus.NOT_LOADED
    release = f"{source['project']} {source['version']}" if "project" in source else chosen.target
    print(f"{chosen.output}: {len(cases)} cases of {asked.rule}, recorded from {release} with torch {source['torch']}")
    return ExitStatus.CONFORMS
