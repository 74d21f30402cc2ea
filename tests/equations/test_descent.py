import numpy as np
import pytest
import sympy
import torch
from helpers.tolerances import assert_close

from nnmath import equations as eq
from nnmath.verification.exact_arithmetic import symbols

X = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
Y = torch.tensor([2.2, 4.9, 8.1, 10.8], dtype=torch.float64)
LEAST_SQUARES = torch.linalg.lstsq(torch.stack([torch.ones(4, dtype=torch.float64), X], 1), Y[:, None]).solution[:, 0]
HESSIAN = eq.half_mse_hessian(torch.stack([torch.ones(4, dtype=torch.float64), X]))


def descend(theta, learning_rate, steps):
    for _ in range(steps):
        theta = eq.gradient_step(theta, torch.stack(eq.half_mse_gradient(X, theta[0], theta[1], Y)), learning_rate)
    return theta


def test_theta_grows_left_of_the_minimum_and_shrinks_right_of_it():
    """Fig. 8, on C = ½ θ², whose slope is θ: P1 at −1, P2 at 1."""
    p1, p2 = torch.tensor([-1.0]), torch.tensor([1.0])
    assert -1 < eq.gradient_step(p1, gradient=p1, learning_rate=0.1) < 0
    assert 0 < eq.gradient_step(p2, gradient=p2, learning_rate=0.1) < 1


def test_limit_is_the_least_squares_solution():
    assert_close(descend(torch.zeros(2, dtype=torch.float64), learning_rate=0.4, steps=2000), LEAST_SQUARES)


def test_critical_learning_rate_separates_convergence_from_divergence():
    start = LEAST_SQUARES + torch.tensor([1.0, 1.0], dtype=torch.float64)
    critical = eq.critical_learning_rate(HESSIAN).item()

    def distance(factor, steps):
        return (descend(start, factor * critical, steps) - LEAST_SQUARES).norm().item()

    assert distance(0.999, 20_000) < 1e-6
    assert distance(1.001, 20_000) > 1e6
    assert distance(1.0, 1001) == pytest.approx(distance(1.0, 1003), rel=1e-6)  # neither shrinks nor grows
    assert distance(0.001, 20) > 0.9 * distance(0.001, 0)  # too small: hardly any progress


@pytest.mark.parametrize("eigenvalues", [[3.0], [1.0, 2.0, 5.0], [5.0, 1.0, 2.0]])
def test_critical_learning_rate_of_any_size(eigenvalues):
    assert eq.critical_learning_rate(torch.diag(torch.tensor(eigenvalues))).item() == pytest.approx(
        2 / max(eigenvalues)
    )


def test_critical_learning_rate_of_zero_hessian_is_infinite():
    assert eq.critical_learning_rate(torch.zeros(2, 2)) == torch.inf


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_1000_steps_match_torch(momentum):
    theta = torch.randn(6, dtype=torch.float64)
    a = torch.randn(6, 6, dtype=torch.float64)
    matrix = a @ a.mT / 6 + torch.eye(6, dtype=torch.float64)
    parameter = theta.clone().requires_grad_()
    optimizer = torch.optim.SGD([parameter], lr=0.05, momentum=momentum)
    velocity = torch.zeros(6, dtype=torch.float64)
    trajectory, reference = [], []
    for _ in range(1000):
        velocity = eq.momentum_update(velocity, matrix @ theta - 1, momentum)
        theta = eq.gradient_step(theta, velocity, 0.05)
        trajectory.append(theta)
        optimizer.zero_grad()
        (parameter @ matrix @ parameter / 2 - parameter.sum()).backward()
        optimizer.step()
        reference.append(parameter.detach().clone())
    assert_close(torch.stack(trajectory), torch.stack(reference))


def test_momentum_crosses_the_barrier_that_stops_plain_descent():
    """C = θ⁴/4 − θ²/2 + 0.1 θ has a shallow well near 0.95 and a deep one near −1.05."""

    def final(momentum):
        theta, velocity = torch.tensor([2.0]), torch.zeros(1)
        for _ in range(2000):
            velocity = eq.momentum_update(velocity, theta**3 - theta + 0.1, momentum)
            theta = eq.gradient_step(theta, velocity, 0.02)
        return theta.item()

    assert final(momentum=0.0) == pytest.approx(0.946, abs=1e-3)
    assert final(momentum=0.9) == pytest.approx(-1.047, abs=1e-3)


@pytest.mark.parametrize(("T", "eta_max", "eta_min"), [(1, 0.1, 0.0), (10, 0.3, 0.01), (1000, 1.0, 0.0)])
def test_cosine_annealing_matches_torch_from_0_to_2T(T, eta_max, eta_min):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=eta_max)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T, eta_min)
    rates, reference = [], []
    for t in range(2 * T + 1):
        rates.append(eq.cosine_annealing(t, T, eta_max, eta_min))
        reference.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert_close(torch.tensor(rates, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64))


def test_cosine_annealing_on_symbols(monkeypatch):
    monkeypatch.setattr(eq.descent, "cos", sympy.cos)
    monkeypatch.setattr(eq.descent, "pi", sympy.pi)
    t, T, high, low = sympy.symbols("t T high low", positive=True)
    rate = eq.cosine_annealing(t, T, high, low)
    assert sympy.simplify(rate.subs(t, 0) - high) == 0
    assert sympy.simplify(rate.subs(t, T) - low) == 0
    assert sympy.simplify(rate.subs(t, T / 2) - (high + low) / 2) == 0
    assert sympy.simplify(rate.subs(t, 2 * T - t) - rate) == 0


def test_momentum_on_symbols_is_a_geometric_sum():
    m, gradient = sympy.Symbol("m"), symbols("g", 1)
    velocity = 0 * gradient
    for k in range(1, 6):
        velocity = eq.momentum_update(velocity, gradient, m)
        assert sympy.expand(velocity[0] - sum(gradient[0] * m**i for i in range(k))) == 0


class TestRefuses:
    @pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf")])
    def test_learning_rates(self, rate):
        with pytest.raises(ValueError, match=r"learning_rate must lie in \[0, inf\), got learning_rate="):
            eq.gradient_step(torch.zeros(1), torch.zeros(1), rate)

    @pytest.mark.parametrize("momentum", [-0.1, 1.0, 1, float("nan")])
    def test_momenta(self, momentum):
        with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got momentum="):
            eq.momentum_update(torch.zeros(1), torch.zeros(1), momentum)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((0, 0, 0.1), "T must lie in .*, got T=0"),
            ((-1, 10, 0.1), "t must lie in .*, got t=-1"),
            ((0, 10, -0.1), "learning_rate must lie in .*, got learning_rate=-0.1"),
            ((0, 10, 0.1, 0.2), r"eta_min must lie in \[0, 0.1\], got eta_min=0.2"),
            ((0, 10, 0.1, -0.2), r"eta_min must lie in \[0, 0.1\], got eta_min=-0.2"),
            ((float("nan"), 10, 0.1), "t must lie in .*, got t=nan"),
            ((float("inf"), 10, 0.1), "t must lie in .*, got t=inf"),
            ((0, float("inf"), 0.1), "T must lie in .*, got T=inf"),
        ],
    )
    def test_schedules(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            eq.cosine_annealing(*arguments)

    def test_numpy_numbers(self):
        with pytest.raises(ValueError, match="learning_rate must lie in .*nan"):
            eq.gradient_step(torch.zeros(1), torch.zeros(1), np.float32("nan"))

    def test_rates_that_do_not_broadcast(self):
        with pytest.raises(ValueError, match=r"learning_rate must be .* broadcast to \(3, 4\), got shape \(3, 1, 1\)"):
            eq.gradient_step(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(3, 1, 1))
        with pytest.raises(ValueError, match=r"momentum must be a number or broadcast to \(3, 4\), got shape \(3,\)"):
            eq.momentum_update(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(3))
        assert eq.gradient_step(torch.zeros(3, 4), torch.ones(3, 4), torch.tensor([[1.0], [2.0], [3.0]]))[2, 0] == -3

    def test_shapes(self):
        with pytest.raises(ValueError, match=r"theta and gradient .* got \(4, 1\) and \(4,\)"):
            eq.gradient_step(torch.zeros(4, 1), torch.zeros(4), 0.1)
        with pytest.raises(ValueError, match=r"velocity and gradient .* got \(4, 1\) and \(4,\)"):
            eq.momentum_update(torch.zeros(4, 1), torch.zeros(4), 0.9)
