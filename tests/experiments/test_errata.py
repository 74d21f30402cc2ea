import math
import os

import pytest
import torch

from nnmath.equations import sigmoid
from nnmath.experiments import errata, haberman

CSV = os.environ.get("HABERMAN_CSV")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sigmoid_rounds_to_one(dtype):
    """Where e^(−z) is half of eps: at z = ln(2 / eps)."""
    z = torch.tensor(errata.rounds_to_one(dtype), dtype=dtype)
    assert float(z) == pytest.approx(math.log(2 / torch.finfo(dtype).eps), rel=1e-6)
    assert sigmoid(z) == 1 > sigmoid(torch.nextafter(z, torch.zeros((), dtype=dtype)))


EVIDENCE = {  # how it starts
    errata.open_range: "σ(1) = 0.731; it rounds to 1 from z = 16.64 in float32, from z = 36.74 in float64",
    errata.lost_square: "errors of −1 and 1: 0, as if both were right, and with Σ and the square 0.5;",
    errata.growth: "each further layer of 8 adds 72; 1-1-1 to 8-8-8 have 4, 12, 24, 40, 60, 84, 112, 144",
    errata.conventions: "(ŷ − y)² is 2 times the other; summed over 266 rows, η = 0.45 is η = 119.7 averaged",
    errata.rounded_slope: "at z = 40: h (1 − h) = 0, σ(z) σ(−z) = 4.248354e-18, to 50 digits 4.248354e-18",
}
AS_CLAIMED = {  # the equation as in the article or the notebook
    errata.open_range: ("sigmoid", lambda z: (z > 0) * 1.0),
    errata.lost_square: ("half_mse", lambda prediction, y: (prediction - y).sum(-1) / 4),
    errata.growth: ("number_of_parameters", lambda sizes: 2 ** sum(sizes)),
    errata.conventions: ("half_mse", lambda prediction, y: ((prediction - y) ** 2).sum(-1) / y.shape[-1]),
    errata.rounded_slope: ("sigmoid_derivative", lambda z: sigmoid(z) * (1 - sigmoid(z))),
}


@pytest.mark.parametrize("erratum", EVIDENCE)
def test_claim_is_refuted_unless_the_equation_is_as_claimed(monkeypatch, erratum):
    assert erratum().confirmed
    assert erratum().evidence.startswith(EVIDENCE[erratum])
    monkeypatch.setattr(errata.eq, *AS_CLAIMED[erratum])
    assert not erratum().confirmed


def test_a_fit_is_good_on_its_range_and_bad_beyond():
    output = errata.extrapolate()
    error = (output - errata.sine(errata.X)).square()
    assert error[errata.X <= 1].mean().sqrt() < 0.03
    assert error[errata.X > 1].mean().sqrt() > 0.7  # worse than the output 0 for all x
    xor = torch.tensor([1e-4, 1e-4, 1e-4, 0.0625])
    row = errata.representable_not_learnable(output, xor)
    assert row.confirmed
    assert "of 4 networks 2-2-1, which can represent XOR, descent leaves 1 without it" in row.evidence
    assert not errata.representable_not_learnable(output, xor[:3]).confirmed
    bad_fit = errata.extrapolate(epochs=5)
    assert not errata.representable_not_learnable(bad_fit, xor).confirmed


def test_descent_leaves_some_networks_without_xor():
    costs = errata.xor_costs()
    assert costs.shape == (200,)
    assert torch.equal(costs, costs.sort().values)
    assert 15 <= (costs > 0.01).sum() <= 25
    assert (costs < 1e-3).sum() >= 170  # the others learn it
    stuck = costs[costs > 0.01]
    assert torch.minimum((stuck - 1 / 16).abs(), (stuck - 1 / 12).abs()).max() < 1e-3


@pytest.mark.skipif(not CSV, reason="HABERMAN_CSV does not name a copy of haberman.csv")
def test_all_errata():
    rows = {row.number: row for row in errata.run(haberman.load(CSV), errata.extrapolate(), errata.xor_costs(40))}
    assert list(rows) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(row.confirmed for row in rows.values())
    assert "0.1058919 at 0.45, 0.1058791 at 0.46" in rows[5].evidence
    assert "5 deaths / (2·20) = 0.125, test error 0.125000" in rows[6].evidence


def test_five_and_six_need_data():
    rows = errata.run(None, errata.extrapolate(epochs=5), errata.xor_costs(2))
    assert [row.number for row in rows] == [1, 2, 3, 4, 7, 8]
