import math

import pytest
import torch

from nnmath.experiments.learning_rate import descent_from_both_sides, learning_rates


def test_the_threshold_is_two_over_the_largest_eigenvalue():
    """Of H = 1/n [[n, Σx], [Σx, Σx²]], whose eigenvalues have a closed form."""
    x = [3 * k / 19 for k in range(20)]
    mean, square = sum(x) / 20, sum(each**2 for each in x) / 20
    largest = (1 + square + math.hypot(1 - square, 2 * mean)) / 2
    assert learning_rates().critical == pytest.approx(2 / largest, rel=1e-12)


def test_below_the_threshold_descent_converges_and_above_it_it_diverges():
    result = learning_rates(multiples=(0.5, 0.99, 0.999, 1.001, 1.01, 1.5), epochs=200)
    assert result.multiples.tolist() == pytest.approx([0.5, 0.99, 0.999, 1.001, 1.01, 1.5])
    assert (result.excess[-1] < result.excess[0]).tolist() == [True, True, True, False, False, False]
    assert (result.factor < 1).tolist() == [True, True, True, False, False, False]
    assert result.excess.min() > -1e-14


def test_at_the_threshold_it_does_neither():
    excess = learning_rates(multiples=(1.0,)).excess[:, 0].tolist()
    assert excess[-1] == pytest.approx(excess[50], rel=1e-4)
    assert excess[-1] == pytest.approx(excess[-2], rel=1e-6)


def test_the_factor_is_what_an_epoch_multiplies_by():
    result = learning_rates(multiples=(0.5, 0.99, 1.01), epochs=100)
    assert (result.excess[-1] / result.excess[-2]).tolist() == pytest.approx(result.factor.tolist(), rel=1e-5)


def test_far_too_small_hardly_moves_where_the_right_one_has_arrived():
    crawls, small, right, *_ = learning_rates().excess[-1]
    assert crawls > 4  # of 9.7 at first
    assert small > 1e4 * right


def test_the_seed_is_that_of_the_noise():
    assert torch.equal(learning_rates(seed=1).excess, learning_rates(seed=1).excess)
    assert not torch.equal(learning_rates(seed=1).excess, learning_rates(seed=2).excess)


def test_theta_grows_from_p1_and_shrinks_from_p2():
    """Fig. 8; each epoch leaves 1 − 0.15 · 2 = 0.7 of the way."""
    result = descent_from_both_sides(epochs=12)
    assert result.slope[0] < 0 < result.slope[1]
    assert (result.path[1:, 0] > result.path[:-1, 0]).all()
    assert (result.path[1:, 1] < result.path[:-1, 1]).all()
    assert (result.path[-1] - result.minimum).tolist() == pytest.approx([-1.5 * 0.7**12, 1.5 * 0.7**12])
    assert (result.path_cost[1:] < result.path_cost[:-1]).all()
    assert result.theta[result.cost.argmin()] == pytest.approx(result.minimum)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"epochs": 0}, "epochs must lie in .* got epochs=0"), ({"multiples": (0.5, -1.0)}, r"multiples must lie in \[0")],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        learning_rates(**arguments)
