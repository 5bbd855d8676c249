"""Right ports of the critical-gradient rules in other orders of floating-point operations."""

import bisect
import heapq
import math
from typing import Any

import torch
from torch import Tensor

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.critical import (
    Adam_CPort,
    AdamW_CPort,
    Buffer,
    CriticalPort,
    RMSprop_CPort,
    SGD_CPort,
)
from stepgauge.properties.meta.reorderings.baselines import (
    AdamGeometricSums,
    AdamLerp,
    AdamRescaledRate,
    AdamRootState,
    AdamWDecayInStep,
    RMSpropLerp,
    RMSpropReciprocal,
    RMSpropRunningVariance,
    RMSpropVelocity,
    SGDLerp,
    SGDSeparateProducts,
)
from stepgauge.properties.meta.reorderings.common import InDouble, Tensors, ThroughDouble, weighted


class Weights(CriticalPort):
    """The aggregate from one weight of the gradient and one of each stored gradient."""

    def aggregate(self, g: Tensor, kept: Tensors, group: Group) -> Tensor:
        if not kept:
            return g
        kappa, size = group["kappa"], len(kept)
        own, each = {
            "sum": (1.0, kappa / size),
            "mid": (0.5, kappa / size / 2),
            "mean": (1 / (size + 1), kappa / (size + 1)),
        }[group["aggr"]]
        return self.combined(g, kept, own, each)

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        raise NotImplementedError


class MatrixProduct(Weights):
    """Adds gradient and buffer as a product of a matrix and a vector."""

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        return weighted((own, *[each] * len(kept)), (g, *kept))


class OneByOne(Weights):
    """Adds each stored gradient by itself to the weighted gradient, the newest first."""

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        total = own * g
        for stored in reversed(kept):
            total = total + each * stored
        return total


class Distances(Weights):
    """Adds the mean distance of the stored gradients from the gradient to a multiple of it."""

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        distance = torch.stack([stored - g for stored in kept]).mean(0)
        size = len(kept)
        return (own + each * size) * g + each * size * distance


class RunningMean(Weights):
    """Takes the mean of the buffer step by step, from the oldest to the newest."""

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        mean = kept[0].clone()
        for count, stored in enumerate(kept[1:], start=2):
            mean += (stored - mean) / count
        return torch.add(own * g, mean, alpha=each * len(kept))


class Pairs(Weights):
    """Adds the stored gradients in pairs, the first and the last first."""

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        while len(kept) > 1:
            half = len(kept) // 2
            middle = kept[half : len(kept) - half]
            kept = [a + b for a, b in zip(kept[:half], reversed(kept[-half:]), strict=True)] + middle
        return own * g + each * kept[0]


class DoubleSums(CriticalPort):
    """Accumulates gradient and buffer in double precision, and their norms too."""

    def aggregate(self, g: Tensor, kept: Tensors, group: Group) -> Tensor:
        return super().aggregate(g.double(), [stored.double() for stored in kept], group).to(g.dtype)

    def norm(self, p: Tensor, group: Group) -> float:
        return p.grad.double().square().sum().sqrt().item()


class RunningSum(Weights):
    """Keeps the sum of the buffer, adding what enters and subtracting what leaves, and takes it afresh now and then.

    Without the last it would drift with the number of updates, which is no matter of order.
    """

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        buffer = state.setdefault("critical", [])
        before = list(buffer)
        self.total = state.setdefault("sum", torch.zeros_like(g))
        u = self.aggregate(g, [kept for _, kept in buffer], group)
        self.insert(buffer, key, g, group)
        for item in buffer:
            if not any(item is old for old in before):
                state["sum"] += item[1]
        for item in before:
            if not any(item is new for new in buffer):
                state["sum"] -= item[1]
        state["updates"] = state.get("updates", 0) + 1
        if state["updates"] % 16 == 0:
            state["sum"] = sum((item[1] for item in buffer), torch.zeros_like(g))
        self.forget(buffer, group)
        return u

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        return own * g + each * self.total


class Slots(Weights):
    """Keeps the gradients as rows of one tensor, a new one in the place of the evicted."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        if "slots" not in state:
            state["slots"], state["keys"], state["ages"] = g.new_zeros(group["topC"], g.numel()), [], []
        slots, keys, ages = state["slots"], state["keys"], state["ages"]
        u = self.aggregate(g, list(slots[: len(keys)]), group)
        if math.isfinite(key):
            self.put(slots, keys, ages, key, g.reshape(-1))
        state["keys"] = [held * group["decay"] for held in keys]
        state["ages"] = [age + 1 for age in ages]
        return u

    def put(self, slots: Tensor, keys: list[float], ages: list[int], key: float, g: Tensor) -> None:
        slot = len(keys)
        if slot == len(slots):
            slot = min(range(slot), key=lambda i: (keys[i], ages[i]))
            if key <= keys[slot]:
                return
        keys[slot : slot + 1], ages[slot : slot + 1], slots[slot] = [key], [0], g

    def combined(self, g: Tensor, kept: Tensors, own: float, each: float) -> Tensor:
        ones = g.new_full((len(kept),), each)
        return own * g + (ones @ torch.stack(kept)).reshape(g.shape)


class LogarithmicKeys(CriticalPort):
    """Keeps the logarithms of the norms, from which every step subtracts that of the decay."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        if math.isfinite(key):
            logarithm = math.log(key) if key > 0 else -math.inf
            self.insert_logarithm(buffer, logarithm, g, group)

    def insert_logarithm(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        if len(buffer) >= group["topC"]:
            if not self.worthy(key, buffer):
                return
            del buffer[self.evicted(buffer)]
        buffer.append([key, g.clone()])

    def forget(self, buffer: Buffer, group: Group) -> None:
        for item in buffer:
            item[0] += math.log(group["decay"])


class AgedKeys(CriticalPort):
    """Keeps norms undecayed beside their age, and decays them by a power when it compares them."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        decayed = [[held * group["decay"] ** age, i] for i, ((held, age), _) in enumerate(buffer)]
        if not math.isfinite(key):
            return
        if len(buffer) >= group["topC"]:
            if not self.worthy(key, decayed):
                return
            del buffer[self.evicted(decayed)]
        buffer.append([(key, 0), g.clone()])

    def forget(self, buffer: Buffer, group: Group) -> None:
        for item in buffer:
            norm, age = item[0]
            item[0] = (norm, age + 1)


class SortedBuffer(CriticalPort):
    """Keeps the buffer sorted by its keys, the largest first, and adds it in this order."""

    def insert(self, buffer: Buffer, key: float, g: Tensor, group: Group) -> None:
        if math.isfinite(key):
            place = bisect.bisect_right(buffer, -key, key=lambda item: -item[0])
            buffer.insert(place, [key, g.clone()])
            del buffer[group["topC"] :]

    def aggregate_mean(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return (torch.cat([g[None], kappa * kept])).mean(0)

    def aggregate_mid(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g / 2 + (kappa * kept / (2 * len(kept))).sum(0)

    def aggregate_sum(self, g: Tensor, kept: Tensor, kappa: float, group: Group) -> Tensor:
        return g + (kappa * kept / len(kept)).sum(0)


class HeapBuffer(OneByOne):
    """Keeps the buffer as a heap, and adds it in the heap's order."""

    def critical(self, state: State, g: Tensor, key: float, group: Group) -> Tensor:
        heap = state.setdefault("heap", [])
        state["count"] = state.get("count", 0) + 1
        u = self.aggregate(g, [kept for _, _, kept in heap], group)
        if math.isfinite(key):
            self.push(heap, (key, -state["count"], g.clone()), group)
        state["heap"] = [(key * group["decay"], order, kept) for key, order, kept in heap]
        return u

    def push(self, heap: list[Any], entry: tuple[float, int, Tensor], group: Group) -> None:
        if len(heap) < group["topC"]:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)


class ScaledNorms(CriticalPort):
    """Takes norms after division by the largest entry, and adds them from the last to the first."""

    def norm(self, p: Tensor, group: Group) -> float:
        g = p.grad.reshape(-1)
        largest = g.abs().max().item() if g.numel() else 0.0
        if largest == 0 or not math.isfinite(largest):
            return super().norm(p, group)
        return math.hypot(*(g / largest).tolist()) * largest

    def pooled(self, norms: list[float]) -> float:
        return math.fsum(reversed(norms))


class SGD_CMatrixProduct(MatrixProduct, SGD_CPort):
    """Adds gradient and buffer as a product of a matrix and a vector."""


class SGD_COneByOne(OneByOne, SGD_CPort):
    """Adds each stored gradient by itself, the newest first."""


class SGD_CDistances(Distances, SGD_CPort):
    """Adds the mean distance of the stored gradients from the gradient."""


class SGD_CRunningMean(RunningMean, SGD_CPort):
    """Takes the mean of the buffer step by step."""


class SGD_CPairs(Pairs, SGD_CPort):
    """Adds the stored gradients in pairs."""


class SGD_CDoubleSums(DoubleSums, SGD_CPort):
    """Accumulates gradient and buffer in double precision."""


class SGD_CRunningSum(RunningSum, SGD_CPort):
    """Keeps the sum of the buffer up to date."""


class SGD_CSlots(Slots, SGD_CPort):
    """Keeps the gradients as rows of one tensor."""


class SGD_CLogarithmicKeys(LogarithmicKeys, Pairs, SGD_CPort):
    """Keeps the logarithms of the norms, and adds the stored gradients in pairs."""


class SGD_CAgedKeys(AgedKeys, RunningMean, SGD_CPort):
    """Keeps norms undecayed beside their age, and takes the mean step by step."""

    only_with_constants = True


class SGD_CSortedBuffer(SortedBuffer, SGD_CPort):
    """Keeps the buffer sorted by its keys."""


class SGD_CHeapBuffer(HeapBuffer, SGD_CPort):
    """Keeps the buffer as a heap."""


class SGD_CScaledNorms(ScaledNorms, MatrixProduct, SGD_CPort):
    """Takes norms after division by the largest entry, and the aggregate as a product of matrices."""


class SGD_CLerp(SGDLerp, SGD_CPort):
    """Moves the momentum by linear interpolation."""


class SGD_CSeparateProducts(SGD_CPort):
    """Rounds every product before it is added."""

    def kept(self, p: Tensor, group: Group) -> Tensor:
        return p.grad + group["weight_decay"] * p

    accumulate = SGDSeparateProducts.accumulate
    move = SGDSeparateProducts.move


class SGD_CInDouble(InDouble, SGD_CPort):
    """Computes and keeps everything but the weights in double precision."""


class RMSprop_CMatrixProduct(MatrixProduct, RMSprop_CPort):
    """Adds gradient and buffer as a product of a matrix and a vector."""


class RMSprop_CDistances(Distances, RMSprop_CPort):
    """Adds the mean distance of the stored gradients from the gradient."""


class RMSprop_CDoubleSums(DoubleSums, RMSprop_CPort):
    """Accumulates gradient and buffer in double precision."""


class RMSprop_CRunningSum(RunningSum, RMSpropLerp, RMSprop_CPort):
    """Keeps the sum of the buffer up to date, and moves the averages by linear interpolation."""


class RMSprop_CSlots(Slots, RMSpropReciprocal, RMSprop_CPort):
    """Keeps the gradients as rows of one tensor, and multiplies by reciprocals."""


class RMSprop_CLogarithmicKeys(LogarithmicKeys, OneByOne, RMSprop_CPort):
    """Keeps the logarithms of the norms, and adds each stored gradient by itself."""


class RMSprop_CSortedBuffer(SortedBuffer, RMSpropVelocity, RMSprop_CPort):
    """Keeps the buffer sorted by its keys, and the momentum times the rate."""


class RMSprop_CRunningVariance(RMSpropRunningVariance, Pairs, RMSprop_CPort):
    """Keeps the variance itself, and adds the stored gradients in pairs."""


class RMSprop_CScaledNorms(ScaledNorms, RunningMean, RMSprop_CPort):
    """Takes norms after division by the largest entry, and the mean of the buffer step by step."""


class RMSprop_CThroughDouble(ThroughDouble, RMSprop_CPort):
    """Computes each step in double precision and rounds its results."""


class Adam_CMatrixProduct(MatrixProduct, Adam_CPort):
    """Adds gradient and buffer as a product of a matrix and a vector."""


class Adam_CDistances(Distances, AdamRescaledRate, Adam_CPort):
    """Adds the mean distance of the stored gradients, and corrects the rate in place of the moments."""


class Adam_CDoubleSums(DoubleSums, Adam_CPort):
    """Accumulates gradient and buffer in double precision."""


class Adam_CRunningSum(RunningSum, AdamLerp, Adam_CPort):
    """Keeps the sum of the buffer up to date, and moves the moments by linear interpolation."""


class Adam_CSlots(Slots, Adam_CPort):
    """Keeps the gradients as rows of one tensor."""


class Adam_CAgedKeys(AgedKeys, Pairs, Adam_CPort):
    """Keeps norms undecayed beside their age, and adds the stored gradients in pairs."""

    only_with_constants = True


class Adam_CHeapBuffer(HeapBuffer, AdamRootState, Adam_CPort):
    """Keeps the buffer as a heap, and the second moment as its root."""


class Adam_CSortedBuffer(SortedBuffer, AdamGeometricSums, Adam_CPort):
    """Keeps the buffer sorted by its keys, and the moments as sums."""


class Adam_CScaledNorms(ScaledNorms, OneByOne, Adam_CPort):
    """Takes norms after division by the largest entry, and adds each stored gradient by itself."""


class Adam_CInDouble(InDouble, Adam_CPort):
    """Computes and keeps everything but the weights in double precision."""


class AdamW_COneByOne(OneByOne, AdamW_CPort):
    """Adds each stored gradient by itself, the newest first."""


class AdamW_CRunningMean(RunningMean, AdamW_CPort):
    """Takes the mean of the buffer step by step."""


class AdamW_CDistances(Distances, AdamWDecayInStep, AdamW_CPort):
    """Adds the mean distance of the stored gradients, and the decay to the direction."""


class AdamW_CDoubleSums(DoubleSums, AdamW_CPort):
    """Accumulates gradient and buffer in double precision."""


class AdamW_CRunningSum(RunningSum, AdamW_CPort):
    """Keeps the sum of the buffer up to date."""


class AdamW_CSlots(Slots, AdamLerp, AdamW_CPort):
    """Keeps the gradients as rows of one tensor, and moves the moments by linear interpolation."""


class AdamW_CLogarithmicKeys(LogarithmicKeys, MatrixProduct, AdamW_CPort):
    """Keeps the logarithms of the norms, and the aggregate is a product of a matrix and a vector."""


class AdamW_CHeapBuffer(HeapBuffer, AdamW_CPort):
    """Keeps the buffer as a heap."""


class AdamW_CSortedBuffer(SortedBuffer, AdamRescaledRate, AdamW_CPort):
    """Keeps the buffer sorted by its keys, and corrects the rate in place of the moments."""


class AdamW_CThroughDouble(ThroughDouble, AdamW_CPort):
    """Computes each step in double precision and rounds its results."""


REORDERINGS = (
    SGD_CMatrixProduct,
    SGD_COneByOne,
    SGD_CDistances,
    SGD_CRunningMean,
    SGD_CPairs,
    SGD_CDoubleSums,
    SGD_CRunningSum,
    SGD_CSlots,
    SGD_CLogarithmicKeys,
    SGD_CAgedKeys,
    SGD_CSortedBuffer,
    SGD_CHeapBuffer,
    SGD_CScaledNorms,
    SGD_CLerp,
    SGD_CSeparateProducts,
    SGD_CInDouble,
    RMSprop_CMatrixProduct,
    RMSprop_CDistances,
    RMSprop_CDoubleSums,
    RMSprop_CRunningSum,
    RMSprop_CSlots,
    RMSprop_CLogarithmicKeys,
    RMSprop_CSortedBuffer,
    RMSprop_CRunningVariance,
    RMSprop_CScaledNorms,
    RMSprop_CThroughDouble,
    Adam_CMatrixProduct,
    Adam_CDistances,
    Adam_CDoubleSums,
    Adam_CRunningSum,
    Adam_CSlots,
    Adam_CAgedKeys,
    Adam_CHeapBuffer,
    Adam_CSortedBuffer,
    Adam_CScaledNorms,
    Adam_CInDouble,
    AdamW_COneByOne,
    AdamW_CRunningMean,
    AdamW_CDistances,
    AdamW_CDoubleSums,
    AdamW_CRunningSum,
    AdamW_CSlots,
    AdamW_CLogarithmicKeys,
    AdamW_CHeapBuffer,
    AdamW_CSortedBuffer,
    AdamW_CThroughDouble,
)
