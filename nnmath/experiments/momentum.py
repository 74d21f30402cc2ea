r"""Momentum over a local minimum: it crosses the hump of a double well that plain descent does not (G4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnmath.equations import gradient_step, momentum_update, validate


@dataclass(frozen=True)
class Momenta:
    r"""Descents from one start, each with a momentum of its own."""

    momenta: Tensor
    r"""m, shape (M,)"""
    path: Tensor
    r"""θ after each step, shape (steps + 1, M)"""
    deep: float
    r"""where the deep well has its minimum"""
    barrier: float
    r"""where the hump is"""
    shallow: float
    r"""where the shallow well has its minimum"""
    theta: Tensor
    r"""θ along the double well, shape (K,)"""
    cost: Tensor
    r"""C(θ), shape (K,)"""

    @property
    def crossed(self) -> Tensor:
        r"""Which of them end beyond the hump, shape (M,)."""
        return self.path[-1] < self.barrier


def double_well(theta: Tensor) -> Tensor:
    r"""Double well: C = θ⁴/4 − θ²/2 + θ/10, a shallow well on the right and a deep one on the left; any shape."""
    return theta**4 / 4 - theta**2 / 2 + theta / 10


def double_well_slope(theta: Tensor) -> Tensor:
    r"""Its derivative: ∂C/∂θ = θ³ − θ + 1/10; any shape."""
    return theta**3 - theta + 0.1


def momenta(
    momenta: Sequence[float] = (0.0, 0.5, 0.8, 0.85, 0.9, 0.95),
    start: float = 2.0,
    learning_rate: float = 0.02,
    steps: int = 300,
) -> Momenta:
    r"""Descent down the right slope: with much momentum it rolls through the shallow well into the deep one.

    That it helps is all that is claimed: how much of it is needed depends on the start and on η, and a ball that rolls
    out of a shallow well may as well roll out of a deep one.

    Args:
        momenta: M numbers m in [0, 1); 0 is plain descent.
        start: θ at first.
        learning_rate: η ≥ 0.
        steps: how many, from 0.

    Raises:
        ValueError: m or η is out of range.

    Source: article, "On a side note" (G4).

    >>> momenta(momenta=(0.0, 0.9)).crossed
    tensor([False,  True])
    """
    for momentum in momenta:
        validate.in_interval(0, 1, closed="left", momentum=momentum)
    m = torch.tensor(momenta, dtype=torch.float64)
    path = [torch.full_like(m, start)]
    velocity = torch.zeros_like(m)
    for _ in range(steps):
        velocity = momentum_update(velocity, double_well_slope(path[-1]), m)
        path.append(gradient_step(path[-1], velocity, learning_rate))
    deep, hump, shallow = sorted(float(root) for root in np.roots([1, 0, -1, 0.1]).real)
    theta = torch.linspace(-1.6, 2.1, 101, dtype=torch.float64)
    return Momenta(m, torch.stack(path), deep, hump, shallow, theta, double_well(theta))
