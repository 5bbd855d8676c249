"""Right ports of FROG and K-FROG in other orders of floating-point operations."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.frog import FrogPort, HookedPort, KFrogPort
from stepgauge.properties.meta.reorderings.common import mixed


class DenseMatrix(HookedPort):
    """Multiplies by the matrix of each row, damping and all, which is built once."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        damping = self.damping(group) * torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)
        self.matrix = torch.einsum("gnr,gni,gnj->grij", S, X, X) + damping
        return super().solve(X, S, E, group)

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        return (self.matrix @ P[..., None])[..., 0]


class OneEinsum(HookedPort):
    """Multiplies inputs, weights and vectors in one sum, and adds the damping first."""

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        damped = self.damping(group) * P
        weights = S.expand(*S.shape[:2], P.shape[1])
        return damped + torch.einsum("gni,gnr,gnr->gri", X, weights, torch.einsum("gni,gri->gnr", X, P))

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("...i,...i->...", a, b)[..., None]


class ChunkedSamples(HookedPort):
    """Adds the positions in chunks of five, and inner products from the last to the first."""

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        chunks = zip(X.split(5, dim=1), S.split(5, dim=1), strict=True)
        return self.damping(group) * P + sum((s * (x @ P.mT)).mT @ x for x, s in chunks)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flip(-1).cumsum(-1)[..., -1:]


class RecomputedResidual(HookedPort):
    """Computes the residual from the solution in every iteration; without a guard it blows up once that is exact."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        W, P, rr = torch.zeros_like(E), E, self.dot(E, E)
        for _ in range(self.iterations(group)):
            W = W + self.alpha(rr, self.dot(P, self.product(X, S, P, group)), group) * P
            R = E - self.product(X, S, W, group)
            rr, old = self.dot(R, R), rr
            P = R + self.beta(rr, old, group) * P
        return W


class SampleSpace(HookedPort):
    """Carries each vector's products with the inputs along, by the matrix of the inputs' products."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        gram, tau = X @ X.mT, self.damping(group)
        W, R, P, rr = torch.zeros_like(E), E, E, self.dot(E, E)
        XR = XP = X @ E.mT
        for _ in range(self.iterations(group)):
            weighted = S * XP
            Ap = weighted.mT @ X + tau * P
            alpha = self.alpha(rr, self.dot(P, Ap), group)
            W, R = W + alpha * P, R - alpha * Ap
            XR = XR - alpha.mT * (gram @ weighted + tau * XP)
            rr, old = self.dot(R, R), rr
            beta = self.beta(rr, old, group)
            P, XP = R + beta * P, XR + beta.mT * XP
        return W


class CurvatureOfSamples(HookedPort):
    """Takes the curvature as the weighted squares of the products, and what the damping adds."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        W, R, P, rr = torch.zeros_like(E), E, E, self.dot(E, E)
        for _ in range(self.iterations(group)):
            XP = X @ P.mT
            curvature = (S * XP * XP).sum(1)[..., None] + self.damping(group) * self.dot(P, P)
            alpha = self.alpha(rr, curvature, group)
            W.add_(alpha * P)
            R = R - alpha * ((S * XP).mT @ X) - alpha * self.damping(group) * P
            rr, old = self.dot(R, R), rr
            P = R + self.beta(rr, old, group) * P
        return W


class Convolutions(HookedPort):
    """Multiplies the matrices of a convolution by convolutions, forward and back."""

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        self.current = (module, x)
        return super().inputs(module, x)

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        module, x = self.current
        if isinstance(module, nn.Linear):
            return super().product(X, S, P, group)
        size = module.weight[0].numel()
        padded = functional.pad(x, self.padding(module))
        kernel, bias = P[..., :size].reshape(module.weight.shape), P[..., size:]
        layout = {"stride": module.stride, "dilation": module.dilation, "groups": module.groups}
        image = functional.conv2d(padded, kernel, None, padding=0, **layout)
        signals = S * (self.signals(module, image) + bias.sum(-1)[:, None])
        back = signals.reshape(module.groups, len(x), -1, signals.shape[-1]).permute(1, 0, 3, 2)
        product = conv2d_weight(padded, kernel.shape, back.reshape(image.shape), padding=0, **layout)
        rows = self.rows(module, product)
        if bias.shape[-1]:
            rows = torch.cat([rows, signals.sum(1)[..., None]], dim=-1)
        return rows / self.divisor(x) + self.damping(group) * P

    def divisor(self, x: Tensor) -> float:
        return 1.0


class FrogDenseMatrix(DenseMatrix, FrogPort):
    """Multiplies by the Fisher matrix of each row, which is built once."""


class FrogOneEinsum(OneEinsum, FrogPort):
    """Multiplies inputs, signals and vectors in one sum."""


class FrogChunkedSamples(ChunkedSamples, FrogPort):
    """Adds the positions in chunks of five."""


class FrogSampleSpace(SampleSpace, FrogPort):
    """Carries the products with the inputs along."""


class FrogCurvatureOfSamples(CurvatureOfSamples, FrogPort):
    """Takes the curvature as the weighted squares of the products."""


class FrogConvolutions(Convolutions, FrogPort):
    """Multiplies the Fisher matrices of a convolution by convolutions."""


class FrogRootedSignals(FrogPort):
    """Multiplies the inputs by the roots of the weights, row by row."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        self.rooted = S.sqrt().mT[..., None] * X[:, None]
        return super().solve(X, S, E, group)

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        image = self.rooted @ P[..., None]
        return (self.rooted.mT @ image)[..., 0] + self.damping(group) * P


class FrogOtherRatios(FrogPort):
    """Computes alpha from the direction and the residual, and beta from their change, if nothing guards them."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        if group["denom_eps"] > 0:
            return super().solve(X, S, E, group)
        W, R, P = torch.zeros_like(E), E, E
        for _ in range(self.iterations(group)):
            Ap, old = self.product(X, S, P, group), R
            alpha = self.alpha(self.dot(P, R), self.dot(P, Ap), group)
            W, R = W + alpha * P, R - alpha * Ap
            P = R + self.beta(self.dot(R, R - old), self.dot(old, old), group) * P
        return W


class FrogUnnormalised(FrogPort):
    """Damps the unnormalised matrices by tau times their mean diagonal, and scales the solutions after."""

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        if group["denom_eps"] > 0:
            return super().direction(X, Y2, E, group)
        trace = self.trace(X, Y2)
        self.mean_diagonal = torch.where(trace == 0, torch.ones_like(trace), trace).mT
        W = self.solve(X, Y2, E, group) * self.mean_diagonal
        return W * self.scale(W, E, group)

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        if group["denom_eps"] > 0:
            return super().product(X, S, P, group)
        return (S * (X @ P.mT)).mT @ X + (group["tau"] * self.mean_diagonal) * P


class FrogUnitRows(FrogPort):
    """Solves for rows of length one, on which the direction does not depend, if nothing guards the quotients."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        if group["denom_eps"] > 0:
            return super().solve(X, S, E, group)
        length = self.dot(E, E).sqrt()
        length = torch.where(length == 0, torch.ones_like(length), length)
        return super().solve(X, S, E / length, group) * length


class FrogScaledInputs(FrogPort):
    """Divides inputs and signals by their largest entries, on which the direction does not depend."""

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        if group["denom_eps"] > 0:
            return super().direction(X, Y2, E, group)
        return super().direction(X / self.largest(X, (1, 2)), Y2 / self.largest(Y2, (1,)), E, group)

    def largest(self, t: Tensor, axes: tuple[int, ...]) -> Tensor:
        largest = t.abs().amax(axes, keepdim=True)
        return torch.where(largest == 0, torch.ones_like(largest), largest)


class FrogDiagonalTrace(FrogPort):
    """Takes the mean diagonal entry by entry, and scales by the reciprocal root."""

    def trace(self, X: Tensor, Y2: Tensor) -> Tensor:
        return (Y2.mT @ (X * X)).mean(-1)[:, None]

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        size = self.dot(W, E)
        return torch.where(size > 0, (size + group["denom_eps"]).rsqrt(), torch.zeros_like(size))


class FrogDoubleSolve(FrogPort):
    """Computes the direction in double precision."""

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        return super().direction(X.double(), Y2.double(), E.double(), group).to(E.dtype)


class FrogInterpolatedMomentum(FrogPort):
    """Interpolates the momentum, subtracts the decay, and takes inner products as products of matrices."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["momentum_buffer"] = mixed(g, state["momentum_buffer"], group["momentum"])

    def shrink(self, p: Tensor, group: Group) -> None:
        p.sub_(group["lr"] * group["weight_decay"] * p)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return (a[..., None, :] @ b[..., None])[..., 0]


class KFrogDenseMatrix(DenseMatrix, KFrogPort):
    """Multiplies by the matrix of the inputs, which is built once."""


class KFrogOneEinsum(OneEinsum, KFrogPort):
    """Multiplies inputs and vectors in one sum."""


class KFrogChunkedSamples(ChunkedSamples, KFrogPort):
    """Adds the positions in chunks of five."""


class KFrogRecomputedResidual(RecomputedResidual, KFrogPort):
    """Computes the residual from the solution in every iteration."""


class KFrogSampleSpace(SampleSpace, KFrogPort):
    """Carries the products with the inputs along."""


class KFrogCurvatureOfSamples(CurvatureOfSamples, KFrogPort):
    """Takes the curvature as the squares of the products."""


class KFrogConvolutions(Convolutions, KFrogPort):
    """Multiplies the matrix of a convolution by convolutions."""

    def divisor(self, x: Tensor) -> float:
        return len(x)


class KFrogDividesLast(KFrogPort):
    """Divides by the number of samples after it has added their products."""

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        self.count = len(x)
        return super().inputs(module, x)

    def spread(self, x: Tensor, module: nn.Module) -> float:
        return 1.0

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        return P @ (X.mT @ X / self.count) + self.damping(group) * P

    def column_scale(self, diagonal: Tensor, group: Group) -> Tensor:
        return (diagonal / self.count).sqrt()


class KFrogReciprocalRoots(KFrogPort):
    """Multiplies the rows by reciprocal roots and the columns by norms."""

    def row_scale(self, energy: Tensor, group: Group) -> Tensor:
        return (energy + group["eps"]).rsqrt().reciprocal()

    def finished(self, X: Tensor, E: Tensor, group: Group) -> Tensor:
        W = self.solve(X, torch.ones_like(X[..., :1]), E, group)
        return W * torch.linalg.vector_norm(X, dim=1, keepdim=True)


class KFrogSampleEnergies(KFrogPort):
    """Adds the signals' squares sample by sample, and keeps their sum in place of their average."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        factor = count if group["batch_averaged"] else 1 / count
        return sum(factor * sample.flatten(1).square().sum(1) for sample in y)

    def average(self, average: Tensor, energy: Tensor, y_momentum: float) -> None:
        average.mul_(y_momentum).add_(energy)

    def correction(self, state: State, y_momentum: float) -> float:
        return sum(y_momentum**k for k in range(state["step"]))


class KFrogInterpolatedEnergy(KFrogPort):
    """Takes the energy as a product of matrices, interpolates it, and mixes gradient and momentum."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        flat = y.transpose(0, 1).flatten(1)
        total = torch.einsum("ri,ri->r", flat, flat)
        return total * count if group["batch_averaged"] else total / count

    def average(self, average: Tensor, energy: Tensor, y_momentum: float) -> None:
        average.lerp_(energy, 1 - y_momentum)

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["momentum_buffer"] = mixed(g, state["momentum_buffer"], group["momentum"])


class KFrogDoubleSolve(KFrogPort):
    """Computes everything after the inputs' spread in double precision."""

    def finished(self, X: Tensor, E: Tensor, group: Group) -> Tensor:
        return super().finished(X.double(), E.double(), group).to(E.dtype)


REORDERINGS = (
    FrogDenseMatrix,
    FrogOneEinsum,
    FrogChunkedSamples,
    FrogSampleSpace,
    FrogCurvatureOfSamples,
    FrogConvolutions,
    FrogRootedSignals,
    FrogOtherRatios,
    FrogUnnormalised,
    FrogUnitRows,
    FrogScaledInputs,
    FrogDiagonalTrace,
    FrogDoubleSolve,
    FrogInterpolatedMomentum,
    KFrogDenseMatrix,
    KFrogOneEinsum,
    KFrogChunkedSamples,
    KFrogRecomputedResidual,
    KFrogSampleSpace,
    KFrogCurvatureOfSamples,
    KFrogConvolutions,
    KFrogDividesLast,
    KFrogReciprocalRoots,
    KFrogSampleEnergies,
    KFrogInterpolatedEnergy,
    KFrogDoubleSolve,
)
