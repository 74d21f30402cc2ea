import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers.figures import (
    TRAIN,
    VAL,
    assert_drawn_in_colours,
    assert_readable,
    parts,
    random_layers,
    trained_network,
    two_classes,
    words,
)
from matplotlib.colors import to_hex

from nnmath.equations import IDENTITY, SIGMOID, TANH, Layer, forward
from nnmath.figures.decision_boundary import decision_boundary
from nnmath.figures.style import BLACK, BLUE, VERMILION

UNITS = {"x_mean": [10.0, -300.0], "x_std": [2.0, 50.0]}
MEAN, STD = (torch.tensor(values)[:, None] for values in UNITS.values())


def boundary(*samples, **options):
    return decision_boundary(trained_network().layers, (TANH, SIGMOID), *samples, **options)


def output(x):
    return forward(x, trained_network().layers, (TANH, SIGMOID))[-1]


def contours(figure):
    return parts(figure.axes[0], mpl.contour.ContourSet)


def test_line_is_where_the_output_is_one_half():
    _, line = contours(boundary(TRAIN, VAL, **UNITS, y_mean=0.0, y_std=1.0))
    (path,) = line.get_paths()
    x = (torch.tensor(path.vertices).mT - MEAN) / STD
    assert x.shape[1] > 50
    assert float((output(x) - 0.5).abs().max()) < 0.02
    assert to_hex(line.get_edgecolor()[0]) == BLACK


def test_filled_contours_are_the_output():
    figure = boundary(TRAIN, **UNITS)
    (axes, _), (filled, _) = figure.axes, contours(figure)
    bands = np.linspace(0, 1, 11)
    assert np.allclose(filled.levels, bands)
    points = torch.cartesian_prod(torch.linspace(*axes.get_xlim(), 9)[1:-1], torch.linspace(*axes.get_ylim(), 9)[1:-1])
    outputs = output(((points.mT - MEAN) / STD).double())[0]
    for point, value in zip(points.tolist(), outputs.tolist(), strict=True):
        regions = [k for k, path in enumerate(filled.get_paths()) if path.contains_point(point)]
        assert any(bands[k - 1] - 0.01 <= value <= bands[k] + 0.01 for k in regions)  # region 0 is below 0


def test_classes_differ_in_colour_and_marker_and_validation_markers_are_open():
    figure = boundary(TRAIN, VAL, classes=("no", "yes"), **UNITS)
    looks = {
        (line.get_marker(), line.get_color(), line.get_markerfacecolor()): np.stack(line.get_data())
        for line in figure.axes[0].lines
    }
    assert list(looks) == [
        *(("o", VERMILION, VERMILION), ("^", BLUE, BLUE)),
        *(("o", VERMILION, "white"), ("^", BLUE, "white")),
    ]
    for (x, y), k, points in zip((TRAIN, TRAIN, VAL, VAL), (0, 1, 0, 1), looks.values(), strict=True):
        assert np.allclose(points, (x[:, y[0] == k] * STD + MEAN).numpy(), rtol=1e-12)
    assert {"no", "yes", "O = ½", "open: validation"} <= words(figure)
    assert "open: validation" not in words(boundary(TRAIN))


def test_targets_other_than_0_and_1_are_drawn():
    x, y = TRAIN
    drawn, as_classes = (
        [line.get_xdata().tolist() for line in boundary((x, targets)).axes[0].lines] for targets in (0.1 + 0.8 * y, y)
    )
    assert drawn == as_classes


def test_axes_are_in_the_units_of_the_data_or_labelled_as_standardised():
    options = {"features": ("age", "size")}
    labels = words(boundary(TRAIN, **options, **UNITS, epoch=1000))
    assert {"age", "size", "decision boundary, epoch 1,000"} <= labels
    figure = boundary(TRAIN, **options)
    assert {"age, standardised", "size, standardised", "decision boundary"} <= words(figure)
    low, high = figure.axes[0].get_xlim()
    assert low < float(TRAIN[0][0].min()) < low + 0.5
    assert high - 0.5 < float(TRAIN[0][0].max()) < high


def test_regression_has_one_colour_scale_for_output_and_targets():
    x, y, v = TRAIN[0], TRAIN[0][:1] * 2, VAL[0][:1] * 2
    layers, activations = random_layers(2, 3, 1), (TANH, IDENTITY)
    options = {"classes": None, "target": "price", "y_mean": 100.0, "y_std": 10.0}
    figure = decision_boundary(layers, activations, (x, y), (VAL[0], v), **options)
    (filled,) = contours(figure)
    train, val = (part for part in figure.axes[0].collections if part is not filled)
    assert np.allclose(train.get_array(), 100 + 10 * y[0].numpy())
    assert np.allclose(val.get_array(), 100 + 10 * v[0].numpy())
    scale = (filled.levels[0], filled.levels[-1])
    assert scale[0] <= 100 + 10 * float(y.min())
    assert scale[1] >= 100 + 10 * float(y.max())
    assert filled.extend == "both"  # of outputs beyond the targets; the scale is the same in all epochs
    assert train.get_clim() == val.get_clim() == filled.get_clim() == scale
    assert {"price, training", "price, validation", "output over the plane"} <= words(figure)
    assert "O = ½" not in words(figure)


def test_at_most_a_thousand_samples_are_drawn():
    x, y = two_classes(5000, 3)
    points = np.concatenate([np.stack(line.get_data()) for line in boundary((x, y)).axes[0].lines], 1)
    assert points.shape == (2, 1000)
    assert len(np.unique(points, axis=1).T) == 1000
    assert {tuple(point) for point in points.T.tolist()} <= {tuple(point) for point in x.T.tolist()}


@pytest.mark.parametrize("sizes", [(3, 1), (2, 4, 2)])
def test_refuses_other_than_two_inputs_and_one_output(sizes):
    message = f"layers must have two inputs and one output, got {sizes[0]} and {sizes[-1]}"
    with pytest.raises(ValueError, match=message):
        decision_boundary(random_layers(*sizes), (TANH, SIGMOID), TRAIN)


def three_classes():
    """A network that assigns a point to the largest of x₁, x₂ and −x₁ − x₂, and points of each class."""
    layer = Layer(torch.tensor([[1.0, 0], [0, 1], [-1, -1]]), torch.zeros(3))
    x = torch.tensor([[2.0, 0.5, -2, 1], [0.5, 2, -2, 0]])
    return [layer], (x, torch.eye(3)[:, [0, 1, 2, 0]])


def test_regions_of_three_classes():
    layers, samples = three_classes()
    figure = decision_boundary(layers, (IDENTITY,), samples, classes=("left", "up", "down"))
    axes = figure.axes[0]
    assert {"left", "up", "down"} <= words(figure)
    filled = [part for part in contours(figure) if part.filled]
    assert [len(part.get_paths()) for part in filled] == [1, 1, 1]
    for part, inside in zip(filled, ((1.5, 0), (0, 1.5), (-1, -1)), strict=True):
        assert part.get_paths()[0].contains_point(inside)
    markers = [line for line in axes.lines if len(line.get_xdata())]
    assert sorted(len(line.get_xdata()) for line in markers) == [1, 1, 2]
    assert_drawn_in_colours(figure)
    assert_readable(figure)
