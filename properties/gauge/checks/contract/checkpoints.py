"""Checks of state dictionaries and copies: what is saved, loaded or copied goes on as if nothing had happened."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

from stepgauge.properties.gauge.checks.context import Absent
from stepgauge.properties.gauge.checks.contract.bench import HALF, STEPS, Bench, contract, require_equal, require_near
from stepgauge.properties.gauge.checks.contract.memory import in_channels_last
from stepgauge.properties.gauge.checks.results import NotApplicable


def _resumed(bench: Bench, through: Callable[[Any], Any] = copy.deepcopy, built: Bench | None = None) -> list[Any]:
    """The parameters of a run that goes on half-way in a fresh optimizer, the state having gone through something.

    The fresh one is made as `built` says, if that is not as the first was.
    """
    run = bench.run()
    bench.train(run, range(HALF))
    fresh = (built or bench).run(run.params, run.network)
    fresh.optimizer.load_state_dict(through(run.optimizer.state_dict()))
    bench.train(fresh, range(HALF, STEPS))
    return list(fresh.params)


@contract("contract/resume")
def resume(bench: Bench) -> None:
    """Saved and loaded into a fresh optimizer half-way, the run goes on bit for bit."""
    for other in (bench, bench.fading()):
        require_equal(_resumed(other), other.finished(), "the resumed run leaves the uninterrupted one")


@contract("contract/resume-with-other-settings")
def resume_with_other_settings(bench: Bench) -> None:
    """Loaded into an optimizer that was made with other settings, the run goes on with those of the checkpoint."""
    resumed = _resumed(bench, built=bench.with_other_settings())
    require_equal(resumed, bench.finished(), "the resumed run keeps settings of the optimizer that it was loaded into")


@contract("contract/resume-with-groups")
def resume_with_groups(bench: Bench) -> None:
    """Resumed with several groups, each goes on with its own hyperparameters."""
    grouped = bench.in_groups()
    require_equal(_resumed(grouped), grouped.finished(), "the resumed groups leave the uninterrupted run")


@contract("contract/resume-mid-schedule")
def resume_mid_schedule(bench: Bench) -> None:
    """Resumed where a schedule has moved lr, the run goes on with that lr, and not with the constructor's."""
    moved = bench.scheduled()
    require_equal(_resumed(moved), moved.finished(), "resumed mid-schedule, the run leaves the course")


@contract("contract/resume-late-gradient")
def resume_late_gradient(bench: Bench) -> None:
    """Resumed while a parameter, whichever, has had no gradient yet, its first one is as it would have been."""
    if len(bench.problem.initial) < 2:
        raise NotApplicable("there is one parameter")
    dampened = {n: v for n, v in {"nesterov": False, "dampening": 0.28}.items() if n in bench.target.offers}
    for unit in range(len(bench.context.shapes)):
        late: Absent = {unit: tuple(range(HALF + 1))}
        for other in (Bench(bench.context, late), Bench(bench.context, late, **dampened)):
            require_equal(_resumed(other), other.finished(), "a first gradient after resuming is taken otherwise")


@contract("contract/resume-in-bfloat16")
def resume_in_bfloat16(bench: Bench) -> None:
    """Resumed with parameters in bfloat16 the run goes on bit for bit, whatever precision its state is kept in."""
    low = bench.with_representable_numbers().in_precision("bfloat16")
    require_equal(_resumed(low), low.finished(), "resumed in bfloat16, the run leaves the course")


@contract("contract/resume-in-another-format")
def resume_in_another_format(bench: Bench) -> None:
    """A checkpoint of a contiguous model, loaded into one in channels_last format, goes on within rounding."""
    if not any(p.ndim == 4 for p in bench.problem.initial):
        raise NotApplicable("takes no parameter of four dimensions")
    import torch

    run = bench.run()
    bench.train(run, range(HALF))
    params = [torch.nn.Parameter(in_channels_last(p.detach().clone())) for p in run.params]
    fresh = bench.run(params)
    fresh.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    for t in range(HALF, STEPS):
        bench.feed(fresh, t)
        for p in fresh.params:
            p.grad = in_channels_last(p.grad)
        fresh.optimizer.step()
    require_near(bench, fresh.params, bench.finished())


@contract("contract/weights-only")
def weights_only(bench: Bench) -> None:
    """The state goes through torch.save and torch.load(weights_only=True), and the run goes on bit for bit."""
    import torch

    def through_file(state: Any) -> Any:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    require_equal(_resumed(bench, through_file), bench.finished(), "the run from the file leaves the uninterrupted one")


@contract("contract/deepcopy")
def deepcopy(bench: Bench) -> None:
    """A deep copy, made together with the parameters, goes on bit for bit, and leaves the original alone."""
    run = bench.run()
    bench.train(run, range(HALF))
    before = [p.detach().clone() for p in run.params]
    duplicate = copy.deepcopy(run)
    bench.train(duplicate, range(HALF, STEPS))
    require_equal(run.params, before, "stepping the copy moves the original")
    require_equal(duplicate.params, bench.finished(), "the copy leaves the original's course")
    bench.train(run, range(HALF, STEPS))
    require_equal(run.params, bench.finished(), "the original is off course once copied")


@contract("contract/pickle")
def pickled(bench: Bench) -> None:
    """Pickled together with the parameters, an optimizer goes on bit for bit."""
    run = bench.run()
    bench.train(run, range(HALF))
    restored = pickle.loads(pickle.dumps(run))
    bench.train(restored, range(HALF, STEPS))
    require_equal(restored.params, bench.finished(), "the restored optimizer leaves the course")
