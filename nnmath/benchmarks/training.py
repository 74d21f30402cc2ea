r"""A run of Lightning beside the textbook's, and with its pictures beside one without."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

from nnmath.benchmarks.measure import Run
from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import load
from nnmath.network import Network
from nnmath.training.module import TrainingModule
from nnmath.training.tensorboard.curves import GradientDiscrepancy, GradientNorm, gradient_discrepancy


def lightning_runs(epochs: int) -> dict[str, Run]:
    r"""Lightning runs that log the same curves, one as in Lightning's documentation and one as in train.py."""

    class Textbook(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = Network(backward="autograd")
            kinds = {"accuracy": BinaryAccuracy, "auroc": BinaryAUROC, "f1": BinaryF1Score}
            self.metrics = MetricCollection({name: kind() for name, kind in kinds.items()})

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            loss = F.mse_loss(self.network(x), y) / 2
            self.log("loss/train", loss, on_step=False, on_epoch=True)
            self.log(
                "training/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], on_step=False, on_epoch=True
            )
            if self.current_epoch % 10 == 0:
                discrepancy = gradient_discrepancy(self.network, batch)
                self.log("training/gradient_discrepancy", discrepancy, on_step=False, on_epoch=True)
            return loss

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            for i, layer in enumerate(self.network.linears, start=1):
                norm = nn.utils.get_total_norm([p.grad for p in layer.parameters() if p.grad is not None])
                self.log(f"training/gradient_norm/layer{i}", norm, on_step=False, on_epoch=True)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            output = self.network(x)
            self.log("loss/val", F.mse_loss(output, y) / 2)
            self.metrics.update(output, y.int())
            for name, metric in self.metrics.items():
                self.log(f"metrics/{name}", metric)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.3, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)]

    data = DataModule(load("breast_cancer"))
    loaders = [DataLoader(part, batch_size=len(part)) for part in (data.train, data.val)]
    folder = tempfile.TemporaryDirectory()

    def fit(module: L.LightningModule, *data: Any, **options: Any) -> None:
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=TensorBoardLogger(folder.name, name="", default_hp_metric=False),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            **options,
        )
        trainer.fit(module, *data)

    def train_script() -> None:
        fit(TrainingModule(), data, callbacks=[GradientNorm(), GradientDiscrepancy(10)])

    return {
        "train.py's: whole batches, one call per epoch": Run(train_script, epochs),
        "textbook: DataLoader over rows, a self.log per curve": Run(lambda: fit(Textbook(), *loaders), epochs),
    }


def picture_runs(script: str, epochs: int) -> dict[str, Run]:
    r"""Runs of scripts/train.py, from the command to its end."""
    folder = tempfile.TemporaryDirectory()

    def command(*options: str) -> Callable[[], object]:
        words = [sys.executable, script, "--epochs", str(epochs), *options, "--log_dir"]
        return lambda: subprocess.run([*words, folder.name], check=True, stdout=subprocess.DEVNULL)

    return {"train.py --pictures 0": Run(command("--pictures", "0"), 1), "train.py": Run(command(), 1)}
