"""Law: sharded parameters step as whole ones do, through the same functions of tensors."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import Parameter

from stepgauge.properties.layers.torch_cases import CASES, build, comparable, feed, normal, parameter


@pytest.fixture
def one_rank(tmp_path: Any) -> Iterator[Any]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("name", CASES)
def test_dtensors_take_the_path_of_torch(name: str, one_rank: Any) -> None:
    p, twin = Parameter(distribute_tensor(normal(4, 6), one_rank, [Shard(0)])), parameter(4, 6)
    sharded, whole = build(name, [p]), build(name, [twin])
    for seed in (1, 2, 3):
        feed([twin], seed)
        p.grad = distribute_tensor(torch.as_tensor(twin.grad), one_rank, [Shard(0)])
        sharded.step()
        assert sharded._plan is None
        whole.step()
    for a, b in zip(comparable(sharded), comparable(whole), strict=True):
        assert isinstance(a, DTensor) or a.ndim < 2
        torch.testing.assert_close(a.full_tensor() if isinstance(a, DTensor) else a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
def test_two_ranks_step_as_one(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from stepgauge.properties.layers import torch_cases  # which the other processes import, unlike pytest's module

    spawn(torch_cases.step_sharded, args=(2, os.fspath(tmp_path / "rendezvous")), nprocs=2)  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_fully_shard_goes_the_way_of_the_whole_model(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from stepgauge.properties.layers import torch_cases

    arguments = (2, os.fspath(tmp_path / "rendezvous"), list(CASES))
    spawn(torch_cases.step_fully_sharded, args=arguments, nprocs=2)  # type: ignore[no-untyped-call]
