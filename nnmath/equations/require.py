r"""What the equations refuse: shapes that do not match and numbers out of range, in a line that names the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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


def same_size(dimensions: Sequence[int], **tensors: Any) -> None:
    r"""Refuse two tensors that disagree in size along one dimension each, counted from the back.

    Raises:
        ValueError: a tensor has too few dimensions, or the two sizes differ.

    >>> import torch
    >>> same_size((-1, -2), w=torch.zeros(4, 2), x=torch.zeros(9, 2))
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


def between(low: float, high: float, *, below: bool = False, **numbers: Any) -> None:
    r"""Refuse a Python number outside low ... high (``below=True``: high itself is refused too); nan never passes.

    Tensors and symbols pass unseen: to look at a tensor's values would stop a GPU in every step.

    Raises:
        ValueError: the number is nan or out of range.

    >>> between(0, 1, below=True, momentum=1.0)
    Traceback (most recent call last):
    ...
    ValueError: momentum must lie in [0, 1), got momentum=1.0
    """
    for name, number in numbers.items():
        if isinstance(number, (int, float)) and not (low <= number < high or (number == high and not below)):
            raise ValueError(f"{name} must lie in [{low}, {high}{')' if below else ']'}, got {name}={number}")
