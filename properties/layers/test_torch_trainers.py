"""Law: trainers that build an optimizer, schedule it and step it with a closure, train by it as a plain loop does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from stepgauge import torch_bind
from stepgauge.properties.gauge.targets.torch_optimizer import one_thread

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the trainers'
BATCH, BATCHES = 4, 6
OPTIMIZERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "AdamP": (torch_bind.AdamP, {"lr": 0.01, "weight_decay": 0.1}),
    "Adai": (torch_bind.Adai, {"lr": 0.1}),
    "SGD_C": (torch_bind.SGD_C, {"lr": 0.01, "topC": 2}),
    "Frog": (torch_bind.Frog, {"lr": 0.01, "sample_size": None}),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


class Points(Dataset[dict[str, Tensor]]):
    """Inputs of six numbers, and classes."""

    def __len__(self) -> int:
        return BATCH * BATCHES

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        x = torch.randn(6, generator=torch.Generator().manual_seed(i))
        return {"x": x, "labels": (x.sum() > 0).long()}


class Network(nn.Module):
    """Returns the loss as the trainers expect it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i)) / 2)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self.layers(x), labels)}


def optimizer_of(name: str, model: nn.Module) -> Any:
    optimizer, options = OPTIMIZERS[name]
    made = optimizer(model.parameters(), **options)
    return made.attach(model) if name == "Frog" else made


def schedule_of(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))


def plain_loop(name: str) -> list[Tensor]:
    model = Network()
    optimizer = optimizer_of(name, model)
    schedule = schedule_of(optimizer)
    for batch in DataLoader(Points(), BATCH):
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
        schedule.step()
    return [p.detach() for p in model.parameters()]


def transformers_trainer(name: str, folder: Path) -> list[Tensor]:
    transformers: Any = pytest.importorskip("transformers")

    class InOrder(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(Points())

    model = Network()
    optimizer = optimizer_of(name, model)
    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=BATCH, num_train_epochs=1, max_grad_norm=0.0, use_cpu=True,
        report_to=[], save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    InOrder(model, arguments, train_dataset=Points(), optimizers=(optimizer, schedule_of(optimizer))).train()
    return [p.detach() for p in model.parameters()]


def lightning_trainer(name: str, folder: Path) -> list[Tensor]:
    lightning: Any = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = Network()

        def training_step(self, batch: dict[str, Tensor]) -> Tensor:
            return self.network(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            optimizer = optimizer_of(name, self.network)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule_of(optimizer), "interval": "step"}}

    module = Module()
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, DataLoader(Points(), BATCH))
    return [p.detach() for p in module.network.parameters()]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@every_optimizer
@pytest.mark.parametrize("trainer", [transformers_trainer, lightning_trainer])
def test_a_trainer_trains_as_a_plain_loop(
    name: str, trainer: Callable[[str, Path], list[Tensor]], tmp_path: Path
) -> None:
    """To the bit: it steps by the same gradients in the same order."""
    expected = plain_loop(name)
    for p, q in zip(trainer(name, tmp_path), expected, strict=True):
        assert torch.equal(p, q)
    assert not torch.equal(expected[0], next(Network().parameters()))
