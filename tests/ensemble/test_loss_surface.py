"""The cost over all parameters, against the Module's, and the way through it on paths that are known."""

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from nnmath.ensemble import loss_surface as landscape
from nnmath.ensemble.loss_surface import LossSurface, flatten, unflatten
from nnmath.equations import SIGMOID, TANH, Layer
from nnmath.figures.loss_surface import locate_minimum, principal_directions
from nnmath.network import HalfMSELoss, Network

SIZES = (2, 5, 3, 1)
ACTIVATIONS = (TANH, TANH, SIGMOID)


def networks(count):
    return [Network(SIZES, hidden="tanh", backward="autograd", dtype=torch.float64) for _ in range(count)]


def layers_of(network):
    return [Layer(linear.weight.detach(), linear.bias.detach()) for linear in network.linears]


def samples(n=20):
    return torch.randn(2, n, dtype=torch.float64), torch.rand(1, n, dtype=torch.float64)


def test_parameters_lie_as_torch_lays_them():
    (network,) = networks(1)
    assert torch.equal(flatten(layers_of(network)), parameters_to_vector(network.parameters()))


def test_layers_come_back_from_the_parameters_of_a_stack():
    theta = torch.stack([flatten(layers_of(network)) for network in networks(4)])
    layers = unflatten(theta, SIZES)
    assert [tuple(weight.shape) for weight, _ in layers] == [(4, 5, 2), (4, 3, 5), (4, 1, 3)]
    assert torch.equal(flatten(layers), theta)


def test_too_few_parameters_are_refused():
    with pytest.raises(ValueError, match=r"theta must have 37 parameters for sizes=\(2, 5, 3, 1\), got 36"):
        unflatten(torch.zeros(7, 36), SIZES)


@pytest.mark.parametrize("at_once", [1, 250, 2**20])
def test_cost_and_gradient_are_the_modules(monkeypatch, at_once):
    """However many places there are at a time."""
    monkeypatch.setattr(landscape, "AT_ONCE", at_once)
    x, y = samples()
    nets = networks(5)
    theta = torch.stack([flatten(layers_of(network)) for network in nets])
    here = LossSurface(SIZES, ACTIVATIONS, x, y)
    costs, gradients = here.cost(theta), here.gradient(theta)
    assert costs.shape == (5,)
    for network, cost, gradient in zip(nets, costs, gradients, strict=True):
        loss = HalfMSELoss(backward="autograd")(network(x.mT), y.mT)
        expected = parameters_to_vector(torch.autograd.grad(loss, list(network.parameters())))
        assert float(abs(cost - loss.detach())) < 1e-15
        assert float((gradient - expected).abs().max()) < 1e-15


def test_places_in_float64_are_answered_in_float64():
    x, y = (part.float() for part in samples())
    here = LossSurface(SIZES, ACTIVATIONS, x, y)
    theta = torch.randn(3, 37, dtype=torch.float64)
    assert here.cost(theta).dtype == here.gradient(theta).dtype == torch.float64
    assert torch.equal(here.cost(theta).float(), here.cost(theta.float()))


def test_the_main_directions_of_a_known_path():
    """An ellipse, three times as long as wide, in a plane of 17 dimensions."""
    plane = torch.linalg.qr(torch.randn(17, 2, dtype=torch.float64)).Q.mT  # (2, 17)
    phi = torch.linspace(-torch.pi, 0, 401, dtype=torch.float64)[:, None]
    path = 5 + 3 * phi.cos() * plane[0] + phi.sin() * plane[1]
    directions, share = principal_directions(path)
    assert float(abs(share.sum() - 1)) < 1e-12
    assert 0.95 < float(share[0]) < 1
    assert float((directions @ directions.mT - torch.eye(2)).abs().max()) < 1e-12
    assert float((directions[0] - plane[0]).abs().max()) < 1e-12  # it ends where it is greatest
    assert float((directions[1] @ plane.mT).abs()[1]) > 1 - 1e-12


def test_a_path_turned_around_has_its_directions_turned_around():
    path = torch.randn(30, 17, dtype=torch.float64).cumsum(0)
    there, back = (principal_directions(way)[0] for way in (path, path.flip(0)))
    assert float((there + back).abs().max()) < 1e-12
    assert bool((there @ (path[-1] - path[0]) > 0).all())


WAY = torch.tensor([-3.0, -1.0, 0.0], dtype=torch.float64)
PLACES = {
    "a parabola: P2 as high as P1": (lambda s: (s - 1) ** 2, WAY, (-3, 1, 5)),
    "steeper on the right": (lambda s: torch.where(s < 0, s**2, 9 * s**2), WAY, (-3, 0, 1)),
    "less steep on the right: P2 as far as P1": (lambda s: torch.where(s < 0, s**2, s**2 / 9), WAY, (-3, 0, 3)),
    "the minimum far beyond the end": (lambda s: (s - 9) ** 2, WAY, (-3, 9, 21)),
    "a plateau": (lambda s: (-s).exp(), WAY, (-3, None, None)),
    "only rising": (lambda s: s.exp(), WAY, (-3, None, None)),
    "inf on the right": (lambda s: torch.where(s < 2, (s - 1) ** 2, torch.inf), WAY, (-3, 1, 2)),
    "nan on the right": (lambda s: torch.where(s < 2, (s - 1) ** 2, torch.nan), WAY, (-3, 1, 5)),
    "there and back": (lambda s: (s - 1) ** 2, torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64), (-2, 1, 4)),
    "begun right of the end": (lambda s: s**2, torch.tensor([0.5, -2.0, 0.0], dtype=torch.float64), (-2, 0, 2)),
}


@pytest.mark.parametrize("name", PLACES)
def test_p1_the_minimum_and_p2(name):
    cost, way, expected = PLACES[name]
    for found, place in zip(locate_minimum(cost, way), expected, strict=True):
        assert found is None if place is None else abs(found - place) < 0.2
