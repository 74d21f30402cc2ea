r"""Figures in TensorBoard's Images tab."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from nnmath.ensemble.loss_surface import LossSurface
from nnmath.equations import forward
from nnmath.figures import article
from nnmath.figures.confusion_matrix import confusion_matrix
from nnmath.figures.decision_boundary import decision_boundary
from nnmath.figures.loss_surface import descent
from nnmath.figures.network_diagram import network_diagram
from nnmath.figures.saturation import saturation
from nnmath.network import as_layers
from nnmath.training.tensorboard.base import TensorBoardCallback
from nnmath.training.tensorboard.curves import Trajectory
from nnmath.training.tensorboard.overview import MAX_CHECKED_PARAMETERS, markdown_table
from nnmath.verification.catalogue import CATALOGUE


class Images(TensorBoardCallback):
    r"""The figures of the network as it learns.

    Every k epochs: ``network/decision_boundary`` (two inputs), ``network/confusion_matrix`` (more than two classes),
    ``network/weights`` and ``network/saturation``. Before training: ``network/parameters``. Before the test:
    ``network/descent``, the ``trajectory``. What does not depend on the run is written once, as a run of its own in the
    folder ``article``.
    """

    def __init__(self, every_n_epochs: int, trajectory: Trajectory | None = None, article: Path | None = None) -> None:
        super().__init__(every_n_epochs)
        self.trajectory, self.article = trajectory, article

    def record(self, trainer: Any, module: Any, epoch: int) -> None:
        sizes, (layers, activations) = module.network.sizes, as_layers(module.network)
        data = trainer.datamodule
        train, val = (tuple(t.mT for t in part.tensors) for part in (data.train, data.val))
        for writer in self.writers(trainer):
            if epoch == 0:
                if self.article:
                    write_article(self.article)
                writer.add_figure("network/parameters", article.parameters(sizes))
            if sizes[0] == 2:
                p = data.preprocessing
                units = {"x_mean": p.x_mean, "x_std": p.x_std, "y_mean": p.y_mean, "y_std": p.y_std}
                names = {"features": data.features, "target": data.target, "classes": data.classes}
                figure = decision_boundary(layers, activations, train, val, **units, **names, epoch=epoch)
                writer.add_figure("network/decision_boundary", figure, epoch)
            if sizes[-1] > 1:
                predicted = forward(val[0].to(layers[0].weight), layers, activations)[-1].argmax(0)
                figure = confusion_matrix(predicted, val[1].argmax(0), data.classes, epoch=epoch)
                writer.add_figure("network/confusion_matrix", figure, epoch)
            figure = network_diagram(layers, features=data.features, target=data.target, epoch=epoch)
            writer.add_figure("network/weights", figure, epoch)
            if len(layers) > 1:
                figure = saturation(layers, activations, train[0], epoch=epoch)
                writer.add_figure("network/saturation", figure, epoch)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        network, path = pl_module.network, self.trajectory
        if path is None or len(path.points) < 2 or network.number_of_parameters > MAX_CHECKED_PARAMETERS:
            return
        for writer in self.writers(trainer):
            x, y = (rows.mT for rows in trainer.datamodule.train.tensors)
            surface = LossSurface(network.sizes, as_layers(network)[1], x, y)
            epoch = path.epochs[-1]
            writer.add_figure("network/descent", descent(torch.stack(path.points), surface, epoch=epoch), epoch)


def write_article(folder: Path) -> None:
    r"""Writes the figures and equations of the article, unless the folder already has them."""
    if any(b"the_article/text_summary" in events.read_bytes() for events in folder.glob("events.*")):
        return  # the equations are written last, so everything is there
    with SummaryWriter(str(folder)) as writer:
        for name in ("sigmoid", "tanh", "relu"):
            writer.add_figure(f"the_article/{name}", article.activation(name))
        writer.add_figure("the_article/firing", article.firing())
        equations = [(row.id, row.where, row.formula) for row in CATALOGUE]
        writer.add_text("the_article", markdown_table(("", "article", "equation"), equations))
