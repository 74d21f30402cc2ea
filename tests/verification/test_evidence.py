"""All evidence passes for every row of the catalogue, and each kind of evidence can fail."""

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


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.id)
@pytest.mark.parametrize("seed", [0, 1])
def test_all_evidence_passes(row, seed):
    evidence = Evidence(row, seed)
    assert evidence.passed
    assert (evidence.proof, evidence.autograd is not None, evidence.finite_differences is not None) == (
        (True, True, True) if row.gradients else (None, False, False)
    )
    assert (evidence.ulps is not None) is bool(row.gradients or row.exact)


def scale_gradients(row, factor):
    """The row with gradients that are wrong by a factor."""
    return dataclasses.replace(
        row, gradients=lambda **inputs: {name: factor * g for name, g in row.gradients(**inputs).items()}
    )


@pytest.mark.parametrize("row", [row for row in CATALOGUE if row.gradients], ids=lambda row: row.id)
def test_each_kind_of_evidence_can_fail(row):
    evidence = Evidence(scale_gradients(row, 2))
    assert not evidence.autograd.passed
    assert evidence.finite_differences > 0.1
    assert evidence.proof is False
    assert not evidence.passed
    assert not Evidence(scale_gradients(row, 1 + 1e-7)).passed


def test_wrong_value_fails():
    row = ROWS["N1"]
    assert Evidence(row).value <= 1e-12
    evidence = Evidence(dataclasses.replace(row, value=lambda **inputs: row.value(**inputs) * (1 + 1e-9)))
    assert evidence.value > 1e-10
    assert not evidence.passed


def test_cancellation_fails():
    """A formula that is right but cancels: the comparison with 50 digits shows the error."""
    row = dataclasses.replace(ROWS["A2"], value=lambda z: 2 * eq.sigmoid(2 * z) - 1, gradients=None, exact=True)
    small = dataclasses.replace(row, draw=lambda generator, dtype: {"z": torch.full((3,), 1e-6, dtype=dtype)})
    assert Evidence(row).ulps[0] < 10
    assert Evidence(small).ulps[0] > 1e4
    assert not Evidence(small).passed


class TestExact:
    def test_sigma_is_the_sigmoid_on_symbols(self):
        z = symbols("z", 1, kind=SigmoidSymbols)
        sigma = eq.sigmoid(z)[0]
        assert sympy.expand(sympy.diff(sigma, z[0]) - sigma * (1 - sigma)) == 0
        assert sympy.expand(eq.sigmoid(-z)[0] - (1 - sigma)) == 0

    def test_numbers_are_exact(self):
        with mpmath.workdps(50):
            tenth = to_mpmath(torch.tensor([[0.1]], dtype=torch.float64))
            assert isinstance(tenth, Numbers)
            assert tenth.shape == (1, 1)
            assert tenth[0, 0] != mpmath.mpf(1) / 10  # float64's 0.1 is not exactly 1/10
            assert abs(eq.sigmoid(tenth)[0, 0] - 1 / (1 + mpmath.exp(-tenth[0, 0]))) < mpmath.mpf(10) ** -49
            assert eq.relu(-tenth)[0, 0] == 0
            assert eq.relu(tenth)[0, 0] == tenth[0, 0]
            assert eq.relu_derivative(-tenth)[0, 0] == 0
