"""Every row of the catalogue against plain torch, autograd and finite differences."""

import pytest
import torch
from helpers.tolerances import TOLERANCE, assert_close

from nnmath import equations
from nnmath.verification.catalogue import CATALOGUE

DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def draw(row, dtype, seed):
    return row.draw(torch.Generator().manual_seed(seed), dtype)


def test_contains_each_id_of_the_article_once():
    ids = "P1 P2 A1 A2 A3 N1 N2 N3 C1 C2 G1 G2 G3 G4 G5 B0 B1 B2 B3 B4 B5 B6 B7 U1"
    assert " ".join(row.id for row in CATALOGUE) == ids


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.id)
@DTYPES
def test_value_matches_torch(row, dtype):
    for seed in range(20):
        inputs = draw(row, dtype, seed)
        assert_close(row.value(**inputs), row.reference(**inputs))


@pytest.mark.parametrize("row", [row for row in CATALOGUE if row.gradients], ids=lambda row: row.id)
@DTYPES
def test_gradients_match_autograd(row, dtype):
    for seed in range(20):
        inputs = draw(row, dtype, seed)
        manual = row.gradients(**inputs)
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
        reference = torch.autograd.grad(row.reference(**leaves).sum(), [leaves[name] for name in manual])
        for gradient, expected in zip(manual.values(), reference, strict=True):
            assert_close(gradient, expected)


def test_catalogue_contains_all_public_functions_except_helpers():
    public = {name for name in dir(equations) if callable(getattr(equations, name)) and name[0].islower()}
    listed = {function.__name__ for row in CATALOGUE for function in row.functions}
    assert public - listed == {"zero_velocities", "identity", "identity_derivative", "identity_derivative_from_output"}
