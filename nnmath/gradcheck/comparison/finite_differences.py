r"""One-sided finite differences, of one entry at a time."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

EPS = torch.finfo(torch.float64).eps


class OneSided(NamedTuple):
    r"""The derivatives from the left and from the right, and the largest error of either."""

    left: float
    right: float
    error: float

    def contains(self, value: float, slack: float) -> bool:
        r"""Whether a value lies between the two, within the error and the slack."""
        low, high = sorted((self.left, self.right))
        return low - slack - self.error <= value <= high + slack + self.error

    def is_kink(self, slack: float) -> bool:
        r"""Whether the two differ by much more than the error and the slack."""
        return abs(self.left - self.right) > 10 * (self.error + slack)


def one_sided_derivatives(
    loss: Callable[[], Tensor], tensor: Tensor, index: tuple[int, ...], step: float, noise: float = 0.0
) -> OneSided:
    r"""One-sided derivatives by Richardson's extrapolation: f′ ≈ (q(h) − 6 q(h/2) + 8 q(h/4)) / 3.

    Args:
        loss: f, as a function of the current content of the tensor.
        tensor: in float64; the entry at ``index`` is changed and restored.
        index: of x.
        step: h.
        noise: the error of f, if it is larger than the rounding of its result.

    Returns:
        The derivatives for −h and h, with q(h) = (f(x + h) − f(x)) / h. The error is the last change by extrapolation
        plus the rounding of f; it is infinite where the quotients do not converge.
    """
    x = tensor[index].item()

    def f(x: float) -> float:
        tensor[index] = x
        return loss().item()

    derivatives, error = [], 0.0
    with torch.no_grad():
        center = f(x)
        for h in (-step, step):
            points = [x + h, x + h / 2, x + h / 4]
            values = [f(point) for point in points]
            q1, q2, q4 = ((value - center) / (point - x) for value, point in zip(values, points, strict=True))
            first, second = 2 * q2 - q1, 2 * q4 - q2
            derivatives.append((4 * second - first) / 3)
            rounding = max(noise, 16 * EPS * max(abs(center), abs(values[-1])))
            side_error = abs(derivatives[-1] - second) + 4 * rounding / step
            error = max(error, math.inf if math.isnan(side_error) else side_error)
        tensor[index] = x
    return OneSided(derivatives[0], derivatives[1], error)
