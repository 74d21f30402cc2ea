r"""Argument validation: shapes that must match and numbers that must lie in a range; errors name the argument."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np


def same_shape(**tensors: Any) -> None:
    r"""Raise ValueError if two tensors differ in shape, because broadcasting would pair every sample with every other.

    >>> import torch
    >>> same_shape(output=torch.zeros(1, 3), target=torch.zeros(3))
    Traceback (most recent call last):
    ...
    ValueError: output and target must have the same shape, got (1, 3) and (3,)
    """
    (first, a), (second, b) = tensors.items()
    if a.shape != b.shape:
        raise ValueError(f"{first} and {second} must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")


def matching_dims(dimensions: Sequence[int], **tensors: Any) -> None:
    r"""Raise ValueError unless two tensors have the same size along one dimension each, counted from the end.

    >>> import torch
    >>> matching_dims((-1, -2), w=torch.zeros(4, 2), x=torch.zeros(9, 2))
    Traceback (most recent call last):
    ...
    ValueError: w (4, 2) and x (9, 2) do not fit: dimension -1 of w is not dimension -2 of x; samples are columns
    """
    (first, a), (second, b) = tensors.items()
    i, j = dimensions
    if len(a.shape) >= -i and len(b.shape) >= -j and a.shape[i] == b.shape[j]:
        return
    raise ValueError(
        f"{first} {tuple(a.shape)} and {second} {tuple(b.shape)} do not fit: "
        f"dimension {i} of {first} is not dimension {j} of {second}; samples are columns"
    )


def broadcastable_to(theta: Any, **rates: Any) -> None:
    r"""Raise ValueError if a rate is a tensor that does not broadcast to θ, or that would enlarge θ.

    >>> import torch
    >>> broadcastable_to(torch.zeros(3, 4), learning_rate=torch.zeros(3, 1, 1))
    Traceback (most recent call last):
    ...
    ValueError: learning_rate must be a number or broadcast to (3, 4), got shape (3, 1, 1)
    """
    for name, rate in rates.items():
        shape = tuple(getattr(rate, "shape", ()))
        missing = len(theta.shape) - len(shape)
        if missing < 0 or any(a not in (1, b) for a, b in zip(shape, theta.shape[missing:], strict=True)):
            raise ValueError(f"{name} must be a number or broadcast to {tuple(theta.shape)}, got shape {shape}")


def in_interval(
    low: float, high: float, *, closed: Literal["both", "left", "right", "neither"] = "both", **numbers: Any
) -> None:
    r"""Raise ValueError if a number is nan or outside an interval, which includes the ends named by ``closed``.

    Tensors and symbols are not checked. Reading a tensor's values would synchronise the GPU at every step.

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
