r"""Fig. 6: neurons, and weights as lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from nnmath.equations import Layer
from nnmath.figures.style import (
    BLACK,
    BLUE,
    NOT_FINITE,
    SMALL,
    VERMILION,
    Array,
    at_epoch,
    blank_canvas,
    finite,
    message_figure,
    plain_layers,
    subscript,
    truncate,
)

MOST_NEURONS, MOST_COLUMNS = 8, 8
r"""What is drawn of a large network."""


MIDDLE = 2.12
r"""Inches from the lower edge, where a network's middle is."""


DASHED = (0, (2.2, 0.9))


def network(
    layers: Sequence[Layer], *, features: Sequence[str] | None = None, target: str = "O", epoch: int | None = None
) -> Figure:
    r"""The network's neurons, and each parameter as a line: a weight as a connection, a bias as its neuron's ring.

    A line's width is the parameter's size |w| or |b|, its colour the sign; negative weights are dashed too. Of a layer
    of more than eight neurons the first six are drawn, of more than eight layers the first four and the last three.

    Args:
        layers: w and b of each layer.
        features: the names of the inputs; x₁, x₂, ... if not given.
        target: the name of the output, where there is one only.
        epoch: for the title.

    Source: article, Fig. 6 (N1).
    """
    layers = plain_layers(layers)
    sizes = [layers[0].weight.shape[-1], *(len(layer.bias) for layer in layers)]
    title = at_epoch("-".join(map(str, sizes)) if len(sizes) <= 6 else f"{len(layers)} layers", epoch)
    if not finite(layers):
        return message_figure(title, NOT_FINITE)
    last = len(layers)
    shown = list(range(last + 1)) if last < MOST_COLUMNS else [*range(4), *range(last - 2, last + 1)]
    slots = list(shown) if last < MOST_COLUMNS else [*shown[:4], None, *shown[4:]]
    names = [truncate(name, 18) for name in features] if features else []
    left, right = (
        0.4 + 0.09 * max(map(len, names), default=0),
        4.55 - 0.08 * len(truncate(target, 12)) * (sizes[-1] == 1),
    )
    across = {i: float(x) for i, x in zip(slots, np.linspace(left, right, len(slots)), strict=True) if i is not None}
    down = {i: node_positions(sizes[i]) for i in shown}
    spacing = min([0.62, *(float(-np.diff(y).max()) for y in down.values() if len(y) > 1)])
    size = min(0.8 * spacing, 0.45 * (right - left) / len(slots), 0.42) * 72  # points
    largest = max(float(parameter.abs().max()) for layer in layers for parameter in layer) or 1.0

    figure, axes = blank_canvas(title)
    for i, j in pairwise(shown):
        if j == i + 1:
            connections(axes, layers[i].weight, (across[i], across[j]), (down[i], down[j]), largest)
    for i in shown:
        x, y = across[i], down[i]
        bias = layers[i - 1].bias[: len(y)] if i else torch.zeros(len(y))
        axes.scatter(
            [x] * len(y),
            y,
            size**2,
            color="white",
            edgecolors=[sign_colour(b) for b in bias.tolist()] if i else BLACK,
            linewidths=[width(b, largest) for b in bias.tolist()] if i else 1.0,
            zorder=3,
        )
        symbol = "x" if i == 0 else "h" if i < last else "O"
        for k, height in enumerate(y.tolist()):
            inside = symbol + (subscript(k + 1) if i < last or sizes[-1] > 1 else "")
            if size > 15:
                axes.text(x, height, inside, size=SMALL, ha="center", va="center_baseline", zorder=4)
            if i == 0 and k < len(names):
                axes.text(x - size / 144 - 0.06, height, names[k], size=SMALL, ha="right", va="center")
        if sizes[i] > len(y):
            more = f"+{sizes[i] - len(y)}" if len(slots) > 3 else f"… and {sizes[i] - len(y)} more"
            axes.text(x, y[-1] - 1.35 * spacing, more, size=SMALL, ha="center", va="center")
    if target != "O" and sizes[-1] == 1:
        axes.text(across[last] + size / 144 + 0.06, float(down[last][0]), truncate(target, 12), size=SMALL, va="center")
    if len(slots) > len(shown):
        x = (across[3] + across[last - 2]) / 2
        axes.text(x, MIDDLE, f"… {len(sizes) - len(shown)} more …", size=SMALL, ha="center", va="center")
    keys = [
        Line2D([], [], color=BLUE, linewidth=3, label="w > 0"),
        Line2D([], [], color=VERMILION, linewidth=3, linestyle=DASHED, label="w < 0"),
        Line2D([], [], color=BLUE, marker="o", markerfacecolor="white", markeredgewidth=2.5, linestyle="", label="b"),
        Line2D([], [], linestyle="", label=f"widest: {largest:.3g}"),
    ]
    axes.legend(handles=keys, loc="lower center", ncols=4, frameon=False, fontsize=SMALL, handlelength=2.2)
    return figure


def node_positions(neurons: int) -> Array:
    r"""How high the neurons of a layer are drawn, in inches: all of up to eight, or the first six."""
    spacing = min(0.8, 2.85 / max(1, min(neurons, MOST_NEURONS)))
    drawn = neurons if neurons <= MOST_NEURONS else MOST_NEURONS - 2
    return MIDDLE + spacing * ((min(neurons, MOST_NEURONS) - 1) / 2 - np.arange(drawn))


def connections(
    axes: Axes, weight: Tensor, across: tuple[float, float], down: tuple[Array, Array], largest: float
) -> None:
    r"""A line for each weight between the neurons that are drawn, row by row of w."""
    lines, weights = [], weight[: len(down[1]), : len(down[0])]
    for y_out in down[1]:
        lines += [[(across[0], y_in), (across[1], y_out)] for y_in in down[0]]
    values = weights.flatten().tolist()
    axes.add_collection(
        LineCollection(
            lines,
            colors=[sign_colour(w) for w in values],
            linewidths=[width(w, largest) for w in values],
            linestyles=["-" if w >= 0 else DASHED for w in values],
        ),
        autolim=False,
    )


def sign_colour(parameter: float) -> str:
    r"""Blue from 0 on, vermilion below."""
    return BLUE if parameter >= 0 else VERMILION


def width(parameter: float, largest: float) -> float:
    r"""A line's width in points, up to 5; a parameter of 0 can still be seen."""
    return 0.3 + 4.7 * abs(parameter) / largest
