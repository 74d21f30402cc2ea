r"""The LightningModule: the network, its error, SGD with momentum, cosine annealing, metrics, and what is logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import lightning as L
import torch
import torch.distributed
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

from nnmath.data.batches import Batch
from nnmath.equations import ActivationName, validate
from nnmath.network import BackwardMode, HalfMSELoss, Network

EACH: dict[str, Any] = {"sync_on_compute": False}
r"""For metrics of rows that each process has all of."""


def binary_metrics() -> MetricCollection:
    r"""What is measured where the target is 0 or 1; an output above 1/2 counts as 1."""
    return MetricCollection(
        {
            "accuracy": BinaryAccuracy(validate_args=False, **EACH),
            "auroc": BinaryAUROC(validate_args=False, **EACH),
            "f1": BinaryF1Score(validate_args=False, **EACH),
        }
    )


def regression_metrics() -> MetricCollection:
    r"""What is measured where the target is any number."""
    return MetricCollection({"r2": R2Score(**EACH), "mean_absolute_error": MeanAbsoluteError(**EACH)})


METRICS = {"binary": binary_metrics, "regression": regression_metrics}


def epochs_done(trainer: L.Trainer) -> int:
    r"""How many epochs have been trained, also where a run is gone on with after its last one."""
    return trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]  # declared less narrowly


class TrainingModule(L.LightningModule):
    r"""Trains a network on E = 1/(2n) Σ (O − y)² by SGD with momentum, the learning rate annealed over the whole run.

    The length T of the cosine is the Trainer's: its ``max_epochs`` (a step of the schedule an epoch), or its
    ``max_steps`` where those are given (a step of the schedule an update).

    Once an epoch, with the number of finished epochs as the step, this goes to the logger: ``loss/train`` and
    ``loss/val``, ``metrics/...`` of the validation rows, and the epoch's ``training/learning_rate``. The training
    loss is the mean over the epoch's rows, each taken before its batch's update; the validation loss is taken after the
    last. A test logs ``test/loss`` and the metrics as ``test/...``. TensorBoard opens the first two groups by the
    alphabet, hence these names. The newest figures are in ``trainer.callback_metrics``.

    Args:
        sizes: the neurons of each layer, the inputs first.
        hidden: the activation of the hidden layers.
        output: the activation of the last layer.
        backward: who computes the gradients, "manual" (the equations) or "autograd".
        learning_rate: η > 0 at the start.
        momentum: m in [0, 1).
        eta_min: η_min in [0, η], the learning rate that the cosine ends at.
        task: "binary" for a target of 0 and 1 (accuracy, AUROC, F1), "regression" for any other (R², mean absolute
            error).
        y_std: what a target of 1 is in the units of the data; the mean absolute error is given in them.

    Raises:
        ValueError: an argument is out of range or unknown.

    Source: article, "On a side note" (G4, G5) and "Backpropagation" (B7); torch.optim.SGD and CosineAnnealingLR.
    """

    def __init__(
        self,
        sizes: Sequence[int] = (2, 4, 1),
        hidden: ActivationName = "sigmoid",
        output: ActivationName = "sigmoid",
        backward: BackwardMode = "manual",
        learning_rate: float = 0.3,
        momentum: float = 0.9,
        eta_min: float = 0.0,
        task: Literal["binary", "regression"] = "binary",
        y_std: float = 1.0,
    ) -> None:
        super().__init__()
        validate.in_interval(0, float("inf"), closed="neither", learning_rate=learning_rate, y_std=y_std)
        validate.in_interval(0, 1, closed="left", momentum=momentum)
        validate.in_interval(0, learning_rate, eta_min=eta_min)
        if task not in METRICS:
            raise ValueError(f"task must be 'binary' or 'regression', got {task!r}")
        sizes = list(sizes)
        self.save_hyperparameters()
        self.network = Network(sizes, hidden, output, backward)
        self.loss, self.summed_loss = HalfMSELoss("mean", backward), HalfMSELoss("sum", backward)
        self.train_mse, self.eval_mse = MeanSquaredError(), MeanSquaredError(**EACH)
        self.eval_metrics = METRICS[task]()
        self.curves: dict[str, float | Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network(x))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        output = self.network(x)
        self.train_mse.update(output.detach(), y)
        if self.trainer.world_size == 1:
            return cast(Tensor, self.loss(output, y))
        # DDP takes the mean of W processes' gradients: that of W/n Σ_rows is 1/n Σ, however many rows each of them has
        n = torch.tensor(float(len(x)), device=y.device)
        torch.distributed.all_reduce(n)
        return cast(Tensor, self.summed_loss(output, y) * (self.trainer.world_size / n))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.evaluate(batch)

    def evaluate(self, batch: Batch) -> None:
        r"""Adds the rows of the batch to the loss and the metrics."""
        x, y = batch
        output = self.network(x)
        self.eval_mse.update(output, y)
        if self.hparams["task"] == "regression":
            self.eval_metrics.update(output * self.hparams["y_std"], y * self.hparams["y_std"])
        elif self.hparams["output"] == "sigmoid":
            self.eval_metrics.update(output, y.int())
        else:  # torchmetrics wants probabilities; this keeps the order, and 1/2 where it is
            self.eval_metrics.update(torch.sigmoid(output - 0.5), y.int())

    def evaluation(self, loss: str, metrics: str) -> dict[str, Tensor]:
        r"""The loss and the metrics of all rows since the last call, the metrics' names behind their group's."""
        result = {loss: self.eval_mse.compute() * self.network.sizes[-1] / 2}
        result |= {f"{metrics}/{name}": value for name, value in self.eval_metrics.compute().items()}
        self.eval_mse.reset()
        self.eval_metrics.reset()
        return result

    # A small network's epoch would mostly be spent in self.log, were it used: about 1 ms as soon as it is called once.
    # So the curves go to the logger in one call an epoch, and what callbacks monitor straight to where they look.

    def log_curves(self, curves: Mapping[str, float | Tensor], step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in curves.items()}, step)

    def on_train_epoch_start(self) -> None:
        self.curves = {"training/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"]}

    def on_validation_epoch_end(self) -> None:
        result = self.evaluation("loss/val", "metrics")
        if not self.trainer.sanity_checking:
            self.trainer.callback_metrics.update(result)
            self.curves |= result

    def on_train_epoch_end(self) -> None:
        self.curves["loss/train"] = self.train_mse.compute() * self.network.sizes[-1] / 2
        self.train_mse.reset()
        self.log_curves(self.curves, step=self.current_epoch + 1)

    def on_test_epoch_end(self) -> None:
        result = self.evaluation("test/loss", "test")
        self.trainer.callback_metrics.update(result)
        self.log_curves(result, step=epochs_done(self.trainer))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.SGD(
            self.network.parameters(), lr=self.hparams["learning_rate"], momentum=self.hparams["momentum"]
        )
        by_steps = self.trainer.max_steps > 0
        length = self.trainer.estimated_stepping_batches if by_steps else self.trainer.max_epochs
        if length is None or length < 1:
            raise ValueError(f"the cosine needs an end: give the Trainer max_epochs or max_steps, got {length}")
        length = int(length)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length, eta_min=self.hparams["eta_min"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step" if by_steps else "epoch"},
        }
