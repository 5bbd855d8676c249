"""Right ports of optimizers in other orders of floating-point operations.

Each computes the published rule and rounds differently from the plain port. A verifier must
accept all of them.
"""

from stepgauge.properties.meta.discovery import gathered

REORDERINGS = gathered(__name__, "REORDERINGS")
