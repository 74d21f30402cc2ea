r"""The article's own figures; every number in them is computed by :mod:`nnmath.equations`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nnmath.equations import ACTIVATIONS, fires, number_of_parameters, weighted_sum
from nnmath.figures import style
from nnmath.figures.style import BLACK, BLUE, ORANGE, SKY, SMALL, VERMILION

CURVES = {  # figure, f(z), f′(z), largest z, offset of the label of f′(0) from its point
    "sigmoid": ("Fig. 3: ", "1 / (1 + e$^{−z}$)", "σ(z) (1 − σ(z))", 6.0, (10, 5)),
    "tanh": ("Fig. 4: ", "2σ(2z) − 1", "1 − tanh²(z)", 4.0, (-10, 7)),
    "relu": ("Fig. 5: ", "max(0, z)", "0 or 1", 2.0, (-10, -15)),
    "identity": ("", "z", "1", 2.0, (-10, 7)),
}
OFFSET: dict[str, Any] = {"textcoords": "offset points"}
THRESHOLD = 40.0  # of the neuron in Fig. 1
MAX_LAYERS = 12


def activation(name: str) -> Figure:
    r"""An activation f(z), its derivative f′(z), the values of both at z = 0, and the tangent at 0.

    The derivatives of sigmoid and tanh are greatest at 0. ReLU has its kink there; as in torch, ReLU′(0) = 0.

    Args:
        name: "sigmoid", "tanh", "relu" or "identity".

    Raises:
        ValueError: there is no such activation.

    Source: article, Figs. 3 (A1), 4 (A2) and 5 (A3).
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"name must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    f, (number, formula, derivative_formula, max_z, label_offset) = ACTIVATIONS[name], CURVES[name]
    z = torch.arange(-200, 201, dtype=torch.float64) * max_z / 200  # linspace would miss 0 by 1e-16
    zero = torch.zeros(1, dtype=torch.float64)
    value, derivative = f.function(z), f.derivative(z)
    value_at_0, derivative_at_0 = float(f.function(zero)), float(f.derivative(zero))
    kink = name == "relu"
    greatest = ", the greatest" if name in ("sigmoid", "tanh") else ""

    figure = style.fixed_margin_figure(left=0.11)
    axes = figure.add_subplot(xlabel="weighted sum z")
    axes.set_title(f"{number}{f.symbol}(z) and its derivative", y=1)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.plot(z, value, color=BLUE, linewidth=2, label=f"{f.symbol}(z) = {formula}")
    dashed: dict[str, Any] = {"color": VERMILION, "linewidth": 2, "linestyle": "--"}
    label = f"{f.symbol}′(z) = {derivative_formula}"
    if kink:
        for part, part_label in ((z > 0, label), (z <= 0, None)):  # no line across the jump
            axes.plot(z[part], derivative[part], label=part_label, **dashed)
        axes.plot(0, 1, "o", color=VERMILION, markerfacecolor="white", markersize=7)
        axes.annotate("kink at 0", (0, 0), (-30, 40), arrowprops={"arrowstyle": "->"}, ha="right", **OFFSET)
    else:
        axes.plot(z, derivative, label=label, **dashed)
        axes.axline((0, value_at_0), slope=derivative_at_0, color=BLUE, linewidth=1, linestyle=":")
    axes.plot(0, value_at_0, "o", color=BLUE, markersize=9 if kink else 7)
    axes.plot(0, derivative_at_0, "o", color=VERMILION, markersize=5 if kink else 7)
    axes.annotate(f"{f.symbol}(0) = {value_at_0:g}", (0, value_at_0), (10, -15), color=BLUE, **OFFSET)
    label, side = f"{f.symbol}′(0) = {derivative_at_0:g}{greatest}", "left" if label_offset[0] > 0 else "right"
    axes.annotate(label, (0, derivative_at_0), label_offset, ha=side, color=VERMILION, **OFFSET)
    low, high = float(value.min()), float(torch.cat([value, derivative]).max())
    axes.set(xlim=(-max_z, max_z), ylim=(low - 0.12 * (high - low), high + 0.4 * (high - low)))
    axes.legend(loc="upper left")
    return figure


def firing() -> Figure:
    r"""A neuron that fires if x₁ + x₂ exceeds its threshold 40: not at 30 and 40, but at 50.

    Source: article, Fig. 1 (P1).
    """
    figure = style.fixed_margin_figure(left=0.12)
    axes = figure.add_subplot(xlabel="input x₁", ylabel="input x₂", xlim=(0, 60), ylim=(0, 60))
    axes.set_title(f"Fig. 1: fires if x₁ + x₂ > {THRESHOLD:g}", y=1)
    side = torch.linspace(0, 60, 61)
    plane = torch.stack(torch.meshgrid(side, side, indexing="xy")).flatten(1)  # (2, 3721)
    total = weighted_sum(plane, torch.ones(1, 2), torch.zeros(1)).reshape(61, 61)
    axes.contourf(side, side, total, levels=(-1, THRESHOLD, 200), colors=("white", SKY), alpha=0.5)
    axes.contour(side, side, total, levels=(THRESHOLD,), colors=BLACK)
    axes.text(3, 55, "fires", size=12)
    axes.text(3, 3, "does not fire", size=12)
    x = torch.tensor([[10.0, 20.0, 20.0], [20.0, 20.0, 30.0]])
    for (x1, x2), neuron_fires in zip(x.T.tolist(), fires(x, THRESHOLD).tolist(), strict=True):
        marker, colour, face = ("^", BLUE, BLUE) if neuron_fires else ("o", VERMILION, "white")
        axes.plot(x1, x2, marker, color=colour, markersize=10, markerfacecolor=face)
        text = f"{x1:g} + {x2:g} = {x1 + x2:g} {'fires' if neuron_fires else 'does not'}"
        offset = (11, -4) if x1 + x2 >= THRESHOLD else (-48, -20)
        axes.annotate(text, (x1, x2), offset, color=colour, **OFFSET)
    return figure


def parameters(sizes: Sequence[int]) -> Figure:
    r"""The n_in n_out + n_out parameters of each layer as cells: w (n_out × n_in), and b as a column beside it.

    All layers have the same scale. A matrix whose cells would be too small to count is one rectangle. Of more than
    twelve layers, the first eleven are drawn.

    Args:
        sizes: the neurons of each layer, the inputs first.

    Raises:
        ValueError: there are fewer than two sizes, or one is not a positive integer.

    Source: article, Fig. 7 (N2).
    """
    total = number_of_parameters(sizes)
    layers = list(pairwise(sizes))
    shown = layers if len(layers) <= MAX_LAYERS else layers[: MAX_LAYERS - 1]
    slots = len(shown) + (len(shown) < len(layers))
    rows = -(-slots // 4)
    columns = -(-slots // rows)
    width, height = 4.8 / columns, 3.2 / rows  # of a slot, in inches
    max_in, max_out = (max(sizes) for sizes in zip(*shown, strict=True))
    cell = min((width - 0.3) / (max_in + 1.5), (height - 0.6) / max_out, 0.5)

    network = style.truncate("-".join(map(str, sizes)), 18)
    figure, axes = style.blank_canvas(f"Fig. 7: {total:,} parameters of {network}")
    for k in range(slots):
        x, y = 0.1 + (k % columns + 0.5) * width, 3.6 - (k // columns + 1) * height
        if k == len(shown):
            axes.text(x, y + height / 2, f"… and {len(layers) - k} more", size=SMALL, ha="center")
            break
        n_in, n_out = shown[k]
        left, bottom = x - (n_in + 1.5) * cell / 2, y + 0.55 + (height - 0.6 - n_out * cell) / 2
        draw_matrix(axes, left, bottom, n_in, n_out, cell, SKY)
        draw_matrix(axes, left + (n_in + 0.5) * cell, bottom, 1, n_out, cell, ORANGE)
        formula = f"{n_in}·{n_out} + {n_out}"
        count = f"= {number_of_parameters((n_in, n_out)):,}"
        if columns < 3:
            text = f"layer {k + 1}: {n_in} → {n_out}\n{formula} {count}"
        else:
            text = f"{formula if len(formula) < 15 else f'{n_in} → {n_out}'}\n{count}"
        axes.text(x, y + 0.28, text, size=11 if columns < 3 else SMALL, ha="center", va="center")
    handles = [Patch(color=SKY, label="w: n$_{out}$ × n$_{in}$"), Patch(color=ORANGE, label="b: n$_{out}$")]
    axes.legend(handles=handles, loc="lower center", ncols=2, frameon=False)
    return figure


def draw_matrix(axes: Axes, left: float, bottom: float, columns: int, rows: int, cell: float, colour: str) -> None:
    r"""Draws the cells of a matrix, or one rectangle if the cells would be too small to be distinguished."""
    width, height, edges = columns * cell, rows * cell, "white"
    if cell < 0.05:
        columns, rows, width, height, edges = 1, 1, max(width, 0.03), max(height, 0.03), colour
    x, y = np.linspace(left, left + width, columns + 1), np.linspace(bottom, bottom + height, rows + 1)
    look: dict[str, Any] = {"cmap": ListedColormap([colour]), "edgecolors": edges, "linewidth": min(10 * cell, 2)}
    axes.pcolormesh(x, y, np.zeros((rows, columns)), **look)
