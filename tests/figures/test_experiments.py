"""What the figures of the experiments show, drawn and read back."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nnmath.experiments.approximation import approximation
from nnmath.experiments.errata import beyond_the_data, xor_costs
from nnmath.experiments.learning_rate import learning_rates, two_sides
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
    "two_sides": lambda: figures.two_sides(two_sides()),
    "momenta": lambda: figures.momenta(momenta()),
    "boolean_functions": lambda: figures.boolean_functions(boolean_functions(), xor_layers()[0]),
    "approximation": lambda: figures.approximation(approximation((1, 4, 16), seeds=range(3), epochs=50)),
    "fits": lambda: figures.fits(approximation((1, 4, 16), seeds=range(3), epochs=50)),
    "slopes": lambda: figures.slopes(slopes()),
    "saturation": lambda: figures.saturation(SATURATION),
    "beyond": lambda: figures.beyond(beyond_the_data(epochs=50)),
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
    """A figure's name, the figure and its pixels, (height, width, RGBA)."""
    torch.set_num_threads(1)
    figure = DRAWN[request.param]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return request.param, figure, np.asarray(canvas.buffer_rgba())


def texts(figure):
    """All that is written on the figure and visible."""
    return [text for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]


def test_something_is_drawn_in_colours(drawn):
    _, figure, pixels = drawn
    assert pixels.shape == (400, 500, 4)
    assert (pixels[..., 3] == 255).all()
    ink = (pixels[..., :3] < 250).any(-1)
    assert 0.02 < ink.mean() < 0.6
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 50
    for axes in figure.axes:
        box = axes.get_window_extent()
        inside = ink[400 - int(box.y1) + 2 : 400 - int(box.y0) - 2, int(box.x0) + 2 : int(box.x1) - 2]
        assert inside.any()


def test_it_says_what_is_what(drawn):
    name, figure, _ = drawn
    assert LABELS[name] <= {text.get_text() for text in texts(figure)}


def test_it_is_readable_and_nothing_is_cut_off(drawn):
    """9 points at 80 dots an inch, for a figure 400 pixels wide, are 10 pixels."""
    _, figure, _ = drawn
    labels = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label)]
    for text in [*labels, *figure.texts]:
        if text.get_text():
            assert text.get_fontsize() >= 9
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= 500
            assert box.y1 <= 400


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
