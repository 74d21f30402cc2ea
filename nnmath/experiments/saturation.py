r"""Where σ′ vanishes: its rounding errors, and the effect on the notebook's network (A1, B1)."""

from itertools import pairwise
from typing import Any

import mpmath
import torch
from cycler import cycler
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.ensemble.stack import repeat_network, train
from nnmath.equations import backward, error, forward, sigmoid, sigmoid_derivative, sigmoid_derivative_from_output
from nnmath.experiments.haberman import Data
from nnmath.experiments.notebook import ACTIVATIONS, FINAL_EPOCHS, FINAL_RATE, initial_layers
from nnmath.experiments.report import Report, curves, table
from nnmath.figures.style import BLUE, LINE_STYLES, ORANGE, new_axes, new_figure
from nnmath.verification.exact_arithmetic import DIGITS, to_mpmath

DTYPES = {"float32": torch.float32, "float64": torch.float64}
RATES = (0.02, FINAL_RATE)  # M learning rates, for errors summed over the rows
SATURATED = 0.01 / 4  # a neuron is saturated where h (1 − h) is below a hundredth of its maximum, ¼


def slopes(end: float = 50.0) -> tuple[Tensor, dict[str, Tensor]]:
    r"""Relative error of h (1 − h) and of σ(z) σ(−z) in two types, against σ′(z) to 50 digits.

    The larger z, the more digits 1 − h loses to cancellation; once h has rounded to 1, it has lost all of them.
    σ(−z) = 1 − σ(z) is as accurate as the exponential.

    Returns:
        z from 0 to ``end`` in steps of ½, exact in both types, shape (K,), and formula and type ↦ relative error, shape
        (K,), which is 1 where the result is 0.

    Source: article, Fig. 3 (A1) and Figs. 10 and 11 (B1, B4).

    >>> z, errors = slopes(end=40)
    >>> float(errors["h (1 − h), float64"][-1]), float(errors["σ(z) σ(−z), float64"][-1]) < 1e-15
    (1.0, True)
    """
    z = torch.arange(0, end + 0.25, 0.5, dtype=torch.float64)
    errors = {}
    with mpmath.workdps(DIGITS):
        exact: Any = to_mpmath(z)  # the equations are typed for tensors
        truth = sigmoid_derivative(exact)
        for name, dtype in DTYPES.items():
            from_output = sigmoid_derivative_from_output(sigmoid(z.to(dtype)))
            from_sum = sigmoid_derivative(z.to(dtype))
            for formula, value in (("h (1 − h)", from_output), ("σ(z) σ(−z)", from_sum)):
                relative = [float(abs(entry)) for entry in to_mpmath(value) / truth - 1]
                errors[f"{formula}, {name}"] = torch.tensor(relative, dtype=torch.float64)
    return z, errors


def run(data: Data, epochs: int = FINAL_EPOCHS) -> tuple[list[int], dict[str, Tensor]]:
    r"""Share of saturated outputs and norm of the gradient while the notebook's network is trained.

    At its η = 0.45 a few long steps saturate the output neuron: O (1 − O) is almost 0 for every row, the gradient
    vanishes with it, and the remaining thousands of epochs change nothing. The first ten epochs are all recorded, later
    ones at growing intervals.

    Returns:
        K numbers of epochs, and for each of ``RATES`` the norm of the gradient of all parameters, the share of the rows
        whose output is saturated, and the cost, shape (K, M) each.

    Source: the author's notebook; article, Fig. 10 (B1).
    """
    m, eta = len(RATES), torch.tensor(RATES, dtype=torch.float64)
    x, y = data.train.x, data.train.y.expand(m, *data.train.y.shape)
    layers = repeat_network(initial_layers(), m)
    spaced = (round(10 ** (k / 10)) for k in range(10, 60))
    recorded = sorted({t for t in (*range(10), *spaced) if t < epochs} | {epochs})
    columns: dict[str, list[Tensor]] = {"gradient_norm": [], "saturated_outputs": [], "cost": []}
    for done, t in pairwise([0, *recorded]):
        layers = train(layers, x, y, epochs=t - done, learning_rate=eta, reduction="sum").layers
        values = forward(x, layers, ACTIVATIONS)
        gradients = backward(values, layers, ACTIVATIONS, y, "sum")
        saturated = sigmoid_derivative_from_output(values[-1]) < SATURATED  # (M, 1, n)
        columns["gradient_norm"].append(torch.cat([g.flatten(1) for layer in gradients for g in layer], 1).norm(dim=1))
        columns["saturated_outputs"].append(saturated.double().mean((-2, -1)))
        columns["cost"].append(error(values[-1], y))
    return recorded, {name: torch.stack(rows) for name, rows in columns.items()}


def draw_slopes(z: Tensor, errors: dict[str, Tensor]) -> Figure:
    r"""Relative error of σ′(z) against z, by both formulas in both types."""
    figure, axes = new_axes("z", "relative error of σ′(z)", "h (1 − h) loses what σ(z) σ(−z) keeps")
    axes.set_prop_cycle(cycler(color=(ORANGE, BLUE), linewidth=(3, 1.5)) * cycler(linestyle=("-", ":")))
    for label, relative in errors.items():
        axes.semilogy(z, relative.clamp(min=1e-17), label=label)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.14))
    return figure


def draw_network(epochs: list[int], columns: dict[str, Tensor]) -> Figure:
    r"""Norm of the gradient and share of saturated outputs over the epochs, at each learning rate."""
    figure = new_figure(layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes in (upper, lower):
        axes.set_prop_cycle(LINE_STYLES)
        axes.grid(alpha=0.3)
    upper.semilogy(epochs, columns["gradient_norm"], label=[f"η = {eta:g}" for eta in RATES])
    upper.set(ylabel="‖∂E/∂(w, b)‖₂", title="the notebook's network")
    upper.legend(loc="center")
    lower.plot(epochs, 100 * columns["saturated_outputs"])
    lower.set(ylabel="outputs\nsaturated in %", xlabel="epochs")
    lower.set_xscale("symlog", linthresh=10)
    return figure


def report(data: Data | None) -> Report:
    r"""A table of the relative errors of σ′; with data, also the training of the notebook's network."""
    z, errors = slopes()
    rows = [(f"{z[k]:g}", *(f"{relative[k]:.0e}" for relative in errors.values())) for k in range(10, len(z), 10)]
    figures = {"saturation/slopes": draw_slopes(z, errors)}
    output = Report(["relative error of σ′(z)", table(("z", *errors), rows)], figures, {})
    if data is None:
        return output
    epochs, columns = run(data)
    headings = ["epoch", *(f"{name.replace('_', ' ')}, η = {eta:g}" for name in columns for eta in RATES)]
    rows = [
        (f"{t}", *(f"{value:.3g}" for values in columns.values() for value in values[k]))
        for k, t in enumerate(epochs)
        if t <= 10 or t in (100, 1000, epochs[-1])
    ]
    output.lines.extend(["the notebook's network", table(headings, rows)])
    output.figures["saturation/network"] = draw_network(epochs, columns)
    for name, values in columns.items():
        output.curves.update(curves(f"saturation/{name}", map("{:g}".format, RATES), values, epochs))
    return output
