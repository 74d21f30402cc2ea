import pytest
import torch

from nnmath.experiments.momentum import double_well, double_well_slope, momenta


def test_the_double_well():
    theta = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(double_well(theta).sum(), theta)
    assert torch.allclose(slope, double_well_slope(theta), rtol=0, atol=1e-14)
    result = momenta(steps=0)
    stationary = torch.tensor([result.deep, result.barrier, result.shallow], dtype=torch.float64)
    assert double_well_slope(stationary).abs().max() < 1e-14
    deep, hump, shallow = double_well(stationary)
    assert deep < shallow < hump


def test_plain_descent_stays_in_the_shallow_well_and_momentum_crosses_the_hump():
    result = momenta(momenta=(0.0, 0.9), steps=1000)
    assert result.path[-1].tolist() == pytest.approx([result.shallow, result.deep])
    assert result.crossed.tolist() == [False, True]
    assert (result.path[1:, 0] <= result.path[:-1, 0]).all()  # it comes from the right and never turns


def test_how_much_momentum_it_takes():
    result = momenta()
    assert result.momenta[~result.crossed].tolist() == [0.0, 0.5, 0.8]
    assert result.momenta[result.crossed].tolist() == [0.85, 0.9, 0.95]
    assert (result.path[-1] - torch.where(result.crossed, result.deep, result.shallow)).abs().max() < 0.01


def test_a_start_beyond_the_hump_needs_none():
    assert momenta(momenta=(0.0,), start=-0.5).crossed.all()


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_refuses(momentum):
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\)"):
        momenta(momenta=(0.5, momentum))
    with pytest.raises(ValueError, match="learning_rate must lie in"):
        momenta(learning_rate=-1.0)
