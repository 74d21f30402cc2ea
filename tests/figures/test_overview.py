import numpy as np
import pytest
import torch
from helpers.figures import TRAIN, VAL, assert_readable, random_layers, trained_network, words
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, forward
from nnmath.figures.overview import has_overview, overview
from nnmath.figures.style import BLUE, VERMILION


def width(w):
    return 5 * abs(w) / (abs(w) + 5)


def lines(figure):
    """The weights: lines between two points in the first axes."""
    return figure.axes[0].lines


def assert_drawn(colour, dashed, drawn_width, w):
    assert to_hex(colour).upper() == (BLUE if w > 0 else VERMILION)
    assert dashed == (w < 0)
    assert drawn_width == pytest.approx(width(w))


def test_each_weight_is_a_line_on_a_scale_that_does_not_depend_on_the_other_weights():
    layers = random_layers(2, 4, 1)
    weights = [w for weight, _ in layers for w in weight.flatten().tolist()]
    drawn = lines(overview(layers, (TANH, SIGMOID), TRAIN))
    for line, w in zip(drawn, weights, strict=True):
        assert_drawn(line.get_color(), line.get_linestyle() == "--", line.get_linewidth(), w)
    ends = np.array([np.ravel(line.get_data(), order="F") for line in drawn])  # x, y of the start, x, y of the end
    assert len({*ends[:8, 1]}) == 2
    assert len({*ends[:8, 3]}) == 4
    assert ends[0::2][:4, 3].tolist() == ends[1::2][:4, 3].tolist() == ends[8:, 1].tolist()
    assert len({*ends[8:, 3]}) == 1


def test_each_neuron_is_a_map_of_its_output():
    layers, activations = random_layers(2, 3, 4, 1), (TANH, RELU, SIGMOID)
    figure = overview(layers, activations, TRAIN, VAL)
    images, output = figure.axes[0].images, figure.axes[1]
    assert len(images) == 2 + 3 + 4
    x = torch.cat([TRAIN[0], VAL[0]], 1)
    corner = (x.amin(1) - 0.08 * (x.amax(1) - x.amin(1)))[:, None]
    assert np.allclose([output.get_xlim()[0], output.get_ylim()[0]], corner[:, 0])
    values = torch.cat(forward(corner, layers, activations)[:-1])[:, 0]
    assert np.allclose([image.get_array()[0, 0] for image in images], values)
    assert all(image.origin == "lower" for image in images)
    assert [image.get_clim() for image in images[2:5]] == [(-1, 1)] * 3
    assert images[5].get_clim() == (images[5].get_array().min(), images[5].get_array().max())
    assert {"x", "h⁽¹⁾", "h⁽²⁾"} <= words(figure)


def test_each_bias_is_the_frame_of_its_map():
    layers = random_layers(2, 4, 1)
    figure = overview(layers, (TANH, SIGMOID), TRAIN)
    frames = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)][2:]
    for frame, b in zip(frames, layers[0].bias.tolist(), strict=True):
        assert_drawn(frame.get_edgecolor(), frame.get_linestyle() != "-", frame.get_linewidth(), b)
    spine = figure.axes[1].spines["left"]
    assert_drawn(spine.get_edgecolor(), spine.get_linestyle() != "-", spine.get_linewidth(), float(layers[1].bias))


def test_losses_so_far():
    epochs, train, val = [0, 5, 10], torch.tensor([0.3, 0.2, 0.1]), torch.tensor([0.35, 0.25, 0.15])
    figure = overview(random_layers(2, 4, 1), (TANH, SIGMOID), TRAIN, VAL, losses=(epochs, train, val), epoch=10)
    axes = next(axes for axes in figure.axes if axes.get_ylabel() == "E")
    assert [list(line.get_xdata()) for line in axes.lines] == [epochs, epochs]
    assert np.allclose([line.get_ydata() for line in axes.lines], [train, val])
    assert {"training", "validation", "2-4-1, epoch 10"} <= words(figure)


def test_rows_that_are_also_the_validations_have_one_curve():
    losses = [0, 5, 10], torch.tensor([0.3, 0.3, 0.3]), None
    figure = overview(random_layers(2, 4, 1), (TANH, SIGMOID), TRAIN, losses=losses, epoch=10)
    axes = next(axes for axes in figure.axes if axes.get_ylabel() == "E")
    assert len(axes.lines) == 1
    assert axes.get_ylim()[1] > 0.31  # not on the frame
    assert not {"validation", "open: validation"} & words(figure)


def test_names_of_what_is_drawn():
    figure = overview(random_layers(2, 4, 1), (TANH, SIGMOID), TRAIN, features=("radius", "area"))
    axes = figure.axes[1]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x₁: radius, standardised", "x₂: area, standardised")
    assert {"x", "h", "O", "1", "2", "3", "4", "w = 5", "w = −5", "w = 0.5", "frame: b = 5"} <= words(figure)
    (bar,) = [axes for axes in figure.axes[2:] if axes.get_xticks().tolist() == [0, 0.5, 1]]
    assert bar.get_position().y0 > axes.get_position().y1


def test_several_classes_have_a_map_for_each_output_and_a_map_of_the_regions():
    x, y = TRAIN[0], torch.eye(3, dtype=torch.float64)[:, torch.arange(80) % 3]
    figure = overview(random_layers(2, 5, 3), (SIGMOID, SIGMOID), (x, y), classes=("a", "b", "c"))
    assert len(figure.axes[0].images) == 2 + 5 + 3
    assert len(lines(figure)) == 2 * 5 + 5 * 3
    assert {"x", "h", "O", "largest O", "a", "b", "c", "boundary"} <= words(figure)
    assert_readable(figure)


def test_the_output_of_the_trained_network_is_that_of_the_decision_boundary():
    figure = overview(trained_network().layers, (TANH, SIGMOID), TRAIN, VAL, x_mean=[10.0, -300.0], x_std=[2.0, 50.0])
    (axes, points) = figure.axes[1], TRAIN[0] * torch.tensor([[2.0], [50.0]]) + torch.tensor([[10.0], [-300.0]])
    drawn = np.concatenate([np.stack(line.get_data()) for line in axes.lines[:2]], 1)
    assert np.allclose(np.sort(drawn, 1), np.sort(points.numpy(), 1))
    assert {"O = ½", "open: validation"} <= words(figure)


@pytest.mark.parametrize("sizes", [(3, 4, 1), (2, 9, 1), (2, *[4] * 5, 1)])
def test_refuses_a_network_that_it_has_no_room_for(sizes):
    assert not has_overview(sizes)
    activations = [TANH] * (len(sizes) - 2) + [IDENTITY]
    with pytest.raises(ValueError, match=f"2 inputs, at most 8 neurons .* got {'-'.join(map(str, sizes))}"):
        overview(random_layers(*sizes), activations, TRAIN)


def test_a_neuron_without_variation_is_white():
    layers = random_layers(2, 3, 1)
    layers[0].weight[0], layers[0].bias[0] = 0.0, -1.0  # never above 0
    images = overview(layers, (RELU, SIGMOID), TRAIN).axes[0].images
    dead = [image.to_rgba(image.get_array())[..., :3] for image in images if np.ptp(image.get_array()) == 0]
    assert len(dead) == 1
    assert dead[0].min() > 0.99
