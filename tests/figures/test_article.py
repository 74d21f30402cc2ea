"""The article's figures, read back: what is drawn is what the equations give."""

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers.figures import assert_drawn_in_colours, assert_readable, words

from nnmath.equations import ACTIVATIONS, fires, number_of_parameters
from nnmath.figures import article
from nnmath.figures.style import BLUE, ORANGE, SKY, VERMILION

SIZES = {
    "2-4-1": (2, 4, 1),
    "1-1": (1, 1),
    "no hidden": (30, 1),
    "wide": (784, 1000, 10),
    "deep": [2] + [8] * 10 + [1],
    "deeper": [1000] * 40,
}
DRAWN = {
    **{name: lambda name=name: article.activation(name) for name in ACTIVATIONS},
    "firing": article.firing,
    **{name: lambda sizes=sizes: article.parameters(sizes) for name, sizes in SIZES.items()},
}


@pytest.mark.parametrize("name", DRAWN)
def test_it_is_drawn_readable_and_nothing_is_cut_off(name):
    figure = DRAWN[name]()
    assert_drawn_in_colours(figure)
    assert_readable(figure)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_curves_are_the_activations_and_its_derivatives(name):
    (axes,) = article.activation(name).axes
    value, derivative = ACTIVATIONS[name].function, ACTIVATIONS[name].derivative
    curves = [line for line in axes.lines if len(line.get_xdata()) > 50]
    assert {(line.get_color(), line.get_linestyle()) for line in curves} == {(BLUE, "-"), (VERMILION, "--")}
    for f, colour in ((value, BLUE), (derivative, VERMILION)):
        parts = sorted((line for line in curves if line.get_color() == colour), key=lambda line: line.get_xdata()[0])
        z = np.concatenate([line.get_xdata() for line in parts])
        assert len(z) == 401
        assert 0 in z
        assert (np.diff(z) > 0).all()
        drawn = np.concatenate([line.get_ydata() for line in parts])
        assert np.array_equal(drawn, f(torch.tensor(z)).numpy())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_slope_at_zero_are_marked(name):
    figure = article.activation(name)
    zero = torch.zeros(1, dtype=torch.float64)
    value, derivative = (float(f(zero)) for f in (ACTIVATIONS[name].function, ACTIVATIONS[name].derivative))
    marked = {
        (line.get_color(), float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in figure.axes[0].lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == line.get_color()
    }
    assert marked == {(BLUE, 0.0, value), (VERMILION, 0.0, derivative)}
    symbol = article.NAMES[name]
    greatest = ", the greatest" if name in ("sigmoid", "tanh") else ""
    assert {f"{symbol}(0) = {value:g}", f"{symbol}′(0) = {derivative:g}{greatest}"} <= words(figure)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "identity"])
def test_the_tangent_at_zero_has_the_derivatives_slope(name):
    (tangent,) = [line for line in article.activation(name).axes[0].lines if line.get_linestyle() == ":"]
    zero = torch.zeros((), dtype=torch.float64)
    assert tangent.get_slope() == float(ACTIVATIONS[name].derivative(zero))
    assert tangent.get_xy1() == (0, float(ACTIVATIONS[name].function(zero)))


def test_relu_has_a_jump_with_a_hollow_end():
    figure = article.activation("relu")
    for line in figure.axes[0].lines:
        if line.get_color() == VERMILION and len(line.get_xdata()) > 50:
            assert len(set(np.asarray(line.get_ydata()).tolist())) == 1
    (hollow,) = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert (float(hollow.get_xdata()[0]), float(hollow.get_ydata()[0])) == (0, 1)
    assert "kink at 0" in words(figure)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="name must be one of sigmoid, tanh, relu, identity, got 'softplus'"):
        article.activation("softplus")


def test_the_neuron_fires_beyond_the_line():
    figure = article.firing()
    (axes,) = figure.axes
    filled, line = (part for part in axes.collections if isinstance(part, mpl.contour.ContourSet))
    (boundary,) = line.get_paths()
    assert len(boundary.vertices) > 10
    assert np.abs(boundary.vertices.sum(1) - 40).max() < 1e-4
    white, blue = (filled.get_paths()[k] for k in (0, 1))
    for x in torch.cartesian_prod(*[torch.arange(1.5, 60, 3.3)] * 2):
        within = blue if bool(fires(x[:, None], 40.0)) else white
        assert within.contains_point(x.tolist())
    markers = {
        tuple(float(data[0]) for data in point.get_data()): (point.get_marker(), point.get_markerfacecolor())
        for point in axes.lines
    }
    assert markers == {(10.0, 20.0): ("o", "white"), (20.0, 20.0): ("o", "white"), (20.0, 30.0): ("^", BLUE)}
    said = {"10 + 20 = 30 does not", "20 + 20 = 40 does not", "20 + 30 = 50 fires", "input x₁", "input x₂"}
    assert said <= words(figure)


def meshes(figure, colour):
    """Cells of that colour, as (rows, columns) of each matrix."""
    found = [part for part in figure.axes[0].collections if isinstance(part, mpl.collections.QuadMesh)]
    return [mesh.get_array().shape for mesh in found if mesh.cmap.colors == [colour]]


@pytest.mark.parametrize("sizes", [(2, 4, 1), (1, 1), (3, 7, 5, 2), (2, *[6] * 8, 1)])
def test_there_is_a_cell_for_each_parameter(sizes):
    figure = article.parameters(sizes)
    assert meshes(figure, SKY) == [(n_out, n_in) for n_in, n_out in pairwise(sizes)]
    assert meshes(figure, ORANGE) == [(n_out, 1) for _, n_out in pairwise(sizes)]
    cells = sum(rows * columns for colour in (SKY, ORANGE) for rows, columns in meshes(figure, colour))
    assert cells == number_of_parameters(sizes)


def test_the_articles_network_has_17():
    said = words(article.parameters((2, 4, 1)))
    expected = {"Fig. 7: 17 parameters of 2-4-1", "layer 1: 2 → 4\n2·4 + 4 = 12", "layer 2: 4 → 1\n4·1 + 1 = 5"}
    assert expected <= said


def test_what_is_not_drawn_is_told():
    assert "Fig. 7: 39,039,000 parameters of 1000-1000-1000-10…" in words(article.parameters([1000] * 40))
    assert "… and 28 more" in words(article.parameters([1000] * 40))
    assert not any("more" in text for text in words(article.parameters([3] * 13)))


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="sizes must be two or more positive integers"):
        article.parameters((2,))
