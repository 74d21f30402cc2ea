r"""Gradient descent on the cost of the linear model: the sign of a step (G2, Fig. 8) and the largest stable η (G3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from nnmath import equations as eq
from nnmath.experiments.report import Report, curves, table
from nnmath.figures.style import BLACK, BLUE, LINE_STYLES, VERMILION, new_axes

MULTIPLES = (0.002, 0.02, 0.5, 0.99, 1.0, 1.01)  # far too small, too small, good, just stable, critical, unstable
X = torch.linspace(0, 3, 20, dtype=torch.float64)  # the feature of the samples, shape (n,)
MINIMUM = 2.0  # θ where the cost of Fig. 8 is least


@dataclass(frozen=True)
class LearningRates:
    r"""Descents from one start at M multiples of the critical learning rate."""

    critical: float  # η = 2 / λ_max
    multiples: Tensor  # η divided by it, shape (M,)
    excess: Tensor  # C − C_min after each epoch, shape (epochs + 1, M)
    factor: Tensor  # max (1 − ηλ)² over the eigenvalues λ: the asymptotic factor of C − C_min per epoch, shape (M,)


def run(multiples: Sequence[float] = MULTIPLES, epochs: int = 100, seed: int = 0) -> LearningRates:
    r"""Cost against epochs: descent is slow with a tiny η and diverges with an η above 2 / λ_max.

    It starts from θ₀ = θ₁ = 0. The 20 samples are those of y = 1 + 2x with random noise.

    Source: article, "On a side note" (G3).

    >>> result = run(multiples=(0.99, 1.01))
    >>> result.excess[-1] > result.excess[0]
    tensor([False,  True])
    """
    y = 1 + 2 * X + 0.3 * torch.randn(20, dtype=torch.float64, generator=Generator().manual_seed(seed))
    hessian = eq.half_mse_hessian(torch.stack([torch.ones_like(X), X]))  # (2, 2)
    critical = eq.critical_learning_rate(hessian)
    eta = critical * torch.tensor(multiples, dtype=torch.float64)  # (M,)
    target = y.expand(len(eta), -1)  # (M, n)
    path = [torch.zeros(2, len(eta), dtype=torch.float64)]
    for _ in range(epochs):
        gradient = torch.stack(eq.half_mse_gradient(X, path[-1][0], path[-1][1], target))
        path.append(eq.gradient_step(path[-1], gradient, eta))
    theta = torch.stack(path, 1)  # (2, epochs + 1, M)
    costs = eq.half_mse(eq.linear_model(X, theta[0], theta[1]), target.expand(epochs + 1, -1, -1))
    centred = X - X.mean()  # least squares without LAPACK, whose last bits depend on memory alignment
    least = eq.half_mse(y.mean() + centred * (centred * y).sum() / centred.square().sum(), y)
    factor = ((1 - eta[:, None] * torch.linalg.eigvalsh(hessian)) ** 2).amax(1)
    return LearningRates(float(critical), eta / critical, costs - least, factor)


def cost(theta: Tensor) -> Tensor:
    r"""Cost of Fig. 8: C(θ) = 1/(2n) Σ (xθ − 2x)²; any shape."""
    return eq.half_mse(eq.linear_model(X, 0 * theta, theta), (MINIMUM * X).expand(*theta.shape, -1))


def slope(theta: Tensor) -> Tensor:
    r"""Its derivative: ∂C/∂θ = 1/n Σ (xθ − 2x) x; any shape."""
    return eq.half_mse_gradient(X, 0 * theta, theta, (MINIMUM * X).expand(*theta.shape, -1))[1]


def descent_from_both_sides(epochs: int = 12) -> Tensor:
    r"""Left of the minimum (P1) the slope is negative and θ grows; right of it (P2) it is positive and θ shrinks.

    With η = 0.3 / λ, an epoch multiplies the distance to the minimum by 0.7.

    Returns:
        θ after each epoch from P1 and from P2, shape (epochs + 1, 2).

    Source: article, Fig. 8 (G2).

    >>> slope(descent_from_both_sides()[0])
    tensor([-4.6184,  4.6184], dtype=torch.float64)
    """
    eta = 0.15 * float(eq.critical_learning_rate(eq.half_mse_hessian(X[None])))
    path = [torch.tensor([0.5, 3.5], dtype=torch.float64)]  # P1, P2
    for _ in range(epochs):
        path.append(eq.gradient_step(path[-1], slope(path[-1]), eta))
    return torch.stack(path)


def draw_costs(result: LearningRates) -> Figure:
    r"""Cost above the least against epochs, for each multiple of the critical learning rate."""
    title = "descent at multiples of η = 2/λ$_\\mathrm{max}$"
    figure, axes = new_axes("epochs", "cost above the least, C − C$_\\mathrm{min}$", title)
    axes.set_prop_cycle(LINE_STYLES)
    axes.semilogy(result.excess, label=[f"{multiple:g}" for multiple in result.multiples])
    axes.legend(loc="lower left")
    return figure


def draw_both_sides(path: Tensor) -> Figure:
    r"""Fig. 8: the cost over θ, and the steps of the descents from P1 and from P2."""
    figure, axes = new_axes("θ", "cost C(θ)", "left of the minimum θ grows, right of it θ shrinks")
    theta = torch.linspace(0, 4, 101, dtype=torch.float64)
    axes.plot(theta, cost(theta), color=BLACK)
    axes.axvline(MINIMUM, color=BLACK, alpha=0.4, linestyle="--")
    looks = ("P1", "P2"), (BLUE, VERMILION), ("o", "s"), (-24, 10)
    for theta, name, colour, marker, offset in zip(path.mT, *looks, strict=True):
        rise = float(slope(theta[0]))
        start, height = float(theta[0]), float(cost(theta[0]))
        axes.plot(theta, cost(theta), color=colour, marker=marker, linestyle="", label=f"{name}: ∂C/∂θ = {rise:.2f}")
        axes.plot([start - 0.4, start + 0.4], [height - 0.4 * rise, height + 0.4 * rise], color=colour)
        axes.annotate(name, (start, height), (offset, -5), textcoords="offset points")
    axes.legend(loc="upper center")
    return figure


def report() -> Report:
    r"""A table of the learning rates, and where the two descents of Fig. 8 end."""
    result, path = run(), descent_from_both_sides()
    rows = []
    for multiple, excess, factor in zip(result.multiples, result.excess[-1], result.factor, strict=True):
        outcome = "neither" if abs(factor - 1) < 1e-9 else "converges" if factor < 1 else "diverges"
        rows.append((f"{multiple:g}", f"{multiple * result.critical:.4f}", f"{excess:.2g}", f"{factor:.4f}", outcome))
    headings = "multiple", "η", f"C − C_min after {len(result.excess) - 1} epochs", "asymptotic factor per epoch", ""
    sides = [
        f"{name}: ∂C/∂θ = {slope(theta[0]):.2f}, θ goes from {theta[0]:g} to {theta[-1]:.2f}"
        for name, theta in zip(("P1", "P2"), path.mT, strict=True)
    ]
    critical = f"critical learning rate η = 2/λ_max = {result.critical:.4f}"
    first = f"{critical}; C − C_min is {result.excess[0, 0]:.2g} at the start"
    last = f"the minimum is at θ = {MINIMUM:g}; {'; '.join(sides)}"
    figures = {"learning_rate/cost": draw_costs(result), "learning_rate/two_sides": draw_both_sides(path)}
    scalars = curves("learning_rate/cost_above_least_over_steps", (row[0] for row in rows), result.excess)
    return Report([first, table(headings, rows), last], figures, scalars)
