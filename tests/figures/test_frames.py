"""Frames of a figure whose data change are those of the whole figure, drawn anew."""

import numpy as np
import pytest
import torch
from helpers.figures import TRAIN, VAL, pixels, random_layers
from matplotlib.figure import Figure

from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Layer
from nnmath.figures.frames import Frames
from nnmath.figures.overview import Overview, overview
from nnmath.figures.saturation import Saturation, saturation

CLASSES = torch.eye(3, dtype=torch.float64)[:, torch.arange(80) % 3]
CASES = {
    "two classes": ((2, 4, 1), (TANH, SIGMOID), TRAIN, VAL, {}),
    "ReLU, regression": ((2, 3, 1), (RELU, IDENTITY), (TRAIN[0], TRAIN[0][:1]), None, {"classes": None}),
    "three classes": ((2, 5, 3), (SIGMOID, SIGMOID), (TRAIN[0], CLASSES), None, {"classes": ("a", "b", "c")}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_after_other_epochs(name):
    sizes, activations, train, val, options = CASES[name]
    before = random_layers(*sizes)
    after = [Layer(-2 * weight, -bias) for weight, bias in before]
    costs = torch.tensor([0.3, 0.2, 0.1]), torch.tensor([0.4, 0.1, 0.2]) if val else None
    picture = Overview(before, activations, train, val, epochs=20, **options)
    first = None
    for layers, n in ((before, 2), (after, 3)):
        losses = [0, 10, 20][:n], *(cost if cost is None else cost[:n] for cost in costs)
        picture.update(layers, losses, epoch=10 * n)
        frame = picture.frames.render()
        first = frame if first is None else first
    whole = pixels(overview(after, activations, train, val, losses=losses, epoch=30, **options))[..., :3]
    assert frame.shape == whole.shape
    different = np.abs(frame.astype(int) - whole).max(-1) > 30
    assert different.mean() < 0.002, "but for the order in which edges are drawn"
    assert (np.abs(frame.astype(int) - first).max(-1) > 30).mean() > 0.05


@pytest.mark.parametrize("activation", [SIGMOID, TANH])
def test_saturation_after_other_epochs(activation):
    layers, activations, x = random_layers(2, 3, 1), (activation, SIGMOID), TRAIN[0]
    picture = Saturation(layers, activations, x)
    for factor in (1, 20):
        layers = [Layer(factor * weight, bias) for weight, bias in layers]
        picture.update(layers, epoch=factor)
        frame = picture.frames.render()
    whole = pixels(saturation(layers, activations, x, epoch=20))[..., :3]
    assert (np.abs(frame.astype(int) - whole).max(-1) > 30).mean() < 0.002


def test_the_axis_of_the_losses_grows_with_them():
    layers, activations = random_layers(2, 4, 1), (TANH, SIGMOID)
    picture = Overview(layers, activations, TRAIN, epochs=2)
    for losses in ([0.1], [0.1, 50.0], [0.1, 50.0, torch.inf]):
        picture.update(layers, (range(len(losses)), torch.tensor(losses), None))
        frame = picture.frames.render()
    assert picture.loss_axes.get_ylim() == (0, pytest.approx(55))
    whole = pixels(overview(layers, activations, TRAIN, losses=([0, 1, 2], torch.tensor(losses), None)))[..., :3]
    assert (np.abs(frame.astype(int) - whole).max(-1) > 30).mean() < 0.002


def test_what_does_not_change_is_drawn_once():
    figure = Figure()
    axes = figure.add_subplot()
    (line,) = axes.plot([0, 1], [0, 1], color="red")
    frames = Frames(figure, lambda: [line])
    first = frames.render()
    axes.set_title("new")  # is not among what may change
    line.set_color("blue")
    second = frames.render()
    red, blue = ((first == color).all(-1) for color in ([255, 0, 0], [0, 0, 255]))
    assert red.any()
    assert not blue.any()
    assert not (second == [255, 0, 0]).all(-1).any()
    assert (second == [0, 0, 255]).all(-1).any()
    changed = np.nonzero((first != second).any(-1))[0]
    assert changed.min() > 0.1 * len(first)  # below the title
    assert not line.get_animated()  # savefig and canvas.draw draw it as before


def test_size():
    assert Frames(Figure(figsize=(5, 4)), dpi=140).render().shape == (560, 700, 3)
