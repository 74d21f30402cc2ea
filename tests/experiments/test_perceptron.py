import itertools

import numpy as np
import torch
from scipy.optimize import linprog

from nnmath.equations import perceptron
from nnmath.experiments.perceptron import CORNERS, NAMES, OUTPUTS, XOR_LAYERS, contradictory, network, run

EXPRESSIONS = {  # in Python, if the name is not the expression
    "never": "False",
    "XOR": "x₁ != x₂",
    "neither": "not (x₁ or x₂)",
    "XNOR": "x₁ == x₂",
    "not both": "not (x₁ and x₂)",
    "always": "True",
}


def test_outputs_are_those_of_the_names():
    assert len(set(NAMES)) == 16
    for name, outputs in zip(NAMES, OUTPUTS.tolist(), strict=True):
        expression = EXPRESSIONS.get(name, name).replace("x₁", "a").replace("x₂", "b")
        pairs = itertools.product((False, True), repeat=2)
        assert [float(eval(expression, {"a": a, "b": b})) for a, b in pairs] == outputs, name


def test_one_perceptron_computes_fourteen_of_them():
    count, lines = run()
    assert [name for name, perceptrons in zip(NAMES, count) if not perceptrons] == ["XOR", "XNOR"]
    assert count.sum() == 13**3
    for name, perceptrons, line, outputs in zip(NAMES, count, lines, OUTPUTS):
        if perceptrons:
            assert perceptron(CORNERS, line[None, :2], line[2:])[0].tolist() == outputs.tolist(), name
        else:
            assert line.isnan().all()


def test_a_coarse_grid_has_all_fourteen_and_a_fine_grid_has_no_others():
    assert (run(reach=1.5, spacing=0.5)[0] > 0).sum() == 14
    assert (run(reach=3.0, spacing=0.2)[0] > 0).sum() == 14


def feasible(outputs):
    """Whether w₁ x₁ + w₂ x₂ + b ≥ 1 where the output is 1 and ≤ 0 where it is 0 has a solution: a linear program."""
    rows = np.c_[CORNERS.T.numpy(), np.ones(4)]
    sign = np.where(np.array(outputs) == 1, -1.0, 1.0)
    bound = np.where(np.array(outputs) == 1, -1.0, 0.0)
    return linprog(np.zeros(3), A_ub=sign[:, None] * rows, b_ub=bound, bounds=(None, None)).status == 0


def test_contradiction_is_that_of_a_linear_program():
    assert [not feasible(outputs) for outputs in OUTPUTS.tolist()] == contradictory().tolist()
    assert torch.equal(contradictory(), run()[0] == 0)


def test_a_network_of_three_perceptrons_computes_xor():
    assert network(CORNERS, XOR_LAYERS).tolist() == [[0.0, 1.0, 1.0, 0.0]]
    assert network(CORNERS, XOR_LAYERS[:1]).tolist() == [[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]]
