r"""The article's own figures: every number in them comes out of :mod:`nnmath.equations`."""

from __future__ import annotations

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
from nnmath.figures.style import (
    BLACK,
    BLUE,
    ORANGE,
    SKY,
    SMALL,
    VERMILION,
    blank_canvas,
    fixed_margin_figure,
    set_title,
    truncate,
)

NAMES = {"sigmoid": "σ", "tanh": "tanh", "relu": "ReLU", "identity": "id"}
FIGURES = {"sigmoid": "Fig. 3: ", "tanh": "Fig. 4: ", "relu": "Fig. 5: ", "identity": ""}
FORMULAS = {
    "sigmoid": ("1 / (1 + e$^{−z}$)", "σ(z) (1 − σ(z))"),
    "tanh": ("2σ(2z) − 1", "1 − tanh²(z)"),
    "relu": ("max(0, z)", "0 or 1"),
    "identity": ("z", "1"),
}
MAX_LAYERS = 12
THRESHOLD = 40.0
r"""What the neuron of Fig. 1 has to exceed."""


def activation(name: str) -> Figure:
    r"""An activation f(z) and its derivative f′(z), their values at z = 0, and the tangent there.

    The slope of sigmoid and tanh is greatest at 0; ReLU has its kink there, where its derivative is 0, as in torch.

    Args:
        name: "sigmoid", "tanh", "relu" or "identity".

    Raises:
        ValueError: there is no such activation.

    Source: article, Figs. 3 (A1), 4 (A2) and 5 (A3).
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"name must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    value, derivative = ACTIVATIONS[name].function, ACTIVATIONS[name].derivative
    end = {"sigmoid": 6.0, "tanh": 4.0}.get(name, 2.0)
    z = torch.arange(-200, 201, dtype=torch.float64) * end / 200  # linspace would miss 0 by 1e-16
    zero = torch.zeros(1, dtype=torch.float64)
    height, slope = value(zero), derivative(zero)
    formulas, symbol = FORMULAS[name], NAMES[name]
    offset: dict[str, Any] = {"textcoords": "offset points"}

    figure = fixed_margin_figure(left=0.11)
    axes = figure.add_subplot(xlabel="weighted sum z")
    set_title(axes, f"{FIGURES[name]}{symbol}(z) and its derivative")
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.plot(z, value(z), color=BLUE, linewidth=2, label=f"{symbol}(z) = {formulas[0]}")
    dashed: dict[str, Any] = {"color": VERMILION, "linewidth": 2, "linestyle": "--"}
    jump = int((z <= 0).sum()) if name == "relu" else 0  # no line is drawn across it
    axes.plot(z[jump:], derivative(z[jump:]), label=f"{symbol}′(z) = {formulas[1]}", **dashed)
    if jump:
        axes.plot(z[:jump], derivative(z[:jump]), **dashed)
        axes.plot(zero, derivative(z[-1:]), "o", color=VERMILION, markerfacecolor="white", markersize=7)
        axes.annotate("kink at 0", (0, 0), (-30, 40), arrowprops={"arrowstyle": "->"}, ha="right", **offset)
    else:
        axes.axline((0, float(height)), slope=float(slope), color=BLUE, linewidth=1, linestyle=":")
    axes.plot(zero, height, "o", color=BLUE, markersize=9 if jump else 7)
    axes.plot(zero, slope, "o", color=VERMILION, markersize=5 if jump else 7)
    axes.annotate(f"{symbol}(0) = {float(height):g}", (0, float(height)), (10, -15), color=BLUE, **offset)
    greatest = ", the greatest" if name in ("sigmoid", "tanh") else ""
    place = {"sigmoid": (10, 5), "relu": (-10, -15)}.get(name, (-10, 7))  # where no curve is
    axes.annotate(
        f"{symbol}′(0) = {float(slope):g}{greatest}",
        (0, float(slope)),
        place,
        ha="left" if name == "sigmoid" else "right",
        color=VERMILION,
        **offset,
    )
    low, high = float(value(z).min()), float(torch.cat([value(z), derivative(z)]).max())
    axes.set(xlim=(-end, end), ylim=(low - 0.12 * (high - low), high + 0.4 * (high - low)))
    axes.legend(loc="upper left")
    return figure


def firing() -> Figure:
    r"""The neuron that fires when f(x₁, x₂) = x₁ + x₂ exceeds its threshold 40: 30 does not, 40 does not, 50 does.

    Source: article, Fig. 1 (P1).
    """
    figure = fixed_margin_figure(left=0.12)
    axes = figure.add_subplot(xlabel="input x₁", ylabel="input x₂")
    set_title(axes, f"Fig. 1: fires if x₁ + x₂ > {THRESHOLD:g}")
    side = torch.linspace(0, 60, 61)
    offset: dict[str, Any] = {"textcoords": "offset points"}
    plane = torch.stack(torch.meshgrid(side, side, indexing="xy")).flatten(1)  # (2, 3721)
    total = weighted_sum(plane, torch.ones(1, 2), torch.zeros(1)).reshape(61, 61)
    axes.contourf(side, side, total, levels=(-1, THRESHOLD, 200), colors=("white", SKY), alpha=0.5)
    axes.contour(side, side, total, levels=(THRESHOLD,), colors=BLACK)
    axes.text(3, 55, "fires", size=12)
    axes.text(3, 3, "does not fire", size=12)
    x = torch.tensor([[10.0, 20.0, 20.0], [20.0, 20.0, 30.0]])
    for (x1, x2), fired in zip(x.T.tolist(), fires(x, THRESHOLD).tolist(), strict=True):
        colour = BLUE if fired else VERMILION
        axes.plot(
            x1, x2, "^" if fired else "o", color=colour, markersize=10, markerfacecolor=colour if fired else "white"
        )
        text, place = f"{x1:g} + {x2:g} = {x1 + x2:g}", (11, -4) if x1 + x2 >= THRESHOLD else (-48, -20)
        axes.annotate(f"{text} {'fires' if fired else 'does not'}", (x1, x2), place, color=colour, **offset)
    axes.set(xlim=(0, 60), ylim=(0, 60))
    return figure


def parameters(sizes: Sequence[int]) -> Figure:
    r"""Number of parameters of each layer as matrices: w of n_out × n_in, b a column beside it; n_in n_out + n_out.

    Cells of w and b are drawn where they are large enough to be counted, and all layers to one scale. Of more than
    twelve layers the first eleven are drawn.

    Args:
        sizes: the neurons of each layer, the inputs first.

    Raises:
        ValueError: there is no layer, or a layer without neurons.

    Source: article, Fig. 7 (N2).
    """
    total = number_of_parameters(sizes)
    layers = list(pairwise(sizes))
    shown = layers if len(layers) <= MAX_LAYERS else layers[: MAX_LAYERS - 1]
    slots = len(shown) + (len(shown) < len(layers))
    rows = -(-slots // 4)
    columns = -(-slots // rows)
    width, height = 4.8 / columns, 3.2 / rows  # inches: the place of a layer, and in it a cell
    cell = min(
        (width - 0.3) / max(n_in + 1.5 for n_in, _ in shown), (height - 0.6) / max(n_out for _, n_out in shown), 0.5
    )

    figure, axes = blank_canvas(f"Fig. 7: {total:,} parameters of {truncate('-'.join(map(str, sizes)), 18)}")
    for k, (n_in, n_out) in enumerate(shown):
        x, y = 0.1 + (k % columns + 0.5) * width, 3.6 - (k // columns + 1) * height
        left, bottom = x - (n_in + 1.5) * cell / 2, y + 0.55 + (height - 0.6 - n_out * cell) / 2
        cells(axes, left, bottom, n_in, n_out, cell, SKY)
        cells(axes, left + (n_in + 0.5) * cell, bottom, 1, n_out, cell, ORANGE)
        formula = f"{n_in}·{n_out} + {n_out}"
        count = f"= {number_of_parameters((n_in, n_out)):,}"
        if columns < 3:
            text = f"layer {k + 1}: {n_in} → {n_out}\n{formula} {count}"
        else:
            text = f"{formula if len(formula) < 15 else f'{n_in} → {n_out}'}\n{count}"
        axes.text(x, y + 0.28, text, size=11 if columns < 3 else SMALL, ha="center", va="center")
    if slots > len(shown):
        x, y = 0.1 + ((slots - 1) % columns + 0.5) * width, 3.6 - ((slots - 1) // columns + 1) * height
        axes.text(x, y + height / 2, f"… and {len(layers) - len(shown)} more", size=SMALL, ha="center")
    handles = [Patch(color=SKY, label="w: n$_{out}$ × n$_{in}$"), Patch(color=ORANGE, label="b: n$_{out}$")]
    axes.legend(handles=handles, loc="lower center", ncols=2, frameon=False)
    return figure


def cells(axes: Axes, left: float, bottom: float, columns: int, rows: int, size: float, colour: str) -> None:
    r"""A matrix's cells, or its outline where they would be too small to be told apart."""
    width, height = columns * size, rows * size
    if size < 0.05:
        columns, rows, width, height = 1, 1, max(width, 0.03), max(height, 0.03)
    axes.pcolormesh(
        np.linspace(left, left + width, columns + 1),
        np.linspace(bottom, bottom + height, rows + 1),
        np.zeros((rows, columns)),
        cmap=ListedColormap([colour]),
        edgecolors="white" if size >= 0.05 else colour,
        linewidth=min(10 * size, 2),
    )
