"""What the optimizers share: hyperparameters by group, the step, and what a checkpoint keeps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, overload

import torch
from torch import Tensor
from torch._compile import _disable_dynamo  # as torch.optim's own: the public one imports the compiler at once
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from stepgauge.core.tensors import Plan
from stepgauge.reference import Rule
from stepgauge.torch_bind import in_core, in_torch
from stepgauge.torch_bind.accepted import require_parameters, require_steppable, require_together
from stepgauge.torch_bind.checkpoints import adopted, converted
from stepgauge.torch_bind.state import STEP, Fields, State, begun, missing, unset

Hyperparameters = tuple[Any, ...]
OPTIONS = ("maximize", "foreach", "capturable")
ROUNDING = 1e-12  # of rates and decays, which are of the order of 1 at most


class Setting(NamedTuple):
    """A group's hyperparameters of one step, and what follows from them."""

    values: Hyperparameters
    rule: Rule
    fields: Fields
    in_core: list[str | None]  # the fields that the core's kernel looks at, in its order


class Live(NamedTuple):
    """A parameter that steps."""

    group: int
    p: Tensor
    g: Tensor
    record: State


class RuleOptimizer(Optimizer, ABC):
    """A rule as an optimizer.

    A subclass gives the rule, its update as a pure function of tensors, the fields of a parameter's state, and a
    constructor with torch's signature.
    """

    rule: ClassVar[type[Rule]]  # hyperparameters and their ranges
    update: ClassVar[in_torch.Update]
    statistic: ClassVar[in_torch.Statistic | None] = None  # of a rule that pools
    by_rows: ClassVar[bool] = False  # whether it looks at a parameter's rows
    counts_calls: ClassVar[bool] = False  # whether a step counts for a parameter without gradient
    renamed: ClassVar[Mapping[str, str]] = {}  # fields in checkpoints of other packages, and ours
    counts_from: ClassVar[int] = 0  # where other packages begin that count steps in the group
    _plan: Plan | None = None  # of the last step, if the core took all of it
    _settings: tuple[Setting, ...] = ()
    _compiled: in_torch.Step | None = None

    def __init__(self, params: ParamsT, **defaults: Any) -> None:
        self._check(defaults)
        super().__init__(params, defaults)

    @classmethod
    @abstractmethod
    def fields(cls, rule: Any) -> Fields:
        """The fields of a parameter's state, in the order of the update's arguments, and how each begins."""

    @classmethod
    def core_fields(cls, rule: Any) -> list[str | None]:
        """Those that the core's kernel looks at, in its order."""
        return [name if make else None for name, make in cls.fields(rule).items() if name != STEP]

    # --- hyperparameters

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in torch.

        Raises:
            ValueError: a hyperparameter is out of range, or a parameter is there already.
            TypeError: a parameter is sparse, complex, quantised or of integers.
        """
        self._check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            require_parameters(type(self).__name__, group["params"])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise
        if isinstance(group["lr"], Tensor) and any(group["lr"] is other["lr"] for other in self.param_groups[:-1]):
            group["lr"] = group["lr"].clone()  # a schedule writes into it, and would do so once for each group

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        return (*cls.rule.hyperparameter_names(), "dialect")

    def _check(self, group: dict[str, Any]) -> None:
        values = {name: group[name] for name in self._names()}
        if isinstance(lr := values["lr"], Tensor):  # whose value its device alone knows
            if lr.numel() != 1:
                raise ValueError(f"Invalid lr: a tensor of shape {tuple(lr.shape)} (must have one element)")
            values["lr"] = 0.0
        for name, value in values.items():
            if isinstance(value, Tensor):  # each step would wait for its device to read it
                raise ValueError(f"Invalid {name}: {value} (must be a Python number, not a tensor: pass {name}.item())")
        self.rule(**values).require_own_dialect()

    def _set(self) -> tuple[Setting, ...]:
        """The hyperparameters of this step; a plan that they do not fit is dropped."""
        names, before = self._names(), self._settings
        drawn = [tuple(_plain(group[name]) for name in names) for group in self.param_groups]
        if len(drawn) == len(before) and all(v == s.values for v, s in zip(drawn, before, strict=True)):
            return before
        self._settings = tuple(map(self._setting, drawn))
        if self._plan is not None and [s.in_core for s in before] == [s.in_core for s in self._settings]:
            self._plan.set_rules([s.rule for s in self._settings])
        else:
            self._plan = None
        return self._settings

    def _setting(self, values: Hyperparameters) -> Setting:
        """The rule with a group's values, which a schedule may have moved: raises ValueError if out of range."""
        named = dict(zip(self._names(), values, strict=True))
        lr = named["lr"]
        rule = self.rule(**{name: _rounded(name, value) for name, value in named.items()})
        if isinstance(lr, Tensor):
            object.__setattr__(rule, "lr", lr.reshape(()))  # as it is: to look at its value, the host would wait
        return Setting(values, rule, self.fields(rule), self.core_fields(rule))

    # --- the step

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of every parameter that has a gradient.

        Args:
            closure: evaluates the model anew, leaves gradients behind and returns the loss.

        Returns:
            The closure's loss, or None without closure.

        Raises:
            RuntimeError: something cannot be stepped; nothing has changed then.
        """
        return self._step(closure, torch.compiler.is_compiling())

    # A compiled frame does not notice that a state it looked up by parameter is not the one it was compiled with. So
    # none looks anything up: what is compiled, if the caller is, is the mathematics.
    @_disable_dynamo
    def _step(self, closure: Callable[[], float] | None, compiled: bool) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            settings = self._set()
            climbs = [group["maximize"] for group in self.param_groups]
            if self._plan is not None and self._plan.holds(self.param_groups, climbs, self.state):
                if self.counts_calls and not self._plan.has_all:
                    self._count_calls(self._plan)
                in_core.step(self._plan)
            else:
                self._step_anew(settings, climbs, compiled)
        return loss

    def _step_anew(self, settings: tuple[Setting, ...], climbs: list[bool], compiled: bool) -> None:
        """A step without the last one's plan: what can be stepped is found out, and by whom."""
        self._plan = None
        live = self._live(settings)
        fitting = self._fitting(settings, live)
        plan = self._planned(settings, climbs, fitting) if fitting else None
        others = [one for one in live if plan is None or not plan.has(one.p)]
        if self.counts_calls:
            self._count_calls(plan)
        if plan is not None:
            in_core.step(plan)
        if others:
            self._step_in_torch(settings, others, compiled)
        else:
            self._plan = plan

    def _live(self, settings: tuple[Setting, ...]) -> list[Live]:
        """The parameters that step, none of them unfit to, their states completed."""
        name, live, states = type(self).__name__, [], []
        for k, group in enumerate(self.param_groups):
            for i, p in enumerate(group["params"]):
                record = self.state.get(p, {})
                setting = settings[k]
                require_steppable(name, f"parameter {i} of group {k}", p, setting.rule, setting.fields, record)
                if p.grad is not None or self.counts_calls:
                    states.append((p, begun(setting.rule, setting.fields, p, record, group["capturable"])))
                if p.grad is not None:
                    live.append((k, p))
        if self.statistic is not None:
            require_together(name, [p for _, p in live])
        for p, new in states:  # now that nothing is refused any more
            if new:
                self.state[p].update(new)
        return [Live(k, p, p.grad, self.state.get(p, {})) for k, p in live]

    def _fitting(self, settings: tuple[Setting, ...], live: list[Live]) -> set[int]:
        """Ids of the parameters that the core can step; of those that are pooled either all or none."""
        fit = {id(one.p) for one in live if self._fits(settings[one.group], one.p, one.g, one.record)}
        if self.rule.pools_over == "nothing":
            return fit
        everywhere = self.rule.pools_over == "all"
        spoilt = {everywhere or one.group for one in live if id(one.p) not in fit}
        return {id(one.p) for one in live if (everywhere or one.group) not in spoilt}

    def _fits(self, setting: Setting, p: Tensor, g: Tensor | None, record: State) -> bool:
        if isinstance(setting.rule.lr, Tensor):  # type: ignore[attr-defined]  # which every rule has
            return False
        return in_core.fits(setting.rule, p, g, setting.fields, record, by_rows=self.by_rows)

    def _planned(self, settings: tuple[Setting, ...], climbs: list[bool], fitting: set[int]) -> Plan | None:
        """The core's plan over those that fit, and over those that will once they have a gradient again."""
        members: list[list[in_core.Member]] = []
        new: list[tuple[Tensor, str]] = []
        for group, setting in zip(self.param_groups, settings, strict=True):
            members.append([])
            for p in group["params"]:
                record = self.state.get(p, {})
                lacking = missing(setting.fields, record)
                idle = p.grad is None and not lacking and self._fits(setting, p, None, record)
                if id(p) in fitting or idle:
                    for name in lacking:  # what the first step makes
                        self.state[p][name] = record[name] = unset(p.detach(), setting.rule)
                        new.append((p, name))
                    members[-1].append(in_core.member(p, record, setting.in_core, not lacking))
        rules, groups = [setting.rule for setting in settings], [group["params"] for group in self.param_groups]
        plan = in_core.plan_of(rules, groups, members, self.state)
        if plan is None or not plan.holds(self.param_groups, climbs, self.state, new=True):
            for p, name in new:
                del self.state[p][name]
            return None
        return plan

    def _count_calls(self, plan: Plan | None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None and (plan is None or not plan.has(p)):
                    self.state[p][STEP].add_(1)

    def _step_in_torch(self, settings: tuple[Setting, ...], live: list[Live], compiled: bool) -> None:
        batches, owners = [], []
        for k, (group, setting) in enumerate(zip(self.param_groups, settings, strict=True)):
            if mine := [one for one in live if one.group == k]:
                values = [[one.record.get(name) for name in setting.fields] for one in mine]
                params, grads = [one.p for one in mine], [one.g for one in mine]
                hyperparameters = in_torch.keywords(setting.rule)
                batches.append(in_torch.Batch(params, grads, values, hyperparameters, group["maximize"]))
                owners.append((setting, params))
                compiled = compiled or group["foreach"] is True
        if compiled and self._compiled is None:
            self._compiled = in_torch.compiled_step()
        pooling = in_torch.Pooling(type(self).statistic, self.rule.pools_over)
        stepped = in_torch.step(type(self).update, pooling, batches, self._compiled if compiled else None)
        for (setting, params), after in zip(owners, stepped, strict=True):
            for p, finished in zip(params, after, strict=True):
                for name, value in zip(setting.fields, finished, strict=True):
                    if value is not None and (p not in self.state or name not in self.state[p]):
                        self.state[p][name] = unset(p, setting.rule).copy_(value)

    # --- checkpoints

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plan, self._settings, self._compiled = None, (), None
        for group in self.param_groups:  # a checkpoint may come from an optimizer without some of our options
            for name in (*self._names(), *OPTIONS):
                group.setdefault(name, self.defaults.get(name))

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` returned, of this class or of a released package's optimizer for the same rule.

        As in torch, except that nothing is shared with the dictionary afterwards, and that a state in float32 stays
        so beside a parameter of less precision, where torch rounds it to the parameter's dtype.

        Raises:
            ValueError: the state is not one of this rule, is incomplete, or is of other parameters; nothing has
                changed then.
        """
        final: list[StateDict] = []  # as other hooks leave it: ours is the last of those before, the first after

        def convert(_: Optimizer, loaded: StateDict) -> StateDict:
            final.append(converted(self, loaded))
            return final[0]

        before = self.register_load_state_dict_pre_hook(convert)
        after = self.register_load_state_dict_post_hook(lambda _: adopted(self, final[0]), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()


def _rounded(name: str, value: Any) -> Any:
    """A value without what rounding makes of a schedule that ends at 0: LinearLR's goes just below it."""
    if isinstance(value, Tensor):
        return 0.0
    return 0.0 if name in ("lr", "weight_decay") and -ROUNDING < value < 0 else value


def _plain(value: Any) -> Any:
    """A hyperparameter as Python numbers: a schedule may have left a NumPy float, which would promote float32."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(part) for part in value)
    if isinstance(value, Tensor):
        return value.item() if value.device.type == "cpu" and type(value) is Tensor else value
    return value if value is None or isinstance(value, (int, str)) else float(value)
