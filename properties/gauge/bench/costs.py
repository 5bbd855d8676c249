"""The cost of a step: time in turns, operators that it dispatches to torch, bytes that it holds and leaves."""

import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Step = Callable[[], object]


def timed(step: Step) -> tuple[float, float]:
    """Milliseconds of the process's CPU time, and by the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    step()
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)


def interleaved(steps: Mapping[str, Step], rounds: int) -> dict[str, list[float]]:
    """CPU time of every step in every round: a busy machine slows all of them alike."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(timed(step)[0])
    return taken


def operators(step: Step) -> int:
    """How many operators the step dispatches to torch."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is not typed
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return function(*args, **(kwargs or {}))

    with Counted() as counted:  # type: ignore[no-untyped-call]  # likewise
        step()
    return int(counted.count)


def peak(step: Step) -> int:
    """Bytes of Python's and NumPy's that the step holds at most, beyond what there was."""
    tracemalloc.start()
    try:
        step()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def torch_peak(step: Step) -> int:
    """Bytes of torch's that the step holds at most, beyond what there was."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    recorded = profiled.profiler.kineto_results.events()
    held = most = 0
    for event in sorted((e for e in recorded if e.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def state_bytes(optimizer: Any) -> int:
    """Bytes of the tensors that an optimizer keeps from step to step, each memory once."""
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in _tensors(optimizer.state)}.values())


def _tensors(kept: Any) -> Iterator[Any]:
    import torch

    if isinstance(kept, torch.Tensor):
        yield kept
    elif isinstance(kept, Mapping):
        for value in kept.values():
            yield from _tensors(value)
    elif isinstance(kept, list | tuple | set):
        for value in kept:
            yield from _tensors(value)
