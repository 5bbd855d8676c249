"""`python -m stepgauge` is the command `stepgauge`."""

from stepgauge.properties.gauge.command_line.main import run

run()
