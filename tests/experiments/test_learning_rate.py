import math

import pytest
import torch

from nnmath.experiments.learning_rate import MINIMUM, cost, descent_from_both_sides, run, slope


def test_critical_learning_rate_is_two_over_the_largest_eigenvalue():
    """H = 1/n [[n, Σx], [Σx, Σx²]] has eigenvalues in closed form."""
    x = [3 * k / 19 for k in range(20)]
    mean, square = sum(x) / 20, sum(value**2 for value in x) / 20
    largest = (1 + square + math.hypot(1 - square, 2 * mean)) / 2
    assert run().critical == pytest.approx(2 / largest, rel=1e-12)


def test_descent_converges_below_the_critical_rate_and_diverges_above_it():
    result = run(multiples=(0.5, 0.99, 0.999, 1.001, 1.01, 1.5), epochs=200)
    assert result.multiples.tolist() == pytest.approx([0.5, 0.99, 0.999, 1.001, 1.01, 1.5])
    assert (result.excess[-1] < result.excess[0]).tolist() == [True, True, True, False, False, False]
    assert (result.factor < 1).tolist() == [True, True, True, False, False, False]
    assert result.excess.min() > -1e-14


def test_cost_stays_the_same_at_the_critical_rate():
    excess = run(multiples=(1.0,)).excess[:, 0].tolist()
    assert excess[-1] == pytest.approx(excess[50], rel=1e-4)
    assert excess[-1] == pytest.approx(excess[-2], rel=1e-6)


def test_factor_is_that_of_the_last_epoch():
    result = run(multiples=(0.5, 0.99, 1.01), epochs=100)
    assert (result.excess[-1] / result.excess[-2]).tolist() == pytest.approx(result.factor.tolist(), rel=1e-5)


def test_a_tiny_rate_is_slow():
    tiny, small, good, *_ = run().excess[-1]
    assert tiny > 4  # 9.7 at the start
    assert small > 1e4 * good


def test_seed_determines_the_noise():
    assert torch.equal(run(seed=1).excess, run(seed=1).excess)
    assert not torch.equal(run(seed=1).excess, run(seed=2).excess)


def test_theta_grows_from_p1_and_shrinks_from_p2():
    """Fig. 8; an epoch multiplies the distance to the minimum by 1 − 0.15 · 2 = 0.7."""
    path = descent_from_both_sides(epochs=12)
    first, second = slope(path[0])
    assert first < 0 < second
    assert (path[1:, 0] > path[:-1, 0]).all()
    assert (path[1:, 1] < path[:-1, 1]).all()
    assert (path[-1] - MINIMUM).tolist() == pytest.approx([-1.5 * 0.7**12, 1.5 * 0.7**12])
    assert (cost(path)[1:] < cost(path)[:-1]).all()


def test_cost_of_figure_8():
    theta = torch.linspace(0, 4, 101, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(cost(theta).sum(), theta)
    assert torch.allclose(gradient, slope(theta), rtol=1e-12, atol=1e-12)
    assert theta.detach()[cost(theta).argmin()] == pytest.approx(MINIMUM)
