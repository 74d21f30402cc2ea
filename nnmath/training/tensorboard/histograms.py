r"""Histograms and precision-recall curves."""

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from nnmath.equations import forward
from nnmath.network import as_layers
from nnmath.training.tensorboard.base import TensorBoardCallback


class Histograms(TensorBoardCallback):
    r"""Weights, gradients and hidden activations of each layer, every k epochs.

    ``parameters/value/layer1`` has the weights and biases, ``parameters/gradient/layer1`` their gradients at the last
    update, ``neurons/activation/layer1`` the activations h of all training rows after that update.
    """

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.is_last_batch and self.is_due(trainer):
            for writer in self.writers(trainer):
                for i, linear in enumerate(pl_module.network.linears, start=1):
                    gradient = torch.cat([linear.weight.grad.flatten(), linear.bias.grad])
                    add_histogram(writer, f"parameters/gradient/layer{i}", gradient, trainer.current_epoch + 1)

    def record(self, trainer: Any, module: Any, epoch: int) -> None:
        layers, activations = as_layers(module.network)
        for writer in self.writers(trainer):
            for i, (weight, bias) in enumerate(layers, start=1):
                add_histogram(writer, f"parameters/value/layer{i}", torch.cat([weight.flatten(), bias]), epoch)
            x = trainer.datamodule.train.tensors[0].mT.to(layers[0].weight)
            for i, h in enumerate(forward(x, layers, activations)[1:-1], start=1):
                add_histogram(writer, f"neurons/activation/layer{i}", h, epoch)


def add_histogram(writer: SummaryWriter, tag: str, values: Tensor, epoch: int) -> None:
    if bool((values.abs() < 1e20).all()):  # the default bins of SummaryWriter end at 1e20
        writer.add_histogram(tag, values, epoch)


class PrecisionRecall(TensorBoardCallback):
    r"""Precision-recall curve of the validation rows for each class, every k epochs.

    It is named by data set and class, ``precision_recall/breast_cancer/benign``, since TensorBoard draws curves of the
    same name into one chart. Of two classes, the second one has a curve. Its scores are the outputs, limited to [0, 1].
    """

    def __init__(self, every_n_epochs: int, name: str) -> None:
        super().__init__(every_n_epochs)
        self.name = name  # of the data set

    def record(self, trainer: Any, module: Any, epoch: int) -> None:
        if epoch == 0 or module.hparams["task"] == "regression":
            return
        layers, activations = as_layers(module.network)
        data = trainer.datamodule
        for writer in self.writers(trainer):
            x, y = data.val.tensors
            output = forward(x.mT.to(layers[0].weight), layers, activations)[-1]
            if output.isfinite().all():
                for name, is_class, score in zip(data.classes[-len(output) :], y.mT, output.clamp(0, 1), strict=True):
                    writer.add_pr_curve(f"precision_recall/{self.name}/{name}", is_class, score, epoch)
