import pytest
import sympy
import torch
from helpers.tolerances import assert_close
from torch.nn import functional as F

from nnmath import equations as eq
from nnmath.verification.exact_arithmetic import symbols

X = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
Y = torch.tensor([2.0, 5.0, 8.0, 11.0], dtype=torch.float64)  # y = 2 + 3x


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def test_line_without_a_bias_passes_through_the_origin_and_misses_the_data():
    """N3: least squares with and without θ₀ on data whose intercept is 2."""
    assert eq.linear_model(number([0.0]), theta0=number(0.0), theta1=number(7.0)) == 0
    with_bias = torch.linalg.lstsq(torch.stack([torch.ones(4, dtype=torch.float64), X], 1), Y[:, None]).solution[:, 0]
    without_bias = (X @ Y) / (X @ X)
    assert with_bias.tolist() == pytest.approx([2, 3])
    assert eq.half_mse(eq.linear_model(X, with_bias[0], with_bias[1]), Y) < 1e-20
    assert eq.half_mse(eq.linear_model(X, number(0.0), without_bias), Y) > 0.1


def test_values():
    prediction = number([1.0, 2.0, 4.0])
    target = number([1.0, 4.0, 1.0])
    assert eq.squared_error(prediction, target).tolist() == [0, 4, 9]
    assert eq.half_mse(prediction, target) == (0 + 4 + 9) / (2 * 3)
    assert eq.half_mse(prediction, target, reduction="sum") == (0 + 4 + 9) / 2


def test_the_cost_includes_the_half_and_the_squared_error_does_not():
    """Erratum 4: the article defines E both as (ŷ − y)² and as half of it."""
    prediction, target = number([3.0]), number([1.0])
    assert eq.squared_error(prediction, target) == 2 * eq.half_mse(prediction, target)


def test_the_printed_cost_lacks_the_square_and_the_sum():
    """Erratum 2: (1/2n)(θ₀ + xθ₁ − y) would be negative for every prediction that is too small."""
    assert ((X - Y) / (2 * 4) < 0).all()
    assert eq.half_mse(X, Y) > 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_stack_equals_separate_models(reduction):
    theta0, theta1 = torch.randn(2, 5, dtype=torch.float64)
    target = Y.expand(5, 4)
    cost = eq.half_mse(eq.linear_model(X, theta0, theta1), target, reduction)
    gradient = eq.half_mse_gradient(X, theta0, theta1, target, reduction)
    for i in range(5):
        theta = theta0[i].clone().requires_grad_(), theta1[i].clone().requires_grad_()
        reference = F.mse_loss(theta[0] + theta[1] * X, Y, reduction=reduction) / 2
        assert_close(cost[i], reference)
        for manual, autograd in zip(gradient, torch.autograd.grad(reference, theta), strict=True):
            assert_close(manual[i], autograd)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_hessian_matches_autograd(reduction):
    x = torch.randn(3, 9, dtype=torch.float64)
    reference = torch.autograd.functional.hessian(
        lambda theta: F.mse_loss(theta @ x, torch.ones(9, dtype=torch.float64), reduction=reduction) / 2,
        torch.zeros(3, dtype=torch.float64),
    )
    assert_close(eq.half_mse_hessian(x, reduction), reference)
    assert_close(eq.half_mse_hessian(torch.stack([x, 2 * x]), reduction), torch.stack([reference, 4 * reference]))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient_on_symbols_matches_sympy(n, reduction):
    x, y, theta0, theta1 = symbols("x", 1, n), symbols("y", 1, n), symbols("theta0", 1), symbols("theta1", 1)
    (cost,) = eq.half_mse(eq.linear_model(x, theta0, theta1), y, reduction)
    for theta, gradient in zip((theta0, theta1), eq.half_mse_gradient(x, theta0, theta1, y, reduction), strict=True):
        assert sympy.expand(sympy.diff(cost, theta[0]) - gradient[0]) == 0


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (eq.half_mse, (torch.zeros(1, 4), torch.zeros(4)), r"prediction and target .* got \(1, 4\) and \(4,\)"),
        (eq.squared_error, (torch.zeros(4), torch.zeros(4, 1)), r"got \(4,\) and \(4, 1\)"),
        (eq.half_mse_gradient, (X, X[0], X[0], X[:3]), r"prediction and target .* got \(4,\) and \(3,\)"),
        (eq.half_mse, (X, X, "none"), "reduction must be 'mean' or 'sum', got 'none'"),
        (eq.half_mse, (torch.zeros(0), torch.zeros(0)), "there are no samples"),
    ],
)
def test_refuses(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
