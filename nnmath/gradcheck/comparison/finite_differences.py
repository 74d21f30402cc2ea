r"""Difference quotients from the left and from the right, of one entry at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

EPS = torch.finfo(torch.float64).eps


class OneSided(NamedTuple):
    r"""The derivative from the left and from the right, and how far each may be off."""

    left: float
    right: float
    error: float

    def contains(self, value: float, slack: float) -> bool:
        r"""Whether a value lies between the two."""
        low, high = sorted((self.left, self.right))
        return low - slack - self.error <= value <= high + slack + self.error

    def is_kink(self, slack: float) -> bool:
        r"""Whether there is a kink."""
        return abs(self.left - self.right) > 10 * (self.error + slack)


def one_sided_derivatives(
    loss: Callable[[], Tensor], tensor: Tensor, index: tuple[int, ...], step: float, noise: float = 0.0
) -> OneSided:
    r"""One-sided derivatives by Richardson's extrapolation: f′ ≈ (q(h) − 6 q(h/2) + 8 q(h/4)) / 3.

    Args:
        loss: f, of the tensor as it is.
        tensor: float64; the entry is moved and put back.
        index: of the entry.
        step: h.
        noise: by how much f may be off, if that is more than its last digits.

    Returns:
        For h < 0 and h > 0, with q(h) = (f(x + h) − f(x)) / h. The error is what the last extrapolation changed, and
        the rounding of f: it is infinite where the quotients do not converge.
    """
    x = tensor[index].item()

    def value(x: float) -> float:
        tensor[index] = x
        return loss().item()

    with torch.no_grad():
        here = value(x)
        results, errors = [], []
        for h in (-step, step):
            quotients = []
            for part in (h, h / 2, h / 4):
                moved = value(x + part)
                quotients.append((moved - here) / ((x + part) - x))
            q1, q2, q4 = quotients
            first, second = 2 * q2 - q1, 2 * q4 - q2
            results.append((4 * second - first) / 3)
            errors.append(abs(results[-1] - second) + 4 * max(noise, 16 * EPS * max(abs(here), abs(moved))) / step)
        tensor[index] = x
    error = max(errors)
    left, right = results
    return OneSided(left, right, error if error == error else float("inf"))
