r"""Curves beside the loss: gradient norms, gradient discrepancy, trajectory."""

import copy
import math
from typing import Any, Self

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from nnmath.data.batches import Batch
from nnmath.network import Network, gradients
from nnmath.training.tensorboard.base import TensorBoardCallback, log_scalars

CURVES = {  # in the Text tab of the article's run; the horizontal axis counts finished epochs, 0 is before training
    "loss/train": "E = 1/(2n) Σ (O − y)² of the training rows, before each update",
    "loss/val": "E = 1/(2n) Σ (O − y)² of the validation rows, after the epoch",
    "metrics/...": "accuracy, AUROC and F1 of the validation rows; for a regression, R² and the mean absolute error",
    "training/learning_rate": "η, which falls along its cosine",
    "training/gradient_norm/...": "‖∂E/∂(w, b)‖ of each layer, at the last update of the epoch",
    "training/gradient_discrepancy": "largest difference between the hand-written gradients and autograd's at the "
    "current weights, relative to the largest entry, both in float64: rounding, about 1e-14",
    "training/difference": "with --compare, largest difference between the parameters of the two runs, relative to the "
    "largest parameter: rounding, about 1e-7 in float32",
    "test/...": "the test rows, once, with the checkpoint of the lowest validation loss",
}


class GradientNorm(Callback):
    r"""Logs ‖∂E/∂(w, b)‖₂ of each layer at an epoch's last update, as ``training/gradient_norm/layer1`` and so on."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.is_last_batch:
            for i, linear in enumerate(pl_module.network.linears, start=1):
                gradient = parameters_to_vector([linear.weight.grad, linear.bias.grad])
                pl_module.curves[f"training/gradient_norm/layer{i}"] = float(gradient.norm())


class GradientDiscrepancy(TensorBoardCallback):
    r"""Logs the :func:`gradient_discrepancy` of the first batch of every k-th epoch as ``training/...``."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and trainer.current_epoch % self.every_n_epochs == 0:
            pl_module.curves["training/gradient_discrepancy"] = gradient_discrepancy(pl_module.network, batch)


def gradient_discrepancy(network: Network, batch: Batch) -> float:
    r"""Largest relative difference of the two gradients: max |manual − autograd| / max |autograd|, over the parameters.

    The maximum is over the entries of a parameter tensor, and the largest ratio counts; 0 / 0 is 0. The batch has x
    (n, in) and y (n, out). Both are computed in float64 on a copy of the network: near a minimum a gradient is a small
    difference of large summands, and in float32 the rounding errors would hide everything else.

    >>> gradient_discrepancy(Network(), (torch.randn(8, 2), torch.rand(8, 1))) < 1e-9
    True
    """
    device = batch[0].device if batch[0].device.type != "mps" else "cpu"  # Apple's GPUs have no float64
    twin = copy.deepcopy(network).to(device, torch.float64)
    x, y = (part.to(device, torch.float64) for part in batch)
    manual, autograd = (gradients(twin, (x, y), backward) for backward in ("manual", "autograd"))
    return max(
        float((a - b).abs().max() / b.abs().max()) if not torch.equal(a, b) else 0.0
        for a, b in zip(manual, autograd, strict=True)
    )


class Trajectory(TensorBoardCallback):
    r"""Records the parameters every k epochs; saved in the checkpoint.

    When there would be more than MAX_NUMBERS numbers, every second point is dropped and k doubles. If not even two
    points fit, nothing is recorded.

    With the trajectory of another run as ``reference``, ``training/difference`` is the distance between the two runs at
    each epoch that both have recorded: max |θ − θ'| / max |θ'| over all parameters.
    """

    MAX_NUMBERS = 1_000_000

    def __init__(self, every_n_epochs: int = 1, reference: Self | None = None) -> None:
        super().__init__(every_n_epochs)
        self.reference = reference
        self.epochs: list[int] = []
        self.points: list[Tensor] = []

    def record(self, trainer: Any, module: Any, epoch: int) -> None:
        theta = parameters_to_vector(module.network.parameters()).detach().cpu()
        if 2 * len(theta) > self.MAX_NUMBERS:
            return
        if len(theta) * (len(self.points) + 1) > self.MAX_NUMBERS:
            self.epochs, self.points = self.epochs[::2], self.points[::2]
            self.every_n_epochs *= 2
        self.epochs.append(epoch)
        self.points.append(theta)
        if self.reference and epoch in self.reference.epochs:
            log_scalars(trainer, {"training/difference": self.difference}, epoch)

    @property
    def difference(self) -> float:
        r"""Distance from the reference at the last recorded epoch; nan if the reference lacks that epoch."""
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
