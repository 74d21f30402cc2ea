"""The figures of sweeps, read back."""

import numpy as np
from helpers.figures import assert_drawn_in_colours, assert_readable, words

from nnmath.figures.sweep import curve_over_rates, heat_map

RATES, EPOCHS = np.array([0.01, 0.1, 1.0]), np.array([10, 100])
COSTS = np.array([[0.3, 0.2, np.nan], [0.2, 0.05, np.inf]])


def test_the_heat_map_has_the_costs_and_a_star_where_they_are_least():
    figure = heat_map(RATES, EPOCHS, COSTS, "cost C")
    axes = figure.axes[0]
    drawn = axes.collections[0].get_array()
    assert np.array_equal(np.ma.filled(drawn, np.nan), np.where(np.isfinite(COSTS), COSTS, np.nan), equal_nan=True)
    (star,) = axes.lines
    assert [float(data[0]) for data in star.get_data()] == [1, 1]
    expected = {"least: 0.05 at η = 0.1, 100 epochs", "learning rate η", "epochs", "cost C"}
    assert expected <= words(figure)
    assert_drawn_in_colours(figure)
    assert_readable(figure)


def test_the_curves_are_the_costs_over_a_logarithmic_axis():
    figure = curve_over_rates(RATES, {"train": COSTS[0], "val": COSTS[1]}, "cost C")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    for line, costs in zip(axes.lines, COSTS, strict=True):
        assert np.array_equal(line.get_ydata(), costs, equal_nan=True)
    assert {"train", "val", "cost C", "learning rate η"} <= words(figure)
    assert_readable(figure)
