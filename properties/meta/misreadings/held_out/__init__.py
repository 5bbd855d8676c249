"""Wrong ports that nothing in the gauge was written for.

They are kept out of `MISREADINGS`: whoever teaches the gauge to name causes of divergence looks at
those, and measures on these how many causes it names that it was not taught.
"""

from stepgauge.properties.meta.discovery import gathered

HELD_OUT = gathered(__name__, "HELD_OUT")
