import pytest
import torch

from nnmath.experiments.momentum import BARRIER, DEEP, MOMENTA, SHALLOW, double_well, double_well_slope, run


def test_double_well():
    theta = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(double_well(theta).sum(), theta)
    assert torch.allclose(slope, double_well_slope(theta), rtol=0, atol=1e-14)
    stationary = torch.tensor([DEEP, BARRIER, SHALLOW], dtype=torch.float64)
    assert double_well_slope(stationary).abs().max() < 1e-14
    deep, barrier, shallow = double_well(stationary)
    assert deep < shallow < barrier


def test_plain_descent_stays_in_the_shallow_well_and_momentum_crosses_the_barrier():
    path = run(momenta=(0.0, 0.9), steps=1000)
    assert path[-1].tolist() == pytest.approx([SHALLOW, DEEP])
    assert (path[1:, 0] <= path[:-1, 0]).all()  # plain descent never turns


def test_how_much_momentum_is_needed():
    ends = run()[-1]
    crossed = ends < BARRIER
    assert [m for m, beyond in zip(MOMENTA, crossed) if beyond] == [0.85, 0.9, 0.95]
    assert (ends - torch.where(crossed, DEEP, SHALLOW)).abs().max() < 0.01


def test_a_start_beyond_the_barrier_needs_no_momentum():
    assert run(momenta=(0.0,), start=-0.5)[-1] < BARRIER
