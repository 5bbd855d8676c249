"""What a step costs: the models, turns in one process, and counts that no other process can change.

`stepgauge bench` measures anybody's optimizer with it, and the project's benchmarks its own rules; whom those are held
against, and what they may cost, stays in `benchmarks/`.
"""
