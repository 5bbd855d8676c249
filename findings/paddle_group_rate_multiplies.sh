#!/usr/bin/env bash
# Guess: `learning_rate` in a parameter group of a PaddlePaddle optimizer is that group's rate, as `lr` is in torch.
# What happens: it is a factor of the optimizer's rate: 0.25 beside a rate of 0.125 steps by 0.03125. `weight_decay` in
#   the same group is a value of its own, which replaces the optimizer's.
# Why it matters: groups ported from torch train with rates that are too small by the base rate, mostly a thousandfold,
#   and stand still without an error.
source "$(dirname "$0")/_lib.sh"
install paddlepaddle==3.3.1 numpy==2.4.6
observe <<'PYTHON'
import warnings

warnings.simplefilter("ignore")
import paddle

RATE, OF_GROUP = 0.125, 0.25


def weight(value):
    return paddle.create_parameter([1], "float32", default_initializer=paddle.nn.initializer.Constant(value))


plain, grouped = weight(0.0), weight(0.0)
groups = [{"params": [plain]}, {"params": [grouped], "learning_rate": OF_GROUP}]
optimizer = paddle.optimizer.SGD(learning_rate=RATE, parameters=groups)
(plain + grouped).sum().backward()
optimizer.step()
print(f"after a step along 1 at rate {RATE}: {plain.item()}; in a group with learning_rate {OF_GROUP}: {grouped.item()}")
assert plain.item() == -RATE
assert grouped.item() == -RATE * OF_GROUP

plain, grouped = weight(1.0), weight(1.0)
groups = [{"params": [plain]}, {"params": [grouped], "weight_decay": 0.25}]
optimizer = paddle.optimizer.SGD(learning_rate=RATE, parameters=groups, weight_decay=0.5)
(0 * (plain + grouped)).sum().backward()
optimizer.step()
print(f"with weight_decay 0.5, 1 becomes {plain.item()}; in a group with weight_decay 0.25, {grouped.item()}")
assert plain.item() == 1 - RATE * 0.5
assert grouped.item() == 1 - RATE * 0.25
PYTHON
