import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers.figures import TRAIN, VAL, assert_drawn_in_colours, assert_readable, pixels, random_layers, words
from helpers.figures import trained_network as run
from torch import nn

from nnmath.equations import ACTIVATIONS, IDENTITY, RELU, SIGMOID, TANH, Layer
from nnmath.figures import article
from nnmath.figures.decision_boundary import decision_boundary
from nnmath.figures.loss_surface import descent
from nnmath.figures.network_diagram import network_diagram
from nnmath.figures.overview import overview
from nnmath.figures.saturation import saturation
from nnmath.figures.style import NOT_FINITE
from nnmath.figures.sweep import curve_over_rates, heat_map

LONG = ("mean concavity of the nuclei's outlines", "worst fractal dimension, in nuclei per inch")
LARGE_UNITS = {
    "x_mean": [20150.0, -1e-5],
    "x_std": [3.0, 1.234e-7],
    "classes": ("a class with a long name", "NAME OF A CLASS"),
}
REGRESSION = {"target": "price of the house in 1,000 dollars", "classes": None, "y_mean": -1.2345e6, "y_std": 4321.0}
SIZES = ((2, 4, 1), (1, 1), (30, 1), (784, 1000, 10), (2, *[8] * 10, 1), (1000,) * 40)
RATES, EPOCHS, COSTS = np.array([0.01, 0.1, 1.0]), np.array([10, 100]), np.array([[0.3, 0.2, 0.1], [0.2, 0.05, np.inf]])


def boundary(layers, activations=(TANH, SIGMOID), train=TRAIN, val=VAL, **options):
    return decision_boundary(layers, activations, train, val, **options)


def regression(**options):
    train, val = ((x, x[:1]) for x, _ in (TRAIN, VAL))
    return boundary(random_layers(2, 3, 1), (TANH, IDENTITY), train, val, **REGRESSION, **options)


def whole_network(*sizes, activations=(TANH, SIGMOID), train=TRAIN, val=VAL, **options):
    losses = [0, 50_000, 123_456], *[torch.tensor([0.3, 0.2, 0.1])] * 2
    return overview(random_layers(*sizes), activations, train, val, losses=losses, **options)


def regression_overview():
    train, val = ((x, x[:1]) for x, _ in (TRAIN, VAL))
    options = REGRESSION | {"features": LONG, "x_mean": [20150.0, -1e-5], "x_std": [3.0, 1.234e-7], "epoch": 123456}
    return whole_network(2, 8, 8, 8, 8, 1, activations=(*[RELU] * 4, IDENTITY), train=train, val=val, **options)


def eight_classes():
    train, val = ((x, torch.eye(8)[:, torch.arange(x.shape[1]) % 8]) for x, _ in (TRAIN, VAL))
    return whole_network(2, 8, 8, train=train, val=val, classes=("NAME OF A CLASS",) * 8, features=LONG, epoch=123456)


def network(*sizes, **options):
    return network_diagram(random_layers(*sizes), **options)


FIGURES = {
    **{name: lambda name=name: article.activation(name) for name in ACTIVATIONS},
    "firing": article.firing,
    **{f"parameters {k}": lambda sizes=sizes: article.parameters(sizes) for k, sizes in enumerate(SIZES)},
    "boundary": lambda: boundary(run().layers, epoch=300),
    "boundary, untrained": lambda: boundary(random_layers(2, 4, 1), epoch=0),
    "boundary, large numbers": lambda: boundary(run().layers, features=LONG, **LARGE_UNITS, epoch=123456),
    "regression, large numbers": lambda: regression(features=LONG, epoch=123456),
    "overview": lambda: whole_network(2, 4, 1, epoch=300),
    "overview, large numbers": lambda: whole_network(2, 8, 8, 1, activations=(TANH, TANH, SIGMOID), **LARGE_UNITS),
    "overview, regression": regression_overview,
    "overview, eight classes": eight_classes,
    "network": lambda: network_diagram(run().layers, epoch=300),
    "network, long names": lambda: network(2, 64, 64, 1, features=LONG, target=LONG[0], epoch=123456),
    "network, large": lambda: network(*[8] * 8),
    "network, deep": lambda: network(*[100] * 50, epoch=123456),
    "descent": lambda: descent(run().path, run().surface, epoch=300),
    "descent, two points": lambda: descent(run().path[:2], run().surface, epoch=123456),
    "descent, small steps": lambda: descent(run().path[0] + 1e-5 * run().path, run().surface, epoch=123456),
    "descent, large steps": lambda: descent(-1e4 * run().path, run().surface, epoch=123456),
    "saturation": lambda: saturation(run().layers, (TANH, SIGMOID), TRAIN[0], epoch=300),
    "saturation, large numbers": lambda: saturation(
        random_layers(2, *[30] * 9, 1), (*[RELU] * 9, SIGMOID), TRAIN[0] * 1e7, epoch=123456
    ),
    "heat map": lambda: heat_map(RATES, EPOCHS, COSTS, "cost C"),
    "curves": lambda: curve_over_rates(RATES, dict(enumerate(COSTS)), "cost C"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_drawn_in_colours_and_readable(name):
    figure = FIGURES[name]()
    assert_drawn_in_colours(figure)
    assert_readable(figure)
    assert plt.get_fignums() == []


def of_layers(layers, **options):
    """A figure of each kind that draws a network."""
    yield boundary(layers, **options)
    yield overview(layers, (TANH, SIGMOID), TRAIN, VAL, **options)
    yield network_diagram(layers, **options)
    yield saturation(layers, (TANH, SIGMOID), TRAIN[0], **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_diverged_network_is_reported(value):
    first, last = random_layers(2, 4, 1)
    for figure in of_layers([first, Layer(last.weight, last.bias * value)], epoch=5):
        assert NOT_FINITE in words(figure)
        assert any("epoch 5" in text for text in words(figure))
        assert_readable(figure)


def test_parameters_that_require_gradients_are_not_modified():
    layers = [Layer(*(nn.Parameter(p.bfloat16()) for p in layer)) for layer in run().layers]
    for figure in of_layers(layers):
        pixels(figure)
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.bfloat16 for layer in layers for p in layer)
