r"""The decision boundary of a network of two inputs, with its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nnmath.equations import Activation, Layer, forward
from nnmath.figures.style import (
    BLACK,
    BLUE,
    NOT_FINITE,
    PALE,
    SIZE,
    SMALL,
    VERMILION,
    Array,
    Samples,
    Surface,
    at_epoch,
    finite,
    format_ticks,
    message_figure,
    plain_layers,
    set_title,
    to_cpu,
    truncate,
)

GRID = 60
r"""Points along either side of a plane."""


MAX_SAMPLES = 1000


LIGHT = ListedColormap(colormaps["viridis"](np.linspace(0.3, 1, 256)))


def decision_boundary(
    layers: Sequence[Layer],
    activations: Sequence[Activation],
    train: Samples,
    val: Samples | None = None,
    *,
    features: Sequence[str] = ("x₁", "x₂"),
    target: str = "y",
    classes: tuple[str, str] | None = ("0", "1"),
    x_mean: Sequence[float] | None = None,
    x_std: Sequence[float] | None = None,
    y_mean: float = 0.0,
    y_std: float = 1.0,
    epoch: int | None = None,
) -> Figure:
    r"""Output O over the plane of the two inputs, the line O = ½, and the samples: O = f(wₒ f(wᵢ x + bᵢ) + bₒ).

    Classes differ in colour and marker, training samples are filled and validation samples hollow. Of a regression the
    samples have their target's colour on the scale of O, and there is no line. Of more than 1,000 samples of either
    kind as many are drawn.

    Args:
        layers: w and b of each layer; two inputs, one output.
        activations: f of each layer.
        train: x (2, n) and y (1, n) as the network is trained on them.
        val: the same of the validation samples.
        features: the names of the two inputs.
        target: the name of y, for a regression.
        classes: what y = 0 and y = 1 mean; None for a regression.
        x_mean: what was subtracted from the inputs before x_std divided them; with both given, the axes are in the
            units of the data. A DataModule's ``state_dict()`` has these four.
        x_std: see x_mean.
        y_mean: what was subtracted from a regression's target before y_std divided it.
        y_std: see y_mean.
        epoch: for the title.

    Raises:
        ValueError: the network has not two inputs and one output.

    Source: article, "Can a neural network solve any problem?" and Fig. 6 (N1).
    """
    layers = plain_layers(layers)
    if layers[0].weight.shape[-1] != 2 or layers[-1].weight.shape[-2] != 1:
        shape = f"{layers[0].weight.shape[-1]} and {layers[-1].weight.shape[-2]}"
        raise ValueError(f"layers must have two inputs and one output, got {shape}")
    title = at_epoch("output over the plane" if classes is None else "decision boundary", epoch)
    if not finite(layers):
        return message_figure(title, NOT_FINITE)
    known = x_mean is not None and x_std is not None
    mean, std = np.array([x_mean, x_std] if known else [(0, 0), (1, 1)], dtype=float)
    parts = [subsample(part) for part in (train, val) if part is not None]
    rows = np.concatenate([x for x, _ in parts], 1)  # (2, n)
    low, high = rows.min(1), rows.max(1)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    sides = np.linspace(low - margin, high + margin, GRID, axis=1)  # (2, 60)
    plane = torch.as_tensor(np.stack(np.meshgrid(*sides)).reshape(2, -1))  # (2, 3600)
    output = forward(plane.to(layers[0].weight), layers, activations)[-1].reshape(GRID, GRID) * y_std + y_mean

    figure = Figure(figsize=SIZE)
    right = 0.83 if classes else 0.79  # where the scale's numbers are short, and where they may not be
    axes = figure.add_axes((0.19, 0.275, right - 0.19, 0.635))
    set_title(axes, title)
    u, v = sides * std[:, None] + mean[:, None]
    unit, room = ("", (34, 28)) if known else (", standardised", (20, 14))
    names = [truncate(name, most) + unit for name, most in zip(features, room, strict=True)]
    axes.set_ylabel(names[1], labelpad=1)
    axes.set(xlabel=names[0], xlim=(u[0], u[-1]), ylim=(v[0], v[-1]))
    places = [x * std[:, None] + mean[:, None] for x, _ in parts]
    targets = [y * y_std + y_mean for _, y in parts]
    if classes is None:
        scale, keys = as_regression(axes, (u, v, output), places, targets, target)
    else:
        scale, keys = as_classes(axes, (u, v, output), places, targets, classes)
    bar = figure.colorbar(scale, cax=figure.add_axes((right + 0.02, 0.275, 0.025, 0.635)), extendfrac=0)
    bar.ax.set_xlabel("O")
    format_ticks(axes, 6)
    format_ticks(bar.ax, 6)
    figure.legend(handles=keys, loc="lower center", ncols=2 if classes else 1, frameon=False, fontsize=SMALL)
    return figure


def as_classes(
    axes: Axes, surface: Surface, places: Sequence[Array], targets: Sequence[Array], classes: tuple[str, str]
) -> tuple[ContourSet, list[Line2D]]:
    r"""Two pale colours with the line O = ½ between them, and the samples in the full colours."""
    *_, output = surface
    filled = axes.contourf(*surface, np.linspace(0, 1, 11), cmap=PALE, extend="both")
    if bool((output < 0.5).any() and (output > 0.5).any()):
        axes.contour(*surface, (0.5,), colors=BLACK, linewidths=2)
    looks = (VERMILION, "o"), (BLUE, "^")
    for place, target, look in zip(places, targets, (filled_marker, open_marker), strict=False):
        for k, (colour, marker) in enumerate(looks):
            axes.plot(*place[:, (target > 0.5) == k], **look(colour, marker))
    named = zip(classes, looks, strict=True)
    keys = [Line2D([], [], label=truncate(name, 18), **filled_marker(*look)) for name, look in named]
    keys.append(Line2D([], [], color=BLACK, linewidth=2, label="O = ½"))
    return filled, keys + [Line2D([], [], label="hollow: validation", **open_marker(BLACK, "o"))] * (len(places) - 1)


def as_regression(
    axes: Axes, surface: Surface, places: Sequence[Array], targets: Sequence[Array], name: str
) -> tuple[ContourSet, list[Line2D]]:
    r"""One scale of colours for the output and the samples' targets."""
    *_, output = surface
    every = np.concatenate([output.numpy().ravel(), *targets])
    levels = MaxNLocator(12).tick_values(every.min(), every.max())
    filled = axes.contourf(*surface, levels, cmap=LIGHT, vmin=levels[0], vmax=levels[-1])
    for place, target, marker in zip(places, targets, "oD", strict=False):
        colours: dict[str, Any] = {"c": target, "cmap": LIGHT, "vmin": levels[0], "vmax": levels[-1]}
        axes.scatter(place[0], place[1], 24, marker=marker, edgecolors=BLACK, linewidths=0.7, **colours)
    looks = zip(("training", "validation"), "oD", strict=True)
    keys = [
        Line2D([], [], label=f"{truncate(name, 34)}, {part}", **filled_marker(BLACK, marker)) for part, marker in looks
    ]
    return filled, keys[: len(places)]


def filled_marker(colour: str, marker: str) -> dict[str, Any]:
    r"""A filled marker, as training samples have it."""
    return {
        "color": colour,
        "marker": marker,
        "linestyle": "",
        "markersize": 5.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def open_marker(colour: str, marker: str) -> dict[str, Any]:
    r"""A hollow marker, as validation samples have it."""
    return filled_marker(colour, marker) | {
        "markerfacecolor": "white",
        "markeredgecolor": colour,
        "markeredgewidth": 1.3,
    }


def subsample(samples: Samples) -> tuple[Array, Array]:
    r"""The samples as arrays (in, n) and (n,), or 1,000 of them, evenly taken."""
    x, y = (to_cpu(part).double().numpy() for part in samples)
    taken = np.linspace(0, x.shape[1] - 1, min(x.shape[1], MAX_SAMPLES)).round().astype(int)
    return x[:, taken], y[0, taken]
