"""The command starts a process for each target; in tests these are many, and what each imports is imported once."""

import multiprocessing

multiprocessing.get_context("forkserver").set_forkserver_preload(
    ["stepgauge.properties.gauge.examine", "torch", "torch._dynamo"]
)
