"""Wrong ports that nothing in the gauge was written for.

They are kept out of `MISREADINGS`: whoever teaches the gauge to name causes of divergence looks at
those, and measures on these how many causes it names that it was not taught.
"""

from stepgauge.properties.meta.misreadings.held_out import adai, baselines, critical, frog, fsgdm, projected

HELD_OUT = (
    *baselines.HELD_OUT,
    *projected.HELD_OUT,
    *fsgdm.HELD_OUT,
    *adai.HELD_OUT,
    *critical.HELD_OUT,
    *frog.HELD_OUT,
)
