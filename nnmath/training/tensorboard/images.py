r"""Figures in TensorBoard's image tab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.tensorboard import SummaryWriter

from nnmath.ensemble.loss_surface import LossSurface
from nnmath.network import as_layers
from nnmath.training.tensorboard.base import data_of, is_due, writers
from nnmath.training.tensorboard.curves import Trajectory
from nnmath.training.tensorboard.overview import MAX_CHECKED_PARAMETERS, equations

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Images(Callback):
    r"""The article's figures, and those of the network as it learns, every k epochs.

    Every k epochs: ``network/decision_boundary`` (of two inputs), ``network/weights`` (Fig. 6), and of the hidden
    neurons ``network/saturation``. Before the test: ``network/descent``, the way that the parameters took (Fig. 8).
    Figs. 1 and 3 to 5 and the equations are the same for all runs: they are a run of their own, ``article``, that the
    first one writes.

    Args:
        every_n_epochs: k ≥ 1.
        path: where the way is remembered; None for none.
        article: the folder for what is the same for all runs; None for none.
    """

    def __init__(self, every_n_epochs: int, path: Trajectory | None = None, article: Path | None = None) -> None:
        self.every_n_epochs, self.path, self.article = every_n_epochs, path, article

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch > 0:
            return
        from nnmath.figures import article

        for writer in writers(trainer):
            if self.article:
                write_article(self.article)
            show(writer, "network/parameters", article.parameters(pl_module.network.sizes))
        self.draw(trainer, pl_module, epoch=0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if is_due(trainer, self.every_n_epochs):
            self.draw(trainer, pl_module, trainer.current_epoch + 1)

    def draw(self, trainer: L.Trainer, module: Any, epoch: int) -> None:
        r"""The figures of the network as it is."""
        from nnmath.figures import decision_boundary, network_diagram, saturation

        layers, activations = as_layers(module.network)
        for writer in writers(trainer):
            data = data_of(trainer)
            train, val = (tuple(t.mT for t in part.tensors) for part in (data.train, data.val))
            if module.network.sizes[0] == 2 and module.network.sizes[-1] == 1:
                units = {**data.state_dict(), "features": data.features, "target": data.target, "classes": data.classes}
                drawn = decision_boundary.decision_boundary(layers, activations, train, val, **units, epoch=epoch)
                show(writer, "network/decision_boundary", drawn, epoch)
            named = network_diagram.network(layers, features=data.features, target=data.target, epoch=epoch)
            show(writer, "network/weights", named, epoch)
            if len(layers) > 1:
                show(
                    writer,
                    "network/saturation",
                    saturation.saturation(layers, activations, train[0], epoch=epoch),
                    epoch,
                )

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        network = pl_module.network
        if self.path is None or len(self.path.points) < 2 or network.number_of_parameters > MAX_CHECKED_PARAMETERS:
            return
        from nnmath.figures import loss_surface

        for writer in writers(trainer):
            x, y = (rows.mT for rows in data_of(trainer).train.tensors)
            landscape = LossSurface(network.sizes, as_layers(network)[1], x, y)
            epoch = self.path.epochs[-1]
            drawn = loss_surface.descent(torch.stack(self.path.points), landscape, epoch=epoch)
            show(writer, "network/descent", drawn, epoch)


def write_article(folder: Path) -> None:
    r"""The figures and the equations of the article, if they are not there yet."""
    from nnmath.figures import article

    if any(b"the_article/text_summary" in events.read_bytes() for events in folder.glob("events.*")):
        return  # the equations are written last: all is there
    with SummaryWriter(str(folder)) as writer:
        for name in ("sigmoid", "tanh", "relu"):
            show(writer, f"the_article/{name}", article.activation(name))
        show(writer, "the_article/firing", article.firing())
        writer.add_text("the_article", equations())


def show(writer: SummaryWriter, tag: str, figure: Figure, step: int = 0) -> None:
    r"""Draws a figure to the image tab."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    writer.add_image(tag, np.asarray(canvas.buffer_rgba())[..., :3], step, dataformats="HWC")
