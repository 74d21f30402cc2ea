"""What the figures of the experiments show, drawn and read back."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers.figures import assert_drawn_in_colours, assert_readable, words

from nnmath.experiments.approximation import approximation
from nnmath.experiments.errata import extrapolate, xor_costs
from nnmath.experiments.learning_rate import descent_from_both_sides, learning_rates
from nnmath.experiments.momentum import momenta
from nnmath.experiments.perceptron import NAMES, boolean_functions, xor_layers
from nnmath.experiments.saturation import Saturation, slopes
from nnmath.figures import experiments as figures

EPOCHS = [0, 1, 10, 100]
SATURATION = Saturation(
    rates=(0.02, 0.45),
    epochs=EPOCHS,
    outputs=torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.0, 1.0], [0.0, 1.0]]),
    hidden=torch.zeros(4, 2),
    gradient_norm=torch.tensor([[3.0, 3.0], [4.0, 40.0], [2.0, 1e-6], [1.0, 1e-6]]),
    cost=torch.full((4, 2), 0.1),
)
DRAWN = {
    "learning_rates": lambda: figures.learning_rates(learning_rates()),
    "two_sides": lambda: figures.two_sides(descent_from_both_sides()),
    "momenta": lambda: figures.momenta(momenta()),
    "boolean_functions": lambda: figures.boolean_functions(boolean_functions(), xor_layers()[0]),
    "approximation": lambda: figures.approximation(approximation((1, 4, 16), seeds=range(3), epochs=50)),
    "fits": lambda: figures.fits(approximation((1, 4, 16), seeds=range(3), epochs=50)),
    "slopes": lambda: figures.slopes(slopes()),
    "saturation": lambda: figures.saturation(SATURATION),
    "beyond": lambda: figures.beyond(extrapolate(epochs=50)),
    "xor_costs": lambda: figures.xor_costs(xor_costs(20, epochs=50)),
}
LABELS = {
    "learning_rates": {"epochs", "0.002", "0.99", "1.01"},
    "two_sides": {"θ", "cost C(θ)", "P1", "P2", "P1: ∂C/∂θ = -4.62", "P2: ∂C/∂θ = 4.62"},
    "momenta": {"steps", "θ", "cost C(θ)", "hump", "m = 0", "m = 0.9"},
    "boolean_functions": {"x₁", "x₂", *NAMES},
    "approximation": {"hidden neurons N", "root mean squared error", "1", "4", "16", "staircase, untrained"},
    "fits": {"x", "f(x)", "N = 1", "N = 16"},
    "slopes": {"z", "relative error of σ′(z)", "h (1 − h), float32", "σ(z) σ(−z), float64"},
    "saturation": {"epochs", "‖∂E/∂(w, b)‖₂", "outputs\nsaturated in %", "η = 0.02", "η = 0.45"},
    "beyond": {"x", "output", "trained here", "sin 2πx", "network 1-8-1"},
    "xor_costs": {"networks 2-2-1, best first", "cost C after training"},
}


@pytest.fixture(scope="module", params=DRAWN)
def drawn(request):
    """A figure's name and the figure."""
    torch.set_num_threads(1)
    return request.param, DRAWN[request.param]()


def test_something_is_drawn_in_colours(drawn):
    _, figure = drawn
    assert_drawn_in_colours(figure, most=0.6)


def test_it_says_what_is_what(drawn):
    name, figure = drawn
    assert LABELS[name] <= words(figure)


def test_it_is_readable_and_nothing_is_cut_off(drawn):
    _, figure = drawn
    assert_readable(figure)


def test_the_curves_are_the_results():
    result = learning_rates()
    (axes,) = figures.learning_rates(result).axes
    assert axes.get_yscale() == "log"
    for line, excess in zip(axes.lines, result.excess.T, strict=True):
        assert np.array_equal(line.get_ydata(), excess)
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(axes.lines)


def test_a_perceptrons_line_divides_the_corners():
    result = boolean_functions()
    figure = figures.boolean_functions(result, xor_layers()[0])
    for k, axes in enumerate(figure.axes):
        straight = [line for line in axes.lines if isinstance(line, mpl.lines.AxLine)]
        if NAMES[k] in ("never", "always", "XNOR"):
            assert not straight
        elif NAMES[k] == "XOR":
            assert [line.get_linestyle() for line in straight] == ["--", "--"]
        else:
            (line,) = straight
            points = np.array([line.get_xy1(), line.get_xy2()], dtype=float)
            assert np.abs(points @ result.weight[k].numpy() + result.bias[k].numpy()).max() < 1e-6
            assert np.hypot(*(points[1] - points[0])) > 0.1


def test_no_figure_stays_behind_in_pyplot():
    import matplotlib.pyplot as plt

    figures.slopes(slopes())
    assert plt.get_fignums() == []


def test_the_saturated_share_is_in_per_cent():
    _, lower = figures.saturation(SATURATION).axes
    assert lower.lines[1].get_ydata().tolist() == [0.0, 50.0, 100.0, 100.0]
    assert list(lower.lines[1].get_xdata()) == EPOCHS
