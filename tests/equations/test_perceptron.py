import itertools

import pytest
import torch

from nnmath import equations as eq


def test_fires_above_40_and_not_at_40():
    x = torch.tensor([[10.0, 20.0, 20.0, 20.0], [20.0, 20.0, 20.001, 30.0]])
    assert eq.fires(x, threshold=40).tolist() == [False, False, True, True]


def test_step_is_1_above_0_and_0_at_0():
    assert eq.step(torch.tensor([-1e-30, -0.0, 0.0, 1e-30, 5.0])).tolist() == [0, 0, 0, 1, 1]


def test_one_perceptron_computes_14_of_the_16_boolean_functions():
    x = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    grid = [-1.0, 0.0, 1.0]
    weight = torch.tensor(list(itertools.product(grid, grid)))[:, None, None, :]  # (9, 1, 1, 2)
    bias = torch.tensor([-1.5, -0.5, 0.5, 1.5])[:, None]  # (4, 1)
    computed = {tuple(row) for row in eq.perceptron(x, weight, bias).reshape(-1, 4).int().tolist()}
    boolean_functions = set(itertools.product((0, 1), repeat=4))
    xor, xnor = (0, 1, 1, 0), (1, 0, 0, 1)
    assert boolean_functions - computed == {xor, xnor}


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((266, 2), (4, 2), (4,), "weight .4, 2. and x .266, 2. do not fit.*samples are columns"),
        ((2,), (4, 2), (4,), "weight .4, 2. and x .2,. do not fit"),
        ((2, 7), (4, 2), (1,), "bias .1,. and weight .4, 2. do not fit"),
        ((2, 7), (4, 2), (), "bias .. and weight .4, 2. do not fit"),
    ],
)
def test_weighted_sum_refuses_shapes_that_do_not_fit(x, weight, bias, message):
    with pytest.raises(ValueError, match=message):
        eq.weighted_sum(torch.zeros(x), torch.zeros(weight), torch.zeros(bias))
