r"""Costs of a grid of trained networks, over the learning rate and the number of epochs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnmath.figures.style import LINE_STYLES, VERMILION, new_axes, new_figure


def heat_map(rates: NDArray[Any], epochs: NDArray[Any], costs: NDArray[Any], label: str) -> Figure:
    r"""Costs over the learning rate and the number of epochs; a star marks the lowest.

    Args:
        rates: learning rates η, shape (R,), ascending.
        epochs: numbers of epochs, shape (K,), ascending.
        costs: shape (K, R); non-finite ones stay white.
        label: label of the colour bar.
    """
    figure = new_figure(layout="constrained")
    axes = figure.add_subplot(xlabel="learning rate η", ylabel="epochs")
    finite = np.where(np.isfinite(costs), costs, np.nan)
    image = axes.pcolormesh(np.arange(len(rates) + 1) - 0.5, np.arange(len(epochs) + 1) - 0.5, finite, cmap="viridis_r")
    for axis, values in ((axes.xaxis, rates), (axes.yaxis, epochs)):
        ticks = np.unique(np.linspace(0, len(values) - 1, min(len(values), 9)).round().astype(int))
        axis.set_ticks(ticks, [f"{values[tick]:g}" for tick in ticks])
    if np.isfinite(finite).any():
        row, column = np.unravel_index(np.nanargmin(finite), finite.shape)
        axes.plot(column, row, "*", color=VERMILION, markersize=16, markeredgecolor="white")
        axes.set_title(f"lowest: {finite[row, column]:.4g} at η = {rates[column]:g}, {epochs[row]:g} epochs")
    figure.colorbar(image, label=label)
    return figure


def curve_over_rates(rates: NDArray[Any], curves: Mapping[str, NDArray[Any]], label: str) -> Figure:
    r"""Costs over the learning rate, a curve per name; ``label`` is the label of the costs."""
    figure, axes = new_axes("learning rate η", label)
    axes.set_prop_cycle(LINE_STYLES)
    for name, costs in curves.items():
        axes.plot(rates, costs, label=name, marker="." if len(rates) < 30 else None)
    if len(rates) > 2 and rates[0] > 0 and rates[-1] / rates[0] > 20:
        axes.set_xscale("log")
    axes.legend()
    return figure
