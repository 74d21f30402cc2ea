"""Cost and gradient over all parameters against the module's, and the directions and minima of known paths."""

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from nnmath.ensemble import loss_surface
from nnmath.ensemble.loss_surface import LossSurface, flatten, unflatten
from nnmath.equations import SIGMOID, TANH, Layer
from nnmath.figures.loss_surface import locate_minimum, principal_directions
from nnmath.network import HalfMSELoss, Network

SIZES = (2, 5, 3, 1)
ACTIVATIONS = (TANH, TANH, SIGMOID)


def networks(count):
    return [Network(SIZES, hidden="tanh", backward="autograd", dtype=torch.float64) for _ in range(count)]


def theta_of(network):
    return flatten([Layer(linear.weight.detach(), linear.bias.detach()) for linear in network.linears])


def samples(n=20):
    return torch.randn(2, n, dtype=torch.float64), torch.rand(1, n, dtype=torch.float64)


def test_parameters_are_in_the_order_of_torch():
    (network,) = networks(1)
    assert torch.equal(theta_of(network), parameters_to_vector(network.parameters()))


def test_unflatten_inverts_flatten():
    theta = torch.stack([theta_of(network) for network in networks(4)])
    layers = unflatten(theta, SIZES)
    assert [tuple(weight.shape) for weight, _ in layers] == [(4, 5, 2), (4, 3, 5), (4, 1, 3)]
    assert torch.equal(flatten(layers), theta)


def test_refuses_too_few_parameters():
    with pytest.raises(ValueError, match=r"theta must have 37 parameters for sizes=\(2, 5, 3, 1\), got 36"):
        unflatten(torch.zeros(7, 36), SIZES)


@pytest.mark.parametrize("max_values", [1, 250, 2**20])
def test_cost_and_gradient_equal_the_module(monkeypatch, max_values):
    monkeypatch.setattr(loss_surface, "MAX_VALUES", max_values)
    x, y = samples()
    nets = networks(5)
    theta = torch.stack([theta_of(network) for network in nets])
    surface = LossSurface(SIZES, ACTIVATIONS, x, y)
    costs, gradients = surface.cost(theta), surface.gradient(theta)
    assert costs.shape == (5,)
    for network, cost, gradient in zip(nets, costs, gradients, strict=True):
        loss = HalfMSELoss(backward="autograd")(network(x.mT), y.mT)
        expected = parameters_to_vector(torch.autograd.grad(loss, list(network.parameters())))
        assert float(abs(cost - loss.detach())) < 1e-15
        assert float((gradient - expected).abs().max()) < 1e-15


def test_result_has_the_dtype_of_theta():
    surface = LossSurface(SIZES, ACTIVATIONS, *(part.float() for part in samples()))
    theta = torch.randn(3, 37, dtype=torch.float64)
    assert surface.cost(theta).dtype == surface.gradient(theta).dtype == torch.float64
    assert torch.equal(surface.cost(theta).float(), surface.cost(theta.float()))


def test_principal_directions_of_an_ellipse():
    """Three times as long as wide, in a plane of 17 dimensions."""
    plane = torch.linalg.qr(torch.randn(17, 2, dtype=torch.float64)).Q.mT  # (2, 17)
    phi = torch.linspace(-torch.pi, 0, 401, dtype=torch.float64)[:, None]
    path = 5 + 3 * phi.cos() * plane[0] + phi.sin() * plane[1]
    directions, share = principal_directions(path)
    assert float(abs(share.sum() - 1)) < 1e-12
    assert 0.95 < float(share[0]) < 1
    assert float((directions @ directions.mT - torch.eye(2)).abs().max()) < 1e-12
    assert float((directions[0] - plane[0]).abs().max()) < 1e-12  # points to the end of the path
    assert float((directions[1] @ plane.mT).abs()[1]) > 1 - 1e-12


def test_reversed_path_reverses_its_directions():
    path = torch.randn(30, 17, dtype=torch.float64).cumsum(0)
    forward, backward = (principal_directions(part)[0] for part in (path, path.flip(0)))
    assert float((forward + backward).abs().max()) < 1e-12
    assert bool((forward @ (path[-1] - path[0]) > 0).all())


PATH = torch.tensor([-3.0, -1.0, 0.0], dtype=torch.float64)
MINIMA = {
    "parabola: P2 as high as P1": (lambda s: (s - 1) ** 2, PATH, (-3, 1, 5)),
    "steeper on the right": (lambda s: torch.where(s < 0, s**2, 9 * s**2), PATH, (-3, 0, 1)),
    "less steep on the right: P2 as far as P1": (lambda s: torch.where(s < 0, s**2, s**2 / 9), PATH, (-3, 0, 3)),
    "minimum far beyond the end": (lambda s: (s - 9) ** 2, PATH, (-3, 9, 21)),
    "plateau": (lambda s: (-s).exp(), PATH, (-3, None, None)),
    "rising only": (lambda s: s.exp(), PATH, (-3, None, None)),
    "inf on the right": (lambda s: torch.where(s < 2, (s - 1) ** 2, torch.inf), PATH, (-3, 1, 2)),
    "nan on the right": (lambda s: torch.where(s < 2, (s - 1) ** 2, torch.nan), PATH, (-3, 1, 5)),
    "to the right and back": (lambda s: (s - 1) ** 2, torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64), (-2, 1, 4)),
    "start right of the end": (lambda s: s**2, torch.tensor([0.5, -2.0, 0.0], dtype=torch.float64), (-2, 0, 2)),
}


@pytest.mark.parametrize("name", MINIMA)
def test_p1_minimum_and_p2(name):
    cost, path, expected = MINIMA[name]
    for point, target in zip(locate_minimum(cost, path), expected, strict=True):
        assert point is None if target is None else abs(point - target) < 0.2
