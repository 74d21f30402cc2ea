r"""Description of a run: hyperparameters, charts, graph, text tables."""

import copy
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import lightning as L
import torch
from tensorboard.compat.proto.event_pb2 import Event
from torch import Tensor
from torch.func import functional_call

from nnmath.gradcheck import check_gradients
from nnmath.network import HalfMSELoss, Network, gradients
from nnmath.runtime.hparams import hparams_summaries
from nnmath.training.options import TrainOptions
from nnmath.training.tensorboard.base import TensorBoardCallback
from nnmath.training.tensorboard.graph import computational_graph, layer_symbols

CHARTS = {  # Custom Scalars tab: title of each chart, and regular expressions of its curves
    "error": ["^loss/train$", "^loss/val$"],
    "metrics of the validation rows": ["^metrics/.*$"],
    "norm of the gradient, each layer": ["^training/gradient_norm/.*$"],
}
MAX_CHECKED_PARAMETERS = 10_000  # larger networks get neither a gradient table nor a picture of the descent


class Overview(TensorBoardCallback):
    r"""Logs the command, options, charts, computational graph and parameter counts; and a gradient check."""

    def __init__(self, options: TrainOptions, command: str) -> None:
        super().__init__(every_n_epochs=1)
        self.options, self.command = options, command

    def record(self, trainer: Any, module: Any, epoch: int) -> None:
        network, activations = module.network, (module.hparams["hidden"], module.hparams["output"])
        for writer in self.writers(trainer):
            if epoch == 0:
                for summary in hparams_summaries(self.options.hyperparameters())[:2]:
                    writer.file_writer.add_summary(summary)
                writer.add_custom_scalars({"training": {name: ["Multiline", tags] for name, tags in CHARTS.items()}})
                graph = computational_graph(network.sizes, *activations)
                writer.file_writer.add_event(Event(graph_def=graph.SerializeToString()))
                options = markdown_table(("option", "value"), self.options.as_dict().items())
                writer.add_text("run", f"```\n{self.command}\n```\n\n{options}")
                writer.add_text("parameters", parameter_table(network, *activations))
            elif epoch in (1, trainer.max_epochs) and network.number_of_parameters <= MAX_CHECKED_PARAMETERS:
                writer.add_text("gradients", gradient_table(network, *trainer.datamodule.train.tensors), epoch)

    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        for writer in self.writers(trainer):
            writer.file_writer.add_summary(hparams_summaries(self.options.hyperparameters())[2])


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def parameter_table(network: Network, hidden: str, output: str) -> str:
    r"""The parameters of each layer and their number (N2)."""
    rows: list[Sequence[object]] = []
    symbols = layer_symbols(len(network.linears))
    for i, ((n_in, n_out), (w, b, *_, h, _)) in enumerate(zip(pairwise(network.sizes), symbols, strict=True), start=1):
        rows.append((i, w, b, f"{n_out} x {n_in}", n_out, (n_in + 1) * n_out, output if h == "O" else hidden))
    rows.append(("", "", "", "", "", network.number_of_parameters, ""))
    return markdown_table(("layer", "w", "b", "shape of w", "shape of b", "parameters", "activation"), rows)


def gradient_table(network: Network, x: Tensor, y: Tensor) -> str:
    r"""A table that compares the network's hand-written gradients on the rows x and y with autograd's."""
    parameters = dict(network.named_parameters())
    names = [f"{kind}_{i}" for i in range(1, len(network.linears) + 1) for kind in ("weight", "bias")]
    keys = dict(zip(names, parameters, strict=True))
    x, y = (part.to(network.linears[0].weight) for part in (x, y))
    inputs = {name: parameters[key].detach() for name, key in keys.items()} | {"x": x, "y": y}
    plain = torch.nn.Sequential(*network)  # torch's own forward pass

    def error(x: Tensor, y: Tensor, **values: Tensor) -> Tensor:
        output = functional_call(plain, {keys[name]: value for name, value in values.items()}, (x,))
        return HalfMSELoss(backward="autograd")(output, y)

    manual = gradients(copy.deepcopy(network), (x, y), "manual")
    try:
        report = check_gradients(error, inputs, dict(zip(names, manual, strict=True)), n=len(x))
    except ValueError as reason:  # non-finite values
        return f"not checked: {reason}"
    rows = []
    for i, (w, b, mu, below, h, dh) in enumerate(layer_symbols(len(network.linears)), start=1):
        case, delta = "Case 1 (B2)" if h == "O" else "Case 2 (B5)", f"({dh}) {h}′"
        formulas = {f"weight_{i}": f"∂E/∂{w} = {delta} {below}", f"bias_{i}": f"∂E/∂{b} = ∂E/∂{mu} = {delta}"}
        for name, formula in formulas.items():
            entry = report.entries[name]
            verdict = "right" if entry.passed else "**WRONG**"
            rows.append((case, formula, f"{entry.relative:.1e}", f"{entry.ulps:.3g}", verdict))
    headings = ("article", "hand-written, averaged over the rows", "relative difference", "ulps", "against autograd")
    notes = (
        "Case 1 and 2: the article's sections; B2 and B5: the equations in the README's table. h′ and O′ are the "
        "derivatives of the activation: ∂h/∂μ and ∂O/∂μ. Relative difference: largest |hand-written − autograd| over "
        "the largest |autograd|. ulps: the same in units in the last place, the rounding of one operation. Right: no "
        "more than rounding explains, which is more near a minimum, where large terms almost cancel."
    )
    return f"{markdown_table(headings, rows)}\n\n{notes}"
