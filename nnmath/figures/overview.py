r"""The whole network in one picture: what each neuron computes over the plane, the weights, the data and the loss."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from nnmath.equations import Activation, Layer
from nnmath.figures import style
from nnmath.figures.decision_boundary import draw_output
from nnmath.figures.network_diagram import DASHED
from nnmath.figures.saturation import RANGES, SUPERSCRIPTS
from nnmath.figures.style import BLACK, BLUE, GREEN, NOT_FINITE, PALE, SMALL, VERMILION, Samples

MAX_NEURONS, MAX_LAYERS = 8, 5
TOP, BOTTOM = 3.4, 1.3  # of the neurons, in inches
MAP = 2.62, 1.6, 1.38, 1.72  # of the output: left, bottom, width, height, in inches
MAX_WIDTH, HALF_WIDTH_AT = 5.0, 5.0  # of a line, in points; |w| of a line of half this width


def has_overview(sizes: Sequence[int]) -> bool:
    r"""Whether the picture has room for a network: two inputs, at most 8 neurons in a layer, at most 5 layers.

    >>> has_overview((2, 4, 1)), has_overview((30, 4, 1)), has_overview((2, 9, 1))
    (True, False, False)
    """
    return sizes[0] == 2 and max(sizes) <= MAX_NEURONS and len(sizes) <= MAX_LAYERS + 1


def overview(
    layers: Sequence[Layer],
    activations: Sequence[Activation],
    train: Samples,
    val: Samples | None = None,
    *,
    losses: tuple[Sequence[int], Tensor, Tensor | None] | None = None,
    epoch: int | None = None,
    **options: Any,
) -> Figure:
    r"""Each neuron as a map of its output over the plane of the two inputs, joined by the weights.

    A map is blue where its neuron's output is high and orange where it is low: for sigmoid and tanh in the range of the
    function, otherwise in that of its values. A line is a weight, the frame around a map is the bias: blue if positive,
    orange and dashed if negative. The width of a line is 5 |w| / (|w| + 5) points, the same scale in all epochs and
    runs. The last map, with the samples, is that of :func:`nnmath.figures.decision_boundary.decision_boundary`. Below
    are the losses so far.

    Args:
        layers: w and b of each layer, for which :func:`has_overview` holds.
        activations: f of each layer.
        train: x (2, n) and y (1, n) or (K, n), standardised as in training.
        val: the validation samples, in the same form.
        losses: epochs, and E of the training and of the validation samples, or None, after each of them.
        epoch: for the title.
        options: names and units, those of :func:`nnmath.figures.decision_boundary.draw_output`.

    Raises:
        ValueError: the network does not have two inputs, and one output or one for each class; or it is too large.

    Source: article, Fig. 6 (N1) and "Can a neural network solve any problem?".
    """
    layers = style.layers_to_cpu(layers)
    sizes = [layers[0].weight.shape[-1], *(len(layer.bias) for layer in layers)]
    if not has_overview(sizes):
        limits = f"2 inputs, at most {MAX_NEURONS} neurons a layer and {MAX_LAYERS} layers"
        raise ValueError(f"layers must have {limits}, got {'-'.join(map(str, sizes))}")
    title = style.at_epoch("-".join(map(str, sizes)), epoch)
    figure, canvas = style.blank_canvas(title, x=(0.4 + MAP[0]) / 2)
    axes = figure.add_axes(in_inches(*MAP))
    options["features"] = [
        f"{symbol}: {name}" for symbol, name in zip(("x₁", "x₂"), options.get("features", ()), strict=False)
    ] or ("x₁", "x₂")
    options["target"] = style.truncate(options.get("target", "y"), 16)
    if options.get("classes"):
        options["classes"] = tuple(style.truncate(name, 11) for name in options["classes"])
    values, scale, handles = draw_output(axes, layers, activations, train, val, max_characters=(26, 22), **options)
    if not handles:
        return style.message_figure(title, NOT_FINITE)
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.yaxis.set_label_coords(4.85, 2.46, canvas.transData)
    style.format_ticks(axes, 4)
    columns = 1 if options.get("classes", ()) is None else 2
    canvas.text(MAP[0] + MAP[2] / 2, TOP + 0.26, "O" if scale else "largest O", ha="center", va="bottom")
    if scale:
        cax = figure.add_axes(in_inches(MAP[0], TOP - 0.02, MAP[2], 0.08))
        bar = figure.colorbar(scale, cax=cax, orientation="horizontal", extendfrac=0)
        bar.ax.xaxis.tick_top()
        style.format_ticks(bar.ax, 2)
        if columns == 2:
            bar.set_ticks([0, 0.5, 1])
        bar.ax.tick_params(length=2, pad=0)
    draw_network(canvas, axes, layers, activations, values)
    small: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "columnspacing": 1, "handletextpad": 0.4}
    small |= {"borderaxespad": 0.2, "labelspacing": 0.25}
    figure.legend(handles=handles, loc="lower right", ncols=columns, **small)
    above = 1, (0.06 + 0.18 * ceil(len(handles) / columns)) / style.SIZE[1]
    figure.legend(handles=parameter_handles(), loc="lower right", bbox_to_anchor=above, ncols=2, **small)
    if losses:
        draw_losses(figure.add_axes(in_inches(0.62, 0.4, 1.45, 0.6)), *losses)
    return figure


def parameter_handles() -> list[Line2D]:
    r"""The legend of the lines and frames."""
    lines = [Line2D([], [], label=f"w = {w:g}".replace("-", "−"), **line_style(w)) for w in (5, -5, 0.5)]
    frame: dict[str, Any] = {"marker": "s", "markersize": 8, "markerfacecolor": "white", "markeredgewidth": 2.5}
    return [*lines, Line2D([], [], color=BLUE, linestyle="", label="frame: b = 5", **frame)]


def draw_network(
    canvas: Axes, output: Axes, layers: Sequence[Layer], activations: Sequence[Activation], values: Sequence[Tensor]
) -> None:
    r"""Draws the maps of all neurons but a single output, which has its own axes, and the weights between them."""
    last = len(layers)
    single = len(values[-1]) == 1
    left, bottom, _, height = MAP
    columns = values[:-1] if single else values
    x = np.linspace(0.4, left - (0.75 if single else 0.35), len(columns)).tolist()
    pitch = min(0.62, (TOP - BOTTOM) / max(map(len, columns)))
    side = min(0.84 * pitch, 0.6 * (left - 0.4) / len(columns))
    places = [(TOP + BOTTOM) / 2 + pitch * ((len(maps) - 1) / 2 - np.arange(len(maps))) for maps in columns]
    ranges = [None, *(RANGES.get(f) for f in activations)]
    for i, maps in enumerate(columns):
        canvas.text(
            x[i], TOP + 0.1, "x" if i == 0 else "O" if i == last else heading(i, last), ha="center", va="bottom"
        )
        for k, neuron in enumerate(maps):
            corner = x[i] - side / 2, places[i][k] - side / 2
            box = corner[0], corner[0] + side, corner[1], corner[1] + side
            low, high = ranges[i] or (float(neuron.min()), float(neuron.max()))
            low, high = (low, high) if low < high else (low - 1, high + 1)  # white, if it is the same everywhere
            canvas.imshow(
                neuron.numpy(), PALE, extent=box, vmin=low, vmax=high, origin="lower", aspect="auto", zorder=2
            )
            frame = line_style(float(layers[i - 1].bias[k])) if i else {"color": BLACK, "linewidth": 1}
            canvas.add_patch(Rectangle(corner, side, side, fill=False, zorder=3, **frame))
            canvas.text(corner[0] - 0.04, places[i][k] + 0.02, str(k + 1), size=SMALL, ha="right", va="bottom")
    if single:
        x.append(left + side / 2)
        places.append(np.array([bottom + height / 2]))
        for spine in output.spines.values():
            spine.set(**line_style(float(layers[-1].bias[0])))
    for i, j in pairwise(range(len(x))):
        for k, row in enumerate(layers[i].weight.tolist()):
            for source, w in zip(places[i].tolist(), row, strict=True):
                canvas.plot(
                    (x[i] + side / 2, x[j] - side / 2), (source, float(places[j][k])), **line_style(w), zorder=1
                )
    canvas.set(xlim=(0, style.SIZE[0]), ylim=(0, style.SIZE[1]))


def draw_losses(axes: Axes, epochs: Sequence[int], train: Tensor, val: Tensor | None) -> None:
    r"""Draws E of the training and of the validation samples up to now."""
    axes.plot(epochs, train.numpy(), color=BLACK, label="training")
    if val is not None:
        axes.plot(epochs, val.numpy(), color=GREEN, linestyle="--", label="validation")
    axes.margins(y=0.1)
    axes.set(xlim=(0, max([1, *epochs])), ylim=(0, None))
    axes.set_ylabel("E", labelpad=1)
    axes.set_xlabel("epoch", labelpad=1, size=SMALL)
    style.format_ticks(axes, 3)
    small: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "handlelength": 1.2, "columnspacing": 0.8}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.3, 0.98), ncols=2, borderaxespad=0, handletextpad=0.4, **small)


def line_style(parameter: float) -> dict[str, Any]:
    r"""Blue, or orange and dashed if the parameter is negative; 5 |w| / (|w| + 5) points wide.

    >>> line_style(5)["linewidth"], line_style(-20)["linewidth"]
    (2.5, 4.0)
    """
    width = MAX_WIDTH * abs(parameter) / (abs(parameter) + HALF_WIDTH_AT)
    colour, dashes = (BLUE, "-") if parameter >= 0 else (VERMILION, DASHED)
    return {"color": colour, "linestyle": dashes, "linewidth": width}


def heading(layer: int, last: int) -> str:
    r"""Symbol of a hidden layer: h, or with its number if there are several.

    >>> heading(1, 2), heading(1, 3)
    ('h', 'h⁽¹⁾')
    """
    return "h" + (f"({layer})".translate(SUPERSCRIPTS) if last > 2 else "")


def in_inches(left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    r"""A rectangle in inches as fractions of the figure."""
    w, h = style.SIZE
    return left / w, bottom / h, width / w, height / h
