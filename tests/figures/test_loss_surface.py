import matplotlib as mpl
import numpy as np
import pytest
import torch
from helpers.figures import assert_readable, parts, words
from helpers.figures import trained_network as run

from nnmath.ensemble.loss_surface import LossSurface
from nnmath.equations import IDENTITY, RELU, SIGMOID
from nnmath.figures.loss_surface import descent, principal_directions
from nnmath.figures.style import BLUE, NOT_FINITE, VERMILION


def test_trajectory_is_drawn_along_its_principal_directions():
    figure = descent(run().path, run().surface, epoch=300)
    upper, _ = figure.axes
    path = next(np.stack(line.get_data()) for line in upper.lines if len(line.get_xdata()) == len(run().path))
    directions, shares = principal_directions(run().path)
    assert np.allclose(path, directions @ (run().path - run().path[-1]).mT, rtol=0, atol=1e-9)
    first, second = (f"{share:.1%} of the motion" for share in shares.tolist())
    labels = {f"direction 1, {first}", f"direction 2\n{second}", "start", "now", "cost C"}
    assert labels | {"descent in weight space, epoch 300"} <= words(figure)
    marked = {line.get_label(): np.ravel(line.get_data()) for line in upper.lines}
    assert np.allclose(marked["start"], path[:, 0])
    assert np.allclose(marked["now"], 0)
    assert path[0, 0] < 0


def test_contours_are_the_cost_on_the_plane():
    upper, _ = descent(run().path, run().surface).axes
    filled, lines = parts(upper, mpl.contour.ContourSet)
    directions, _ = principal_directions(run().path)
    span = filled.levels[-1] - filled.levels[0]
    for level, contour in zip(lines.levels, lines.get_paths(), strict=True):
        if len(contour.vertices):
            theta = run().path[-1] + torch.tensor(contour.vertices) @ directions
            assert float((run().surface.cost(theta) - level).abs().max()) < 0.03 * span
    assert sum(len(contour.vertices) > 0 for contour in lines.get_paths()) > 8


def test_curve_is_the_cost_and_the_tangents_touch_it():
    figure = descent(run().path, run().surface)
    upper, lower = figure.axes
    curve, *others = lower.lines
    s, cost = (np.asarray(data) for data in curve.get_data())
    assert np.allclose(np.interp(0, s, cost), run().surface.cost(run().path[-1:]), rtol=1e-2)
    markers = {line.get_marker(): np.ravel(line.get_data()) for line in others if line.get_marker() in "os"}
    tangents = [line for line in others if line.get_linewidth() == 2]
    start = next(line for line in upper.lines if line.get_label() == "start")
    assert markers["o"][0] == start.get_xdata()[0]
    (minimum,) = [line.get_xdata()[0] for line in others if line.get_linestyle() == "--"]
    assert markers["o"][0] < minimum < markers["s"][0]
    assert abs(minimum - s[cost.argmin()]) < 0.02 * (s[-1] - s[0])
    labels = sorted(text for text in words(figure) if text.startswith("P"))
    for tangent, marker, label, sign in zip(tangents, "os", labels, (-1, 1), strict=True):
        (x1, x2), (y1, y2) = tangent.get_data()
        point, height = markers[marker]
        slope = (y2 - y1) / (x2 - x1)
        difference = np.interp(point, s, np.gradient(cost, s))
        assert abs(slope - difference) < 0.02 * np.abs(np.gradient(cost, s)).max()
        assert np.sign(slope) == sign
        assert abs((y1 + y2) / 2 - height) < 1e-12
        assert abs(np.interp(point, s, cost) - height) < 1e-3 * (cost.max() - cost.min())
        name, change, colour = ("P1", "grows", BLUE) if sign < 0 else ("P2", "shrinks", VERMILION)
        assert label == f"{name}: slope {slope:.2g}, θ {change}".replace("-", "−")
        assert tangent.get_color() == colour


STILL = torch.arange(17.0).expand(4, 17)
ONE_SAMPLE = torch.ones(1, 1)
OVERFLOW = LossSurface((1, 1), (IDENTITY,), ONE_SAMPLE, ONE_SAMPLE)
MESSAGES = {
    "one point": (STILL[:1], None, "the parameters have not moved yet"),
    "no motion": (STILL, None, "the parameters have not moved yet"),
    "all zeros": (0 * STILL, None, "the parameters have not moved yet"),
    "nan": (torch.cat([STILL, STILL * torch.nan]), None, NOT_FINITE),
    "inf": (torch.cat([STILL, STILL + torch.inf]), None, NOT_FINITE),
    "infinite cost": (torch.tensor([[0.0, 0.0], [1e30, 1e30]]), OVERFLOW, "the cost is not finite here"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message_where_there_is_nothing_to_draw(name):
    path, surface, message = MESSAGES[name]
    figure = descent(path, surface or run().surface, epoch=3)
    assert words(figure) == {"descent in weight space, epoch 3", message}
    assert_readable(figure)


def test_without_a_minimum_there_is_no_p2():
    """A neuron that reaches the target of its only sample at infinity."""
    path = torch.linspace(0, 3, 5, dtype=torch.float64)[:, None].expand(5, 2)
    figure = descent(path, LossSurface((1, 1), (SIGMOID,), ONE_SAMPLE.double(), ONE_SAMPLE.double()))
    assert "no minimum to the right" in words(figure)
    assert sum(text.startswith("P") for text in words(figure)) == 1
    assert_readable(figure)


def test_constant_cost():
    """A ReLU that is dead everywhere on the plane."""
    path = torch.tensor([[5.0, -1000.0], [5.0, -1001.0], [5.5, -1001.0]])
    figure = descent(path, LossSurface((1, 1), (RELU,), -torch.ones(1, 3), torch.ones(1, 3)))
    assert "P1: slope 0, θ stays" in {text.replace("−0", "0") for text in words(figure)}
    assert_readable(figure)
