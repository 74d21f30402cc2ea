import numpy as np
import torch
from helpers.figures import assert_readable, parts, random_layers, words
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

from nnmath.equations import Layer
from nnmath.figures.network_diagram import network_diagram
from nnmath.figures.style import BLACK, BLUE, VERMILION

LAYERS = random_layers(2, 4, 1)
LARGEST = max(float(p.abs().max()) for layer in LAYERS for p in layer)


def weights(figure):
    return parts(figure.axes[0], LineCollection)


def neurons(figure):
    return parts(figure.axes[0], PathCollection)


def assert_colours_are_signs(colours, parameters):
    assert [to_hex(c).upper() for c in colours] == [BLUE if p > 0 else VERMILION for p in parameters]


def test_each_weight_is_a_line_with_its_size_as_width():
    figure = network_diagram(LAYERS)
    columns = [part.get_offsets() for part in neurons(figure)]
    for lines, (weight, _), starts, ends in zip(weights(figure), LAYERS, columns[:-1], columns[1:], strict=True):
        w = weight.flatten()
        assert np.allclose(lines.get_linewidth(), 0.3 + 4.7 * w.abs() / LARGEST)
        assert_colours_are_signs(lines.get_color(), w)
        assert [pattern is None for _, pattern in lines.get_linestyle()] == (w > 0).tolist()
        segments = np.array([segment.ravel() for segment in lines.get_segments()])
        assert np.allclose(segments, [[*start, *end] for end in ends for start in starts])
    assert f"widest: {LARGEST:.3g}" in words(figure)


def test_each_bias_is_the_ring_of_its_neuron():
    inputs, *rings = neurons(network_diagram(LAYERS))
    assert len(inputs.get_offsets()) == 2
    assert [*map(to_hex, inputs.get_edgecolor())] == [BLACK]
    for ring, (_, bias) in zip(rings, LAYERS, strict=True):
        assert np.allclose(ring.get_linewidth(), 0.3 + 4.7 * bias.abs() / LARGEST)
        assert_colours_are_signs(ring.get_edgecolor(), bias)


def test_neurons_have_names():
    figure = network_diagram(LAYERS, features=("age", "size"), target="price", epoch=20)
    names = {"x₁", "x₂", "h₁", "h₄", "O", "age", "size", "price", "w > 0", "w < 0", "b", "2-4-1, epoch 20"}
    assert names <= words(figure)
    two_outputs = words(network_diagram(random_layers(2, 2), target="price"))
    assert {"O₁", "O₂"} <= two_outputs
    assert "price" not in two_outputs


def test_six_neurons_of_a_wide_layer_are_drawn_and_the_others_counted():
    figure = network_diagram(random_layers(8, 9, 1))
    assert [len(part.get_offsets()) for part in neurons(figure)] == [8, 6, 1]
    assert [len(part.get_segments()) for part in weights(figure)] == [48, 6]
    assert "… and 3 more" in words(figure)
    assert "+58" in words(network_diagram(random_layers(2, 64, 64, 1)))


def test_both_ends_of_a_deep_network_are_drawn():
    figure = network_diagram(random_layers(*[2] * 31))
    assert len(neurons(figure)) == 7
    assert len(weights(figure)) == 5  # none across the gap
    assert {"… 24 more …", "30 layers"} <= words(figure)
    assert len(neurons(network_diagram(random_layers(*[2] * 8)))) == 8


def test_zero_parameters_are_readable():
    assert_readable(network_diagram([Layer(torch.zeros(1, 1), torch.zeros(1))]))
