"""State dictionaries: those of released packages put into our terms, and every field kept bit for bit.

What is known of others (adamp 0.3.0, fsgdm 1.0, adai at e6c1b9d, torch.optim, timm, pytorch-optimizer): the names of
fields differ here and there, and steps are counted as Python numbers, by some in the group.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from torch import Tensor
from torch.optim.optimizer import StateDict

from stepgauge.torch_bind.state import STEP, Fields, counter, missing, shape_of, unset

Bound = Any  # a RuleOptimizer, whose module imports this one


def converted(optimizer: Bound, loaded: StateDict) -> StateDict:
    """A state dictionary in our terms.

    Raises:
        ValueError: it is not one of the optimizer's rule and parameters.
    """
    if not {"state", "param_groups"} <= loaded.keys():
        raise ValueError(f"Invalid state_dict: has {', '.join(map(str, loaded)) or 'nothing'}, not state, param_groups")
    _require_groups(optimizer, loaded)
    state = dict(loaded["state"])
    groups = [{k: v for k, v in group.items() if k != STEP} for group in loaded["param_groups"]]
    for where, key, p, group in _parameters(optimizer, loaded):
        values = {name: group.get(name, optimizer.defaults[name]) for name in optimizer._names()}
        _, rule, fields, _ = optimizer._setting(tuple(values.values()))
        known = optimizer.renamed
        record = {known.get(name, name): x for name, x in state.get(key, {}).items() if x is not None}
        counted = group.get(STEP)
        if counted is not None and STEP in fields and STEP not in record and (record or optimizer.counts_calls):
            record[STEP] = float(counted) - optimizer.counts_from
        _require_record(type(optimizer).__name__, where, p, rule, fields, record)
        if record:
            state[key] = record
    return {**loaded, "state": state, "param_groups": groups}


def _parameters(optimizer: Bound, loaded: StateDict) -> Iterator[tuple[str, Any, Tensor, dict[str, Any]]]:
    """Of every parameter: where it is, its key in the dictionary, itself, and its loaded group."""
    for k, (theirs, ours) in enumerate(zip(loaded["param_groups"], optimizer.param_groups, strict=True)):
        for i, (key, p) in enumerate(zip(theirs["params"], ours["params"], strict=True)):
            yield f"parameter {i} of group {k}", key, p, theirs


def _require_groups(optimizer: Bound, loaded: StateDict) -> None:
    theirs, ours = ([len(g["params"]) for g in groups] for groups in (loaded["param_groups"], optimizer.param_groups))
    if theirs != ours:
        raise ValueError(f"Invalid state_dict: groups of {theirs} parameters (must be of {ours}, as the optimizer's)")
    if foreign := set(loaded["state"]) - set(chain.from_iterable(g["params"] for g in loaded["param_groups"])):
        raise ValueError(f"Invalid state_dict: has the state of {sorted(map(str, foreign))}, which no group has")


def _require_record(
    optimizer: str, where: str, p: Tensor, rule: Any, fields: Fields, record: Mapping[str, Any]
) -> None:
    if foreign := sorted(record.keys() - fields.keys()):
        raise ValueError(f"Invalid state_dict: {where} has {', '.join(foreign)}, which {optimizer} does not keep")
    if record and (lacking := [name for name in missing(fields, record) if fields[name] is not unset]):
        raise ValueError(f"Invalid state_dict: {where} lacks {', '.join(lacking)}, which {optimizer} keeps")
    for name, x in record.items():
        expected = shape_of(fields[name], p, rule)
        shape = x.shape if isinstance(x, Tensor) else () if fields[name] is counter else None
        if shape != expected:
            raise ValueError(
                f"Invalid state_dict: {name} of {where} is {shape and tuple(shape)}, not {tuple(expected)}"
            )
