"""`python -m stepgauge.properties.meta.figures [RULE...]` measures every rule, or those named, for minutes each."""

import sys

from stepgauge.properties.gauge.errors import UsageError
from stepgauge.properties.gauge.strength.mutants import strength_of
from stepgauge.properties.gauge.strength.resolution import resolution_of
from stepgauge.properties.gauge.targets.rules import known_rule
from stepgauge.properties.meta.figures import store
from stepgauge.properties.meta.figures.measured import headroom_row, mutants_row, nearest_rows, resolution_row
from stepgauge.reference import RULES

try:
    chosen = [known_rule(name) for name in sys.argv[1:]] or list(RULES)
except UsageError as error:
    sys.exit(f"figures: {error}")
for rule in chosen:
    for dialect in RULES[rule].dialects:
        print(f"{rule} {dialect}")
        store("mutants", [mutants_row(strength_of(rule, dialect))])
        store("resolution", [resolution_row(resolution_of(rule, dialect))])
    store("headroom", [headroom_row(rule)])
    store("nearest", nearest_rows(rule))
