"""The five kinds of evidence for each row of the catalogue, and that each can fail."""

import dataclasses

import mpmath
import pytest
import sympy
import torch

from nnmath import equations as eq
from nnmath.verification.catalogue import CATALOGUE
from nnmath.verification.evidence import Evidence
from nnmath.verification.exact_arithmetic import Numbers, SigmoidSymbols, symbols, to_mpmath

ROWS = {row.id: row for row in CATALOGUE}
WITH_GRADIENTS = [row for row in CATALOGUE if row.gradients]


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.id)
@pytest.mark.parametrize("seed", [0, 1])
def test_all_evidence_passes(row, seed):
    evidence = Evidence(row, seed)
    assert evidence.passed
    assert (evidence.proof, evidence.autograd is not None, evidence.finite_differences is not None) == (
        (True, True, True) if row.gradients else (None, False, False)
    )
    assert (evidence.ulps is not None) is bool(row.gradients or row.exact)


def wrong(row, what):
    """The row with a mistake in its gradients or in its value."""
    if what == "value":
        return dataclasses.replace(row, value=lambda **inputs: row.value(**inputs) * (1 + 1e-9))
    factor = {"tiny": 1 + 1e-7, "double": 2}[what]
    return dataclasses.replace(
        row, gradients=lambda **inputs: {name: factor * g for name, g in row.gradients(**inputs).items()}
    )


@pytest.mark.parametrize("row", WITH_GRADIENTS, ids=lambda row: row.id)
def test_each_kind_of_evidence_can_fail(row):
    evidence = Evidence(wrong(row, "double"))
    assert not evidence.autograd.passed
    assert evidence.finite_differences > 0.1
    assert evidence.proof is False
    assert not evidence.passed
    assert not Evidence(wrong(row, "tiny")).passed


def test_wrong_value_fails():
    assert Evidence(ROWS["N1"]).value <= 1e-12
    evidence = Evidence(wrong(ROWS["N1"], "value"))
    assert evidence.value > 1e-10
    assert not evidence.passed


def test_cancellation_fails():
    """The same mathematics, cancelling: the value passes for torch's neither, and 50 digits see by how much."""
    row = dataclasses.replace(ROWS["A2"], value=lambda z: 2 * eq.sigmoid(2 * z) - 1, gradients=None, exact=True)
    small = dataclasses.replace(row, draw=lambda generator, dtype: {"z": torch.full((3,), 1e-6, dtype=dtype)})
    assert Evidence(row).ulps[0] < 10
    assert Evidence(small).ulps[0] > 1e4
    assert not Evidence(small).passed


class TestExact:
    def test_sigma_is_the_sigmoid_on_symbols(self):
        (z,) = symbols("z", 1, kind=SigmoidSymbols)
        sigma = eq.sigmoid(symbols("z", 1, kind=SigmoidSymbols))[0]
        assert sympy.expand(sympy.diff(sigma, z) - sigma * (1 - sigma)) == 0
        assert sympy.expand(eq.sigmoid(-symbols("z", 1, kind=SigmoidSymbols))[0] - (1 - sigma)) == 0

    def test_numbers_are_exact(self):
        with mpmath.workdps(50):
            tenth = to_mpmath(torch.tensor([[0.1]], dtype=torch.float64))
            assert isinstance(tenth, Numbers)
            assert tenth.shape == (1, 1)
            assert tenth[0, 0] != mpmath.mpf(1) / 10  # float64's 0.1 is another number
            assert abs(eq.sigmoid(tenth)[0, 0] - 1 / (1 + mpmath.exp(-tenth[0, 0]))) < mpmath.mpf(10) ** -49
            assert eq.relu(-tenth)[0, 0] == 0
            assert eq.relu(tenth)[0, 0] == tenth[0, 0]
            assert eq.relu_derivative(-tenth)[0, 0] == 0
