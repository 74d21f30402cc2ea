r"""What else is seen while training: gradient norms, the agreement of the two backwards, a bar over the epochs."""

from __future__ import annotations

import copy
import sys
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar
from rich.progress import Progress, TaskID
from torch import Tensor
from torch.nn.utils import get_total_norm

from nnmath.network import Backward, HalfMSELoss, Network
from nnmath.progress import epochs_progress
from nnmath.training import Batch


class GradientNorm(Callback):
    r"""Logs ‖∂E/∂(w, b)‖₂ of each layer at an epoch's last update, as ``training/gradient_norm/layer1`` and so on."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.is_last_batch:
            norms = {
                f"training/gradient_norm/layer{i}": float(
                    get_total_norm([p.grad for p in linear.parameters() if p.grad is not None])
                )
                for i, linear in enumerate(pl_module.network.linears, start=1)
            }
            for logger in trainer.loggers:
                logger.log_metrics(norms, step=trainer.current_epoch + 1)


class GradientAgreement(Callback):
    r"""Logs how far the gradients by hand and by autograd are apart, as ``training/agreement``.

    It is :func:`agreement` of the batch at hand; the first batch of every k-th epoch is measured.

    Args:
        every_n_epochs: k ≥ 1.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and trainer.current_epoch % self.every_n_epochs == 0:
            difference = agreement(pl_module.network, batch)
            for logger in trainer.loggers:
                logger.log_metrics({"training/agreement": difference}, step=trainer.current_epoch + 1)


def agreement(network: Network, batch: Batch) -> float:
    r"""Largest relative difference of the two gradients: max |manual − autograd| / max |autograd|, over the parameters.

    Both are computed in float64 on a copy: near a minimum a gradient is a small difference of large summands, and in
    float32 their rounding would be all there is to see.

    Args:
        network: its weights are used; nothing of it is changed.
        batch: x (n, in) and y (n, out).

    Returns:
        The largest over the parameter tensors; 0 where both gradients are 0.

    >>> agreement(Network(), (torch.randn(8, 2), torch.rand(8, 1))) < 1e-9
    True
    """
    twin = copy.deepcopy(network).to("cpu", torch.float64)
    x, y = (part.to("cpu", torch.float64) for part in batch)
    by_hand, by_autograd = (gradients(twin, (x, y), backward) for backward in ("manual", "autograd"))
    return max(
        float((a - b).abs().max() / b.abs().max()) if not torch.equal(a, b) else 0.0
        for a, b in zip(by_hand, by_autograd, strict=True)
    )


def gradients(network: Network, batch: Batch, backward: Backward) -> tuple[Tensor, ...]:
    r"""Gradient of the error with respect to each parameter, by the one or the other backward."""
    x, y = batch
    network.backward = backward
    return torch.autograd.grad(HalfMSELoss(backward=backward)(network(x), y), list(network.parameters()))


class Checkpoint(ModelCheckpoint):
    r"""Lightning's ModelCheckpoint that looks at every k-th epoch, and at the last whatever its number.

    Args:
        filename: of the checkpoint, without its ending; it is replaced by the next.
        every_n_epochs: k ≥ 1.
        monitor: the figure that has to fall for the checkpoint to be replaced; None replaces it every time.
    """

    def __init__(self, filename: str, every_n_epochs: int, monitor: str | None = None) -> None:
        super().__init__(
            filename=filename, monitor=monitor, every_n_epochs=every_n_epochs, enable_version_counter=False
        )

    @property
    def state_key(self) -> str:
        return self._generate_state_key(
            filename=self.filename, monitor=self.monitor
        )  # Lightning's has k, which changes

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        if trainer.current_epoch + 1 == trainer.max_epochs:
            self._every_n_epochs = 1  # Lightning has no public way to say so


class EpochProgress(ProgressBar):
    r"""A bar over the whole run with the validation's results behind it; nothing where stderr is no terminal.

    Lightning's own bars start anew with every epoch, and an epoch of full-batch descent is a single step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = sys.stderr.isatty()
        self.bar: Progress | None = None

    def disable(self) -> None:
        self.enabled = False  # Lightning asks for it in all processes but the first

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.enabled:
            self.bar = epochs_progress()
            self.bar.add_task("", total=trainer.max_epochs, completed=trainer.current_epoch)
            self.bar.start()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.bar:
            results = "  ".join(f"{name} {value:.3f}" for name, value in trainer.callback_metrics.items())
            done = trainer.current_epoch + 1
            self.bar.update(TaskID(0), completed=done, description=results.replace("metrics/", ""))

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.stop()

    def stop(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None
