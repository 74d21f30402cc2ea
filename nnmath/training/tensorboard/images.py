r"""Figures in TensorBoard's Images tab."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from nnmath.ensemble.loss_surface import LossSurface, unflatten
from nnmath.equations import Activation, Layer, forward
from nnmath.figures import article, style
from nnmath.figures.animation import save_animation
from nnmath.figures.confusion_matrix import confusion_matrix
from nnmath.figures.decision_boundary import decision_boundary
from nnmath.figures.frames import Frames
from nnmath.figures.loss_surface import descent
from nnmath.figures.network_diagram import network_diagram
from nnmath.figures.overview import Overview, has_overview, overview
from nnmath.figures.saturation import RANGES, Saturation, saturation
from nnmath.figures.style import Samples
from nnmath.network import Network, as_layers
from nnmath.training.callbacks import finite_loss
from nnmath.training.tensorboard.base import TensorBoardCallback
from nnmath.training.tensorboard.curves import CURVES, Trajectory
from nnmath.training.tensorboard.overview import MAX_CHECKED_PARAMETERS, markdown_table
from nnmath.verification.catalogue import CATALOGUE

MAX_FRAMES = 60  # of an animation
ANIMATION_DPI, EXPORT_DPI = 140, 200  # dots per inch of its frames, and of an exported figure
Picture = tuple[str, Callable[[Sequence[Layer], int], Frames]]


class Images(TensorBoardCallback):
    r"""The figures of the network as it learns.

    Every k epochs: ``network/overview``, or, if the network is too large for it, ``network/weights`` and
    ``network/decision_boundary`` (two inputs); ``network/confusion_matrix`` (more than two classes) and
    ``network/saturation``. Before training: ``network/parameters``. Before the test: ``network/descent``, the
    ``trajectory``. What does not depend on the run is written once, as a run of its own in the folder ``article``.

    ``animation`` is the file for an animated GIF of the first of these figures, written before the test;
    ``export`` is a folder for all figures as PNG files.
    """

    def __init__(
        self,
        every_n_epochs: int,
        trajectory: Trajectory,
        article: Path | None = None,
        animation: Path | None = None,
        export: Path | None = None,
    ) -> None:
        super().__init__(every_n_epochs)
        self.trajectory, self.article = trajectory, article
        self.animation, self.export = animation, export
        self.picture: Picture | None = None  # of the run that is being trained
        self.saturation: Saturation | None = None

    def add(self, writer: Any, name: str, frames: Frames, epoch: int) -> None:
        writer.add_image(f"network/{name}", frames.render(), epoch, dataformats="HWC")
        if self.export:
            path = self.export / f"{name}_{epoch:06}.png"
            with naming_file(path):
                self.export.mkdir(parents=True, exist_ok=True)
                frames.figure.savefig(path, dpi=EXPORT_DPI)

    def record(self, trainer: Any, module: Any, epoch: int) -> None:
        network, data = module.network, trainer.datamodule
        layers, activations = as_layers(network)
        for writer in self.writers(trainer):
            if epoch == 0:
                if self.article:
                    write_article(self.article)
                self.add(writer, "parameters", Frames(article.parameters(network.sizes)), epoch)
            self.picture = self.picture or network_picture(network, data, self.trajectory, trainer.max_epochs)
            name, draw = self.picture
            self.add(writer, name, draw(layers, epoch), epoch)
            if network.sizes[0] == 2 and name != "overview":
                figure = decision_boundary(layers, activations, *samples(data), **names_and_units(data), epoch=epoch)
                self.add(writer, "decision_boundary", Frames(figure), epoch)
            if network.sizes[-1] > 1:
                x, y = (rows.mT for rows in data.val.tensors)
                predicted = forward(x.to(layers[0].weight), layers, activations)[-1].argmax(0)
                figure = confusion_matrix(predicted, y.argmax(0), data.classes, epoch=epoch)
                self.add(writer, "confusion_matrix", Frames(figure), epoch)
            if len(layers) > 1:
                self.add(writer, "saturation", self.draw_saturation(layers, activations, data, epoch), epoch)

    def draw_saturation(
        self, layers: Sequence[Layer], activations: Sequence[Activation], data: Any, epoch: int
    ) -> Frames:
        x = data.train.tensors[0].mT
        if activations[0] not in RANGES or not style.all_finite(layers):
            return Frames(saturation(layers, activations, x, epoch=epoch))
        self.saturation = self.saturation or Saturation(layers, activations, x)
        self.saturation.update(layers, epoch)
        return self.saturation.frames

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if not finite_loss(trainer):  # there will be no test
            self.animate(trainer, pl_module.network)

    def animate(self, trainer: Any, network: Network) -> None:
        r"""Writes the animation, if one is wanted."""
        path = self.trajectory
        if self.animation and trainer.is_global_zero:
            _, draw = network_picture(network, trainer.datamodule, path, path.epochs[-1], ANIMATION_DPI)
            steps = np.unique(np.linspace(0, len(path.epochs) - 1, MAX_FRAMES).round().astype(int))
            frames = (draw(unflatten(path.points[k], network.sizes), path.epochs[k]).render() for k in steps)
            with naming_file(self.animation):
                save_animation(frames, self.animation)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        network, path = pl_module.network, self.trajectory
        if len(path.points) < 2:
            return
        self.animate(trainer, network)
        for writer in self.writers(trainer):
            if network.number_of_parameters <= MAX_CHECKED_PARAMETERS:
                x, y = (rows.mT for rows in trainer.datamodule.train.tensors)
                surface = LossSurface(network.sizes, as_layers(network)[1], x, y)
                epoch = path.epochs[-1]
                self.add(writer, "descent", Frames(descent(torch.stack(path.points), surface, epoch=epoch)), epoch)


def network_picture(network: Network, data: Any, path: Trajectory, epochs: int, dpi: int = style.DPI) -> Picture:
    r"""The name of the picture that shows a network best, and a function that draws it from layers and an epoch."""
    activations, parts, options = as_layers(network)[1], samples(data), names_and_units(data)
    surfaces = [LossSurface(network.sizes, activations, *part) for part in parts]
    costs: dict[int, Tensor] = {}  # epoch ↦ E of the training and of the validation samples
    pictures: list[Overview] = []

    def draw_diagram(layers: Sequence[Layer], epoch: int) -> Frames:
        return Frames(network_diagram(layers, features=data.features, target=data.target, epoch=epoch), dpi=dpi)

    def draw_overview(layers: Sequence[Layer], epoch: int) -> Frames:
        if not style.all_finite(layers):
            return Frames(overview(layers, activations, *parts, epoch=epoch), dpi=dpi)
        if not pictures:
            pictures.append(Overview(layers, activations, *parts, epochs=epochs, dpi=dpi, **options))
        known = path.epochs[: bisect_right(path.epochs, epoch)]
        if new := [k for k in known if k not in costs]:
            points = torch.stack([path.points[path.epochs.index(k)] for k in new])
            costs.update(zip(new, torch.stack([surface.cost(points) for surface in surfaces], 1), strict=True))
        train, *val = torch.stack([costs[k] for k in known], 1)
        pictures[0].update(layers, (known, train, val[0] if val else None), epoch)
        return pictures[0].frames

    return ("overview", draw_overview) if has_overview(network.sizes) else ("weights", draw_diagram)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    r"""Adds the file's name to an OSError, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def samples(data: Any) -> list[Samples]:
    r"""The training and the validation samples, in columns; once, if they are the same."""
    parts = (data.train,) if data.split == "all" else (data.train, data.val)
    return [(part.tensors[0].mT, part.tensors[1].mT) for part in parts]


def names_and_units(data: Any) -> dict[str, Any]:
    r"""The options of the figures in the plane of two features."""
    p = data.preprocessing
    units = {"x_mean": p.x_mean, "x_std": p.x_std, "y_mean": p.y_mean, "y_std": p.y_std}
    return units | {"features": data.features, "target": data.target, "classes": data.classes}


def write_article(folder: Path) -> None:
    r"""Writes the figures and equations of the article, unless the folder already has them."""
    if any(b"the_article/text_summary" in events.read_bytes() for events in folder.glob("events.*")):
        return  # the equations are written last, so everything is there
    with SummaryWriter(str(folder)) as writer:
        for name in ("sigmoid", "tanh", "relu"):
            writer.add_figure(f"the_article/{name}", article.activation(name))
        writer.add_figure("the_article/firing", article.firing())
        axis = "The horizontal axis counts finished epochs. With Smoothing at 0, the lines are the values themselves."
        writer.add_text("curves", f"{markdown_table(('curve', 'what it is'), CURVES.items())}\n\n{axis}")
        equations = [(row.id, row.where, row.formula) for row in CATALOGUE]
        writer.add_text("the_article", markdown_table(("", "article", "equation"), equations))
