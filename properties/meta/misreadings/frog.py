"""FROG and K-FROG as published, and wrong ports of them.

`FrogPort` and `KFrogPort` compute the rules. Every other optimizer here overrides one small piece
of one of them and thereby computes something else; its docstring states the misreading.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepgauge.properties.meta.misreadings.adamp import Group, State
from stepgauge.properties.meta.misreadings.baselines import PlainPort


class HookedPort(PlainPort):
    """The hooks, the momentum and the row-wise conjugate gradients that FROG and K-FROG share.

    The unknowns of the rows that share their inputs form E: (groups, rows, columns). Their inputs
    are X: (groups, positions, columns), their signals Y: (groups, positions, rows).
    """

    layers: tuple[type[nn.Module], ...] = (nn.Conv2d,)

    def watch(self, model: nn.Module, skip_modules: Sequence[str] | None) -> None:
        self.captured: dict[nn.Module, dict[str, Any]] = {}
        self.module_of: dict[Tensor, nn.Module] = {}
        self.handles = []
        for name, module in model.named_modules():
            if name not in (skip_modules or ()) and isinstance(module, self.layers):
                self.handles.append(module.register_forward_hook(self.save_input))
                self.handles.append(module.register_full_backward_hook(self.save_signal))
                self.module_of[module.weight] = module

    def save_input(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if torch.is_grad_enabled():
            self.captured[module] = self.captured_input(module, self.samples(module, inputs[0]))

    def save_signal(self, module: nn.Module, before: Any, signals: tuple[Tensor, ...]) -> None:
        if module in self.captured and signals[0] is not None:
            self.captured[module].update(self.captured_signal(module, self.samples(module, signals[0])))

    def samples(self, module: nn.Module, t: Tensor) -> Tensor:
        if isinstance(module, nn.Linear):
            return t.detach().reshape(-1, t.shape[-1])
        return t.detach().reshape(-1, *t.shape[-3:])

    def captured_input(self, module: nn.Module, x: Tensor) -> dict[str, Any]:
        return {"x": x.clone()}

    def captured_signal(self, module: nn.Module, y: Tensor) -> dict[str, Any]:
        return {"y": y.clone()}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = super().step(closure)
        self.captured.clear()
        return loss

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()

    def effective(self, p: Tensor, group: Group) -> Tensor:
        if group["momentum"] == 0:
            return p.grad
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        self.accumulate(state, p.grad, group)
        return self.look_ahead(state, p.grad, group) if group["nesterov"] else state["momentum_buffer"]

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        state["momentum_buffer"].mul_(group["momentum"]).add_(g)

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return g + group["momentum"] * state["momentum_buffer"]

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        if isinstance(module, nn.Linear):
            return x[None]
        padded = functional.pad(x, self.padding(module))
        patches = functional.unfold(padded, module.kernel_size, module.dilation, 0, module.stride)
        split = patches.reshape(len(x), module.groups, -1, patches.shape[-1])
        return split.permute(1, 0, 3, 2).flatten(1, 2)

    def padding(self, module: nn.Module) -> list[int]:
        """The padding on the left, the right, the top and the bottom."""
        sides = []
        for axis in (1, 0):
            if module.padding == "same":
                total = module.dilation[axis] * (module.kernel_size[axis] - 1)
                sides += self.sides(total)
            else:
                sides += [0, 0] if module.padding == "valid" else [module.padding[axis]] * 2
        return sides

    def sides(self, total: int) -> list[int]:
        return [total // 2, total - total // 2]

    def signals(self, module: nn.Module, y: Tensor) -> Tensor:
        groups = getattr(module, "groups", 1)
        return self.split(y.reshape(*y.shape[:2], -1), groups).permute(1, 0, 3, 2).flatten(1, 2)

    def split(self, y: Tensor, groups: int) -> Tensor:
        """The rows of each group by themselves."""
        return y.reshape(len(y), groups, -1, y.shape[-1])

    def rows(self, module: nn.Module, t: Tensor) -> Tensor:
        groups = getattr(module, "groups", 1)
        return t.reshape(groups, module.weight.shape[0] // groups, -1)

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        """Conjugate gradients for X^T S X + damping in each row by itself."""
        W, R = self.start(X, S, E, group)
        P, rr = R, self.dot(R, R)
        for _ in range(self.iterations(group)):
            Ap = self.product(X, S, P, group)
            alpha = self.alpha(rr, self.dot(P, Ap), group)
            W, R = W + alpha * P, R - alpha * Ap
            rr, old = self.dot(R, R), rr
            P = R + self.beta(rr, old, group) * P
        return W

    def start(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(E), E

    def iterations(self, group: Group) -> int:
        return group["num_iters"]

    def product(self, X: Tensor, S: Tensor, P: Tensor, group: Group) -> Tensor:
        return ((S * (X @ P.mT)).mT @ X) + self.damping(group) * P

    def damping(self, group: Group) -> float:
        raise NotImplementedError

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(-1, keepdim=True)

    def alpha(self, rr: Tensor, pAp: Tensor, group: Group) -> Tensor:
        raise NotImplementedError

    def beta(self, rr: Tensor, old: Tensor, group: Group) -> Tensor:
        raise NotImplementedError


def guarded(numerator: Tensor, denominator: Tensor, sound: Tensor) -> Tensor:
    quotient = numerator / torch.where(sound, denominator, torch.ones_like(denominator))
    return torch.where(sound, quotient, torch.zeros_like(quotient))


class FrogPort(HookedPort):
    """The published rule: weights and bias of a layer are one row system, and all decay is decoupled."""

    rule = "frog"
    layers = (nn.Conv2d, nn.Linear)

    def __init__(
        self,
        params: Iterable[Any],
        model: nn.Module,
        lr: float = 1e-3,
        lr_other_ratio: float = 0.25,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        sample_size: int | None = 24,
        num_iters: int = 4,
        tau: float = 1e-6,
        batch_averaged: bool = True,
        skip_modules: Sequence[str] | None = None,
        denom_eps: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_other_ratio": lr_other_ratio,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "sample_size": sample_size,
            "num_iters": num_iters,
            "tau": tau,
            "batch_averaged": batch_averaged,
            "denom_eps": denom_eps,
        }
        super().__init__(params, defaults)
        self.watch(model, skip_modules)

    def group_of(self, module: nn.Module) -> Group:
        for group in self.param_groups:
            if any(p is module.weight for p in group["params"]):
                return group
        return self.defaults

    def captured_input(self, module: nn.Module, x: Tensor) -> dict[str, Any]:
        size = self.group_of(module)["sample_size"]
        if size is None or size >= len(x):
            return super().captured_input(module, x)
        chosen = self.chosen(x, size)
        return {"x": x[chosen], "chosen": chosen}

    def chosen(self, x: Tensor, size: int) -> Tensor:
        return torch.randperm(len(x), device=x.device)[:size]

    def captured_signal(self, module: nn.Module, y: Tensor) -> dict[str, Any]:
        kept = y[self.captured[module]["chosen"]] if "chosen" in self.captured[module] else y.clone()
        averaged = self.group_of(module)["batch_averaged"]
        return {"y": kept, "factor": (len(y) ** 2 if averaged else 1) / max(len(kept), 1)}

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in params:
            if p in self.module_of:
                self.update_layer(self.module_of[p], group)
            elif not self.belongs(p):
                self.update_other(p, group)

    def belongs(self, p: Tensor) -> bool:
        """Whether the parameter is the bias of a layer that is stepped as a whole."""
        owned = {id(q) for group in self.param_groups for q in group["params"]}
        return any(p is self.bias(m) and id(m.weight) in owned for m in self.module_of.values())

    def bias(self, module: nn.Module) -> Tensor | None:
        return module.bias

    def joined(self, module: nn.Module) -> Tensor | None:
        bias = self.bias(module)
        if bias is None or bias.grad is None or not self.belongs(bias):
            return None
        owned = any(bias is q for group in self.param_groups for q in group["params"])
        return bias if owned else None

    def update_layer(self, module: nn.Module, group: Group) -> None:
        parts = [module.weight] if self.joined(module) is None else [module.weight, self.joined(module)]
        E = torch.cat([self.rows(module, self.effective(p, group)) for p in parts], dim=-1)
        self.module = module
        H = self.direction(*self.system(module, len(parts) > 1), E, group)
        sizes = [p.numel() // module.weight.shape[0] for p in parts]
        for p, h in zip(parts, H.split(sizes, dim=-1), strict=True):
            self.shrink(p, group)
            p.add_(h.reshape(p.shape), alpha=-group["lr"])

    def system(self, module: nn.Module, biased: bool) -> tuple[Tensor, Tensor]:
        """The inputs and the squared signals."""
        captured = self.captured[module]
        X = self.inputs(module, captured["x"])
        if biased:
            X = torch.cat([X, torch.ones_like(X[..., :1])], dim=-1)
        return X, self.squared(self.signals(module, captured["y"])) * captured["factor"]

    def squared(self, Y: Tensor) -> Tensor:
        return Y * Y

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        S = self.normalised(Y2, self.trace(X, Y2), group)
        W = self.solve(X, S, E, group)
        return W * self.scale(W, E, group)

    def trace(self, X: Tensor, Y2: Tensor) -> Tensor:
        return (Y2 * self.dot(X, X)).sum(1, keepdim=True) / X.shape[-1]

    def normalised(self, Y2: Tensor, trace: Tensor, group: Group) -> Tensor:
        return guarded(Y2, trace + group["denom_eps"], trace > 0)

    def damping(self, group: Group) -> float:
        return group["tau"]

    def alpha(self, rr: Tensor, pAp: Tensor, group: Group) -> Tensor:
        return guarded(rr, pAp + group["denom_eps"], (rr > 0) & (pAp > 0))

    def beta(self, rr: Tensor, old: Tensor, group: Group) -> Tensor:
        return guarded(rr, old + group["denom_eps"], old > 0)

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        size = self.dot(W, E)
        return guarded(torch.ones_like(size), (size + group["denom_eps"]).sqrt(), size > 0)

    def update_other(self, p: Tensor, group: Group) -> None:
        e = self.effective(p, group)
        self.shrink(p, group)
        p.add_(e, alpha=-group["lr"] * group["lr_other_ratio"])

    def shrink(self, p: Tensor, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])


class FrogWholeTrace(FrogPort):
    """Divides by the trace of F where the rule divides by the mean of its diagonal."""

    def trace(self, X: Tensor, Y2: Tensor) -> Tensor:
        return super().trace(X, Y2) * X.shape[-1]


class FrogTraceOfLayer(FrogPort):
    """Divides all rows by the mean of their traces where each row is divided by its own."""

    def trace(self, X: Tensor, Y2: Tensor) -> Tensor:
        trace = super().trace(X, Y2)
        return trace.mean().expand_as(trace)


class FrogTraceOfWeights(FrogPort):
    """Leaves the bias out of the trace and of its length where it is an unknown as any other."""

    def trace(self, X: Tensor, Y2: Tensor) -> Tensor:
        biased = self.joined(self.module) is not None
        return super().trace(X[..., :-1] if biased else X, Y2)


class FrogTraceByRows(FrogPort):
    """Divides the trace by the number of rows where the rule divides it by that of columns."""

    def trace(self, X: Tensor, Y2: Tensor) -> Tensor:
        return super().trace(X, Y2) * X.shape[-1] / Y2.shape[-1]


class FrogAbsoluteDamping(FrogPort):
    """Adds tau to F as it is where the rule divides F by its mean diagonal first."""

    def normalised(self, Y2: Tensor, trace: Tensor, group: Group) -> Tensor:
        return Y2


class FrogMeanSquares(FrogPort):
    """Averages F over the positions and adds tau to that where the rule divides F by its mean diagonal."""

    def normalised(self, Y2: Tensor, trace: Tensor, group: Group) -> Tensor:
        return Y2 / max(Y2.shape[1], 1)


class FrogUndamped(FrogPort):
    """Solves with F alone where the rule adds tau to its diagonal."""

    def damping(self, group: Group) -> float:
        return 0.0


class FrogRootDamping(FrogPort):
    """Adds the root of tau to the diagonal where the rule adds tau."""

    def damping(self, group: Group) -> float:
        return group["tau"] ** 0.5


class FrogSignalsUnsquared(FrogPort):
    """Weighs the inputs by the size of the signal where the rule weighs them by its square."""

    def squared(self, Y: Tensor) -> Tensor:
        return Y.abs()


class FrogInputsAlone(FrogPort):
    """Gives every row the second moment of the inputs where the rule weighs them by its signals."""

    def squared(self, Y: Tensor) -> Tensor:
        return torch.ones_like(Y)


class FrogSignalsOfLayer(FrogPort):
    """Gives every row the mean of all squared signals where each row has its own."""

    def squared(self, Y: Tensor) -> Tensor:
        squares = super().squared(Y)
        return squares.mean(-1, keepdim=True).expand_as(squares)


class FrogGradientPerSample(FrogPort):
    """Sums up a sample's positions before the outer product where each position is a sample."""

    def squared(self, Y: Tensor) -> Tensor:
        return Y

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        count = len(self.captured[self.module]["x"])
        positions = X.reshape(len(X), count, -1, X.shape[-1]), Y2.reshape(len(X), count, -1, Y2.shape[-1])
        gradients = torch.einsum("gbld,gblr->grbd", *positions).flatten(0, 1)
        ones = torch.ones_like(gradients[..., :1])
        alone = E.reshape(-1, 1, E.shape[-1])
        return super().direction(gradients, ones, alone, group).reshape(E.shape)


class FrogCentredInputs(FrogPort):
    """Subtracts the mean input from the inputs where the rule takes them as they are."""

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        X = super().inputs(module, x)
        return X - X.mean(1, keepdim=True)


class FrogDiagonal(FrogPort):
    """Divides by the diagonal of F where the rule solves with all of it."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        return E / (S.mT @ (X * X) + group["tau"])


class FrogNoRoot(FrogPort):
    """Divides the direction by <W, e> where the rule divides it by the root of that."""

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        return super().scale(W, E, group) ** 2


class FrogUnitRows(FrogPort):
    """Divides the direction by its own norm where the rule divides it by the root of <W, e>."""

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        return super().scale(W, W, group)


class FrogGradientNorm(FrogPort):
    """Gives the direction the norm of the momentum where the rule takes the root of <W, e>."""

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        return super().scale(W, W, group) * E.norm(dim=-1, keepdim=True)


class FrogScaleOfLayer(FrogPort):
    """Divides all rows by the root of one <W, e> where each row is divided by its own."""

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        size = self.dot(W, E).sum()
        return guarded(torch.ones_like(size), (size + group["denom_eps"]).sqrt(), size > 0)


class FrogUnscaled(FrogPort):
    """Steps along the solution itself where the rule divides it by the root of <W, e>."""

    def scale(self, W: Tensor, E: Tensor, group: Group) -> Tensor:
        return torch.ones_like(W[..., :1])


class FrogMomentumOfDirections(FrogPort):
    """Accumulates the finished directions of a layer where the rule solves for the momentum."""

    def update_layer(self, module: nn.Module, group: Group) -> None:
        super().update_layer(module, {**group, "momentum": 0.0, "after": group["momentum"]})

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        H = super().direction(X, Y2, E, group)
        state = self.state[self.module.weight]
        state["directions"] = group["after"] * state.get("directions", torch.zeros_like(H)) + H
        return H + group["after"] * state["directions"] if group["nesterov"] else state["directions"]


class FrogAveragedMomentum(FrogPort):
    """Weighs the new gradient by 1 - momentum where the rule adds it in full."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, (1 - group["momentum"]) * g, group)


class FrogNoLookAhead(FrogPort):
    """Steps along the momentum with nesterov too where the rule looks ahead."""

    def look_ahead(self, state: State, g: Tensor, group: Group) -> Tensor:
        return state["momentum_buffer"]


class FrogOneIterationLess(FrogPort):
    """Counts the start of the conjugate gradients as an iteration where the rule does not."""

    def iterations(self, group: Group) -> int:
        return group["num_iters"] - 1 or 1


class FrogOneIterationMore(FrogPort):
    """Runs one iteration more of the conjugate gradients than asked for."""

    def iterations(self, group: Group) -> int:
        return group["num_iters"] + 1


class FrogSteepestDescent(FrogPort):
    """Descends along the residual each time where the rule keeps the directions conjugate."""

    def beta(self, rr: Tensor, old: Tensor, group: Group) -> Tensor:
        return torch.zeros_like(rr)


class FrogResidualOverwritten(FrogPort):
    """Overwrites the old residual's square before it divides by it where the rule keeps it."""

    def beta(self, rr: Tensor, old: Tensor, group: Group) -> Tensor:
        return super().beta(rr, rr, group)


class FrogPooledProducts(FrogPort):
    """Takes one step length for all rows of a layer where each row has its own."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        self.pooling = True
        W = super().solve(X, S, E, group)
        self.pooling = False
        return W

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        products = super().dot(a, b)
        return products.sum((0, 1), keepdim=True) if getattr(self, "pooling", False) else products


class FrogStartsAtGradient(FrogPort):
    """Starts the conjugate gradients at the right-hand side where the rule starts at zero."""

    def start(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> tuple[Tensor, Tensor]:
        return E, E - self.product(X, S, E, group)


class FrogStartsAtLastSolution(FrogPort):
    """Starts the conjugate gradients at the last step's solution where the rule starts at zero."""

    def start(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> tuple[Tensor, Tensor]:
        W = self.state[self.module.weight].get("solution", torch.zeros_like(E))
        return W, E - self.product(X, S, W, group)

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        self.state[self.module.weight]["solution"] = super().solve(X, S, E, group)
        return self.state[self.module.weight]["solution"]


class FrogPlainBias(FrogPort):
    """Steps the biases as other parameters where the rule solves for them with the weights."""

    def bias(self, module: nn.Module) -> None:
        return None


class FrogBiasAlone(FrogPort):
    """Solves for weights and bias in two systems where the rule solves for them in one."""

    def direction(self, X: Tensor, Y2: Tensor, E: Tensor, group: Group) -> Tensor:
        if self.joined(self.module) is None:
            return super().direction(X, Y2, E, group)
        weights = super().direction(X[..., :-1], Y2, E[..., :-1], group)
        return torch.cat([weights, super().direction(X[..., -1:], Y2, E[..., -1:], group)], dim=-1)


class FrogPlainLinear(FrogPort):
    """Steps linear layers as other parameters where the rule preconditions them too."""

    layers = (nn.Conv2d,)


class FrogPlainGroupedConvolutions(FrogPort):
    """Steps grouped convolutions as other parameters where the rule preconditions them group by group."""

    def watch(self, model: nn.Module, skip_modules: Sequence[str] | None) -> None:
        grouped = [name for name, module in model.named_modules() if getattr(module, "groups", 1) > 1]
        super().watch(model, [*grouped, *(skip_modules or ())])


class FrogInterleavedGroups(FrogPort):
    """Deals the signals out to the groups in turn where each group has consecutive channels."""

    def split(self, y: Tensor, groups: int) -> Tensor:
        return y.reshape(len(y), -1, groups, y.shape[-1]).transpose(1, 2)


class FrogFirstGroupsInputs(FrogPort):
    """Solves all groups of a convolution with the patches of the first where each has its own."""

    def inputs(self, module: nn.Module, x: Tensor) -> Tensor:
        X = super().inputs(module, x)
        return X[:1].expand_as(X)


class FrogExtraPaddingFirst(FrogPort):
    """Pads 'same' with the odd line on the left and the top where torch pads the right and bottom."""

    def sides(self, total: int) -> list[int]:
        return super().sides(total)[::-1]


class FrogFirstSamples(FrogPort):
    """Takes the first samples of a batch where the rule draws them."""

    def chosen(self, x: Tensor, size: int) -> Tensor:
        return torch.arange(size, device=x.device)


class FrogOtherSignals(FrogPort):
    """Draws the signals' samples anew where the rule takes those of the inputs."""

    def captured_signal(self, module: nn.Module, y: Tensor) -> dict[str, Any]:
        if "chosen" in self.captured[module]:
            size = len(self.captured[module]["chosen"])
            self.captured[module]["chosen"] = self.chosen(y, size)
        return super().captured_signal(module, y)


class FrogCoupledDecay(FrogPort):
    """Adds the decay to the gradient of every parameter where the rule shrinks the weight apart from it."""

    def effective(self, p: Tensor, group: Group) -> Tensor:
        return super().effective(p, group) + group["weight_decay"] * p

    def shrink(self, p: Tensor, group: Group) -> None:
        pass


class FrogOtherRateDecay(FrogPort):
    """Multiplies the decay of other parameters by lr_other_ratio too where the rule takes lr alone."""

    def update_other(self, p: Tensor, group: Group) -> None:
        e = self.effective(p, group)
        self.shrink(p, {**group, "lr": group["lr"] * group["lr_other_ratio"]})
        p.add_(e, alpha=-group["lr"] * group["lr_other_ratio"])


class FrogUndecayedBiases(FrogPort):
    """Spares one-dimensional parameters the decay where the rule decays every parameter."""

    def shrink(self, p: Tensor, group: Group) -> None:
        if p.ndim > 1:
            super().shrink(p, group)


class FrogDecayWithoutRate(FrogPort):
    """Shrinks the weight by weight_decay alone where the rule multiplies it by the learning rate."""

    def shrink(self, p: Tensor, group: Group) -> None:
        p.mul_(1 - group["weight_decay"])


class FrogOneRate(FrogPort):
    """Steps other parameters with the whole rate where the rule multiplies it by lr_other_ratio."""

    def update_other(self, p: Tensor, group: Group) -> None:
        super().update_other(p, {**group, "lr_other_ratio": 1.0})


class FrogScaledOthers(FrogPort):
    """Divides the momentum of other parameters by its norm where the rule takes it as it is."""

    def update_other(self, p: Tensor, group: Group) -> None:
        e = self.effective(p, group)
        self.shrink(p, group)
        p.add_(e / e.norm().clamp_min(1e-12), alpha=-group["lr"] * group["lr_other_ratio"])


class FrogFirstGroupForAll(FrogPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


class KFrogPort(HookedPort):
    """The released rule: the signals' diagonal, the inputs' matrix, and the root of its diagonal."""

    rule = "kfrog"

    def __init__(
        self,
        params: Iterable[Any],
        model: nn.Module,
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        y_momentum: float = 0.0,
        sample_size: int | None = 256,
        num_iters: int = 4,
        batch_averaged: bool = True,
        skip_modules: Sequence[str] | None = None,
        y_sample_size: int | None = None,
        eps: float = 1e-6,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "y_momentum": y_momentum,
            "sample_size": sample_size,
            "num_iters": num_iters,
            "batch_averaged": batch_averaged,
            "y_sample_size": y_sample_size,
            "eps": eps,
        }
        super().__init__(params, defaults)
        self.watch(model, skip_modules)
        self.module_of = {w: module for w, module in self.module_of.items() if module.groups == 1}

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        for p in params:
            self.state[p]["step"] = self.state[p].get("step", 0) + 1
            e = self.effective(p, group)
            module = self.module_of.get(p)
            if module is not None and "y" in self.captured.get(module, {}):
                e = self.direction(module, e, group)
            p.add_(e, alpha=-group["lr"])

    def direction(self, module: nn.Module, e: Tensor, group: Group) -> Tensor:
        captured = self.captured[module]
        x = self.drawn(captured["x"], group["sample_size"])
        y = self.drawn(captured["y"], group["y_sample_size"])
        energy = self.smoothed(self.state[module.weight], self.energy(y, len(x), group), group)
        X = self.inputs(module, x) / self.spread(x, module)
        E = self.rows(module, e) / self.row_scale(energy, group)[None, :, None]
        return self.finished(X, E, group).reshape(e.shape)

    def drawn(self, t: Tensor, size: int | None) -> Tensor:
        if size is None or size >= len(t):
            return t
        return t[torch.multinomial(torch.ones(len(t), device=t.device), size, replacement=False)]

    def spread(self, x: Tensor, module: nn.Module) -> float:
        """The root of what the inputs' products are divided by: the number of samples."""
        return len(x) ** 0.5

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        """The sum of each row's squared signals, by the batch factor of the inputs."""
        total = (y * y).sum((0, 2, 3))
        return total * count if group["batch_averaged"] else total / count

    def smoothed(self, state: State, energy: Tensor, group: Group) -> Tensor:
        if group["y_momentum"] == 0:
            return energy
        if "energy" not in state:
            state["energy"] = torch.zeros_like(energy)
        self.average(state["energy"], energy, group["y_momentum"])
        return state["energy"] / self.correction(state, group["y_momentum"])

    def average(self, average: Tensor, energy: Tensor, y_momentum: float) -> None:
        average.mul_(y_momentum).add_(energy, alpha=1 - y_momentum)

    def correction(self, state: State, y_momentum: float) -> float:
        return 1 - y_momentum ** state["step"]

    def row_scale(self, energy: Tensor, group: Group) -> Tensor:
        return (energy + group["eps"]).sqrt()

    def finished(self, X: Tensor, E: Tensor, group: Group) -> Tensor:
        W = self.solve(X, torch.ones_like(X[..., :1]), E, group)
        return W * self.column_scale((X * X).sum(1, keepdim=True), group)

    def column_scale(self, diagonal: Tensor, group: Group) -> Tensor:
        return diagonal.sqrt()

    def damping(self, group: Group) -> float:
        return group["eps"]

    def alpha(self, rr: Tensor, pAp: Tensor, group: Group) -> Tensor:
        return rr / (pAp + 1e-10)

    def beta(self, rr: Tensor, old: Tensor, group: Group) -> Tensor:
        return rr / (old + 1e-10)


class KFrogEnergyUnrooted(KFrogPort):
    """Divides the rows by the energy of their signals where the rule divides by its root."""

    def row_scale(self, energy: Tensor, group: Group) -> Tensor:
        return energy + group["eps"]


class KFrogEpsOutsideRoot(KFrogPort):
    """Adds eps to the root of the energy where the rule adds it to the energy."""

    def row_scale(self, energy: Tensor, group: Group) -> Tensor:
        return energy.sqrt() + group["eps"]


class KFrogEnergyOfLayer(KFrogPort):
    """Divides all rows by the root of their mean energy where each row is divided by its own."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        energy = super().energy(y, count, group)
        return energy.mean().expand_as(energy)


class KFrogMeanEnergy(KFrogPort):
    """Averages the squared signals over the positions where the rule sums them up."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        return super().energy(y, count, group) / max(y[0, 0].numel(), 1)


class KFrogEnergyOfOwnBatch(KFrogPort):
    """Takes the signals' number of samples for the batch factor where the rule takes the inputs'."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        return super().energy(y, len(y), group)


class KFrogSquaredBatchFactor(KFrogPort):
    """Multiplies the energy by the square of the number of samples where the rule does so once."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        energy = super().energy(y, count, group)
        return energy * count if group["batch_averaged"] else energy


class KFrogSwappedBatchFactor(KFrogPort):
    """Divides the energy of an averaged loss by the number of samples where the rule multiplies it."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        return super().energy(y, count, {**group, "batch_averaged": not group["batch_averaged"]})


class KFrogEnergyUncorrected(KFrogPort):
    """Leaves the bias of the smoothed energy uncorrected."""

    def correction(self, state: State, y_momentum: float) -> float:
        return 1.0


class KFrogEnergySwapped(KFrogPort):
    """Weighs the new energy by y_momentum where the rule weighs the average by it."""

    def average(self, average: Tensor, energy: Tensor, y_momentum: float) -> None:
        super().average(average, energy, 1 - y_momentum)


class KFrogSmoothsRoots(KFrogPort):
    """Averages the roots of the energies where the rule averages the energies."""

    def energy(self, y: Tensor, count: int, group: Group) -> Tensor:
        return super().energy(y, count, group).sqrt()

    def row_scale(self, energy: Tensor, group: Group) -> Tensor:
        return super().row_scale(energy**2, group)


class KFrogSummedInputs(KFrogPort):
    """Solves with the sum of the inputs' products where the rule divides it by the number of samples."""

    def spread(self, x: Tensor, module: nn.Module) -> float:
        return 1.0


class KFrogInputsPerPosition(KFrogPort):
    """Divides the inputs' products by the number of positions where the rule counts the samples."""

    def spread(self, x: Tensor, module: nn.Module) -> float:
        return self.inputs(module, x).shape[1] ** 0.5


class KFrogUndamped(KFrogPort):
    """Solves with the inputs' matrix alone where the rule adds eps to its diagonal."""

    def damping(self, group: Group) -> float:
        return 0.0


class KFrogNoColumnScale(KFrogPort):
    """Leaves the solution as it is where the rule multiplies it by the root of the diagonal."""

    def column_scale(self, diagonal: Tensor, group: Group) -> Tensor:
        return torch.ones_like(diagonal)


class KFrogDiagonalUnrooted(KFrogPort):
    """Multiplies the solution by the diagonal where the rule multiplies it by its root."""

    def column_scale(self, diagonal: Tensor, group: Group) -> Tensor:
        return diagonal


class KFrogDampedDiagonal(KFrogPort):
    """Adds eps to the diagonal under the final root too where the rule leaves it out."""

    def column_scale(self, diagonal: Tensor, group: Group) -> Tensor:
        return (diagonal + group["eps"]).sqrt()


class KFrogScalesBefore(KFrogPort):
    """Multiplies the right-hand side by the root of the diagonal where the rule does the solution."""

    def finished(self, X: Tensor, E: Tensor, group: Group) -> Tensor:
        scale = self.column_scale((X * X).sum(1, keepdim=True), group)
        return self.solve(X, torch.ones_like(X[..., :1]), E * scale, group)


class KFrogDiagonalAlone(KFrogPort):
    """Divides by the root of the inputs' diagonal where the rule solves with their matrix first."""

    def solve(self, X: Tensor, S: Tensor, E: Tensor, group: Group) -> Tensor:
        return E / ((X * X).sum(1, keepdim=True) + group["eps"])


class KFrogOneIterationLess(KFrogPort):
    """Counts the start of the conjugate gradients as an iteration where the rule does not."""

    def iterations(self, group: Group) -> int:
        return group["num_iters"] - 1 or 1


class KFrogSteepestDescent(KFrogPort):
    """Descends along the residual each time where the rule keeps the directions conjugate."""

    def beta(self, rr: Tensor, old: Tensor, group: Group) -> Tensor:
        return torch.zeros_like(rr)


class KFrogUnitRows(KFrogPort):
    """Divides each row's direction by the root of <W, e>, as FROG does, where the rule does not."""

    def finished(self, X: Tensor, E: Tensor, group: Group) -> Tensor:
        W = super().finished(X, E, group)
        size = self.dot(W, E)
        return guarded(W, size.clamp_min(0).sqrt(), size > 0)


class KFrogMomentumOfDirections(KFrogPort):
    """Accumulates the finished directions where the rule preconditions the momentum."""

    def direction(self, module: nn.Module, e: Tensor, group: Group) -> Tensor:
        h = super().direction(module, module.weight.grad, group)
        state = self.state[module.weight]
        state["directions"] = group["momentum"] * state.get("directions", torch.zeros_like(h)) + h
        return h + group["momentum"] * state["directions"] if group["nesterov"] else state["directions"]


class KFrogAveragedMomentum(KFrogPort):
    """Weighs the new gradient by 1 - momentum where the rule adds it in full."""

    def accumulate(self, state: State, g: Tensor, group: Group) -> None:
        super().accumulate(state, (1 - group["momentum"]) * g, group)


class KFrogFirstGroupForAll(KFrogPort):
    """Reads the hyperparameters of the first group for every group."""

    def step_group(self, group: Group, params: list[Tensor]) -> None:
        super().step_group(self.param_groups[0], params)


MISREADINGS = (
    FrogWholeTrace,
    FrogTraceOfLayer,
    FrogTraceOfWeights,
    FrogTraceByRows,
    FrogAbsoluteDamping,
    FrogMeanSquares,
    FrogUndamped,
    FrogRootDamping,
    FrogSignalsUnsquared,
    FrogInputsAlone,
    FrogSignalsOfLayer,
    FrogGradientPerSample,
    FrogCentredInputs,
    FrogDiagonal,
    FrogNoRoot,
    FrogUnitRows,
    FrogGradientNorm,
    FrogScaleOfLayer,
    FrogUnscaled,
    FrogMomentumOfDirections,
    FrogAveragedMomentum,
    FrogNoLookAhead,
    FrogOneIterationLess,
    FrogOneIterationMore,
    FrogSteepestDescent,
    FrogResidualOverwritten,
    FrogPooledProducts,
    FrogStartsAtGradient,
    FrogStartsAtLastSolution,
    FrogPlainBias,
    FrogBiasAlone,
    FrogPlainLinear,
    FrogPlainGroupedConvolutions,
    FrogInterleavedGroups,
    FrogFirstGroupsInputs,
    FrogExtraPaddingFirst,
    FrogFirstSamples,
    FrogOtherSignals,
    FrogCoupledDecay,
    FrogOtherRateDecay,
    FrogUndecayedBiases,
    FrogDecayWithoutRate,
    FrogOneRate,
    FrogScaledOthers,
    FrogFirstGroupForAll,
    KFrogEnergyUnrooted,
    KFrogEpsOutsideRoot,
    KFrogEnergyOfLayer,
    KFrogMeanEnergy,
    KFrogEnergyOfOwnBatch,
    KFrogSquaredBatchFactor,
    KFrogSwappedBatchFactor,
    KFrogEnergyUncorrected,
    KFrogEnergySwapped,
    KFrogSmoothsRoots,
    KFrogSummedInputs,
    KFrogInputsPerPosition,
    KFrogUndamped,
    KFrogNoColumnScale,
    KFrogDiagonalUnrooted,
    KFrogDampedDiagonal,
    KFrogScalesBefore,
    KFrogDiagonalAlone,
    KFrogOneIterationLess,
    KFrogSteepestDescent,
    KFrogUnitRows,
    KFrogMomentumOfDirections,
    KFrogAveragedMomentum,
    KFrogFirstGroupForAll,
)
