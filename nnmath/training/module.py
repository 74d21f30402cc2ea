r"""The LightningModule: loss, SGD with momentum and cosine annealing, metrics, and the curves that are logged."""

from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
import torch.distributed
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from torchmetrics import MeanSquaredError

from nnmath.data.batches import Batch
from nnmath.equations import ActivationName, validate
from nnmath.network import BackwardMode, HalfMSELoss, Network
from nnmath.training.metrics import Scores
from nnmath.training.tensorboard.base import log_scalars


class TrainingModule(L.LightningModule):
    r"""Trains a network on E = 1/(2n) Σ (O − y)² by SGD with momentum and cosine annealing over the whole run.

    The length T of the cosine is the Trainer's ``max_epochs``, in epochs, or its ``max_steps``, in updates.

    Each epoch logs the losses, the metrics of the validation rows and the learning rate, a test ``test/...``; see
    :mod:`nnmath.training.tensorboard`.

    Args:
        sizes, hidden, output, backward: the arguments of :class:`nnmath.network.Network`.
        learning_rate: η > 0 at the start.
        momentum, eta_min: m in [0, 1); η_min in [0, η], the final learning rate of the cosine.
        task: "binary" for a target of 0 and 1, "multiclass" for one-hot targets, otherwise "regression"; it determines
            the metrics, see :class:`~nnmath.training.metrics.Scores`.
        y_std: the standard deviation of the target; the mean absolute error is given in its units.

    A checkpoint of a run is loaded by ``TrainingModule.load_from_checkpoint(path)``. Its inputs are standardised: the
    means and deviations are in the checkpoint, ``torch.load(path)["DataModule"]``, and :func:`nnmath.training.load`
    applies them.

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
        task: Literal["binary", "multiclass", "regression"] = "binary",
        y_std: float = 1.0,
    ) -> None:
        super().__init__()
        validate.in_interval(0, float("inf"), closed="neither", learning_rate=learning_rate, y_std=y_std)
        validate.in_interval(0, 1, closed="left", momentum=momentum)
        validate.in_interval(0, learning_rate, eta_min=eta_min)
        sizes = list(sizes)
        self.save_hyperparameters()
        self.network = Network(sizes, hidden, output, backward)
        self.loss, self.summed_loss = HalfMSELoss("mean", backward), HalfMSELoss("sum", backward)
        self.train_mse, self.eval_mse = MeanSquaredError(), MeanSquaredError(sync_on_compute=False)
        self.eval_metrics = Scores(task, y_std, sync_on_compute=False)
        self.curves: dict[str, float | Tensor] = {}  # of the current epoch; callbacks add to them

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = batch
        output = self.network(x)
        self.train_mse.update(output.detach(), y)
        if self.trainer.world_size == 1:
            return self.loss(output, y)
        # DDP averages the gradients of W processes. Each scales its sum by W/n, so that the average is 1/n Σ over the
        # n rows of all processes, however many rows each of them has.
        n = torch.tensor(float(len(x)), device=y.device)
        torch.distributed.all_reduce(n)
        return self.summed_loss(output, y) * (self.trainer.world_size / n)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, y = batch
        output = self.network(x)
        self.eval_mse.update(output, y)
        self.eval_metrics.update(output, y)

    test_step = validation_step

    def predict_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor:
        r"""The outputs for a batch of x, or of (x, y)."""
        output: Tensor = self.network(batch if isinstance(batch, Tensor) else batch[0])
        return output

    def pop_results(self, loss: str, metrics: str) -> dict[str, Tensor]:
        r"""The loss and the metrics of the rows since the last call, named ``loss`` and ``metrics``/name."""
        results = {loss: self.eval_mse.compute() * self.network.sizes[-1] / 2}
        results |= {f"{metrics}/{name}": value for name, value in self.eval_metrics.compute().items()}
        self.eval_mse.reset()
        self.eval_metrics.reset()
        return results

    # self.log would take about 1 ms per epoch, most of the epoch of a small network. So the curves go to the logger in
    # one call per epoch, and monitored values directly to trainer.callback_metrics.

    def on_train_epoch_start(self) -> None:
        self.curves = {"training/learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"]}

    def on_validation_epoch_end(self) -> None:
        results = self.pop_results("loss/val", "metrics")
        if not self.trainer.sanity_checking:
            self.trainer.callback_metrics.update(results)
            self.curves |= results

    def on_train_epoch_end(self) -> None:
        self.curves["loss/train"] = self.train_mse.compute() * self.network.sizes[-1] / 2
        self.train_mse.reset()
        log_scalars(self.trainer, self.curves, self.current_epoch + 1)

    def on_test_epoch_end(self) -> None:
        results = self.pop_results("test/loss", "test")
        self.trainer.callback_metrics.update(results)
        progress: Any = self.trainer.fit_loop.epoch_progress  # current_epoch lags when resuming after the last epoch
        log_scalars(self.trainer, results, progress.current.processed)

    def build_optimizer(self, length: int) -> tuple[SGD, CosineAnnealingLR]:
        r"""SGD with momentum, and a cosine of this many steps."""
        eta, momentum, eta_min = (self.hparams[name] for name in ("learning_rate", "momentum", "eta_min"))
        optimizer = SGD(self.network.parameters(), lr=eta, momentum=momentum)
        return optimizer, CosineAnnealingLR(optimizer, length, eta_min=eta_min)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        per_step = self.trainer.max_steps > 0
        length = self.trainer.estimated_stepping_batches if per_step else self.trainer.max_epochs
        if length is None or length < 1:
            raise ValueError(f"the cosine needs an end: give the Trainer max_epochs or max_steps, got {length}")
        optimizer, scheduler = self.build_optimizer(int(length))
        interval = "step" if per_step else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}
