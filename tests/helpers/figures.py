"""Networks and samples to draw, and checks of the pixels and texts of a figure."""

from functools import cache
from itertools import combinations, pairwise
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nnmath.ensemble.loss_surface import LossSurface, flatten
from nnmath.equations import SIGMOID, TANH, Layer, training_step, zero_velocities

WIDTH, HEIGHT = 350, 280


def random_layers(*sizes, dtype=torch.float64):
    torch.manual_seed(0)
    return [Layer(torch.randn(o, i, dtype=dtype), torch.randn(o, dtype=dtype)) for i, o in pairwise(sizes)]


def two_classes(n, seed):
    """x (2, n) and y (1, n); a parabola separates the classes."""
    x = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x, (x[1:] > x[:1] ** 2 - 1).double()


TRAIN, VAL = two_classes(80, 1), two_classes(30, 2)


@cache
def trained_network():
    """A network 2-4-1 after 300 epochs, and the trajectory of its parameters, every tenth epoch."""
    torch.set_num_threads(1)
    layers, activations = random_layers(2, 4, 1), (TANH, SIGMOID)
    velocities, path = zero_velocities(layers), [flatten(layers)]
    for epoch in range(1, 301):
        layers, velocities = training_step(*TRAIN, layers, velocities, activations, 0.5, 0.9)
        if epoch % 10 == 0:
            path.append(flatten(layers))
    surface = LossSurface((2, 4, 1), activations, *TRAIN)
    return SimpleNamespace(layers=layers, path=torch.stack(path), surface=surface)


def parts(axes, kind):
    """The collections of one class, for example the contours."""
    return [part for part in axes.collections if isinstance(part, kind)]


def pixels(figure):
    """The figure, drawn once, (height, width, RGBA)."""
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure).draw()
    return np.asarray(figure.canvas.buffer_rgba())


def texts(figure):
    """All visible texts of the figure."""
    return [text for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]


def words(figure):
    """The same as strings."""
    return {text.get_text() for text in texts(figure)}


def assert_drawn_in_colours(figure, most=1.0):
    """Many colours, on at most the fraction ``most`` of the figure, and something drawn in each pair of axes."""
    image = pixels(figure)
    assert image.shape == (HEIGHT, WIDTH, 4)
    assert (image[..., 3] == 255).all()
    ink = (image[..., :3] < 250).any(-1)
    assert 0.02 < ink.mean() <= most
    assert len(np.unique(image.view(np.uint32))) > 50
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert ink[HEIGHT - int(box.y1) + 2 : HEIGHT - int(box.y0) - 2, int(box.x0) + 2 : int(box.x1) - 2].any()


def assert_readable(figure):
    """No text is cut off or covers another, and none is smaller than 9 points, 9 pixels at 70 dots per inch."""
    pixels(figure)
    undrawn = {
        id(label)
        for axes in figure.axes
        for axis, view in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(view) <= tick.get_loc() <= max(view)
    }  # labels of ticks outside the axes
    drawn = [(text, text.get_window_extent()) for text in texts(figure) if id(text) not in undrawn]
    for text, box in drawn:
        assert text.get_fontsize() >= 9, text
        assert min(box.x0, box.y0, WIDTH - box.x1, HEIGHT - box.y1) >= 0, text
    for (text, box), (other, other_box) in combinations(drawn, 2):
        common = box.intersection(box, other_box)
        assert common is None or min(common.width, common.height) < 2, (text, other)
