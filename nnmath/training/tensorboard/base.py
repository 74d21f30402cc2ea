r"""What TensorBoard shows of a run besides its curves: pictures, histograms, the graph, hyperparameters, tables.

Each is a Lightning callback. The step is the number of finished epochs; 0 is the network before training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.event_pb2 import Event
from torch import Tensor
from torch.func import functional_call
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from nnmath.ensemble.loss_surface import Landscape
from nnmath.equations import forward
from nnmath.gradcheck import Report, check_gradients
from nnmath.network import HalfMSELoss, Network, equations_of, gradients
from nnmath.training.callbacks import Trajectory
from nnmath.training.tensorboard.graph import computational_graph, names
from nnmath.verification.catalogue import CATALOGUE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARTS = {
    "error": ["loss/train", "loss/val"],
    "metrics of the validation rows": ["metrics/.*"],
    "norm of the gradient, each layer": ["training/gradient_norm/.*"],
}
r"""Custom Scalars: a chart, and which curves it has."""
COMPARED = (
    *("backward", "batch_size", "dataset", "epochs", "eta_min", "hidden"),
    *("learning_rate", "momentum", "neurons", "output", "precision", "seed"),
)
r"""Options that the HParams tab has."""
MOST_CHECKED = 10_000
r"""Parameters of the largest network whose gradients are checked for the text tab, and whose way is drawn."""


def writers(trainer: L.Trainer) -> Iterator[SummaryWriter]:
    r"""TensorBoard's writers; none in all processes but the first."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                yield logger.experiment


def due(trainer: L.Trainer, every_n_epochs: int) -> bool:
    r"""Whether the epoch that ends is one in k, or the last."""
    done = trainer.current_epoch + 1
    return done % every_n_epochs == 0 or done == trainer.max_epochs


def data_of(trainer: L.Trainer) -> Any:
    r"""The trainer's :class:`nnmath.data.datamodule.DataModule`."""
    at_run_time: Any = trainer  # when Lightning gives it the attribute, which it does not declare
    return at_run_time.datamodule


class Overview(Callback):
    r"""What a run is: its hyperparameters, the charts, the computational graph, the equations, its command.

    Args:
        options: hyperparameters for the HParams tab, beside which the run's last loss and metrics are shown.
        command: what was typed.
    """

    def __init__(self, options: Mapping[str, Any], command: str) -> None:
        self.options, self.command = options, command

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch > 0:
            return  # a run that goes on has it all
        network = pl_module.network
        for writer in writers(trainer):
            experiment, start, _ = self.hparams(pl_module)
            writer._get_file_writer().add_summary(experiment)
            writer._get_file_writer().add_summary(start)
            writer.add_custom_scalars({"training": {name: ["Multiline", tags] for name, tags in CHARTS.items()}})
            activations = pl_module.hparams["hidden"], pl_module.hparams["output"]
            graph = computational_graph(network.sizes, *activations)
            writer._get_file_writer().add_event(Event(graph_def=graph.SerializeToString()))
            writer.add_text("run", f"```\n{self.command}\n```\n\n{table(('option', 'value'), self.options.items())}")
            writer.add_text("parameters", parameters(network, *activations))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0 or trainer.current_epoch + 1 == trainer.max_epochs:
            if pl_module.network.number_of_parameters > MOST_CHECKED:
                return
            x, y = data_of(trainer).train.tensors
            for writer in writers(trainer):
                writer.add_text("gradients", checked(pl_module.network, x, y), trainer.current_epoch + 1)

    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        for writer in writers(trainer):
            *_, end = self.hparams(pl_module)
            writer._get_file_writer().add_summary(end)

    def hparams(self, module: Any) -> tuple[Any, Any, Any]:
        r"""The summaries of the HParams plugin: which metrics there are, a run's start, its end."""
        shown = {"binary": ("accuracy", "auroc"), "regression": ("r2", "mean_absolute_error")}[module.hparams["task"]]
        metrics = ["loss/val", *(f"metrics/{name}" for name in shown)]
        values = {
            name: value if isinstance(value, (bool, int, float, str)) else str(value)
            for name, value in self.options.items()
            if name in COMPARED and value is not None
        }
        return hparams(values, dict.fromkeys(metrics, 0.0))  # no value of these is written, only that they exist


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
        if trainer.is_last_batch and due(trainer, self.every_n_epochs):
            for writer in writers(trainer):
                for i, linear in enumerate(pl_module.network.linears, start=1):
                    gradient = torch.cat([p.grad.flatten() for p in linear.parameters() if p.grad is not None])
                    histogram(writer, f"parameters/gradient/layer{i}", gradient, trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if due(trainer, self.every_n_epochs):
            self.write(trainer, pl_module.network, trainer.current_epoch + 1)

    def write(self, trainer: L.Trainer, network: Network, step: int) -> None:
        r"""The weights and the activations as they are."""
        layers, activations = equations_of(network)
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
        if pl_module.hparams["task"] != "binary" or not due(trainer, self.every_n_epochs):
            return
        layers, activations = equations_of(pl_module.network)
        for writer in writers(trainer):
            x, y = data_of(trainer).val.tensors
            output = forward(x.mT.to(layers[0].weight), layers, activations)[-1].flatten()
            if output.isfinite().all():
                writer.add_pr_curve("precision_recall/val", y.flatten(), output.clamp(0, 1), trainer.current_epoch + 1)


class Pictures(Callback):
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
        if due(trainer, self.every_n_epochs):
            self.draw(trainer, pl_module, trainer.current_epoch + 1)

    def draw(self, trainer: L.Trainer, module: Any, epoch: int) -> None:
        r"""The figures of the network as it is."""
        from nnmath.figures import training

        layers, activations = equations_of(module.network)
        for writer in writers(trainer):
            data = data_of(trainer)
            train, val = (tuple(t.mT for t in part.tensors) for part in (data.train, data.val))
            if module.network.sizes[0] == 2 and module.network.sizes[-1] == 1:
                units = {**data.state_dict(), "features": data.features, "target": data.target, "classes": data.classes}
                drawn = training.decision_boundary(layers, activations, train, val, **units, epoch=epoch)
                show(writer, "network/decision_boundary", drawn, epoch)
            named = training.network(layers, features=data.features, target=data.target, epoch=epoch)
            show(writer, "network/weights", named, epoch)
            if len(layers) > 1:
                show(
                    writer, "network/saturation", training.saturation(layers, activations, train[0], epoch=epoch), epoch
                )

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        network = pl_module.network
        if self.path is None or len(self.path.points) < 2 or network.number_of_parameters > MOST_CHECKED:
            return
        from nnmath.figures import training

        for writer in writers(trainer):
            x, y = (rows.mT for rows in data_of(trainer).train.tensors)
            landscape = Landscape(network.sizes, equations_of(network)[1], x, y)
            epoch = self.path.epochs[-1]
            drawn = training.descent(torch.stack(self.path.points), landscape, epoch=epoch)
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


# --- tables ----------------------------------------------------------------------------------------------------------


def table(headings: Sequence[str], rows: Any) -> str:
    r"""A table as TensorBoard's text tab renders it."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def parameters(network: Network, hidden: str, output: str) -> str:
    r"""The parameters of each layer and their number (N2)."""
    last = len(network.linears)
    rows = [
        (i, *names(i, last)[:2], f"{n_out} x {n_in}", n_out, (n_in + 1) * n_out, output if i == last else hidden)
        for i, (n_in, n_out) in enumerate(pairwise(network.sizes), start=1)
    ]
    total = ("", "", "", "", "", network.number_of_parameters, "")
    return table(("layer", "w", "b", "w is", "b is", "parameters", "activation"), [*rows, total])


def equations() -> str:
    r"""The article's equations."""
    rows = [(row.id, row.where, row.formula) for row in CATALOGUE]
    return table(("", "article", "equation"), rows)


def checked(network: Network, x: Tensor, y: Tensor) -> str:
    r"""The network's gradients on these rows, by the equations and by autograd, as a table."""
    try:
        report = check(network, x, y)
    except ValueError as error:  # numbers that are none
        return f"not checked: {error}"
    last = len(network.linears)
    rows = []
    for i in range(1, last + 1):
        weight, bias, mu, _ = names(i, last)
        below = "x" if i == 1 else names(i - 1, last)[3]
        delta = (
            "(O − y) O′"
            if i == last
            else f"({names(i + 1, last)[0]}ᵀ ∂E/∂{names(i + 1, last)[2]}) {names(i, last)[3]}′"
        )
        case = "Case 1 (B2)" if i == last else "Case 2 (B5)"
        formulas = f"∂E/∂{weight} = {delta} {below}", f"∂E/∂{bias} = ∂E/∂{mu} = {delta}"
        for kind, formula in zip(("weight", "bias"), formulas, strict=True):
            entry = report.entries[f"{kind}_{i}"]
            verdict = "right" if entry.passed else "**WRONG**"
            rows.append((case, formula, f"{entry.relative:.1e}", f"{entry.ulps:.3g}", verdict))
    return table(
        ("article", "by hand, averaged over the rows", "relative difference", "ulps", "against autograd"), rows
    )


def check(network: Network, x: Tensor, y: Tensor) -> Report:
    r"""Whether the network's hand-written gradients on these rows are autograd's."""
    where = network.linears[0].weight
    x, y = x.to(where), y.to(where)
    keys = {
        f"{kind}_{i}": f"{2 * i - 2}.{kind}" for i in range(1, len(network.linears) + 1) for kind in ("weight", "bias")
    }
    tensors = dict(network.named_parameters())
    inputs = {name: tensors[key].detach() for name, key in keys.items()} | {"x": x, "y": y}
    plain = torch.nn.Sequential(*network)  # torch's own forward pass

    def error(x: Tensor, y: Tensor, **values: Tensor) -> Tensor:
        output = functional_call(plain, {keys[name]: value for name, value in values.items()}, (x,))
        return HalfMSELoss(backward="autograd")(output, y)

    backward = network.backward
    try:
        by_hand = gradients(network, (x, y), "manual")
    finally:
        network.backward = backward
    return check_gradients(error, inputs, dict(zip(keys, by_hand, strict=True)), n=len(x))
