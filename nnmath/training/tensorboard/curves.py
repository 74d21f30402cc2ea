r"""Curves beside the loss: gradient norms, the agreement of the two backwards, the trajectory."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import get_total_norm, parameters_to_vector

from nnmath.data.batches import Batch
from nnmath.network import Network, gradients


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


class GradientDiscrepancy(Callback):
    r"""Logs how far the gradients by hand and by autograd are apart, as ``training/agreement``.

    It is :func:`gradient_discrepancy` of the batch at hand; the first batch of every k-th epoch is measured.

    Args:
        every_n_epochs: k ≥ 1.
    """

    def __init__(self, every_n_epochs: int = 10) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and trainer.current_epoch % self.every_n_epochs == 0:
            difference = gradient_discrepancy(pl_module.network, batch)
            for logger in trainer.loggers:
                logger.log_metrics({"training/agreement": difference}, step=trainer.current_epoch + 1)


def gradient_discrepancy(network: Network, batch: Batch) -> float:
    r"""Largest relative difference of the two gradients: max |manual − autograd| / max |autograd|, over the parameters.

    Both are computed in float64 on a copy: near a minimum a gradient is a small difference of large summands, and in
    float32 their rounding would be all there is to see.

    Args:
        network: its weights are used; nothing of it is changed.
        batch: x (n, in) and y (n, out).

    Returns:
        The largest over the parameter tensors; 0 where both gradients are 0.

    >>> gradient_discrepancy(Network(), (torch.randn(8, 2), torch.rand(8, 1))) < 1e-9
    True
    """
    device = batch[0].device if batch[0].device.type != "mps" else "cpu"  # Apple's GPUs have no float64
    twin = copy.deepcopy(network).to(device, torch.float64)
    x, y = (part.to(device, torch.float64) for part in batch)
    by_hand, by_autograd = (gradients(twin, (x, y), backward) for backward in ("manual", "autograd"))
    return max(
        float((a - b).abs().max() / b.abs().max()) if not torch.equal(a, b) else 0.0
        for a, b in zip(by_hand, by_autograd, strict=True)
    )


class Trajectory(Callback):
    r"""Remembers the parameters after every k-th epoch and the last; a resumed run goes on with them.

    When there is no more room, every second of them is forgotten, and k doubles. Nothing is remembered of a network of
    which not even two have room.

    Given the trajectory of another run, it logs how far this one is from it: ``training/difference`` is
    max |θ − θ'| / max |θ'| over all parameters, whenever both remember the same epoch.

    Args:
        every_n_epochs: k ≥ 1.
        reference: of the other run.
    """

    ROOM = 1_000_000
    r"""numbers"""

    def __init__(self, every_n_epochs: int = 1, reference: Trajectory | None = None) -> None:
        self.every_n_epochs, self.reference = every_n_epochs, reference
        self.epochs: list[int] = []
        self.points: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            self.record(trainer, pl_module, epoch=0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        done = trainer.current_epoch + 1
        if done % self.every_n_epochs == 0 or done == trainer.max_epochs:
            self.record(trainer, pl_module, done)

    def record(self, trainer: L.Trainer, module: Any, epoch: int) -> None:
        theta = parameters_to_vector(module.network.parameters()).detach().cpu()
        if 2 * len(theta) > self.ROOM:
            return
        if len(theta) * (len(self.points) + 1) > self.ROOM:
            self.epochs, self.points = self.epochs[::2], self.points[::2]
            self.every_n_epochs *= 2
        self.epochs.append(epoch)
        self.points.append(theta)
        if self.reference and epoch in self.reference.epochs:
            for logger in trainer.loggers:
                logger.log_metrics({"training/difference": self.difference}, step=epoch)

    @property
    def difference(self) -> float:
        r"""From the other run, at the last epoch remembered; nan if that one does not remember it."""
        if not self.reference or not self.epochs or self.epochs[-1] not in self.reference.epochs:
            return math.nan
        theta, other = self.points[-1], self.reference.points[self.reference.epochs.index(self.epochs[-1])]
        return float((theta - other).abs().max() / other.abs().max().clamp(min=1e-30))

    def state_dict(self) -> dict[str, Any]:
        points = torch.stack(self.points) if self.points else None
        return {"every_n_epochs": self.every_n_epochs, "epochs": list(self.epochs), "points": points}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.every_n_epochs, self.epochs = state_dict["every_n_epochs"], list(state_dict["epochs"])
        self.points = [] if state_dict["points"] is None else list(state_dict["points"])
