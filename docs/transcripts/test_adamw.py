import torch

from stepgauge import conformance_checks


@conformance_checks(torch.optim.AdamW, rule="adamw")
def test_adamw(check):
    check()
