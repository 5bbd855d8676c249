"""Transcripts: what the commands in the documents print, stored whole, run again, and cut to be shown.

A transcript is a text: a line that starts with "$ " is a command, and what follows is what it prints. They stand in
`docs/transcripts`, beside the files that the commands need; `make transcripts` runs all of them and stores what they
print now.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "transcripts"  # only in a checkout
PROMPT = "$ "
CUT = " [...]"
WIDTH = 116  # of what is shown: what a page has room for


def transcripts() -> list[Path]:
    return sorted(FOLDER.glob("*.txt"))


def shown(name: str) -> str:
    """A transcript for a page: a block of code, with long lines cut."""
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    return "\n".join(["```", *(_cut(line) for line in lines), "```"])


def file_shown(name: str) -> str:
    """A Python file that commands need, as a block of code."""
    return f"```python\n{(FOLDER / name).read_text()}```"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - len(CUT)].rstrip() + CUT


def run_again(transcript: Path) -> list[str]:
    """The lines of a transcript as its commands print them now, in a folder with copies of what they need."""
    commands = [line for line in transcript.read_text().splitlines() if line.startswith(PROMPT)]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for file in transcript.parent.glob("*.py"):
            shutil.copy(file, folder)
        for command in commands:
            lines += [command, *_printed(command.removeprefix(PROMPT), folder)]
    return lines


def _printed(command: str, folder: str) -> list[str]:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": str(WIDTH), "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    output = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
    return [line.rstrip() for line in output.splitlines()]


def comparable(lines: Sequence[str]) -> list[str]:
    """Lines as every machine prints them: without durations, and without what its own rounding comes to.

    >>> comparable(["adamp:SGDP  sgdp*  conforms released     0.16    0.14        5/6       2/3     9/12    20.4"])
    ['adamp:SGDP sgdp* conforms released # # 5/6 2/3 9/12 #']
    >>> comparable(["27 passed in 9.52s"])
    ['27 passed in #']
    """
    return [_comparable(line) for line in lines]


def _comparable(line: str) -> str:
    if re.fullmatch(r"\S+ .* \d+\.\d", line):  # a verdict: its last column is the seconds
        return re.sub(r"\d+\.\d+", "#", " ".join(line.split()))
    return re.sub(r" in \d+\.\d+s( \([\d:]+\))?$", " in #", line)


def main(names: Sequence[str]) -> None:
    """Run the transcripts of these names, or all, and store what they print."""
    for transcript in transcripts():
        if not names or transcript.stem in names:
            transcript.write_text("\n".join(run_again(transcript)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
