import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from nnmath.equations import perceptron
from nnmath.experiments.perceptron import CORNERS, NAMES, boolean_functions, network, xor_layers

PYTHON = {
    "never": lambda a, b: False,
    "x₁ and x₂": lambda a, b: a and b,
    "x₁ and not x₂": lambda a, b: a and not b,
    "x₁": lambda a, b: a,
    "x₂ and not x₁": lambda a, b: b and not a,
    "x₂": lambda a, b: b,
    "XOR": lambda a, b: a != b,
    "x₁ or x₂": lambda a, b: a or b,
    "neither": lambda a, b: not (a or b),
    "XNOR": lambda a, b: a == b,
    "not x₂": lambda a, b: not b,
    "x₁ or not x₂": lambda a, b: a or not b,
    "not x₁": lambda a, b: not a,
    "x₂ or not x₁": lambda a, b: b or not a,
    "not both": lambda a, b: not (a and b),
    "always": lambda a, b: True,
}


def test_the_names_and_the_outputs_are_those_of_all_sixteen_functions():
    assert tuple(PYTHON) == NAMES
    expected = [[float(f(a, b)) for a, b in itertools.product((False, True), repeat=2)] for f in PYTHON.values()]
    assert boolean_functions().outputs.tolist() == expected


def test_one_perceptron_computes_fourteen_of_them():
    result = boolean_functions()
    assert [NAMES[k] for k in range(16) if not result.reachable[k]] == ["XOR", "XNOR"]
    assert result.tried == 13**3 == result.count.sum()
    for k in range(16):
        if result.reachable[k]:
            found = perceptron(CORNERS, result.weight[k][None], result.bias[k][None])
            assert found[0].tolist() == result.outputs[k].tolist(), NAMES[k]
        else:
            assert result.weight[k].isnan().all()


def test_a_coarse_grid_is_enough_for_the_fourteen_and_a_fine_one_finds_no_more():
    assert boolean_functions(reach=1.5, spacing=0.5).reachable.sum() == 14
    assert boolean_functions(reach=3.0, spacing=0.2).reachable.sum() == 14


def feasible(outputs):
    """Whether w₁ x₁ + w₂ x₂ + b ≥ 1 where the output is 1 and ≤ 0 where it is 0 has a solution: a linear program."""
    rows = np.c_[CORNERS.T.numpy(), np.ones(4)]
    sign = np.where(np.array(outputs) == 1, -1.0, 1.0)
    bound = np.where(np.array(outputs) == 1, -1.0, 0.0)
    return linprog(np.zeros(3), A_ub=sign[:, None] * rows, b_ub=bound, bounds=(None, None)).status == 0


def test_the_contradiction_is_that_of_a_linear_program():
    result = boolean_functions()
    assert [not feasible(outputs) for outputs in result.outputs.tolist()] == result.contradictory.tolist()
    assert torch.equal(result.contradictory, ~result.reachable)


def test_a_network_of_three_computes_xor():
    assert network(CORNERS, xor_layers()).tolist() == [[0.0, 1.0, 1.0, 0.0]]
    assert network(CORNERS, xor_layers()[:1]).tolist() == [[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"spacing": 0.0}, r"spacing must lie in \(0, inf\)"), ({"reach": 0.1}, r"reach must lie in \[0.5, inf\)")],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        boolean_functions(**arguments)
