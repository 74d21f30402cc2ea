r"""Argument validation: shapes that must match and numbers that must lie in a range; errors name the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np


def same_shape(**tensors: Any) -> None:
    r"""Refuse two tensors of unequal shapes, for broadcasting them would pair every sample with every other one.

    Raises:
        ValueError: a target of shape (n,) against an output of shape (1, n), for example.

    >>> import torch
    >>> same_shape(output=torch.zeros(1, 3), target=torch.zeros(3))
    Traceback (most recent call last):
    ...
    ValueError: output and target must have the same shape, got (1, 3) and (3,)
    """
    a, b = tensors.values()
    if a.shape != b.shape:
        first, second = tensors
        raise ValueError(f"{first} and {second} must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")


def matching_dims(dimensions: Sequence[int], **tensors: Any) -> None:
    r"""Refuse two tensors that disagree in size along one dimension each, counted from the back.

    Raises:
        ValueError: a tensor has too few dimensions, or the two sizes differ.

    >>> import torch
    >>> matching_dims((-1, -2), w=torch.zeros(4, 2), x=torch.zeros(9, 2))
    Traceback (most recent call last):
    ...
    ValueError: w (4, 2) and x (9, 2) do not fit: dimension -1 of w is not dimension -2 of x; samples are columns
    """
    a, b = tensors.values()
    i, j = dimensions
    if len(a.shape) >= -i and len(b.shape) >= -j and a.shape[i] == b.shape[j]:
        return
    first, second = tensors
    raise ValueError(
        f"{first} {tuple(a.shape)} and {second} {tuple(b.shape)} do not fit: "
        f"dimension {i} of {first} is not dimension {j} of {second}; samples are columns"
    )


def broadcastable_to(theta: Any, **rates: Any) -> None:
    r"""Refuse a rate that is a tensor and would not broadcast to the shape of θ, or would make θ grow.

    Raises:
        ValueError: a rate of shape (3, 1, 1) for a bias of shape (3, 4), for example.

    >>> import torch
    >>> broadcastable_to(torch.zeros(3, 4), learning_rate=torch.zeros(3, 1, 1))
    Traceback (most recent call last):
    ...
    ValueError: learning_rate must be a number or broadcast to (3, 4), got shape (3, 1, 1)
    """
    for name, rate in rates.items():
        shape = tuple(getattr(rate, "shape", ()))
        padded = (1,) * (len(theta.shape) - len(shape)) + shape
        if shape and (
            len(padded) > len(theta.shape) or any(a not in (1, b) for a, b in zip(padded, theta.shape, strict=True))
        ):
            raise ValueError(f"{name} must be a number or broadcast to {tuple(theta.shape)}, got shape {shape}")


def in_interval(
    low: float, high: float, *, closed: Literal["both", "left", "right", "neither"] = "both", **numbers: Any
) -> None:
    r"""Refuse a number outside the interval from low to high, or nan. ``closed`` names the ends that belong to it.

    Tensors and symbols are not looked at: reading a tensor's values would synchronise a GPU at every step.

    Raises:
        ValueError: the number is nan or out of range.

    >>> in_interval(0, 1, closed="left", momentum=1.0)
    Traceback (most recent call last):
    ...
    ValueError: momentum must lie in [0, 1), got momentum=1.0
    """
    left, right = closed in ("both", "left"), closed in ("both", "right")
    for name, number in numbers.items():
        if isinstance(number, (int, float, np.number)) and not (
            low < number < high or (number == low and left) or (number == high and right)
        ):
            interval = f"{'[' if left else '('}{low}, {high}{']' if right else ')'}"
            raise ValueError(f"{name} must lie in {interval}, got {name}={number}")
