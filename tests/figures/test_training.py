"""The figures of a network in training, read back: what is drawn is what the equations give."""

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers.figures import assert_drawn_in_colours, assert_readable, pixels, words
from matplotlib.colors import to_hex
from torch import nn

from nnmath.ensemble.loss_surface import LossSurface, flatten
from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Layer, forward, training_step, zero_velocities
from nnmath.figures import decision_boundary, loss_surface, network_diagram, saturation
from nnmath.figures.style import BLACK, BLUE, NOT_FINITE, VERMILION

UNITS = {"x_mean": [10.0, -300.0], "x_std": [2.0, 50.0]}
LONG = ("mean concavity of the nuclei's outlines", "worst fractal dimension, in nuclei per inch")


def made(*sizes, dtype=torch.float64):
    """Layers drawn at random."""
    torch.manual_seed(0)
    return [Layer(torch.randn(o, i, dtype=dtype), torch.randn(o, dtype=dtype)) for i, o in pairwise(sizes)]


def samples(n, seed):
    """Two classes that a curve divides."""
    x = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x, (x[1:] > x[:1] ** 2 - 1).double()


TRAIN, VAL = samples(80, 1), samples(30, 2)


@pytest.fixture(scope="module")
def run():
    """Network 2-4-1 after each tenth epoch, and its parameters."""
    torch.set_num_threads(1)
    layers, activations = made(2, 4, 1), (TANH, SIGMOID)
    velocities, kept = zero_velocities(layers), [layers]
    for epoch in range(1, 301):
        layers, velocities = training_step(*TRAIN, layers, velocities, activations, 0.5, 0.9)
        kept += [layers] if epoch % 10 == 0 else []
    return kept, torch.stack([flatten(layers) for layers in kept]), LossSurface((2, 4, 1), activations, *TRAIN)


@pytest.fixture(scope="module")
def trained(run):
    return run[0][-1]


def boundary(layers, *args, activations=(TANH, SIGMOID), **options):
    return decision_boundary.decision_boundary(layers, activations, *args, **options)


def contours(axes):
    return [part for part in axes.collections if isinstance(part, mpl.contour.ContourSet)]


# --- decision boundary -----------------------------------------------------------------------------------------------


def test_the_line_is_where_the_output_is_a_half(trained):
    figure = boundary(trained, TRAIN, VAL, **UNITS, y_mean=0.0, y_std=1.0)
    _, line = contours(figure.axes[0])
    (path,) = line.get_paths()
    x = (torch.tensor(path.vertices).mT - torch.tensor([[10.0], [-300.0]])) / torch.tensor([[2.0], [50.0]])
    assert x.shape[1] > 50
    assert float((forward(x, trained, (TANH, SIGMOID))[-1] - 0.5).abs().max()) < 0.02
    assert to_hex(line.get_edgecolor()[0]) == BLACK


def test_the_filled_contours_are_the_output(trained):
    figure = boundary(trained, TRAIN, **UNITS)
    axes = figure.axes[0]
    filled, _ = contours(axes)
    assert np.allclose(filled.levels, np.linspace(0, 1, 11))
    spots = torch.cartesian_prod(torch.linspace(*axes.get_xlim(), 9)[1:-1], torch.linspace(*axes.get_ylim(), 9)[1:-1])
    x = ((spots - torch.tensor(UNITS["x_mean"])) / torch.tensor(UNITS["x_std"])).mT.double()
    bands = np.linspace(0, 1, 11)
    for spot, output in zip(spots.tolist(), forward(x, trained, (TANH, SIGMOID))[-1][0].tolist()):
        within = [k for k, path in enumerate(filled.get_paths()) if path.contains_point(spot)]
        assert any(bands[k - 1] - 0.01 <= output <= bands[k] + 0.01 for k in within)  # the first band is below 0


def test_classes_differ_in_colour_and_marker_and_validation_is_hollow(trained):
    figure = boundary(trained, TRAIN, VAL, classes=("no", "yes"), **UNITS)
    looks = {}
    for line in figure.axes[0].lines:
        looks[line.get_marker(), line.get_color(), line.get_markerfacecolor()] = np.stack(line.get_data())
    assert list(looks) == [
        *(("o", VERMILION, VERMILION), ("^", BLUE, BLUE)),
        *(("o", VERMILION, "white"), ("^", BLUE, "white")),
    ]
    for (x, y), k, places in zip((TRAIN, TRAIN, VAL, VAL), (0, 1, 0, 1), looks.values(), strict=True):
        mine = x[:, y[0] == k] * torch.tensor([[2.0], [50.0]]) + torch.tensor([[10.0], [-300.0]])
        assert np.allclose(places, mine.numpy(), rtol=1e-12)
    assert {"no", "yes", "O = ½", "hollow: validation"} <= words(figure)
    assert "hollow: validation" not in words(boundary(trained, TRAIN))


def test_the_axes_are_in_the_datas_units_or_say_they_are_not(trained):
    told = words(boundary(trained, TRAIN, features=("age", "size"), **UNITS, epoch=1000))
    assert {"age", "size", "decision boundary, epoch 1,000"} <= told
    figure = boundary(trained, TRAIN, features=("age", "size"))
    assert {"age, standardised", "size, standardised", "decision boundary"} <= words(figure)
    low, high = figure.axes[0].get_xlim()
    assert low < float(TRAIN[0][0].min()) < low + 0.5
    assert high - 0.5 < float(TRAIN[0][0].max()) < high


def test_a_regression_has_one_scale_for_output_and_targets():
    x, _ = TRAIN
    y, v = x[:1] * 2, VAL[0][:1] * 2
    layers = made(2, 3, 1)
    options = {"activations": (TANH, IDENTITY), "classes": None, "target": "price", "y_mean": 100.0, "y_std": 10.0}
    figure = boundary(layers, (x, y), (VAL[0], v), **options)
    (filled,) = contours(figure.axes[0])
    train, val = (part for part in figure.axes[0].collections if part is not filled)
    assert np.allclose(train.get_array(), 100 + 10 * y[0].numpy())
    assert np.allclose(val.get_array(), 100 + 10 * v[0].numpy())
    scale = (filled.levels[0], filled.levels[-1])
    output = 100 + 10 * forward(x, layers, (TANH, IDENTITY))[-1]
    assert scale[0] <= min(float(output.min()), 100 + 10 * float(y.min()))
    assert scale[1] >= max(float(output.max()), 100 + 10 * float(y.max()))
    assert train.get_clim() == val.get_clim() == filled.get_clim() == scale
    assert {"price, training", "price, validation", "output over the plane"} <= words(figure)
    assert "O = ½" not in words(figure)


def test_of_many_samples_a_thousand_are_drawn(trained):
    x, y = samples(5000, 3)
    lines = boundary(trained, (x, y)).axes[0].lines
    drawn = np.concatenate([np.stack(line.get_data()) for line in lines], 1)
    assert drawn.shape == (2, 1000)
    assert len(np.unique(drawn, axis=1).T) == 1000
    assert {tuple(place) for place in drawn.T.tolist()} <= {tuple(place) for place in x.T.tolist()}


def test_parameters_that_require_gradients_are_read_and_left(trained):
    layers = [Layer(*(nn.Parameter(p.bfloat16()) for p in layer)) for layer in trained]
    for figure in (
        boundary(layers, TRAIN),
        network_diagram.network(layers),
        saturation.saturation(layers, (TANH, SIGMOID), TRAIN[0]),
    ):
        pixels(figure)
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.bfloat16 for layer in layers for p in layer)


@pytest.mark.parametrize("sizes", [(3, 1), (2, 4, 2)])
def test_other_than_two_inputs_and_one_output_is_refused(sizes):
    message = f"layers must have two inputs and one output, got {sizes[0]} and {sizes[-1]}"
    with pytest.raises(ValueError, match=message):
        boundary(made(*sizes), TRAIN)


# --- network ---------------------------------------------------------------------------------------------------------


def connections(figure):
    return [part for part in figure.axes[0].collections if isinstance(part, mpl.collections.LineCollection)]


def circles(figure):
    return [part for part in figure.axes[0].collections if isinstance(part, mpl.collections.PathCollection)]


def test_each_weight_is_a_line_as_wide_as_it_is_large():
    layers = made(2, 4, 1)
    figure = network_diagram.network(layers)
    largest = max(float(p.abs().max()) for layer in layers for p in layer)
    columns = [part.get_offsets() for part in circles(figure)]
    for part, (weight, _), here, there in zip(connections(figure), layers, columns[:-1], columns[1:], strict=True):
        expected = weight.flatten()
        assert np.allclose(part.get_linewidth(), 0.3 + 4.7 * expected.abs() / largest)
        assert [to_hex(c).upper() for c in part.get_color()] == [BLUE if w > 0 else VERMILION for w in expected]
        assert [pattern is None for _, pattern in part.get_linestyle()] == (expected > 0).tolist()
        ends = np.array([segment.ravel() for segment in part.get_segments()])
        assert np.allclose(ends, [[*start, *end] for end in there for start in here])
    assert f"widest: {largest:.3g}" in words(figure)


def test_each_bias_is_its_neurons_ring():
    layers = made(2, 4, 1)
    inputs, *rings = circles(network_diagram.network(layers))
    largest = max(float(p.abs().max()) for layer in layers for p in layer)
    assert len(inputs.get_offsets()) == 2
    assert [to_hex(c) for c in inputs.get_edgecolor()] == [BLACK]
    for ring, (_, bias) in zip(rings, layers, strict=True):
        assert np.allclose(ring.get_linewidth(), 0.3 + 4.7 * bias.abs() / largest)
        assert [to_hex(c).upper() for c in ring.get_edgecolor()] == [BLUE if b > 0 else VERMILION for b in bias]


def test_neurons_have_names():
    figure = network_diagram.network(made(2, 4, 1), features=("age", "size"), target="price", epoch=20)
    names = {"x₁", "x₂", "h₁", "h₄", "O", "age", "size", "price", "w > 0", "w < 0", "b", "2-4-1, epoch 20"}
    assert names <= words(figure)
    assert {"O₁", "O₂"} <= words(network_diagram.network(made(2, 2), target="price"))
    assert "price" not in words(network_diagram.network(made(2, 2), target="price"))


def test_of_a_wide_layer_six_neurons_are_drawn_and_the_rest_counted():
    figure = network_diagram.network(made(8, 9, 1))
    assert [len(part.get_offsets()) for part in circles(figure)] == [8, 6, 1]
    assert [len(part.get_segments()) for part in connections(figure)] == [48, 6]
    assert "… and 3 more" in words(figure)
    assert "+58" in words(network_diagram.network(made(2, 64, 64, 1)))


def test_of_a_deep_network_both_ends_are_drawn():
    figure = network_diagram.network(made(*[2] * 31))
    assert len(circles(figure)) == 7
    assert len(connections(figure)) == 5  # none across the gap
    assert {"… 24 more …", "30 layers"} <= words(figure)
    assert len(circles(network_diagram.network(made(*[2] * 8)))) == 8


def test_weights_of_nothing_can_be_drawn():
    assert_readable(network_diagram.network([Layer(torch.zeros(1, 1), torch.zeros(1))]))


# --- descent ---------------------------------------------------------------------------------------------------------


def test_the_path_is_seen_along_its_main_directions(run):
    _, path, landscape = run
    figure = loss_surface.descent(path, landscape, epoch=300)
    plan, _ = figure.axes
    way = next(np.stack(line.get_data()) for line in plan.lines if len(line.get_xdata()) == len(path))
    centred = (path - path.mean(0)).numpy()
    values, vectors = np.linalg.eigh(centred.T @ centred)  # the same directions another way
    for k, coordinate in enumerate(way, start=1):
        expected = (path - path[-1]).numpy() @ vectors[:, -k]
        assert min(np.abs(coordinate - expected).max(), np.abs(coordinate + expected).max()) < 1e-9
    shares = [f"{share:.1%} of the motion" for share in values[::-1][:2] / values.sum()]
    expected = {f"direction 1, {shares[0]}", f"direction 2\n{shares[1]}", "start", "now", "cost C"}
    assert expected | {"descent in weight space, epoch 300"} <= words(figure)
    marked = {line.get_label(): np.ravel(line.get_data()) for line in plan.lines}
    assert np.allclose(marked["start"], way[:, 0])
    assert np.allclose(marked["now"], 0)
    assert way[0, 0] < 0


def test_the_plane_is_the_cost_of_its_networks(run):
    _, path, landscape = run
    plan, _ = loss_surface.descent(path, landscape).axes
    filled, lines = contours(plan)
    centred = path - path.mean(0)
    directions = torch.linalg.svd(centred).Vh[:2]
    directions = directions * ((path[-1] - path[0]) @ directions.mT).sign()[:, None]
    span = filled.levels[-1] - filled.levels[0]
    for level, contour in zip(lines.levels, lines.get_paths(), strict=True):
        if len(contour.vertices):
            theta = path[-1] + torch.tensor(contour.vertices) @ directions
            assert float((landscape.cost(theta) - level).abs().max()) < 0.03 * span
    assert sum(len(contour.vertices) > 0 for contour in lines.get_paths()) > 8


def test_the_cut_is_the_cost_and_its_tangents_touch_it(run):
    _, path, landscape = run
    figure = loss_surface.descent(path, landscape)
    plan, cut = figure.axes
    curve, *others = cut.lines
    s, cost = (np.asarray(data) for data in curve.get_data())
    assert np.allclose(np.interp(0, s, cost), landscape.cost(path[-1:]), rtol=1e-2)
    markers = {line.get_marker(): np.ravel(line.get_data()) for line in others if line.get_marker() in "os"}
    tangents = [line for line in others if line.get_linewidth() == 2]
    start = next(line for line in plan.lines if line.get_label() == "start")
    assert markers["o"][0] == start.get_xdata()[0]
    (minimum,) = [line.get_xdata()[0] for line in others if line.get_linestyle() == "--"]
    assert markers["o"][0] < minimum < markers["s"][0]
    assert abs(minimum - s[cost.argmin()]) < 0.02 * (s[-1] - s[0])
    told = sorted(text for text in words(figure) if text.startswith("P"))
    for tangent, marker, text, sign in zip(tangents, "os", told, (-1, 1), strict=True):
        (x1, x2), (y1, y2) = tangent.get_data()
        place, height = markers[marker]
        slope = (y2 - y1) / (x2 - x1)
        difference = np.interp(place, s, np.gradient(cost, s))
        assert abs(slope - difference) < 0.02 * np.abs(np.gradient(cost, s)).max()
        assert np.sign(slope) == sign
        assert abs((y1 + y2) / 2 - height) < 1e-12
        assert abs(np.interp(place, s, cost) - height) < 1e-3 * (cost.max() - cost.min())
        goes = "grows" if sign < 0 else "shrinks"
        assert text == f"P{1 if sign < 0 else 2}: slope {slope:.2g}, θ {goes}".replace("-", "−")
        assert tangent.get_color() == (BLUE if sign < 0 else VERMILION)


def test_without_a_minimum_there_is_no_p2():
    """One neuron that has its sample learnt in the end, at infinity."""
    landscape = LossSurface((1, 1), (SIGMOID,), torch.ones(1, 1).double(), torch.ones(1, 1).double())
    path = torch.linspace(0, 3, 5, dtype=torch.float64)[:, None].expand(5, 2)
    figure = loss_surface.descent(path, landscape)
    assert "no minimum to the right" in words(figure)
    assert sum(text.startswith("P") for text in words(figure)) == 1
    assert_readable(figure)


STILL = torch.arange(17.0).expand(4, 17)
NO_WAY = {
    "one point": (STILL[:1], "nothing has moved yet"),
    "no motion": (STILL, "nothing has moved yet"),
    "nothing at all": (0 * STILL, "nothing has moved yet"),
    "nan": (torch.cat([STILL, STILL * torch.nan]), NOT_FINITE),
    "inf": (torch.cat([STILL, STILL + torch.inf]), NOT_FINITE),
}


@pytest.mark.parametrize("name", NO_WAY)
def test_a_path_that_goes_nowhere_is_told(run, name):
    path, text = NO_WAY[name]
    figure = loss_surface.descent(path, run[2], epoch=3)
    assert words(figure) == {"descent in weight space, epoch 3", text}
    assert_readable(figure)


def test_a_cost_beyond_the_numbers_is_told():
    landscape = LossSurface((1, 1), (IDENTITY,), torch.ones(1, 1), torch.ones(1, 1))
    path = torch.tensor([[0.0, 0.0], [1e30, 1e30]])
    assert "the cost is no finite number here" in words(loss_surface.descent(path, landscape))


def test_a_landscape_without_slopes_can_be_drawn():
    """A ReLU that is dead wherever one looks."""
    landscape = LossSurface((1, 1), (RELU,), -torch.ones(1, 3), torch.ones(1, 3))
    path = torch.tensor([[5.0, -1000.0], [5.0, -1001.0], [5.5, -1001.0]])
    figure = loss_surface.descent(path, landscape)
    assert "P1: slope 0, θ stays" in {text.replace("−0", "0") for text in words(figure)}
    assert_readable(figure)


# --- saturation ------------------------------------------------------------------------------------------------------


def rows_of(figure):
    """The histograms from top to bottom: edges, heights above the base, colour."""
    stairs = [patch for patch in figure.axes[1].patches if isinstance(patch, mpl.patches.StepPatch)]
    data = [patch.get_data() for patch in stairs]
    return [(d.edges, d.values - d.baseline, to_hex(p.get_facecolor()).upper()) for d, p in zip(data, stairs)]


@pytest.mark.parametrize(("activation", "low"), [(SIGMOID, 0), (TANH, -1)])
def test_each_neuron_has_the_histogram_of_its_activations(activation, low):
    layers = made(2, 3, 1)
    x = TRAIN[0] * 3
    hidden = forward(x, layers, (activation, SIGMOID))[1]
    figure = saturation.saturation(layers, (activation, SIGMOID), x, epoch=7)
    for (edges, heights, _), h in zip(rows_of(figure), hidden, strict=True):
        assert np.allclose(edges, np.linspace(low, 1, 41))
        counts, _ = np.histogram(h, np.linspace(low, 1, 41))
        assert np.allclose(heights, 0.85 * counts / counts.max())
    assert {"h₁", "h₂", "h₃", "activation h", "saturated", "hidden activations, epoch 7"} <= words(figure)


def test_the_saturated_zone_and_its_share():
    layers = [Layer(torch.tensor([[1.0], [20.0]]), torch.zeros(2)), *made(2, 1, dtype=torch.float32)]
    x = torch.linspace(-1, 1, 101)[None]
    figure = saturation.saturation(layers, (SIGMOID, SIGMOID), x)
    h = torch.sigmoid(torch.tensor([[1.0], [20.0]]) @ x)
    shares = (h * (1 - h) < 0.025).double().mean(1)
    assert float(shares[1]) > 0.5 > float(shares[0])
    percents = [text.get_text() for text in figure.axes[1].texts if "%" in text.get_text()]
    assert percents == [f"{share:.0%}" for share in shares.tolist()]
    assert [colour for *_, colour in rows_of(figure)] == [BLUE, VERMILION]
    for axes in figure.axes:
        zones = [path.vertices[:, 0] for path in axes.collections[0].get_paths()]
        assert len(zones) == 2
        edge = 0.5 - 0.5 * (1 - 4 * 0.025) ** 0.5  # h (1 − h) = 1/40
        assert abs(zones[0].max() - edge) < 0.002
        assert abs(zones[1].min() - (1 - edge)) < 0.002
    curve = figure.axes[0].lines[0]
    h = np.clip(curve.get_xdata(), 0, 1)
    assert np.allclose(curve.get_ydata(), h * (1 - h), atol=1e-7)
    assert {"σ′(z)", "σ′(z) = h (1 − h)"} <= words(figure)


def test_a_relu_that_passes_nothing_is_dead():
    weights = torch.tensor([[1.0], [0.0], [1.0]])
    layers = [Layer(weights, torch.tensor([0.0, -1.0, 2.0])), *made(3, 1, dtype=torch.float32)]
    figure = saturation.saturation(layers, (RELU, SIGMOID), torch.linspace(-1, 1, 100)[None])
    said = [text.get_text() for text in figure.axes[1].texts]
    assert said[1::2] == ["50%", "dead", "0%"]
    assert "h = 0" in words(figure)
    assert rows_of(figure)[0][0][0] == 0


def test_all_dead_and_constant_can_be_drawn():
    layers = [Layer(torch.zeros(2, 1), -torch.ones(2)), *made(2, 1, dtype=torch.float32)]
    for activation in (RELU, IDENTITY):
        assert_readable(saturation.saturation(layers, (activation, SIGMOID), torch.ones(1, 5)))


def test_the_identity_is_never_saturated():
    figure = saturation.saturation(made(2, 3, 1), (IDENTITY, SIGMOID), TRAIN[0])
    assert [text.get_text() for text in figure.axes[1].texts][1::2] == ["0%"] * 3
    assert not figure.axes[0].collections[0].get_paths()


def test_several_layers_have_their_numbers_and_eight_neurons_in_all():
    figure = saturation.saturation(made(2, 5, 3, 1), (TANH, TANH, SIGMOID), TRAIN[0])
    names = [text.get_text() for text in figure.axes[1].texts][::2]
    assert names == ["h₁⁽¹⁾", "h₂⁽¹⁾", "h₃⁽¹⁾", "h₄⁽¹⁾", "h₁⁽²⁾", "h₂⁽²⁾", "h₃⁽²⁾"]
    assert "activation h (neurons not drawn: 1)" in words(figure)
    second = forward(TRAIN[0], made(2, 5, 3, 1), (TANH, TANH, SIGMOID))[2][0]
    counts, _ = np.histogram(second, np.linspace(-1, 1, 41))
    assert np.allclose(rows_of(figure)[4][1], 0.85 * counts / counts.max())


def test_without_hidden_layers_or_with_different_ones_it_is_refused():
    with pytest.raises(ValueError, match="got 0 hidden layers"):
        saturation.saturation(made(2, 1), (SIGMOID,), TRAIN[0])
    with pytest.raises(ValueError, match="got 2 hidden layers with 2"):
        saturation.saturation(made(2, 3, 3, 1), (TANH, RELU, SIGMOID), TRAIN[0])


# --- all of them -----------------------------------------------------------------------------------------------------

LARGE = (TRAIN[0] * 1e7, TRAIN[1])
DRAWN = {
    "boundary": lambda run: boundary(run[0][-1], TRAIN, VAL, epoch=300),
    "boundary, untrained": lambda run: boundary(made(2, 4, 1), TRAIN, VAL, epoch=0),
    "boundary, large numbers": lambda run: boundary(
        run[0][-1],
        TRAIN,
        VAL,
        features=LONG,
        classes=("a class with a long name", "W" * 40),
        x_mean=[20150.0, -1e-5],
        x_std=[3.0, 1.234e-7],
        epoch=123456,
    ),
    "regression, large numbers": lambda run: boundary(
        made(2, 3, 1),
        (TRAIN[0], TRAIN[0][:1]),
        (VAL[0], VAL[0][:1]),
        activations=(TANH, IDENTITY),
        features=LONG,
        target="price of the house in thousands of dollars",
        classes=None,
        y_mean=-1.2345e6,
        y_std=4321.0,
        epoch=123456,
    ),
    "network": lambda run: network_diagram.network(run[0][-1], epoch=300),
    "network, long names": lambda run: network_diagram.network(
        made(2, 64, 64, 1), features=LONG, target=LONG[0], epoch=123456
    ),
    "network, large": lambda run: network_diagram.network(made(*[8] * 8)),
    "network, deep": lambda run: network_diagram.network(made(*[100] * 50), epoch=123456),
    "descent": lambda run: loss_surface.descent(run[1], run[2], epoch=300),
    "descent, two points": lambda run: loss_surface.descent(run[1][:2], run[2], epoch=123456),
    "descent, small steps": lambda run: loss_surface.descent(run[1][0] + 1e-5 * run[1], run[2], epoch=123456),
    "descent, large steps": lambda run: loss_surface.descent(-1e4 * run[1], run[2], epoch=123456),
    "saturation": lambda run: saturation.saturation(run[0][-1], (TANH, SIGMOID), TRAIN[0], epoch=300),
    "saturation, large numbers": lambda run: saturation.saturation(
        made(2, *[30] * 9, 1), (*[RELU] * 9, SIGMOID), LARGE[0], epoch=123456
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_it_is_drawn_readable_and_nothing_is_cut_off(run, name):
    figure = DRAWN[name](run)
    assert_drawn_in_colours(figure)
    assert_readable(figure)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_has_diverged_is_told(value):
    first, last = made(2, 4, 1)
    layers = [first, Layer(last.weight, last.bias * value)]
    for figure in (
        boundary(layers, TRAIN, epoch=5),
        network_diagram.network(layers, epoch=5),
        saturation.saturation(layers, (TANH, SIGMOID), TRAIN[0], epoch=5),
    ):
        assert NOT_FINITE in words(figure)
        assert any("epoch 5" in text for text in words(figure))
        assert_readable(figure)


def test_no_figure_stays_behind_in_pyplot(run):
    import matplotlib.pyplot as plt

    for name in ("boundary", "network", "descent", "saturation"):
        DRAWN[name](run)
    assert plt.get_fignums() == []
