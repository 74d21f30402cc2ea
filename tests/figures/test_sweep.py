import numpy as np
from helpers.figures import words

from nnmath.figures.style import LINE_STYLES
from nnmath.figures.sweep import curve_over_rates, heat_map

RATES, EPOCHS = np.array([0.01, 0.1, 1.0]), np.array([10, 100])
COSTS = np.array([[0.3, 0.2, np.nan], [0.2, 0.05, np.inf]])


def test_heat_map_shows_the_costs_with_a_star_at_the_lowest():
    figure = heat_map(RATES, EPOCHS, COSTS, "cost C")
    axes = figure.axes[0]
    values = np.ma.filled(axes.collections[0].get_array(), np.nan)
    assert np.array_equal(values, np.where(np.isfinite(COSTS), COSTS, np.nan), equal_nan=True)
    (star,) = axes.lines
    assert [float(data[0]) for data in star.get_data()] == [1, 1]
    labels = {"lowest: 0.05 at η = 0.1, 100 epochs", "learning rate η", "epochs", "cost C"}
    assert labels <= words(figure)


def test_curves_are_the_costs_on_a_logarithmic_axis():
    figure = curve_over_rates(RATES, {"train": COSTS[0], "val": COSTS[1]}, "cost C")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    for line, costs in zip(axes.lines, COSTS, strict=True):
        assert np.array_equal(line.get_ydata(), costs, equal_nan=True)
    assert {"train", "val", "cost C", "learning rate η"} <= words(figure)


def test_curves_beyond_the_line_styles_start_again():
    (axes,) = curve_over_rates(RATES, {str(k): COSTS[0] for k in range(8)}, "cost C").axes
    looks = [{"color": line.get_color(), "linestyle": line.get_linestyle()} for line in axes.lines]
    assert looks == [*LINE_STYLES, *LINE_STYLES[:1]]
