import itertools
import math

import pytest
import torch

from nnmath import equations as eq

X = torch.linspace(0, 3, 3001, dtype=torch.float64)


def largest_error(width, steepness=4.0):
    layers = eq.staircase(torch.sin, 0, 3, width, steepness)
    return (eq.forward(X[None], layers, (eq.SIGMOID, eq.IDENTITY))[-1][0] - torch.sin(X)).abs().max().item()


def test_the_error_is_inversely_proportional_to_the_width():
    errors = [largest_error(2**k) for k in range(3, 11)]
    for narrow, wide in itertools.pairwise(errors):
        assert 1.7 < narrow / wide < 2.3
    assert errors[-1] < 2e-3


def test_the_error_of_a_steep_staircase_is_at_most_one_stair():
    """The slope of sin is at most 1, so it rises by at most 3/N over an interval of length 3/N."""
    assert largest_error(30, steepness=1e4) <= 3 / 30


def test_weights_match_the_formula():
    """f̂(x) = f(t₀) + Σ (f(t_k) − f(t_{k−1})) σ(s (x − m_k) / d) on 1 ... 3 with N = 4, so d = 1/2, and s = 6."""
    (weight_i, bias_i), (weight_o, bias_o) = eq.staircase(torch.square, 1, 3, width=4, steepness=6)
    t = torch.tensor([1, 1.5, 2, 2.5, 3], dtype=torch.float64)
    m = torch.tensor([1.25, 1.75, 2.25, 2.75], dtype=torch.float64)
    torch.testing.assert_close(weight_i[:, 0], torch.full((4,), 6 / 0.5, dtype=torch.float64))
    torch.testing.assert_close(bias_i, -6 / 0.5 * m)
    torch.testing.assert_close(weight_o[0], t[1:] ** 2 - t[:-1] ** 2)
    torch.testing.assert_close(bias_o, t[:1] ** 2)


def test_one_gentle_stair_around_0():
    first, last = eq.staircase(torch.sin, -1, 1, width=1, steepness=0.5)
    assert (first.weight.item(), first.bias.item()) == (0.25, 0)
    assert last.weight.item() == pytest.approx(2 * math.sin(1))


def test_a_stair_is_four_times_as_steep_as_its_width_by_default():
    assert eq.staircase(torch.sin, 0, 1, width=1)[0].weight.item() == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.sin, 0, 3, 0), "width must lie in .*, got width=0"),
        ((torch.sin, 0, 3, 8, 0.0), "steepness must lie in .*, got steepness=0.0"),
        ((torch.sin, 3, 3, 8), "low must be less than high, got low=3, high=3"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        eq.staircase(*arguments)
