"""Bad input: one clear sentence that names the value and the fix, before anything has moved."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepgauge.reference import RULES, SGD, Adai, Convolution, Frog, Group, KFrog, Layer, Seen, init, step

LR: dict[str, Any] = {"lr": 0.1}
OF_ONE: dict[str, list[tuple[str, Any]]] = {
    "sgd": [("momentum", -0.1), ("weight_decay", -1.0)],
    "adam": [("betas", (1.0, 0.9)), ("betas", (0.9, 1.0)), ("betas", (-0.1, 0.9)), ("betas", (0.9,)), ("eps", -1e-8)],
    "adamw": [("weight_decay", -0.01), ("amsgrad", 1)],
    "rmsprop": [("alpha", 1.0), ("alpha", -0.1), ("eps", -1e-8), ("momentum", -0.1), ("centered", "yes")],
    "adamp": [("betas", (1.0, 0.9)), ("eps", -1e-8), ("wd_ratio", -0.1), ("nesterov", 1)],
    "sgdp": [("momentum", -0.1), ("eps", -1e-8), ("wd_ratio", -0.1)],
    "fsgdm": [("c_scaling", 0.0), ("c_scaling", -1.0), ("n_stages", 0), ("n_stages", 1.5), ("n_stages", True),
              ("sigma", 0), ("sigma", 10.5), ("v_coefficient", -0.1)],
    "adai": [("betas", (-0.1, 0.9)), ("betas", (0.1, 1.0)), ("eps", 0.0), ("eps", 1.0), ("eps", 2.0)],
    "adaiv2": [("dampening", -0.1), ("dampening", 1.1), ("betas", (0.1, 1.0)), ("eps", 0.0)],
    "sgd_c": [("topC", 0), ("topC", -1), ("topC", 2.5), ("decay", 0.0), ("decay", -1.0), ("decay", 1.5),
              ("kappa", -0.1), ("aggr", "max"), ("aggr", 1)],
    "rmsprop_c": [("topC", 0), ("decay", 1.5), ("kappa", -0.1), ("aggr", "Sum"), ("alpha", 1.0)],
    "adam_c": [("topC", 0), ("decay", 0.0), ("kappa", -0.1), ("aggr", ""), ("betas", (0.9, 1.0))],
    "adamw_c": [("topC", 0), ("decay", 0.0), ("kappa", -0.1), ("aggr", None), ("synced", 0)],
    "frog": [("tau", -1e-6), ("denom_eps", -1e-10), ("num_iters", 0), ("num_iters", 2.5), ("sample_size", 0),
             ("sample_size", 1.5), ("lr_other_ratio", -0.25), ("momentum", -0.1), ("weight_decay", -0.1)],
    "kfrog": [("eps", -1e-6), ("num_iters", 0), ("sample_size", 0), ("y_sample_size", 0), ("y_momentum", 1.0),
              ("y_momentum", -0.1)],
}  # fmt: skip
OF_SEVERAL: dict[str, list[tuple[dict[str, Any], str]]] = {
    "sgd": [({"nesterov": True}, "momentum"), ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening")],
    "sgdp": [({"momentum": 1.0, "weight_decay": 0.1}, "below 1")],
    "fsgdm": [({"sigma": 5, "n_stages": 6}, "at least n_stages, 6")],
    "sgd_c": [({"nesterov": True}, "momentum")],
    "rmsprop_c": [({"kappa": 0.0, "dialect": d}, "published") for d in ("released", "released_eff")],
    "adam_c": [({"kappa": 0.0, "dialect": d}, "published") for d in ("released", "released_eff")],
    "adamw_c": [({"kappa": 0.0, "dialect": d}, "published") for d in ("released", "released_eff")],
    "frog": [({"nesterov": True}, "momentum")],
    "kfrog": [({"nesterov": True}, "momentum")],
}
NUMBERS = [(name, n) for name, rule in RULES.items() for n, v in {**rule.defaults(), **LR}.items() if type(v) is float]


@pytest.mark.parametrize(("name", "key", "value"), [(n, *case) for n, cases in OF_ONE.items() for case in cases])
def test_value_out_of_range(name: str, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^Invalid {key}: ") as error:
        RULES[name](**{**LR, key: value})
    shown = [str(value), repr(value)]
    assert any(text in str(error.value) for text in shown)
    assert "must be" in str(error.value)


@pytest.mark.parametrize(("name", "values", "fix"), [(n, *case) for n, cases in OF_SEVERAL.items() for case in cases])
def test_values_that_do_not_go_together(name: str, values: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid ") as error:
        RULES[name](**{**LR, **values})
    assert fix in str(error.value)


@pytest.mark.parametrize("value", [math.nan, "0.1", None, True, [0.1], 1j])
@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_what_is_no_number(name: str, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^Invalid {key}: "):
        RULES[name](**{**LR, key: value})


@pytest.mark.parametrize("name", RULES)
def test_negative_and_infinite_rate(name: str) -> None:
    for lr in (-1.0, math.inf):
        with pytest.raises(ValueError, match=r"^Invalid lr: (-1\.0|inf) \(must be at least 0 and finite\)$"):
            RULES[name](**{**LR, "lr": lr})


@pytest.mark.parametrize("name", RULES)
def test_unknown_dialect(name: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid dialect: releasd \(\w+ has: "):
        RULES[name](**LR, dialect="releasd")


def test_adai_needs_an_eps_that_its_dtype_sees() -> None:
    with pytest.raises(ValueError, match=r"^Invalid eps: 1e-09 \(1 - eps rounds to 1 in float32\)$"):
        init([Group(Adai(0.1, eps=1e-9), [0])], [np.ones(2, dtype=np.float32)])


ONES = [np.ones((2, 3)), np.ones(4)]
ONE_GROUP = [Group(SGD(0.1), [0, 1])]
CONV = Convolution((2, 2))
WEIGHT, BIAS = np.ones((4, 2, 2, 2)), np.ones(4)
SEEN = Seen(np.ones((3, 2, 4, 4)), np.ones((3, 4, 3, 3)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: init([], []), ValueError, "no parameters: give at least one"),
        (lambda: init(ONE_GROUP, [np.ones(2, dtype=int), ONES[1]]), TypeError, "Invalid parameter 0: int64 (must be"),
        (lambda: init(ONE_GROUP, [ONES[0], np.ones(2, dtype=np.float16)]), TypeError, "Invalid parameter 1: float16"),
        (lambda: init(ONE_GROUP, [ONES[0], [1.0, 2.0]]), TypeError, "Invalid parameter 1: list (must be an array"),
        (lambda: init([Group(SGD(0.1), [0, 2])], ONES), ValueError, "has parameter 2 (there are 2, counted from 0)"),
        (lambda: init([Group(SGD(0.1), [-1])], ONES), ValueError, "has parameter -1"),
        (lambda: init([*ONE_GROUP, Group(SGD(0.1), [1])], ONES), ValueError, "parameter 1 is in them twice"),
        (lambda: Convolution((2, 0)), ValueError, "Invalid kernel: (2, 0) (must be at least 1)"),
        (lambda: Convolution((2, 2), stride=(0, 1)), ValueError, "Invalid stride: (0, 1) (must be at least 1)"),
        (lambda: Convolution((2, 2), padding=((-1, 0), (0, 0))), ValueError, "Invalid padding: ((-1, 0), (0, 0))"),
        (lambda: Convolution((2, 2), groups=0), ValueError, "Invalid groups: 0 (must be at least 1)"),
    ],
)
def test_bad_start(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        make()
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ([ONES[0]], ValueError, "1 gradients for 2 parameters; give None where there is none"),
        ([ONES[0], np.ones(3)], ValueError, "Invalid gradient 1: shape (3,) (must be (4,) like its parameter)"),
        ([ONES[0], np.ones((1, 4))], ValueError, "Invalid gradient 1: shape (1, 4)"),
        ([ONES[0], np.ones(4, np.float32)], TypeError, "Invalid gradient 1: float32 (must be an array of float64"),
        ([ONES[0], np.ones(4, int)], TypeError, "Invalid gradient 1: int64"),
        ([ONES[0], [1.0] * 4], TypeError, "Invalid gradient 1: list"),
    ],
)
@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if not rule.sees_layers])
def test_bad_gradient_leaves_everything_as_it_was(name: str, grads: Any, error: type[Exception], message: str) -> None:
    """Also the first parameter, whose gradient is good."""
    groups = [Group(RULES[name](**LR), [0, 1])]
    params, states = step(groups, ONES, ONES, init(groups, ONES))
    before = copy.deepcopy((params, states))
    with pytest.raises(error) as raised:
        step(groups, params, grads, states)
    assert message in str(raised.value)
    assert repr((params, states)) == repr(before)


@pytest.mark.parametrize(
    ("layer", "seen", "params", "message"),
    [
        (Layer(0, 1, CONV), {}, [WEIGHT, BIAS], "parameter 0 is a layer's weight and has a gradient: say what it saw"),
        (Layer(0, 1, CONV), {0: SEEN}, [WEIGHT, None], "parameter 1 has no gradient, but is the bias of a layer that"),
        (Layer(0, 1, Convolution((2, 2), groups=3)), {0: SEEN}, [WEIGHT, BIAS], "no kernel (2, 2) in 3 groups"),
        (Layer(0, 1, Convolution((3, 3))), {0: SEEN}, [WEIGHT, BIAS], "(4, 2, 2, 2) has no kernel (3, 3) in 1 groups"),
        (Layer(0, 1, CONV), {0: SEEN._replace(inputs=np.ones((3, 1, 4, 4)))}, [WEIGHT, BIAS], "(3, 2, 4, 4) would"),
        (Layer(0, 1, CONV), {0: SEEN._replace(inputs=np.ones((3, 2, 4)))}, [WEIGHT, BIAS], "are not (samples, "),
        (Layer(0, 1, CONV), {0: SEEN._replace(signals=np.ones((3, 4, 4, 4)))}, [WEIGHT, BIAS], "(3, 4, 3, 3) would"),
        (Layer(0, 1), {0: SEEN}, [WEIGHT, BIAS], "is not of a linear layer; say its geometry"),
        (Layer(0, 1, CONV), {0: SEEN}, [WEIGHT, np.ones(3)], "the bias of shape (3,) is not one of a weight of shape"),
    ],
)
def test_bad_layer(layer: Layer, seen: dict[int, Seen], params: Any, message: str) -> None:
    groups = [Group(Frog(tau=0.1), [0, 1])]
    own = [np.ones(4) if p is None else p for p in params]
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the message is what the cases differ in
        step(groups, own, params, init([Group(Frog(), [0, 1])], own), [layer], seen)
    assert message in str(raised.value)


def test_samples_need_a_generator() -> None:
    groups, layers = [Group(Frog(tau=0.1, sample_size=2), [0])], [Layer(0, None, CONV)]
    states = init(groups, [WEIGHT], layers)
    with pytest.raises(ValueError, match="2 of 3 samples are to be drawn: give a generator"):
        step(groups, [WEIGHT], [WEIGHT], states, layers, {0: SEEN})
    step(groups, [WEIGHT], [WEIGHT], states, layers, {0: SEEN}, rng=np.random.default_rng(0))


def test_kfrog_has_no_groups() -> None:
    with pytest.raises(ValueError, match=r"Invalid groups: 2 \(K-FROG is defined for 1 alone\)"):
        init([Group(KFrog(), [0])], [np.ones((4, 1, 2, 2))], [Layer(0, None, Convolution((2, 2), groups=2))])
