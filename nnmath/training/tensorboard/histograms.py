r"""Histograms and precision-recall curves."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from nnmath.equations import forward
from nnmath.network import Network, as_layers
from nnmath.training.tensorboard.base import data_of, is_due, writers


class Histograms(Callback):
    r"""Weights, gradients and hidden activations of each layer, every k epochs.

    ``parameters/value/layer1`` has the weights and biases, ``parameters/gradient/layer1`` their gradients at the last
    update, ``neurons/activation/layer1`` h of all training rows after it.

    Args:
        every_n_epochs: k ≥ 1.
    """

    def __init__(self, every_n_epochs: int) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            self.write(trainer, pl_module.network, step=0)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.is_last_batch and is_due(trainer, self.every_n_epochs):
            for writer in writers(trainer):
                for i, linear in enumerate(pl_module.network.linears, start=1):
                    gradient = torch.cat([p.grad.flatten() for p in linear.parameters() if p.grad is not None])
                    histogram(writer, f"parameters/gradient/layer{i}", gradient, trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if is_due(trainer, self.every_n_epochs):
            self.write(trainer, pl_module.network, trainer.current_epoch + 1)

    def write(self, trainer: L.Trainer, network: Network, step: int) -> None:
        r"""The weights and the activations as they are."""
        layers, activations = as_layers(network)
        for writer in writers(trainer):
            x = data_of(trainer).train.tensors[0].mT.to(layers[0].weight)
            hidden = forward(x, layers, activations)[1:-1]
            for i, (weight, bias) in enumerate(layers, start=1):
                histogram(writer, f"parameters/value/layer{i}", torch.cat([weight.flatten(), bias]), step)
            for i, h in enumerate(hidden, start=1):
                histogram(writer, f"neurons/activation/layer{i}", h, step)


def histogram(writer: SummaryWriter, tag: str, values: Tensor, step: int) -> None:
    r"""Writes it, unless there are numbers that torch's bins, which end at 1e20, have no place for."""
    if bool((values.abs() < 1e20).all()):
        writer.add_histogram(tag, values, step)


class PrecisionRecall(Callback):
    r"""Precision against recall of the validation rows, ``precision_recall/val``, every k epochs; of classes only.

    Args:
        every_n_epochs: k ≥ 1.
    """

    def __init__(self, every_n_epochs: int) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if pl_module.hparams["task"] != "binary" or not is_due(trainer, self.every_n_epochs):
            return
        layers, activations = as_layers(pl_module.network)
        for writer in writers(trainer):
            x, y = data_of(trainer).val.tensors
            output = forward(x.mT.to(layers[0].weight), layers, activations)[-1].flatten()
            if output.isfinite().all():
                writer.add_pr_curve("precision_recall/val", y.flatten(), output.clamp(0, 1), trainer.current_epoch + 1)
