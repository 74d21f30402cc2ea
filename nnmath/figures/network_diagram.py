r"""Fig. 6: the network as a diagram of neurons and weights."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from nnmath.equations import Layer
from nnmath.figures import style
from nnmath.figures.style import BLACK, BLUE, NOT_FINITE, SMALL, VERMILION, Array

MAX_NEURONS, MAX_COLUMNS = 8, 8
MIDDLE = 2.12  # height of the middle of the network, in inches
DASHED = (0, (2.2, 0.9))


def network_diagram(
    layers: Sequence[Layer], *, features: Sequence[str] | None = None, target: str = "O", epoch: int | None = None
) -> Figure:
    r"""The neurons of a network; each weight as a line between two neurons, each bias as the ring around its neuron.

    The width of a line shows the size |w| or |b| of the parameter, its colour the sign. Negative weights are also
    dashed. Of a layer with more than eight neurons, the first six are drawn; of more than eight layers of neurons, the
    first four and the last three.

    Args:
        layers: w and b of each layer.
        features: the names of the inputs.
        target: the name of the output, shown if there is only one.
        epoch: for the title.

    Source: article, Fig. 6 (N1).
    """
    layers = style.layers_to_cpu(layers)
    sizes = [layers[0].weight.shape[-1], *(len(layer.bias) for layer in layers)]
    title = style.at_epoch("-".join(map(str, sizes)) if len(sizes) <= 6 else f"{len(layers)} layers", epoch)
    if not style.all_finite(layers):
        return style.message_figure(title, NOT_FINITE)
    last = len(layers)
    names = [style.truncate(name, 18) for name in features] if features else []
    target = style.truncate(target, 12) if target != "O" and sizes[-1] == 1 else ""
    left = 0.4 + 0.09 * max(map(len, names), default=0)
    right = 4.55 - 0.08 * max(len(target), 1) * (sizes[-1] == 1)
    columns: list[int | None] = list(range(last + 1))
    if last >= MAX_COLUMNS:
        columns = [*range(4), None, *range(last - 2, last + 1)]  # None is the gap
    places = zip(columns, np.linspace(left, right, len(columns)).tolist(), strict=True)
    x = {i: place for i, place in places if i is not None}
    y = {i: node_positions(sizes[i]) for i in x}
    spacing = min([0.62, *(float(-np.diff(heights).max()) for heights in y.values() if len(heights) > 1)])
    size = min(0.8 * spacing, 0.45 * (right - left) / len(columns), 0.42) * 72  # points
    largest = max(float(parameter.abs().max()) for layer in layers for parameter in layer) or 1.0

    figure, axes = style.blank_canvas(title)
    small: dict[str, Any] = {"size": SMALL, "va": "center"}
    for i, j in pairwise(x):
        if j == i + 1:
            w = layers[i].weight[: len(y[j]), : len(y[i])].flatten()
            lines = [[(x[i], y_in), (x[j], y_out)] for y_out in y[j] for y_in in y[i]]  # in the order of w
            styles = ["-" if value >= 0 else DASHED for value in w.tolist()]
            axes.add_collection(LineCollection(lines, linestyles=styles, **outline(w, largest)), autolim=False)
    for i, heights in y.items():
        rings: dict[str, Any] = {"edgecolors": BLACK, "linewidths": 1.0}
        if i > 0:
            rings = outline(layers[i - 1].bias[: len(heights)], largest)
        axes.scatter([x[i]] * len(heights), heights, size**2, "white", zorder=3, **rings)
        symbol = "x" if i == 0 else "h" if i < last else "O"
        for k, height in enumerate(heights.tolist()):
            label = symbol + (style.subscript(k + 1) if i < last or sizes[-1] > 1 else "")
            if size > 15:
                axes.text(x[i], height, label, size=SMALL, ha="center", va="center_baseline", zorder=4)
            if i == 0 and k < len(names):
                axes.text(x[i] - size / 144 - 0.06, height, names[k], ha="right", **small)
        if sizes[i] > len(heights):
            more = f"+{sizes[i] - len(heights)}" if len(columns) > 3 else f"… and {sizes[i] - len(heights)} more"
            axes.text(x[i], heights[-1] - 1.35 * spacing, more, ha="center", **small)
    axes.text(x[last] + size / 144 + 0.06, float(y[last][0]), target, **small)
    if None in columns:
        axes.text((x[3] + x[last - 2]) / 2, MIDDLE, f"… {len(sizes) - len(x)} more …", ha="center", **small)
    ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "markeredgewidth": 2.5}
    handles = [
        Line2D([], [], color=BLUE, linewidth=3, label="w > 0"),
        Line2D([], [], color=VERMILION, linewidth=3, linestyle=DASHED, label="w < 0"),
        Line2D([], [], color=BLUE, linestyle="", label="b", **ring),
        Line2D([], [], linestyle="", label=f"widest: {largest:.3g}"),
    ]
    axes.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=SMALL, handlelength=2.2)
    return figure


def node_positions(neurons: int) -> Array:
    r"""Vertical positions of a layer's neurons in inches: all if there are at most eight, else the first six."""
    rows = min(neurons, MAX_NEURONS)
    spacing = min(0.8, 2.85 / rows)
    drawn = neurons if neurons <= MAX_NEURONS else MAX_NEURONS - 2
    return MIDDLE + spacing * ((rows - 1) / 2 - np.arange(drawn))


def outline(parameters: Tensor, largest: float) -> dict[str, Any]:
    r"""Blue lines for parameters ≥ 0, vermilion ones for others; their widths go from 0.3 points (0) to 5 (largest)."""
    return {
        "edgecolors": [BLUE if value >= 0 else VERMILION for value in parameters.tolist()],
        "linewidths": [0.3 + 4.7 * abs(value) / largest for value in parameters.tolist()],
    }
