from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers.figures import parts, words
from matplotlib.collections import QuadMesh

from nnmath.equations import ACTIVATIONS, fires, number_of_parameters
from nnmath.figures import article
from nnmath.figures.style import BLUE, ORANGE, SKY, VERMILION


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_curves_are_the_activation_and_its_derivative(name):
    (axes,) = article.activation(name).axes
    curves = [line for line in axes.lines if len(line.get_xdata()) > 50]
    assert {(line.get_color(), line.get_linestyle()) for line in curves} == {(BLUE, "-"), (VERMILION, "--")}
    for f, colour in ((ACTIVATIONS[name].function, BLUE), (ACTIVATIONS[name].derivative, VERMILION)):
        pieces = sorted((line for line in curves if line.get_color() == colour), key=lambda line: line.get_xdata()[0])
        z = np.concatenate([line.get_xdata() for line in pieces])
        assert len(z) == 401
        assert 0 in z
        assert (np.diff(z) > 0).all()
        assert np.array_equal(np.concatenate([line.get_ydata() for line in pieces]), f(torch.tensor(z)).numpy())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_derivative_and_tangent_at_zero(name):
    figure = article.activation(name)
    f, zero = ACTIVATIONS[name], torch.zeros(1, dtype=torch.float64)
    value, derivative = float(f.function(zero)), float(f.derivative(zero))
    marked = {
        (line.get_color(), float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in figure.axes[0].lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == line.get_color()
    }
    assert marked == {(BLUE, 0.0, value), (VERMILION, 0.0, derivative)}
    tangents = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    expected = [] if name == "relu" else [(derivative, (0, value))]
    assert [(line.get_slope(), line.get_xy1()) for line in tangents] == expected
    greatest = ", the greatest" if name in ("sigmoid", "tanh") else ""
    assert {f"{f.symbol}(0) = {value:g}", f"{f.symbol}′(0) = {derivative:g}{greatest}"} <= words(figure)


def test_relu_derivative_jumps_to_an_open_end():
    figure = article.activation("relu")
    lines = figure.axes[0].lines
    pieces = [line for line in lines if line.get_color() == VERMILION and len(line.get_xdata()) > 50]
    assert [set(line.get_ydata().tolist()) for line in pieces] == [{1}, {0}]
    (end,) = [line for line in lines if line.get_markerfacecolor() == "white"]
    assert (float(end.get_xdata()[0]), float(end.get_ydata()[0])) == (0, 1)
    assert "kink at 0" in words(figure)


def test_neuron_fires_beyond_the_line():
    figure = article.firing()
    (axes,) = figure.axes
    filled, line = parts(axes, mpl.contour.ContourSet)
    (boundary,) = line.get_paths()
    assert len(boundary.vertices) > 10
    assert np.abs(boundary.vertices.sum(1) - 40).max() < 1e-4
    white, blue = filled.get_paths()
    for x in torch.cartesian_prod(*[torch.arange(1.5, 60, 3.3)] * 2):
        region = blue if bool(fires(x[:, None], 40.0)) else white
        assert region.contains_point(x.tolist())
    markers = {
        tuple(float(data[0]) for data in point.get_data()): (point.get_marker(), point.get_markerfacecolor())
        for point in axes.lines
    }
    assert markers == {(10.0, 20.0): ("o", "white"), (20.0, 20.0): ("o", "white"), (20.0, 30.0): ("^", BLUE)}
    labels = {"10 + 20 = 30 does not", "20 + 20 = 40 does not", "20 + 30 = 50 fires", "input x₁", "input x₂"}
    assert labels <= words(figure)


@pytest.mark.parametrize("sizes", [(2, 4, 1), (1, 1), (3, 7, 5, 2), (2, *[6] * 8, 1)])
def test_each_parameter_is_a_cell(sizes):
    meshes = parts(article.parameters(sizes).axes[0], QuadMesh)
    w, b = ([mesh.get_array().shape for mesh in meshes if mesh.cmap.colors == [colour]] for colour in (SKY, ORANGE))
    assert w == [(n_out, n_in) for n_in, n_out in pairwise(sizes)]
    assert b == [(n_out, 1) for _, n_out in pairwise(sizes)]
    assert sum(rows * columns for rows, columns in w + b) == number_of_parameters(sizes)


def test_parameters_and_layers_are_counted():
    labels = {"Fig. 7: 17 parameters of 2-4-1", "layer 1: 2 → 4\n2·4 + 4 = 12", "layer 2: 4 → 1\n4·1 + 1 = 5"}
    assert labels <= words(article.parameters((2, 4, 1)))
    labels = {"Fig. 7: 39,039,000 parameters of 1000-1000-1000-10…", "… and 28 more"}
    assert labels <= words(article.parameters([1000] * 40))
    assert not any("more" in text for text in words(article.parameters([3] * 13)))


def test_refuses_unknown_activation_and_single_layer_size():
    with pytest.raises(ValueError, match="name must be one of sigmoid, tanh, relu, identity, got 'softplus'"):
        article.activation("softplus")
    with pytest.raises(ValueError, match="sizes must be two or more positive integers"):
        article.parameters((2,))
