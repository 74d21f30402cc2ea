r"""The decision boundary of a network with two inputs, and its samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nnmath.equations import Activation, Layer, forward
from nnmath.figures import style
from nnmath.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    NOT_FINITE,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    SMALL,
    VERMILION,
    Array,
    Samples,
)

GRID = 60  # points along each axis
MAX_SAMPLES = 1000
Surface = tuple[Array, Array, Tensor]  # coordinates (K,) and (L,) on the axes, a value at each grid point (L, K)
MAX_NAMES = 6  # of classes in the legend
REGION_COLOURS = (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
REGION_MARKERS = "o^sDvP*X<>"
LIGHT = ListedColormap(colormaps["viridis"](np.linspace(0.3, 1, 256)))


def decision_boundary(
    layers: Sequence[Layer],
    activations: Sequence[Activation],
    train: Samples,
    val: Samples | None = None,
    *,
    epoch: int | None = None,
    **options: Any,
) -> Figure:
    r"""Output O = f(wₒ f(wᵢ x + bᵢ) + bₒ) over the plane of the two inputs, the line O = ½, and the samples.

    With more than two classes, the regions in which each class has the largest output.

    Args:
        layers: w and b of each layer; two inputs, one output or one for each class.
        activations: f of each layer.
        train: x (2, n) and y (1, n) or (K, n), standardised as in training.
        val: the validation samples, in the same form.
        epoch: for the title.
        options: names and units, those of :class:`OutputMap`.

    Raises:
        ValueError: the network does not have two inputs, and one output or one for each class.

    Source: article, "Can a neural network solve any problem?" and Fig. 6 (N1).
    """
    has_classes = options.get("classes", ()) is not None
    title = style.at_epoch("decision boundary" if has_classes else "output over the plane", epoch)
    figure = style.new_figure()
    right = 0.83 if has_classes else 0.79  # the colour scale of a regression may have longer numbers
    axes = figure.add_axes((0.2, 0.275, right - 0.2, 0.635))
    axes.set_title(title, y=1)
    output_map = OutputMap(axes, layers, activations, train, val, **options)
    if not style.all_finite(layers):
        return style.message_figure(title, NOT_FINITE)
    output_map.draw(layers)
    scale = output_map.scale
    if scale:
        bar = figure.colorbar(scale, cax=figure.add_axes((right + 0.02, 0.275, 0.025, 0.635)), extendfrac=0)
        bar.ax.set_xlabel("O")
        style.format_ticks(bar.ax, 6)
    style.format_ticks(axes, 6)
    columns = 3 if not scale else 2 if has_classes else 1
    figure.legend(handles=output_map.handles, loc="lower center", ncols=columns, frameon=False, fontsize=SMALL)
    return figure


class OutputMap:
    r"""O over the plane of the two inputs, and the samples, in a pair of axes.

    Classes differ in colour and marker; markers are filled for training samples and open for validation samples. In a
    regression the colour of a sample is its target, on the colour scale of O, and there is no line. At most 1,000
    samples of each split are drawn.

    Args:
        axes: where to draw.
        layers: w and b of each layer.
        activations: f of each layer.
        train: x (2, n) and y (1, n) or (K, n), standardised as in training.
        val: the validation samples, in the same form.
        features: the names of the two inputs.
        target: the name of y, for a regression.
        classes: the names of the classes; None for a regression.
        x_mean: means of the inputs before standardisation; with x_mean and x_std, the axes are in the data's units.
        x_std: standard deviations of the inputs; ``DataModule.state_dict()`` contains all four.
        y_mean: mean of a regression's target.
        y_std: standard deviation of a regression's target.
        max_characters: the most characters of the horizontal and of the vertical label.

    Raises:
        ValueError: the network does not have two inputs, and one output or one for each class.
    """

    def __init__(
        self,
        axes: Axes,
        layers: Sequence[Layer],
        activations: Sequence[Activation],
        train: Samples,
        val: Samples | None = None,
        *,
        features: Sequence[str] = ("x₁", "x₂"),
        target: str = "y",
        classes: tuple[str, ...] | None = ("0", "1"),
        x_mean: Sequence[float] | None = None,
        x_std: Sequence[float] | None = None,
        y_mean: float = 0.0,
        y_std: float = 1.0,
        max_characters: tuple[int, int] = (34, 28),
    ) -> None:
        inputs, outputs = layers[0].weight.shape[-1], layers[-1].weight.shape[-2]
        k = len(classes or ())
        if inputs != 2 or outputs not in ((1, k) if k > 2 else (1,)):
            expected = "two inputs and one output" + (f", or one for each of {k} classes" if k > 2 else "")
            raise ValueError(f"layers must have {expected}, got {inputs} and {outputs}")
        self.axes, self.activations, self.classes, self.y_mean, self.y_std = axes, activations, classes, y_mean, y_std
        has_units = x_mean is not None and x_std is not None
        mean, std = np.array([x_mean, x_std] if has_units else [(0, 0), (1, 1)], dtype=float)[..., None]  # (2, 1) each
        samples = [subsample(part) for part in (train, val) if part is not None]
        x = np.concatenate([x for x, _ in samples], 1)  # (2, n)
        low, high = x.min(1), x.max(1)
        margin = np.where(high > low, 0.08 * (high - low), 1.0)
        sides = np.linspace(low - margin, high + margin, GRID, axis=1)  # (2, 60)
        self.plane = torch.as_tensor(np.stack(np.meshgrid(*sides)).reshape(2, -1))  # (2, 3600)
        self.u, self.v = sides * std + mean
        samples = [(x * std + mean, y * y_std + y_mean) for x, y in samples]
        unit, shorter = ("", 0) if has_units else (", standardised", 14)
        xlabel, ylabel = (
            style.truncate(name, n - shorter) + unit for name, n in zip(features, max_characters, strict=True)
        )
        axes.set_ylabel(ylabel, labelpad=1)
        axes.set(xlabel=xlabel, xlim=(self.u[0], self.u[-1]), ylim=(self.v[0], self.v[-1]))
        self.contours: list[ContourSet] = []
        self.scale: ContourSet | None = None
        if classes is None:
            targets = np.concatenate([y for _, y in samples])
            self.levels = MaxNLocator(12).tick_values(targets.min(), targets.max())
            self.colours: dict[str, Any] = {"cmap": LIGHT, "vmin": self.levels[0], "vmax": self.levels[-1]}
            self.handles = draw_targets(axes, samples, target, self.colours)
        else:
            self.handles = draw_classes(axes, samples, classes, outputs > 1)

    def draw(self, layers: Sequence[Layer]) -> list[Tensor]:
        r"""Draw O in place of what was drawn before; return each layer's values over the plane, (out, 60, 60)."""
        for contours in self.contours:
            contours.remove()
        layers = style.layers_to_cpu(layers)
        plane = self.plane.to(layers[0].weight)
        values = [value.reshape(-1, GRID, GRID) for value in forward(plane, layers, self.activations)]
        output = values[-1] * self.y_std + self.y_mean
        surface, axes = (self.u, self.v, output[0]), self.axes
        self.contours, self.scale = [], None
        if self.classes is None:
            self.scale = axes.contourf(*surface, self.levels, **self.colours, extend="both")
            self.contours.append(self.scale)
        elif len(output) == 1:
            self.scale = axes.contourf(*surface, np.linspace(0, 1, 11), cmap=PALE, extend="both")
            self.contours.append(self.scale)
            if bool((output < 0.5).any() and (output > 0.5).any()):
                self.contours.append(axes.contour(*surface, (0.5,), colors=BLACK, linewidths=2))
        else:
            for k, own in enumerate(output):
                lead = own - torch.cat([output[:k], output[k + 1 :]]).amax(0)
                if bool((lead > 0).any()):
                    colour = to_rgba(REGION_COLOURS[k % len(REGION_COLOURS)], 0.3)
                    self.contours.append(axes.contourf(self.u, self.v, lead, (0, torch.inf), colors=[colour]))
                    self.contours.append(axes.contour(self.u, self.v, lead, (0,), colors=BLACK, linewidths=1))
        return values


def draw_classes(
    axes: Axes, samples: Sequence[tuple[Array, Array]], classes: tuple[str, ...], regions: bool
) -> list[Line2D]:
    r"""Draws the samples of each class; returns the legend, which has six classes at most."""
    looks = [(VERMILION, "o"), (BLUE, "^")]
    if regions:
        numbers = range(len(classes))
        looks = [(REGION_COLOURS[k % len(REGION_COLOURS)], REGION_MARKERS[k % len(REGION_MARKERS)]) for k in numbers]
    for (x, y), filled in zip(samples, (True, False), strict=False):
        for k, look in enumerate(looks):
            axes.plot(*x[:, (y if regions else y > 0.5) == k], **marker_style(*look, filled), zorder=3)
    length = 12 if regions else 18
    named_looks = list(zip(classes, looks, strict=True))[:MAX_NAMES]
    handles = [Line2D([], [], label=style.truncate(name, length), **marker_style(*look)) for name, look in named_looks]
    line: dict[str, Any] = {"linewidth": 1, "label": "boundary"} if regions else {"linewidth": 2, "label": "O = ½"}
    handles.append(Line2D([], [], color=BLACK, **line))
    if len(samples) > 1 and not regions:
        handles.append(Line2D([], [], label="open: validation", **marker_style(BLACK, "o", False)))
    return handles


def draw_targets(
    axes: Axes, samples: Sequence[tuple[Array, Array]], target: str, colours: dict[str, Any]
) -> list[Line2D]:
    r"""Draws the targets of the samples of a regression; returns the legend."""
    handles = []
    for (x, y), part, marker in zip(samples, ("training", "validation"), "oD", strict=False):
        axes.scatter(x[0], x[1], 24, y, marker=marker, edgecolors=BLACK, linewidths=0.7, zorder=3, **colours)
        label = f"{style.truncate(target, 34)}, {part}"
        handles.append(Line2D([], [], label=label, **marker_style(BLACK, marker)))
    return handles


def marker_style(colour: str, marker: str, filled: bool = True) -> dict[str, Any]:
    r"""Filled markers for the training samples, open ones for the validation samples."""
    face, edge, width = (colour, "white", 0.5) if filled else ("white", colour, 1.3)
    colours = {"color": colour, "markerfacecolor": face, "markeredgecolor": edge}
    return {"marker": marker, "linestyle": "", "markersize": 5.5, "markeredgewidth": width, **colours}


def subsample(samples: Samples) -> tuple[Array, Array]:
    r"""The samples as arrays (in, n) and (n,), at most 1,000 of them, evenly spaced."""
    x, y = (style.to_cpu(part).double().numpy() for part in samples)
    indices = np.linspace(0, x.shape[1] - 1, min(x.shape[1], MAX_SAMPLES)).round().astype(int)
    return x[:, indices], class_or_value(torch.from_numpy(y[:, indices])).numpy()


def class_or_value(output: Tensor) -> Tensor:
    r"""The only output (n,), or the index of the largest of several."""
    return output[0] if len(output) == 1 else output.argmax(0).double()
