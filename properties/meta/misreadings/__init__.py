"""Wrong ports of optimizers, which a verifier of their rules has to tell apart.

Each is what a careful but fallible reader of the paper or of the authors' code might write. None
of them computes the published rule for all legal inputs and hyperparameters, nor what the
released code computes.
"""

from stepgauge.properties.meta.discovery import gathered, optimizers_of

MISREADINGS = gathered(__name__, "MISREADINGS")
PORTS = tuple(port for port in optimizers_of(__name__) if "rule" in vars(port))  # right ones: who names a rule keeps it
