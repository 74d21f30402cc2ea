import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers.figures import assert_drawn_in_colours, assert_readable, words

from nnmath.experiments import approximation, errata, learning_rate, momentum, perceptron, saturation

EPOCHS = [0, 1, 10, 100]
COLUMNS = {
    "gradient_norm": torch.tensor([[3.0, 3.0], [4.0, 40.0], [2.0, 1e-6], [1.0, 1e-6]]),
    "saturated_outputs": torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.0, 1.0], [0.0, 1.0]]),
}
WIDTHS = (1, 4, 16)
FIGURES = {
    "learning rates": lambda: learning_rate.draw_costs(learning_rate.run()),
    "both sides": lambda: learning_rate.draw_both_sides(learning_rate.descent_from_both_sides()),
    "momenta": lambda: momentum.draw(momentum.run()),
    "Boolean functions": lambda: perceptron.draw(perceptron.run()[1]),
    "errors": lambda: approximation.draw_errors(WIDTHS, approximation.run(WIDTHS, range(3), epochs=50)[0]),
    "fits": lambda: approximation.draw_fits(WIDTHS, *approximation.run(WIDTHS, range(3), epochs=50)),
    "slopes": lambda: saturation.draw_slopes(*saturation.slopes()),
    "network": lambda: saturation.draw_network(EPOCHS, COLUMNS),
    "extrapolation": lambda: errata.draw_extrapolation(errata.extrapolate(epochs=50)),
    "XOR": lambda: errata.draw_xor(errata.xor_costs(20, epochs=50)),
}
WORDS = {
    "learning rates": {"epochs", "0.002", "0.99", "1.01"},
    "both sides": {"θ", "cost C(θ)", "P1", "P2", "P1: ∂C/∂θ = -4.62", "P2: ∂C/∂θ = 4.62"},
    "momenta": {"steps", "θ", "cost C(θ)", "barrier", "m = 0", "m = 0.9"},
    "Boolean functions": {"x₁", "x₂", *perceptron.NAMES},
    "errors": {"hidden neurons N", "root mean squared error", "1", "4", "16", "staircase, untrained"},
    "fits": {"x", "f(x)", "N = 1", "N = 16"},
    "slopes": {"z", "relative error of σ′(z)", "h (1 − h), float32", "σ(z) σ(−z), float64"},
    "network": {"epochs", "‖∂E/∂(w, b)‖₂", "outputs\nsaturated in %", "η = 0.02", "η = 0.45"},
    "extrapolation": {"x", "output", "training range", "sin 2πx", "network 1-8-1"},
    "XOR": {"networks 2-2-1, best first", "cost C after training"},
}


@pytest.mark.parametrize("name", FIGURES)
def test_is_drawn_in_colours_labelled_and_readable(name):
    figure = FIGURES[name]()
    assert_drawn_in_colours(figure, most=0.6)
    assert WORDS[name] <= words(figure)
    assert_readable(figure)
    assert plt.get_fignums() == []


def test_curves_are_the_results():
    result = learning_rate.run()
    (axes,) = learning_rate.draw_costs(result).axes
    assert axes.get_yscale() == "log"
    for line, excess in zip(axes.lines, result.excess.T, strict=True):
        assert np.array_equal(line.get_ydata(), excess)
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(axes.lines)


def test_a_perceptrons_line_divides_the_corners():
    _, lines = perceptron.run()
    for name, line, axes in zip(perceptron.NAMES, lines.numpy(), perceptron.draw(lines).axes, strict=True):
        straight = [artist for artist in axes.lines if isinstance(artist, mpl.lines.AxLine)]
        if name in ("never", "always", "XNOR"):
            assert not straight
        elif name == "XOR":
            assert [artist.get_linestyle() for artist in straight] == ["--", "--"]
        else:
            (artist,) = straight
            points = np.array([artist.get_xy1(), artist.get_xy2()], dtype=float)
            assert np.abs(points @ line[:2] + line[2]).max() < 1e-6
            assert np.hypot(*(points[1] - points[0])) > 0.1


def test_saturated_share_is_in_per_cent():
    _, lower = saturation.draw_network(EPOCHS, COLUMNS).axes
    assert lower.lines[1].get_ydata().tolist() == [0.0, 50.0, 100.0, 100.0]
    assert list(lower.lines[1].get_xdata()) == EPOCHS
