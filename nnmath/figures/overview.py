r"""The whole network in one picture: what each neuron computes over the plane, the weights, the data and the loss."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from nnmath.equations import Activation, Layer
from nnmath.figures import style
from nnmath.figures.decision_boundary import OutputMap
from nnmath.figures.frames import Frames
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


class Overview:
    r"""Each neuron as a map of its output over the plane of the two inputs, joined by the weights.

    A map is blue where its neuron's output is high and orange where it is low: for sigmoid and tanh in the range of the
    function, otherwise in that of its values. A line is a weight, the frame around a map is the bias: blue if positive,
    orange and dashed if negative. The width of a line is 5 |w| / (|w| + 5) points, the same scale in all epochs and
    runs. The last map, with the samples, is that of :func:`nnmath.figures.decision_boundary.decision_boundary`. Below
    are the losses so far. :meth:`update` shows the network after other epochs in the same figure.

    Args:
        layers: w and b of each layer, for which :func:`has_overview` holds.
        activations: f of each layer.
        train: x (2, n) and y (1, n) or (K, n), standardised as in training.
        val: the validation samples, in the same form.
        epochs: the end of the axis of the losses; None for no losses.
        dpi: dots per inch of ``frames``, which renders the figure.
        options: names and units, those of :class:`nnmath.figures.decision_boundary.OutputMap`.

    Raises:
        ValueError: the network does not have two inputs, and one output or one for each class; or it is too large.

    Source: article, Fig. 6 (N1) and "Can a neural network solve any problem?".
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        activations: Sequence[Activation],
        train: Samples,
        val: Samples | None = None,
        *,
        epochs: int | None = None,
        dpi: int = style.DPI,
        **options: Any,
    ) -> None:
        self.sizes = [layers[0].weight.shape[-1], *(len(layer.bias) for layer in layers)]
        if not has_overview(self.sizes):
            limits = f"2 inputs, at most {MAX_NEURONS} neurons a layer and {MAX_LAYERS} layers"
            raise ValueError(f"layers must have {limits}, got {'-'.join(map(str, self.sizes))}")
        self.figure, self.canvas = style.blank_canvas("", x=(0.4 + MAP[0]) / 2)
        (self.title,) = self.canvas.texts
        axes = self.figure.add_axes(in_inches(*MAP))
        options["features"] = [
            f"{symbol}: {name}" for symbol, name in zip(("x₁", "x₂"), options.get("features", ()), strict=False)
        ] or ("x₁", "x₂")
        options["target"] = style.truncate(options.get("target", "y"), 16)
        if options.get("classes"):
            options["classes"] = tuple(style.truncate(name, 11) for name in options["classes"])
        self.output_map = OutputMap(axes, layers, activations, train, val, max_characters=(26, 22), **options)
        self.samples = [*axes.lines, *axes.collections]
        axes.yaxis.tick_right()
        axes.yaxis.set_label_position("right")
        axes.yaxis.set_label_coords(4.85, 2.46, self.canvas.transData)
        style.format_ticks(axes, 4)
        self.is_regression = options.get("classes", ()) is None
        self.ranges = [None, *(RANGES.get(f) for f in activations)]
        self.tiles: list[list[tuple[AxesImage, Rectangle]]] = []
        self.lines: list[Line2D] = []
        self.add_network()
        self.bar: Axes | None = None
        self.loss_axes = None if epochs is None else self.figure.add_axes(in_inches(0.62, 0.4, 1.45, 0.6))
        if self.loss_axes:
            draw_loss_axes(self.loss_axes, epochs or 1, val is not None)
        self.add_legends()
        self.frames = Frames(self.figure, self.changing, dpi)

    def add_network(self) -> None:
        r"""Adds the maps of all neurons but a single output, which has its own axes, and a line for each weight."""
        canvas, last, single = self.canvas, len(self.sizes) - 1, self.sizes[-1] == 1
        left, bottom, width, height = MAP
        sizes = self.sizes[:-1] if single else self.sizes
        x = np.linspace(0.4, left - (0.75 if single else 0.35), len(sizes)).tolist()
        pitch = min(0.62, (TOP - BOTTOM) / max(sizes))
        side = min(0.84 * pitch, 0.6 * (left - 0.4) / len(sizes))
        places = [(TOP + BOTTOM) / 2 + pitch * ((size - 1) / 2 - np.arange(size)) for size in sizes]
        for i, size in enumerate(sizes):
            symbol = "x" if i == 0 else "O" if i == last else heading(i, last)
            canvas.text(x[i], TOP + 0.1, symbol, ha="center", va="bottom")
            self.tiles.append([])
            for k in range(size):
                corner = x[i] - side / 2, places[i][k] - side / 2
                box = corner[0], corner[0] + side, corner[1], corner[1] + side
                image = canvas.imshow(
                    [[0.0]], PALE, extent=box, vmin=0, vmax=1, origin="lower", aspect="auto", zorder=2
                )
                frame = Rectangle(corner, side, side, fill=False, zorder=3, color=BLACK, linewidth=1)
                canvas.add_patch(frame)
                canvas.text(corner[0] - 0.04, places[i][k] + 0.02, str(k + 1), size=SMALL, ha="right", va="bottom")
                self.tiles[i].append((image, frame))
        canvas.text(left + width / 2, TOP + 0.26, "O" if single else "largest O", ha="center", va="bottom")
        if single:
            x.append(left + side / 2)
            places.append(np.array([bottom + height / 2]))
        for i, j in pairwise(range(len(x))):
            for target in places[j].tolist():
                for source in places[i].tolist():
                    self.lines += canvas.plot((x[i] + side / 2, x[j] - side / 2), (source, target), zorder=1)
        canvas.set(xlim=(0, style.SIZE[0]), ylim=(0, style.SIZE[1]))

    def add_legends(self) -> None:
        r"""Adds what is drawn in the plane, and the widths and colours of the parameters."""
        small: dict[str, Any] = {"frameon": False, "fontsize": SMALL, "columnspacing": 1, "handletextpad": 0.4}
        small |= {"borderaxespad": 0.2, "labelspacing": 0.25, "loc": "lower right"}
        handles, columns = self.output_map.handles, 1 if self.is_regression else 2
        self.figure.legend(handles=handles, ncols=columns, **small)
        above = 1, (0.06 + 0.18 * ceil(len(handles) / columns)) / style.SIZE[1]
        lines = [Line2D([], [], label=f"w = {w:g}".replace("-", "−"), **line_style(w)) for w in (5, -5, 0.5)]
        frame: dict[str, Any] = {"marker": "s", "markersize": 8, "markerfacecolor": "white", "markeredgewidth": 2.5}
        lines.append(Line2D([], [], color=BLUE, linestyle="", label="frame: b = 5", **frame))
        self.figure.legend(handles=lines, bbox_to_anchor=above, ncols=2, **small)

    def update(
        self,
        layers: Sequence[Layer],
        losses: tuple[Sequence[int], Tensor, Tensor | None] | None = None,
        epoch: int | None = None,
    ) -> None:
        r"""Show the network with other weights.

        Args:
            layers: w and b of each layer, finite.
            losses: epochs, and E of the training and of the validation samples, or None, after each of them.
            epoch: for the title.
        """
        layers = style.layers_to_cpu(layers)
        self.title.set_text(network_title(layers, epoch))
        values = self.output_map.draw(layers)
        if self.output_map.scale and not self.bar:
            self.bar = draw_scale(self.figure, self.output_map.scale, self.is_regression)
        for i, tiles in enumerate(self.tiles):
            for k, (image, frame) in enumerate(tiles):
                neuron = values[i][k].numpy()
                low, high = self.ranges[i] or (float(neuron.min()), float(neuron.max()))
                image.set_data(neuron)
                image.set_clim((low, high) if low < high else (low - 1, high + 1))  # white if it is the same everywhere
                if i:
                    frame.set(**line_style(float(layers[i - 1].bias[k])))
        if self.sizes[-1] == 1:
            for spine in self.output_map.axes.spines.values():
                spine.set(**line_style(float(layers[-1].bias[0])))
        weights = [w for weight, _ in layers for w in weight.flatten().tolist()]
        for line, w in zip(self.lines, weights, strict=True):
            line.set(**line_style(w))
        if losses and self.loss_axes:
            epochs, *costs = losses[0], *(cost for cost in losses[1:] if cost is not None)
            for curve, cost in zip(self.loss_axes.lines, costs, strict=True):
                curve.set_data(epochs, cost.numpy())
            finite = [cost[cost.isfinite()] for cost in costs]
            top = 1.1 * max((float(cost.max()) for cost in finite if len(cost)), default=0.0)
            if top > self.loss_axes.get_ylim()[1]:
                self.loss_axes.set_ylim(0, top)
                self.frames.background = None

    def changing(self) -> list[Artist]:
        r"""What depends on the weights, from the back to the front."""
        tiles = [artist for column in self.tiles for pair in column for artist in pair]
        axes = self.output_map.axes
        plane = [*self.output_map.contours, *self.samples, *axes.spines.values()]
        curves = [*self.loss_axes.lines] if self.loss_axes else []
        return [*self.lines, *tiles, *self.canvas.texts, *plane, *curves]


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
    r"""The figure of an :class:`Overview` at one epoch, or one that says that a parameter is not finite."""
    if not style.all_finite(layers):
        return style.message_figure(network_title(layers, epoch), NOT_FINITE)
    picture = Overview(layers, activations, train, val, epochs=max(losses[0]) if losses else None, **options)
    picture.update(layers, losses, epoch)
    return picture.figure


def network_title(layers: Sequence[Layer], epoch: int | None) -> str:
    sizes = [layers[0].weight.shape[-1], *(len(layer.bias) for layer in layers)]
    return style.at_epoch("-".join(map(str, sizes)), epoch)


def draw_scale(figure: Figure, scale: ContourSet, is_regression: bool) -> Axes:
    r"""Draws the colour scale of O above its map."""
    cax = figure.add_axes(in_inches(MAP[0], TOP - 0.02, MAP[2], 0.08))
    bar = figure.colorbar(scale, cax=cax, orientation="horizontal", extendfrac=0)
    bar.ax.xaxis.tick_top()
    style.format_ticks(bar.ax, 2)
    if not is_regression:
        bar.set_ticks([0, 0.5, 1])
    bar.ax.tick_params(length=2, pad=0)
    return cax


def draw_loss_axes(axes: Axes, epochs: int, has_val: bool) -> None:
    r"""Draws the axes of E of the training and of the validation samples, and curves without points."""
    axes.plot([], [], color=BLACK, label="training")
    if has_val:
        axes.plot([], [], color=GREEN, linestyle="--", label="validation")
    axes.set(xlim=(0, max(1, epochs)), ylim=(0, 1e-9))
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
