"""Wrong ports after public bug reports, which say how many of the causes of such mistakes the gauge names.

They were written before it was taught to name them, and in sight of its checks, so that they do not count among those
that tell how much the checks see.
"""

from stepgauge.properties.meta.discovery import gathered

REPORTED = gathered(__name__, "REPORTED")
