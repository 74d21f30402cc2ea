"""Every row of the catalogue against plain torch, autograd and finite differences."""

import pytest
import torch
from helpers.tolerances import TOLERANCE, assert_close

from nnmath.equations import IDENTITY, SIGMOID, forward, staircase
from nnmath.verification.catalogue import CATALOGUE

ROWS = pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.id)
ROWS_WITH_GRADIENTS = pytest.mark.parametrize(
    "row", [row for row in CATALOGUE if row.gradients], ids=lambda row: row.id
)
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def draw(row, dtype, seed):
    return row.draw(torch.Generator().manual_seed(seed), dtype)


def test_the_articles_ids_are_all_there_once():
    ids = "P1 P2 A1 A2 A3 N1 N2 N3 C1 C2 G1 G2 G3 G4 G5 B0 B1 B2 B3 B4 B5 B6 B7 U1"
    assert " ".join(row.id for row in CATALOGUE) == ids


@ROWS
@DTYPES
def test_value_is_torchs(row, dtype):
    for seed in range(20):
        inputs = draw(row, dtype, seed)
        assert_close(row.value(**inputs), row.reference(**inputs))


@ROWS_WITH_GRADIENTS
@DTYPES
def test_gradients_are_autograds(row, dtype):
    for seed in range(20):
        inputs = draw(row, dtype, seed)
        by_hand = row.gradients(**inputs)
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
        reference = torch.autograd.grad(row.reference(**leaves).sum(), [leaves[name] for name in by_hand])
        for gradient, expected in zip(by_hand.values(), reference, strict=True):
            assert_close(gradient, expected)


@ROWS_WITH_GRADIENTS
def test_gradients_are_the_limits_of_difference_quotients(row):
    """gradcheck perturbs the hand-written value and compares with the hand-written gradient."""
    inputs = draw(row, torch.float64, seed=0)
    names = list(row.gradients(**inputs))

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            return row.value(**inputs | dict(zip(names, tensors, strict=True))).sum()

        @staticmethod
        def backward(ctx, gradient):
            by_hand = row.gradients(**inputs | dict(zip(names, ctx.saved_tensors, strict=True)))
            return tuple(gradient * by_hand[name] for name in names)

    assert torch.autograd.gradcheck(ByHand.apply, [inputs[name].requires_grad_() for name in names])


def test_every_hand_written_function_is_in_the_catalogue_or_serves_one_that_is():
    from nnmath import equations

    public = {name for name in dir(equations) if callable(getattr(equations, name)) and name[0].islower()}
    listed = {function.__name__ for row in CATALOGUE for function in row.functions}
    assert public - listed == {"zero_velocities", "identity", "identity_derivative", "identity_derivative_from_output"}


def test_u1_more_hidden_neurons_come_closer():
    x = torch.linspace(0, 3, 1001, dtype=torch.float64)
    errors = [
        (forward(x[None], staircase(torch.sin, 0, 3, width), (SIGMOID, IDENTITY))[-1] - torch.sin(x)).abs().max()
        for width in (1, 4, 16, 64)
    ]
    assert errors == sorted(errors, reverse=True)
