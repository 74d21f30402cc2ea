r"""What a run is: hyperparameters, charts, graph, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from tensorboard.compat.proto.event_pb2 import Event
from torch import Tensor
from torch.func import functional_call
from torch.utils.tensorboard.summary import hparams

from nnmath.gradcheck import Report, check_gradients
from nnmath.network import HalfMSELoss, Network, gradients
from nnmath.training.tensorboard.base import data_of, writers
from nnmath.training.tensorboard.graph import computational_graph, names
from nnmath.verification.catalogue import CATALOGUE

CHARTS = {
    "error": ["loss/train", "loss/val"],
    "metrics of the validation rows": ["metrics/.*"],
    "norm of the gradient, each layer": ["training/gradient_norm/.*"],
}
r"""Custom Scalars: a chart, and which curves it has."""


HPARAMS = (
    *("backward", "batch_size", "dataset", "epochs", "eta_min", "hidden"),
    *("learning_rate", "momentum", "neurons", "output", "precision", "seed"),
)
r"""Options that the HParams tab has."""


MAX_CHECKED_PARAMETERS = 10_000
r"""Parameters of the largest network whose gradients are checked for the text tab, and whose way is drawn."""


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
            if pl_module.network.number_of_parameters > MAX_CHECKED_PARAMETERS:
                return
            x, y = data_of(trainer).train.tensors
            for writer in writers(trainer):
                writer.add_text("gradients", gradient_table(pl_module.network, x, y), trainer.current_epoch + 1)

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
            if name in HPARAMS and value is not None
        }
        return hparams(values, dict.fromkeys(metrics, 0.0))  # no value of these is written, only that they exist


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


def gradient_table(network: Network, x: Tensor, y: Tensor) -> str:
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
