"""The models, and who steps them: each rule of this project in each of its layers, and what a user could pick instead.

A new rule of the core is found by itself; its row in `RIVALS` says the least traffic of a step, and who else
computes it.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from stepgauge import core, reference
from stepgauge.properties.gauge.bench.costs import Step
from stepgauge.properties.gauge.bench.models import Shape, arrays
from stepgauge.reference import Group

FILLED = 12  # steps after which every buffer is full
LAYERS = ("core", "torch_bind", "reference")


class Peer(NamedTuple):
    """An outside optimizer: the module and the class or factory in it, and its own keywords."""

    module: str
    name: str
    keywords: dict[str, Any] = {}  # noqa: RUF012  # nobody writes into it
    checkout: str = ""  # the option that names its folder, where it is on no registry

    def missing(self) -> str | None:
        """Why it cannot take part."""
        if importlib.util.find_spec(self.module.partition(".")[0]) is None:
            return "not installed"
        try:
            importlib.import_module(self.module)
        except Exception as error:  # whatever a stranger's package raises
            return f"cannot be imported: {error}"
        return None


class Contest(NamedTuple):
    """A rule with its hyperparameters, and its rivals by the name that the tables give them."""

    rule: str
    traffic: int  # bytes for each element, in float32, that a step cannot do without
    options: dict[str, Any]
    peers: dict[str, Peer]


def _ports(name: str, *modules: str) -> dict[str, Peer]:
    return {module.partition(".")[0]: Peer(module, name) for module in modules}


def _torch(name: str, *forms: str) -> dict[str, Peer]:
    return {f"torch {form}": Peer("torch.optim", name, {form: True}) for form in forms}


def _critical(name: str) -> dict[str, Peer]:
    return {
        "cgoptimizer": Peer("cgoptimizer.optim", name, {}, "--cgoptimizer"),
        "cgoptimizer _eff": Peer("cgoptimizer.optim_eff", f"{name}_eff", {}, "--cgoptimizer"),
    }


def _adai(name: str) -> dict[str, Peer]:
    return {"adai": Peer("adai_optim", name, {}, "--adai")}


PORTS = ("timm.optim", "torch_optimizer", "pytorch_optimizer")
MOVING = {"lr": 1e-3, "momentum": 0.9}
RIVALS = {
    "sgd": (20, MOVING, {**_torch("SGD", "fused", "foreach"), "optax": Peer("optax", "sgd")}),
    "adam": (28, {}, {**_torch("Adam", "fused", "foreach"), "optax": Peer("optax", "adam")}),
    "adamw": (28, {}, {**_torch("AdamW", "fused", "foreach"), "optax": Peer("optax", "adamw")}),
    "rmsprop": (20, {}, {**_torch("RMSprop", "foreach"), "optax": Peer("optax", "rmsprop")}),
    "fsgdm": (20, {}, _ports("FSGDM", "fsgdm")),
    "lion": (20, {}, {**_ports("Lion", "lion_pytorch", *PORTS[::2]), "optax": Peer("optax", "lion")}),
    "adamp": (28, {}, _ports("AdamP", "adamp", *PORTS)),
    "sgdp": (20, MOVING, _ports("SGDP", "adamp", *PORTS)),
    "adai": (44, {"lr": 1e-3}, {**_adai("Adai"), **_ports("Adai", "pytorch_optimizer")}),
    "adaiv2": (44, {"lr": 1e-3}, _adai("AdaiV2")),
    "sgd_c": (32, {"topC": 10}, _critical("SGD_C")),
    "rmsprop_c": (40, {"topC": 10}, _critical("RMSprop_C")),
    "adam_c": (48, {"topC": 10}, _critical("Adam_C")),
    "adamw_c": (48, {"topC": 10}, _critical("AdamW_C")),
}
PROJECTING = {"delta": 1e3}  # every row counts as scale-invariant


def _contests() -> Iterator[tuple[str, Contest]]:
    for rule, optimizer in core.OPTIMIZERS.items():
        if rule not in RIVALS:
            raise LookupError(f"{rule} has no row in benchmarks/contestants.py: RIVALS[{rule!r}]")
        contest = Contest(rule, *RIVALS[rule])
        yield optimizer.__name__, contest
        if "delta" in reference.RULES[rule].__dataclass_fields__:
            yield f"{optimizer.__name__} projected", contest._replace(options={**contest.options, **PROJECTING})


CONTESTS: dict[str, Contest] = dict(_contests())


def warm(step: Step, contest: Contest) -> Step:
    """The same, once its state is there and its buffers are full."""
    for _ in range(FILLED if "topC" in contest.options else 2):
        step()
    return step


def core_step(contest: Contest, shapes: list[Shape]) -> Step:
    optimizer = core.OPTIMIZERS[contest.rule](arrays(shapes, 0.05, seed=0), **contest.options)
    return partial(optimizer.step, arrays(shapes, 1.0, seed=1))


def reference_step(contest: Contest, shapes: list[Shape]) -> Step:
    params, grads = arrays(shapes, 0.05, seed=0), arrays(shapes, 1.0, seed=1)
    groups = [Group(reference.RULES[contest.rule](**contest.options), range(len(params)))]
    model = {"params": params, "states": reference.init(groups, params)}

    def step() -> None:
        model["params"], model["states"] = reference.step(groups, model["params"], grads, model["states"])

    return step


def torch_bind_step(contest: Contest, shapes: list[Shape]) -> Step:
    return _torch_step(contest, shapes, Peer("stepgauge.torch_bind", core.OPTIMIZERS[contest.rule].__name__))


def peer_step(contest: Contest, shapes: list[Shape], peer: Peer) -> Step:
    return (_optax_step if peer.module == "optax" else _torch_step)(contest, shapes, peer)


def _torch_step(contest: Contest, shapes: list[Shape], peer: Peer) -> Step:
    import torch

    params = [torch.nn.Parameter(torch.from_numpy(p)) for p in arrays(shapes, 0.05, seed=0)]
    for p, g in zip(params, arrays(shapes, 1.0, seed=1), strict=True):
        p.grad = torch.from_numpy(g)
    optimizer = getattr(importlib.import_module(peer.module), peer.name)(params, **contest.options, **peer.keywords)
    if hasattr(optimizer, "resetOfflineStats"):
        optimizer.resetOfflineStats()  # which the release forgets, and fails without
    return optimizer.step  # type: ignore[no-any-return]  # of a stranger's class


def _optax_step(contest: Contest, shapes: list[Shape], peer: Peer) -> Step:
    import jax
    import optax

    own = {"lr": "learning_rate"}
    options = {"lr": 1e-3, **contest.options, **peer.keywords}
    optimizer = getattr(optax, peer.name)(**{own.get(key, key): value for key, value in options.items()})
    params, grads = ([jax.numpy.asarray(x) for x in arrays(shapes, *how)] for how in ((0.05, 0), (1.0, 1)))

    def stepped(params: Any, state: Any, grads: Any) -> Any:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(stepped, donate_argnums=(0, 1))
    model = [params, optimizer.init(params)]

    def step() -> None:
        model[:] = compiled(*model, grads)
        jax.block_until_ready(model)

    return step


OWN: dict[str, Callable[[Contest, list[Shape]], Step]] = {
    "core": core_step,
    "torch_bind": torch_bind_step,
    "reference": reference_step,
}
