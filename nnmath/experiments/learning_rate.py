r"""Gradient descent on the cost of the linear model: which way θ goes (G2, Fig. 8), and which η is too much (G3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from nnmath.equations import (
    critical_learning_rate,
    gradient_step,
    half_mse,
    half_mse_gradient,
    half_mse_hessian,
    linear_model,
    validate,
)

MULTIPLES = (0.002, 0.02, 0.5, 0.99, 1.0, 1.01)
r"""Far too small, too small, right, just small enough, neither, just too large."""


@dataclass(frozen=True)
class LearningRates:
    r"""Descents from one start, each with a multiple of the critical learning rate."""

    critical: float
    r"""η = 2 / λ_max"""
    multiples: Tensor
    r"""what it is multiplied by, shape (M,)"""
    excess: Tensor
    r"""C − C_min, how far the cost is above the least there is, after each epoch; shape (epochs + 1, M)"""
    factor: Tensor
    r"""max (1 − ηλ)² over the eigenvalues λ: what an epoch multiplies C − C_min by in the long run, shape (M,)"""


@dataclass(frozen=True)
class TwoSides:
    r"""Fig. 8: a cost curve over one parameter, and descent on it from either side."""

    theta: Tensor
    r"""θ along the curve, shape (K,)"""
    cost: Tensor
    r"""C(θ), shape (K,)"""
    minimum: float
    r"""where C is least"""
    path: Tensor
    r"""θ after each epoch, from P1 and from P2; shape (epochs + 1, 2)"""
    path_cost: Tensor
    r"""C there, of the same shape"""
    slope: Tensor
    r"""∂C/∂θ at P1 and at P2, shape (2,)"""


def learning_rates(multiples: Sequence[float] = MULTIPLES, epochs: int = 100, seed: int = 0) -> LearningRates:
    r"""Cost against epochs: η too small crawls, η beyond 2 / λ_max diverges, and there is nothing in between.

    Twenty samples of y = 1 + 2x with noise, x from 0 to 3; descent from θ₀ = θ₁ = 0.

    Args:
        multiples: M multiples of the critical learning rate, each at least 0.
        epochs: how many, from 1.
        seed: of the noise.

    Raises:
        ValueError: an argument is out of range.

    Source: article, "On a side note" (G3).

    >>> result = learning_rates(multiples=(0.99, 1.01))
    >>> result.excess[-1] > result.excess[0]
    tensor([False,  True])
    """
    validate.in_interval(1, float("inf"), epochs=epochs)
    x = torch.linspace(0, 3, 20, dtype=torch.float64)
    y = 1 + 2 * x + 0.3 * torch.randn(20, dtype=torch.float64, generator=Generator().manual_seed(seed))
    features = torch.stack([torch.ones_like(x), x])  # (2, n)
    hessian = half_mse_hessian(features)
    critical = critical_learning_rate(hessian)
    eta = critical * torch.tensor(multiples, dtype=torch.float64)  # (M,)
    validate.in_interval(0, float("inf"), closed="left", multiples=float(eta.min()))
    target = y.expand(len(eta), -1)  # (M, n)
    path = [torch.zeros(2, len(eta), dtype=torch.float64)]
    for _ in range(epochs):
        path.append(gradient_step(path[-1], torch.stack(half_mse_gradient(x, path[-1][0], path[-1][1], target)), eta))
    theta = torch.stack(path, 1)  # (2, epochs + 1, M)
    least = half_mse((torch.linalg.lstsq(features.mT, y[:, None]).solution.mT @ features)[0], y)
    cost = half_mse(linear_model(x, theta[0], theta[1]), target.expand(epochs + 1, -1, -1))
    factor = ((1 - eta[:, None] * torch.linalg.eigvalsh(hessian)) ** 2).amax(1)
    return LearningRates(float(critical), eta / critical, cost - least, factor)


def descent_from_both_sides(epochs: int = 12) -> TwoSides:
    r"""Left of the minimum (P1) the slope is negative and θ grows; right of it (P2) it is positive and θ shrinks.

    The cost is that of ŷ = xθ on samples of y = 2x, and η is 0.3 / λ: each epoch leaves 0.7 of the way.

    Args:
        epochs: how many, from 0.

    Source: article, Fig. 8 (G2).

    >>> descent_from_both_sides().slope
    tensor([-4.6184,  4.6184], dtype=torch.float64)
    """
    x = torch.linspace(0, 3, 20, dtype=torch.float64)

    def cost(theta: Tensor) -> Tensor:
        return half_mse(linear_model(x, 0 * theta, theta), (2 * x).expand(*theta.shape, -1))

    def slope(theta: Tensor) -> Tensor:
        return half_mse_gradient(x, 0 * theta, theta, (2 * x).expand(*theta.shape, -1))[1]

    eta = 0.15 * float(critical_learning_rate(half_mse_hessian(x[None])))
    path = [torch.tensor([0.5, 3.5], dtype=torch.float64)]  # P1, P2
    for _ in range(epochs):
        path.append(gradient_step(path[-1], slope(path[-1]), eta))
    theta, there = torch.linspace(0, 4, 101, dtype=torch.float64), torch.stack(path)
    return TwoSides(theta, cost(theta), 2.0, there, cost(there), slope(path[0]))
