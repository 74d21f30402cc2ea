r"""Grids of trained networks: costs over the learning rate and the number of epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnmath.figures.style import LINE_STYLES, SIZE, VERMILION, new_axes


def heat_map(rates: NDArray[Any], epochs: NDArray[Any], costs: NDArray[Any], label: str) -> Figure:
    r"""Costs over the learning rate and the number of epochs, their optimum marked.

    Args:
        rates: the learning rates η, R of them, ascending.
        epochs: the numbers of epochs, K of them, ascending.
        costs: shape (K, R); nan stays white.
        label: what they are.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot(xlabel="learning rate η", ylabel="epochs")
    finite = np.where(np.isfinite(costs), costs, np.nan)
    image = axes.pcolormesh(np.arange(len(rates) + 1) - 0.5, np.arange(len(epochs) + 1) - 0.5, finite, cmap="viridis_r")
    for axis, values in ((axes.xaxis, rates), (axes.yaxis, epochs)):
        places = np.unique(np.linspace(0, len(values) - 1, min(len(values), 9)).round().astype(int))
        axis.set_ticks(places, [f"{values[place]:g}" for place in places])
    if np.isfinite(finite).any():
        row, column = np.unravel_index(np.nanargmin(finite), finite.shape)
        axes.plot(column, row, "*", color=VERMILION, markersize=16, markeredgecolor="white")
        axes.set_title(f"least: {finite[row, column]:.4g} at η = {rates[column]:g}, {epochs[row]:g} epochs")
    figure.colorbar(image, label=label)
    return figure


def curve_over_rates(rates: NDArray[Any], curves: Mapping[str, NDArray[Any]], label: str) -> Figure:
    r"""Costs over the learning rate, a curve each; ``label`` is what they are."""
    figure, axes = new_axes("learning rate η", label)
    axes.set_prop_cycle(LINE_STYLES)
    for name, costs in curves.items():
        axes.plot(rates, costs, label=name, marker="." if len(rates) < 30 else None)
    if len(rates) > 2 and rates[0] > 0 and rates[-1] / rates[0] > 20:
        axes.set_xscale("log")
    axes.legend()
    return figure
