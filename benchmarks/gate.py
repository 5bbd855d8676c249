"""Whether the kernels still cost what the stored baseline says.

    python benchmarks/gate.py counts     # seconds; what every change must pass
    python benchmarks/gate.py            # with the ratios, under five minutes
    python benchmarks/gate.py --record   # makes what is measured the baseline

Counts decide first: no other process can change them. Ratios of kernels in one process come second, and are
judged where the machine has nothing else to do. Absolute times are neither stored nor judged.

Exit status: 0 nothing is dearer than it was, 1 something is, 2 there is no baseline to compare with.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from counts import HERE, Unavailable, instructions, memory, operators

from stepgauge.properties.gauge.bench.machine import BUSY, Others, identity, versions

BASELINE = HERE / "baseline.json"
PROCESSES = 5  # that measure the ratios; more, where some look dearer
RETRIES = 2
# What may be dearer by how much before it counts. Instructions repeat exactly with the same compiler and interpreter;
# the allowance is for other patch releases of these. Ratios (medians of five processes) were seen to differ by 17 %; on
# another processor they say only whether a kernel has fallen far behind.
ALLOWED = {"instructions": 0.05, "operators": 0.0, "memory": 0.05, "ratios": 0.25}
SLACK = {"memory": 1024}  # bytes: what the interpreter itself holds differs by that
ELSEWHERE = {**ALLOWED, "ratios": 1.0}
Kinds = dict[str, dict[str, float]]


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    now = counted(chosen.slow, print)
    if chosen.what == "counts" and not chosen.record:
        return judged(now, chosen.baseline)
    ratios, share = measured_ratios(chosen.slow)
    if chosen.record:
        rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
        return record({**now, "ratios": rounded}, share, chosen.baseline)
    if share is not None and share > BUSY:
        print(f"the machine is busy: others took {share:.0%} of its processors, so only the counts are judged")
    else:
        now["ratios"] = confirmed(ratios, chosen.baseline, chosen.slow)
    return judged(now, chosen.baseline)


def counted(slowed: list[str], say: Callable[[str], None]) -> Kinds:
    """All counts that this machine can make; what it cannot is said."""
    kinds: dict[str, Callable[[], Any]] = {
        "instructions": lambda: instructions(slowed),
        "operators": operators,
        "memory": memory,
    }
    found: Kinds = {}
    for kind, count in kinds.items():
        try:
            found[kind] = count()
        except Unavailable as reason:
            say(str(reason))
    return found


def measured_ratios(slowed: list[str], processes: int = PROCESSES) -> tuple[dict[str, float], float | None]:
    """Medians over processes, and the share of the machine that others took meanwhile."""
    others = Others()
    command = [sys.executable, str(HERE / "ratios.py"), *slowed]
    runs = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(processes)]
    return {name: median(run[name] for run in runs) for name in runs[0]}, others.share()


def confirmed(ratios: dict[str, float], baseline: Path, slowed: list[str]) -> dict[str, float]:
    """The least of several measurements, where the first looks dearer: what is slower stays so."""
    for _ in range(RETRIES):
        if not list(dearer({"ratios": ratios}, read(baseline))):
            break
        again, _ = measured_ratios(slowed)
        ratios = {name: min(ratio, again[name]) for name, ratio in ratios.items()}
    return ratios


def judged(now: Kinds, path: Path) -> int:
    """Compare with the baseline, say what differs, and return the exit status."""
    try:
        baseline = read(path)
    except (OSError, ValueError) as error:
        print(f"{path}: no baseline can be read there ({error}); record one with --record", file=sys.stderr)
        return 2
    for line in (*differences(baseline), *(f"the baseline has no {kind}" for kind in now.keys() - baseline.keys())):
        print(line)
    found = list(dearer(now, baseline))
    for line in found:
        print(line)
    compared = {kind: len(values.keys() & baseline.get(kind, {}).keys()) for kind, values in now.items()}
    print(f"{len(found)} dearer; compared {', '.join(f'{n} {kind}' for kind, n in compared.items())}")
    return 1 if found else 0


def differences(baseline: dict[str, Any]) -> Iterator[str]:
    """What is not as it was where the baseline was recorded."""
    if (recorded := baseline["machine"]) != identity():
        yield f"the baseline is of another machine ({recorded['processor']}): counts and ratios are compared, no times"
    before, now = baseline["versions"], versions()
    others = [f"{name} {now.get(name)} (was {was})" for name, was in before.items() if now.get(name) != was]
    if others:
        yield f"other versions than the baseline's, which may be the cause: {', '.join(others)}"


def dearer(now: Kinds, baseline: dict[str, Any]) -> Iterator[str]:
    """A sentence for everything that costs more than it may, or is not in the baseline at all."""
    allowed = ALLOWED if baseline["machine"] == identity() else ELSEWHERE
    for kind, values in now.items():
        if kind not in baseline:
            continue
        for name, value in values.items():
            was = baseline[kind].get(name)
            if was is None:
                yield f"{kind} of {name}: not in the baseline; record it with --record"
            elif value > was * (1 + allowed[kind]) + SLACK.get(kind, 0):
                change = f"{value / was - 1:+.0%}" if was else "from nothing"
                yield f"{kind} of {name}: {value:.6g}, was {was:.6g} ({change}, {allowed[kind]:.0%} allowed)"
        for name in baseline[kind].keys() - values.keys():
            yield f"{kind} of {name}: in the baseline, but not measured any more"


def read(path: Path) -> dict[str, Any]:
    """The stored baseline."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def record(now: Kinds, share: float | None, path: Path) -> int:
    """Store what was measured; without the ratios, where the machine was busy."""
    if busy := share is not None and share > BUSY:
        print(f"the machine is busy: others took {share:.0%} of its processors, so no ratios are recorded")
    kept = {kind: values for kind, values in now.items() if not (busy and kind == "ratios")}
    path.write_text(json.dumps({"machine": identity(), "versions": versions(), **kept}, indent=1) + "\n")
    print(f"recorded in {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare what the kernels cost with the stored baseline.")
    parser.add_argument("what", nargs="?", choices=("counts", "all"), default="all")
    parser.add_argument("--record", action="store_true", help="store what is measured as the baseline")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE")
    parser.add_argument(
        "--slow", action="append", default=[], metavar="KERNEL", help="plant a slowdown of a fifth in it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
