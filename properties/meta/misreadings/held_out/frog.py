"""Held-out wrong ports of FROG and K-FROG; the docstrings state the mistakes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.frog import FrogPort, KFrogPort


class FrogPatchesChannelsLast(FrogPort):
    """Orders the entries of a patch with the channels last where the weight has them first."""

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        X = super().inputs(module, x)
        if isinstance(module, nn.Linear):
            return X
        size = module.kernel_size[0] * module.kernel_size[1]
        return X.unflatten(-1, (-1, size)).mT.flatten(-2)


class FrogDampsBeforeNormalising(FrogPort):
    """Adds tau to F and divides both by the mean diagonal of F where the rule divides F alone."""

    def trace(self, X: Tensor, Y2: Tensor) -> Tensor:
        self.mean_diagonal = super().trace(X, Y2)
        return self.mean_diagonal

    def damping(self, group: Group) -> Tensor:
        divisor = self.mean_diagonal.mT
        return group["tau"] / torch.where(divisor > 0, divisor, torch.ones_like(divisor))


class FrogResidualInDirection(FrogPort):
    """Adds beta times the residual to the residual where the rule adds beta times the old direction."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        W, R = self.start(X, S, E, group)
        P, rr = R, self.dot(R, R)
        for _ in range(self.iterations(group)):
            Ap = self.product(X, S, P, group)
            alpha = self.alpha(rr, self.dot(P, Ap), group)
            W, R = W + alpha * P, R - alpha * Ap
            rr, old = self.dot(R, R), rr
            P = R + self.beta(rr, old, group) * R
        return W


class FrogOtherRateForBiases(FrogPort):
    """Steps the biases of layers at the rate of other parameters where the rule takes that of the layer."""

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        H = super().direction(X, Y2, E, group)
        if self.joined(self.module) is None:
            return H
        return torch.cat([H[..., :-1], group["lr_other_ratio"] * H[..., -1:]], dim=-1)


class FrogScaleByGradient(FrogPort):
    """Divides by the root of the product of W and the gradient where the rule takes that with the momentum."""

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        bias = self.joined(self.module)
        parts = [self.module.weight] if bias is None else [self.module.weight, bias]
        G = torch.cat([self.rows(self.module, p.grad) for p in parts], dim=-1)
        return super().scale(W, G, group)


class KFrogPreconditionsGradient(KFrogPort):
    """Preconditions the gradient of a layer where the rule preconditions its momentum."""

    def direction(self, module: nn.Module, e: Tensor, group: Group) -> Tensor:
        return super().direction(module, module.weight.grad, group)


class KFrogEnergyBeginsWithFirst(KFrogPort):
    """Starts the smoothed energy with the first, and corrects its bias, where the rule starts it with zeros."""

    def smoothed(self, state: State, energy: Tensor, group: Group) -> Tensor:
        if group["y_momentum"]:
            state.setdefault("energy", energy.clone())
        return super().smoothed(state, energy, group)


class KFrogEveryWindow(KFrogPort):
    """Takes the patches at every position of the inputs where the rule takes them at the layer's stride."""

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        padded = functional.pad(x, self.padding(module))
        return functional.unfold(padded, module.kernel_size, module.dilation).mT.flatten(0, 1)[None]


class KFrogSquareOfSum(KFrogPort):
    """Sums up a sample's signals over the positions and squares the sum where the rule sums the squares."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        return super().energy(y.sum((2, 3), keepdim=True), count, group)


class KFrogEpsInQuotients(KFrogPort):
    """Adds eps to the denominators of the conjugate gradients where the rule adds 1e-10."""

    def alpha(self, rr: Tensor, pAp: Tensor, group: Group) -> Tensor:
        return rr / (pAp + group["eps"])

    def beta(self, rr: Tensor, old: Tensor, group: Group) -> Tensor:
        return rr / (old + group["eps"])


HELD_OUT = (
    FrogPatchesChannelsLast,
    FrogDampsBeforeNormalising,
    FrogResidualInDirection,
    FrogOtherRateForBiases,
    FrogScaleByGradient,
    KFrogPreconditionsGradient,
    KFrogEnergyBeginsWithFirst,
    KFrogEveryWindow,
    KFrogSquareOfSum,
    KFrogEpsInQuotients,
)
