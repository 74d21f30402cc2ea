from typing import get_args

import mpmath
import pytest
import sympy
import torch
from helpers.tolerances import ulps

from nnmath import equations as eq
from nnmath.verification.exact_arithmetic import Symbols, symbols

TORCH = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda z: z}
DTYPES = [torch.float64, torch.float32]


def points(dtype, largest):
    """0 and numbers of either sign, from tiny to the largest for which the derivative is a normal number."""
    generator = torch.Generator().manual_seed(0)
    tiny = 10 ** (torch.rand(300, generator=generator, dtype=torch.float64) * 30 - 30)
    moderate = torch.randn(300, generator=generator, dtype=torch.float64)
    large = torch.linspace(-largest, largest, 301, dtype=torch.float64)
    named = torch.tensor([0.0, 1e-10, -1e-10, 40.0, -40.0])
    return torch.cat([named, tiny, -tiny, moderate, 10 * moderate, large]).to(dtype)


def exact_sigmoid_derivative(z):
    return mpmath.exp(-z) / (1 + mpmath.exp(-z)) ** 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("function", "exact", "largest"),
    [
        (eq.sigmoid, lambda z: 1 / (1 + mpmath.exp(-z)), {torch.float64: 700, torch.float32: 85}),
        (eq.sigmoid_derivative, exact_sigmoid_derivative, {torch.float64: 700, torch.float32: 85}),
        (eq.tanh, mpmath.tanh, {torch.float64: 1e3, torch.float32: 1e3}),
        (eq.tanh_derivative, lambda z: mpmath.sech(z) ** 2, {torch.float64: 350, torch.float32: 42}),
    ],
    ids=["sigmoid", "sigmoid_derivative", "tanh", "tanh_derivative"],
)
def test_within_4_ulps_of_50_digits(function, exact, largest, dtype):
    z = points(dtype, largest[dtype])
    worst = max(
        ulps(value, exact(mpmath.mpf(point)), dtype)
        for point, value in zip(z.tolist(), function(z).tolist(), strict=True)
    )
    assert worst <= 4


def test_table_matches_its_names():
    assert get_args(eq.ActivationName) == tuple(eq.ACTIVATIONS)
    assert all(activation.name == name for name, activation in eq.ACTIVATIONS.items())
    assert [activation.symbol for activation in eq.ACTIVATIONS.values()] == ["σ", "tanh", "ReLU", "id"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", eq.ACTIVATIONS)
def test_value_and_derivatives_match_torch(name, dtype):
    activation = eq.ACTIVATIONS[name]
    z = torch.cat([points(dtype, 8), torch.tensor([-1e3, 1e3], dtype=dtype)]).requires_grad_()
    reference = TORCH[name](z)
    (gradient,) = torch.autograd.grad(reference.sum(), z)
    z, reference = z.detach(), reference.detach()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(activation.function(z), reference, rtol=8 * eps, atol=0)
    assert torch.equal(activation.module()(z), reference)
    # torch computes the derivative from the value, so it includes the value's rounding error, eps near 1
    torch.testing.assert_close(activation.derivative(z), gradient, rtol=8 * eps, atol=2 * eps)
    torch.testing.assert_close(activation.derivative_from_output(reference), gradient, rtol=8 * eps, atol=0)


def test_sigmoid_derivative_is_accurate_where_the_derivative_from_output_is_0():
    z = torch.tensor([40.0, -40.0], dtype=torch.float64)
    assert eq.sigmoid_derivative_from_output(eq.sigmoid(z))[0] == 0
    assert eq.sigmoid_derivative(z)[0] == pytest.approx(float(exact_sigmoid_derivative(mpmath.mpf(40))), rel=1e-15)
    assert eq.sigmoid_derivative(z)[0] == eq.sigmoid_derivative(z)[1]


def test_sigmoid_is_not_binary():
    """Erratum 1: the range is open. Only rounding gives 1, from z ≈ 37 on."""
    assert 0.5 < eq.sigmoid(torch.tensor(36.0, dtype=torch.float64)) < 1
    assert eq.sigmoid(torch.tensor(38.0, dtype=torch.float64)) == 1
    assert eq.sigmoid(torch.tensor(-700.0, dtype=torch.float64)) > 0


def test_tanh_neither_overflows_nor_cancels():
    z = torch.tensor([-1e3, -1e-10, 0.0, 1e-10, 1e3], dtype=torch.float64)
    assert eq.tanh(z).tolist() == pytest.approx([-1, -1e-10, 0, 1e-10, 1], rel=1e-15)
    naive = 2 * eq.sigmoid(2 * z) - 1
    assert abs(naive[3] / 1e-10 - 1) > 1e-8  # the article's form cancels


def test_nan_stays_nan():
    for name, activation in eq.ACTIVATIONS.items():
        assert activation.function(torch.tensor(torch.nan)).isnan(), name


class TestOnSymbols:
    z = symbols("z", 1)

    @pytest.mark.parametrize("name", ["sigmoid", "tanh", "identity"])
    def test_both_derivatives_match_sympy(self, name):
        activation = eq.ACTIVATIONS[name]
        value = activation.function(self.z)
        reference = sympy.diff(value[0], self.z[0])
        for derivative in (activation.derivative(self.z), activation.derivative_from_output(value)):
            assert sympy.simplify(derivative[0] - reference) == 0

    @pytest.mark.parametrize(("sign", "expected"), [("positive", 1), ("negative", 0)])
    def test_relu_on_either_side_of_the_kink(self, sign, expected):
        z = Symbols((1,), dtype=object)
        z[0] = sympy.Symbol("z", **{sign: True})
        assert eq.relu_derivative(z)[0] == sympy.diff(eq.relu(z)[0], z[0]) == expected

    def test_tanh_equals_the_articles_formulas(self):
        assert sympy.simplify(eq.tanh(self.z)[0] - (2 * eq.sigmoid(2 * self.z) - 1)[0]) == 0
        assert sympy.simplify(eq.tanh_derivative_from_output(eq.tanh(self.z))[0] - (1 - eq.tanh(self.z)[0] ** 2)) == 0
