import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers.figures import TRAIN, assert_readable, random_layers, words
from matplotlib.colors import to_hex

from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Layer, forward
from nnmath.figures.saturation import saturation
from nnmath.figures.style import BLUE, VERMILION


def histograms(figure):
    """From top to bottom: edges, heights above the base, colour."""
    stairs = [patch for patch in figure.axes[1].patches if isinstance(patch, mpl.patches.StepPatch)]
    data = [patch.get_data() for patch in stairs]
    colours = [to_hex(patch.get_facecolor()).upper() for patch in stairs]
    return [(d.edges, d.values - d.baseline, colour) for d, colour in zip(data, colours, strict=True)]


def labels(figure):
    """The names of the neurons, and what is written on the right."""
    texts = [text.get_text() for text in figure.axes[1].texts]
    return texts[::2], texts[1::2]


def assert_histogram(heights, h, edges):
    counts, _ = np.histogram(h, edges)
    assert np.allclose(heights, 0.85 * counts / counts.max())


@pytest.mark.parametrize(("activation", "low"), [(SIGMOID, 0), (TANH, -1)])
def test_each_neuron_has_the_histogram_of_its_activations(activation, low):
    layers, activations, x = random_layers(2, 3, 1), (activation, SIGMOID), TRAIN[0] * 3
    figure = saturation(layers, activations, x, epoch=7)
    for (edges, heights, _), h in zip(histograms(figure), forward(x, layers, activations)[1], strict=True):
        assert np.allclose(edges, np.linspace(low, 1, 41))
        assert_histogram(heights, h, np.linspace(low, 1, 41))
    assert {"h₁", "h₂", "h₃", "activation h", "saturated", "hidden activations, epoch 7"} <= words(figure)


def test_saturated_range_and_share():
    layers = [Layer(torch.tensor([[1.0], [20.0]]), torch.zeros(2)), *random_layers(2, 1, dtype=torch.float32)]
    x = torch.linspace(-1, 1, 101)[None]
    figure = saturation(layers, (SIGMOID, SIGMOID), x)
    h = torch.sigmoid(layers[0].weight @ x)
    shares = (h * (1 - h) < 0.025).double().mean(1)
    assert float(shares[1]) > 0.5 > float(shares[0])
    assert labels(figure)[1] == [f"{share:.0%}" for share in shares.tolist()]
    assert [colour for *_, colour in histograms(figure)] == [BLUE, VERMILION]
    for axes in figure.axes:
        left, right = (path.vertices[:, 0] for path in axes.collections[0].get_paths())
        edge = 0.5 - 0.5 * (1 - 4 * 0.025) ** 0.5  # h (1 − h) = 1/40
        assert abs(left.max() - edge) < 0.002
        assert abs(right.min() - (1 - edge)) < 0.002
    curve = figure.axes[0].lines[0]
    h = np.clip(curve.get_xdata(), 0, 1)
    assert np.allclose(curve.get_ydata(), h * (1 - h), atol=1e-7)
    assert {"σ′(z)", "σ′(z) = h (1 − h)"} <= words(figure)


def test_relu_without_any_gradient_is_dead():
    weights = torch.tensor([[1.0], [0.0], [1.0]])
    layers = [Layer(weights, torch.tensor([0.0, -1.0, 2.0])), *random_layers(3, 1, dtype=torch.float32)]
    figure = saturation(layers, (RELU, SIGMOID), torch.linspace(-1, 1, 100)[None])
    assert labels(figure)[1] == ["50%", "dead", "0%"]
    assert "h = 0" in words(figure)
    positive = saturation([Layer(weights, torch.full((3,), 2.0)), layers[1]], (RELU, SIGMOID), torch.ones(1, 9))
    assert histograms(figure)[0][0][0] == histograms(positive)[0][0][0] == 0


def test_identity_is_never_saturated():
    figure = saturation(random_layers(2, 3, 1), (IDENTITY, SIGMOID), TRAIN[0])
    assert labels(figure)[1] == ["0%"] * 3
    assert not figure.axes[0].collections[0].get_paths()


def test_layers_are_numbered_and_at_most_eight_neurons_are_drawn():
    layers, activations = random_layers(2, 5, 3, 1), (TANH, TANH, SIGMOID)
    figure = saturation(layers, activations, TRAIN[0])
    assert labels(figure)[0] == ["h₁⁽¹⁾", "h₂⁽¹⁾", "h₃⁽¹⁾", "h₄⁽¹⁾", "h₁⁽²⁾", "h₂⁽²⁾", "h₃⁽²⁾"]
    assert "activation h (neurons not drawn: 1)" in words(figure)
    assert_histogram(histograms(figure)[4][1], forward(TRAIN[0], layers, activations)[2][0], np.linspace(-1, 1, 41))
    figure = saturation(random_layers(2, *[1] * 9, 1), (*[TANH] * 9, SIGMOID), TRAIN[0])
    assert labels(figure)[0] == [f"h₁⁽{i}⁾" for i in "¹²³⁴⁵⁶⁷⁸"]


def test_refuses_no_hidden_layer_and_different_activations():
    with pytest.raises(ValueError, match="got 0 hidden layers"):
        saturation(random_layers(2, 1), (SIGMOID,), TRAIN[0])
    with pytest.raises(ValueError, match="got 2 hidden layers with 2"):
        saturation(random_layers(2, 3, 3, 1), (TANH, RELU, SIGMOID), TRAIN[0])


@pytest.mark.parametrize("activation", [RELU, IDENTITY])
def test_constant_activations_are_readable(activation):
    layers = [Layer(torch.zeros(2, 1), -torch.ones(2)), *random_layers(2, 1, dtype=torch.float32)]
    assert_readable(saturation(layers, (activation, SIGMOID), torch.ones(1, 5)))
