"""Right ports of optimizers in other orders of floating-point operations.

Each computes the published rule and rounds differently from the plain port. A verifier must
accept all of them, those marked `only_with_constants` only where no hyperparameter but lr moves between
steps: what they keep is no longer what the rule keeps times a constant, once the constant moves.
"""

from stepgauge.properties.meta.discovery import gathered

REORDERINGS = gathered(__name__, "REORDERINGS")
