"""The command `stepgauge`: a module for each of its commands, with the functions `add` and `run`."""

from stepgauge.properties.gauge.command_line.main import main as main
from stepgauge.properties.gauge.command_line.main import run as run
