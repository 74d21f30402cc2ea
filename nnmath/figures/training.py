r"""A network while it is trained: what it says, what it is made of, the way it went, where it has stopped learning.

The layers, activations and samples are those of :mod:`nnmath.equations`: weight (out, in), bias (out), samples in
columns. Layers that require gradients, or lie on another device, are read and left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from nnmath.ensemble.loss_surface import Landscape, main_directions, three_places
from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Activation, Layer, forward
from nnmath.figures.style import (
    BLACK,
    BLUE,
    ORANGE,
    PALE,
    SIZE,
    SMALL,
    VERMILION,
    at_epoch,
    framed,
    headed,
    index,
    numbered,
    plain,
    plain_layers,
    sheet,
    short,
    told,
)

Samples = tuple[Tensor, Tensor]
r"""x (in, n) and y (1, n)"""
Array = NDArray[np.floating[Any]]
Surface = tuple[Array, Array, Tensor]
r"""places (K,) and (L,) on two axes, and a value for each pair of them, (L, K)"""

NOT_FINITE = "a parameter is no finite number any more"
GRID, DESCENT_GRID = 60, 31
r"""Points along either side of a plane."""
MOST_SAMPLES = 1000
MOST_NEURONS, MOST_COLUMNS, MOST_ROWS = 8, 8, 8
r"""What is drawn of a large network."""
LIGHT = ListedColormap(colormaps["viridis"](np.linspace(0.3, 1, 256)))
VALLEY = LinearSegmentedColormap.from_list("valley", ["#FFFFFF", "#7DB8E0"])
MIDDLE = 2.12
r"""Inches from the lower edge, where a network's middle is."""
DASHED = (0, (2.2, 0.9))
SLOPES = {
    SIGMOID: ("σ", "σ′(z) = h (1 − h)", "saturated"),
    TANH: ("tanh", "tanh′(z) = 1 − h²", "saturated"),
    RELU: ("ReLU", "ReLU′(z) = 1 where h > 0", "h = 0"),
    IDENTITY: ("id", "id′(z) = 1", "saturated"),
}
r"""The symbol of an activation, its derivative from its value, and how it is called where that vanishes."""
SATURATED = 0.1
r"""Part of the greatest slope below which a neuron counts as saturated."""


# --- what it says ----------------------------------------------------------------------------------------------------


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
        return told(title, NOT_FINITE)
    known = x_mean is not None and x_std is not None
    mean, std = np.array([x_mean, x_std] if known else [(0, 0), (1, 1)], dtype=float)
    parts = [thinned(part) for part in (train, val) if part is not None]
    rows = np.concatenate([x for x, _ in parts], 1)  # (2, n)
    low, high = rows.min(1), rows.max(1)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    sides = np.linspace(low - margin, high + margin, GRID, axis=1)  # (2, 60)
    plane = torch.as_tensor(np.stack(np.meshgrid(*sides)).reshape(2, -1))  # (2, 3600)
    output = forward(plane.to(layers[0].weight), layers, activations)[-1].reshape(GRID, GRID) * y_std + y_mean

    figure = Figure(figsize=SIZE)
    right = 0.83 if classes else 0.79  # where the scale's numbers are short, and where they may not be
    axes = figure.add_axes((0.19, 0.275, right - 0.19, 0.635))
    headed(axes, title)
    u, v = sides * std[:, None] + mean[:, None]
    unit, room = ("", (34, 28)) if known else (", standardised", (20, 14))
    names = [short(name, most) + unit for name, most in zip(features, room, strict=True)]
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
    numbered(axes, 6)
    numbered(bar.ax, 6)
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
    for place, target, look in zip(places, targets, (solid, hollow), strict=False):
        for k, (colour, marker) in enumerate(looks):
            axes.plot(*place[:, (target > 0.5) == k], **look(colour, marker))
    named = zip(classes, looks, strict=True)
    keys = [Line2D([], [], label=short(name, 18), **solid(*look)) for name, look in named]
    keys.append(Line2D([], [], color=BLACK, linewidth=2, label="O = ½"))
    return filled, keys + [Line2D([], [], label="hollow: validation", **hollow(BLACK, "o"))] * (len(places) - 1)


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
    keys = [Line2D([], [], label=f"{short(name, 34)}, {part}", **solid(BLACK, marker)) for part, marker in looks]
    return filled, keys[: len(places)]


def solid(colour: str, marker: str) -> dict[str, Any]:
    r"""A filled marker, as training samples have it."""
    return {
        "color": colour,
        "marker": marker,
        "linestyle": "",
        "markersize": 5.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def hollow(colour: str, marker: str) -> dict[str, Any]:
    r"""A hollow marker, as validation samples have it."""
    return solid(colour, marker) | {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.3}


def thinned(samples: Samples) -> tuple[Array, Array]:
    r"""The samples as arrays (in, n) and (n,), or 1,000 of them, evenly taken."""
    x, y = (plain(part).double().numpy() for part in samples)
    taken = np.linspace(0, x.shape[1] - 1, min(x.shape[1], MOST_SAMPLES)).round().astype(int)
    return x[:, taken], y[0, taken]


def finite(layers: Sequence[Layer]) -> bool:
    r"""Whether all parameters are finite numbers."""
    return all(bool(parameter.isfinite().all()) for layer in layers for parameter in layer)


# --- what it is made of ----------------------------------------------------------------------------------------------


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
        return told(title, NOT_FINITE)
    last = len(layers)
    shown = list(range(last + 1)) if last < MOST_COLUMNS else [*range(4), *range(last - 2, last + 1)]
    slots = list(shown) if last < MOST_COLUMNS else [*shown[:4], None, *shown[4:]]
    names = [short(name, 18) for name in features] if features else []
    left, right = 0.4 + 0.09 * max(map(len, names), default=0), 4.55 - 0.08 * len(short(target, 12)) * (sizes[-1] == 1)
    across = {i: float(x) for i, x in zip(slots, np.linspace(left, right, len(slots)), strict=True) if i is not None}
    down = {i: heights(sizes[i]) for i in shown}
    spacing = min([0.62, *(float(-np.diff(y).max()) for y in down.values() if len(y) > 1)])
    size = min(0.8 * spacing, 0.45 * (right - left) / len(slots), 0.42) * 72  # points
    largest = max(float(parameter.abs().max()) for layer in layers for parameter in layer) or 1.0

    figure, axes = sheet(title)
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
            edgecolors=[by_sign(b) for b in bias.tolist()] if i else BLACK,
            linewidths=[width(b, largest) for b in bias.tolist()] if i else 1.0,
            zorder=3,
        )
        symbol = "x" if i == 0 else "h" if i < last else "O"
        for k, height in enumerate(y.tolist()):
            inside = symbol + (index(k + 1) if i < last or sizes[-1] > 1 else "")
            if size > 15:
                axes.text(x, height, inside, size=SMALL, ha="center", va="center_baseline", zorder=4)
            if i == 0 and k < len(names):
                axes.text(x - size / 144 - 0.06, height, names[k], size=SMALL, ha="right", va="center")
        if sizes[i] > len(y):
            more = f"+{sizes[i] - len(y)}" if len(slots) > 3 else f"… and {sizes[i] - len(y)} more"
            axes.text(x, y[-1] - 1.35 * spacing, more, size=SMALL, ha="center", va="center")
    if target != "O" and sizes[-1] == 1:
        axes.text(across[last] + size / 144 + 0.06, float(down[last][0]), short(target, 12), size=SMALL, va="center")
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


def heights(neurons: int) -> Array:
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
            colors=[by_sign(w) for w in values],
            linewidths=[width(w, largest) for w in values],
            linestyles=["-" if w >= 0 else DASHED for w in values],
        ),
        autolim=False,
    )


def by_sign(parameter: float) -> str:
    r"""Blue from 0 on, vermilion below."""
    return BLUE if parameter >= 0 else VERMILION


def width(parameter: float, largest: float) -> float:
    r"""A line's width in points, up to 5; a parameter of 0 can still be seen."""
    return 0.3 + 4.7 * abs(parameter) / largest


# --- the way it went -------------------------------------------------------------------------------------------------


def descent(path: Tensor, landscape: Landscape, *, epoch: int | None = None) -> Figure:
    r"""The way through the space of all parameters, on the plane in which most of it lies, and a cut through that.

    The two directions are those of the singular values s of the path about its mean, θ_k − θ̄ = Σ u s v; a direction's
    share of the motion is s² / Σ s². The plane goes through the end of the path, and C is that of the parameters on the
    plane, all of them one stack of networks. The cut below is C along the first direction: at the end that is left of
    the minimum the slope ∂C/∂s = v · ∂C/∂θ is negative and θ grows, right of it the slope is positive and θ shrinks.

    Args:
        path: θ after each epoch that was kept, shape (K, P), in the layout of :func:`nnmath.ensemble.loss_surface.flat`.
        landscape: C(θ) and ∂C/∂θ.
        epoch: for the title.

    Returns:
        P1, the minimum and P2 lie where :func:`nnmath.ensemble.loss_surface.three_places` says. Without a motion or
        a cost that could be drawn, a figure that says so.

    Source: article, Fig. 8 (G2).
    """
    title = at_epoch("descent in weight space", epoch)
    path = plain(path).double()
    if not bool(path.isfinite().all()):
        return told(title, NOT_FINITE)
    if float((path - path[0]).abs().max()) <= 1e-9 * float(path.abs().max()):
        return told(title, "nothing has moved yet")
    directions, share = main_directions(path)
    way = (path - path[-1]) @ directions.mT  # (K, 2)

    def along(s: Tensor) -> Tensor:
        return path[-1] + s[:, None] * directions[0]  # (M, P)

    p1, minimum, p2 = three_places(lambda s: landscape.cost(along(s)), way[:, 0])
    s = spread(torch.cat([way[:, 0], torch.tensor([p1, -p1 if p2 is None else p2])]), 201)
    t = spread(way[:, 1], DESCENT_GRID, at_least=0.3 * float(s[-1] - s[0]))
    u = torch.linspace(float(s[0]), float(s[-1]), DESCENT_GRID, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(u, t, indexing="xy")).flatten(1).mT @ directions + path[-1]  # (961, P)
    over_plane = landscape.cost(plane).reshape(DESCENT_GRID, DESCENT_GRID)
    cost = landscape.cost(along(s))
    if not bool(over_plane.isfinite().all() and cost.isfinite().all()):
        return told(title, "the cost is no finite number here")

    figure = framed(left=0.2, right=0.96, bottom=0.13, hspace=0.3)
    plan, cut = figure.subplots(2, 1, sharex=True, height_ratios=(11, 9))
    headed(plan, title)
    plan.set(ylabel=f"direction 2\n{float(share[1]):.1%} of the motion", ylim=(float(t[0]), float(t[-1])))
    numbered(plan, 4)
    numbered(cut, 5)
    cut.set(xlabel=f"direction 1, {float(share[0]):.1%} of the motion", ylabel="cost C")
    cut.set_xlim(float(s[0]), float(s[-1]))
    low, high = float(over_plane.min()), float(over_plane.max())
    surface = u.numpy(), t.numpy(), over_plane.numpy()
    levels = low + (high - low) * np.linspace(0, 1, 13) ** 2  # at equal distances in a quadratic bowl
    if high > low:
        plan.contourf(*surface, levels, cmap=VALLEY)
        plan.contour(*surface, levels, colors=BLACK, linewidths=0.5, alpha=0.5)
    plan.axhline(0, color=BLACK, linestyle="--", linewidth=0.8)
    plan.plot(*way.mT.numpy(), color=BLACK, linewidth=1.5)
    plan.plot(*way[0].tolist(), "o", color=BLUE, markersize=8, label="start", markeredgecolor="white")
    plan.plot(*way[-1].tolist(), "*", color=ORANGE, markersize=14, label="now", markeredgecolor=BLACK)
    plan.legend(loc="upper right", ncols=2, fontsize=SMALL)
    cut.plot(s.numpy(), cost.numpy(), color=BLACK)
    cut.grid(alpha=0.3)
    cut.set_ylim(cut.get_ylim())  # the tangents do not change it
    small: dict[str, Any] = {"size": SMALL, "pad": 3, "y": 1}
    if minimum is None or p2 is None:
        cut.set_title("no minimum to the right", loc="right", color=VERMILION, **small)
    else:
        cut.axvline(minimum, color=BLACK, linestyle="--", linewidth=0.8)
    places = torch.tensor([p1] if p2 is None else [p1, p2], dtype=torch.float64)
    costs, slopes = landscape.cost(along(places)), landscape.gradient(along(places)) @ directions[0]  # v · ∂C/∂θ
    looks = ("P1", BLUE, "o", "left"), ("P2", VERMILION, "s", "right")
    half = 0.1 * float(s[-1] - s[0])
    for place, c, slope, (name, colour, marker, loc) in zip(
        places.tolist(), costs.tolist(), slopes.tolist(), looks, strict=False
    ):
        cut.plot(place, c, marker, color=colour, markersize=7)
        cut.plot([place - half, place + half], [c - half * slope, c + half * slope], color=colour, linewidth=2)
        goes = "grows" if slope < 0 else "shrinks" if slope > 0 else "stays"
        text = f"{name}: slope {slope:.2g}, θ {goes}".replace("-", "−")
        cut.set_title(text, loc=loc, color=colour, **small)
    return figure


def spread(values: Tensor, points: int, at_least: float = 0.0) -> Tensor:
    r"""Points evenly over the range of the values and a little beyond."""
    low, high = float(values.min()), float(values.max())
    more = max(0.08 * (high - low), (at_least - (high - low)) / 2)
    return torch.linspace(low - more, high + more, points, dtype=torch.float64)


# --- where it has stopped learning -----------------------------------------------------------------------------------


def saturation(
    layers: Sequence[Layer], activations: Sequence[Activation], x: Tensor, *, epoch: int | None = None
) -> Figure:
    r"""Activations h of each hidden neuron over the samples, and the slope f′(z) that each of them leaves the gradient.

    Where f′(z) is less than a tenth of its greatest value, the neuron is saturated: next to nothing of δ passes
    (δᵢ = wₒᵀ δₒ · f′(z)). Shaded are these h, and the percentages are the samples there. A ReLU passes nothing where
    h = 0, and is dead if that is so for all samples; the identity passes everything. Of many neurons the first of each
    layer are drawn, eight in all.

    Args:
        layers: w and b of each layer.
        activations: f of each layer, in all hidden layers the same one of nnmath.equations.ACTIVATIONS.
        x: the samples, shape (in, n).
        epoch: for the title.

    Raises:
        ValueError: there is no hidden layer, or they have different or unknown activations.

    Source: article, Figs. 3 to 5 (A1, A2, A3) and Fig. 11 (B4).
    """
    if len(layers) < 2 or len(set(activations[:-1])) != 1 or activations[0] not in SLOPES:
        raise ValueError(
            f"layers must have hidden layers with one known activation, got {len(layers) - 1} hidden layers "
            f"with {len(set(activations[:-1]))}"
        )
    layers, activation = plain_layers(layers), activations[0]
    name, slope_of_h, verdict = SLOPES[activation]
    title = at_epoch("hidden activations", epoch)
    if not finite(layers):
        return told(title, NOT_FINITE)
    hidden = forward(plain(x).to(layers[0].weight), layers[:-1], activations[:-1])[1:]  # (out, n) of each layer
    each = max(1, MOST_ROWS // len(hidden))
    rows = [
        (f"h{index(k + 1)}" + above(i, hidden), h) for i, out in enumerate(hidden) for k, h in enumerate(out[:each])
    ]
    rows, left_out = rows[:MOST_ROWS], sum(len(out) for out in hidden) - len(rows[:MOST_ROWS])
    values = torch.stack([h for _, h in rows])
    low, high = {SIGMOID: (0.0, 1.0), TANH: (-1.0, 1.0)}.get(activation, (float(values.min()), float(values.max())))
    low = 0.0 if activation is RELU else low
    high = high if high > low else low + 1
    margin = 0.03 * (high - low)
    h = torch.linspace(low - margin, high + margin, 1001, dtype=values.dtype)
    slope = activation.slope(h.clamp(low, high))
    limit = SATURATED * float(slope.max())
    closed = activation.slope(values) < limit  # (rows, n)

    figure = framed(left=0.13, right=0.84, hspace=0.08)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    for axes in (upper, lower):
        axes.fill_between(
            *(h, 0, 1), where=slope < limit, transform=axes.get_xaxis_transform(), color=ORANGE, alpha=0.35, linewidth=0
        )
    upper.plot(h, slope, color=BLACK)
    headed(upper, title)
    upper.set(ylabel=f"{name}′(z)", ylim=(0, 1.25 * float(slope.max())), yticks=(0, float(slope.max())))
    upper.text(0.5, 0.3, slope_of_h, ha="center", transform=upper.transAxes)
    lower.set(
        xlabel="activation h" + f" (neurons not drawn: {left_out})" * (left_out > 0),
        xlim=(low - margin, high + margin),
        ylim=(-0.15, len(rows)),
    )
    lower.set_yticks([])
    for base, (label, row), share in zip(range(len(rows))[::-1], rows, closed.double().mean(1).tolist(), strict=True):
        counts = torch.histc(row, 40, low, high)
        tint = VERMILION if share > 0.5 else BLUE
        lower.stairs(
            base + 0.85 * counts / counts.max(), np.linspace(low, high, 41), baseline=base, fill=True, color=tint
        )
        text = "dead" if activation is RELU and share == 1 else f"{share:.0%}"
        lower.text(-0.02, base + 0.4, label, ha="right", va="center", transform=lower.get_yaxis_transform())
        lower.text(1.02, base + 0.4, text, color=tint, va="center", transform=lower.get_yaxis_transform())
    upper.text(1.02, 0.1, verdict, transform=upper.transAxes, size=SMALL)
    return figure


def above(layer: int, hidden: Sequence[Tensor]) -> str:
    r"""A hidden layer's number as a superscript, where there are several."""
    return "" if len(hidden) == 1 else "⁽" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(layer + 1)) + "⁾"
