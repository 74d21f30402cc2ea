r"""Measures of an error: relative to the largest entry, and in units in the last place."""

import math
from typing import SupportsFloat

import torch
from torch import Tensor


def relative_error(value: Tensor, reference: Tensor) -> float:
    r"""The largest error, max |value − reference| / max |reference|.

    It is 0 if the two are equal, and inf if only the reference is 0 or if the shapes differ.

    >>> relative_error(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 4.0]))
    0.25
    """
    if value.shape != reference.shape:
        return math.inf
    error, scale = max_abs(value - reference), max_abs(reference)
    return error / scale if scale else (math.inf if error else 0.0)


def ulp(number: SupportsFloat, dtype: torch.dtype) -> float:
    r"""The unit in the last place of a number: :math:`\epsilon \, 2^{\lfloor \log_2 |number| \rfloor}`.

    A number below the smallest normal number of the dtype has that number's unit.

    >>> ulp(1.5, torch.float64) == torch.finfo(torch.float64).eps
    True
    """
    info = torch.finfo(dtype)
    _, exponent = math.frexp(max(abs(float(number)), info.smallest_normal))
    return math.ldexp(info.eps, exponent - 1)


def is_finite(tensor: Tensor) -> bool:
    r"""Whether all entries are finite. A finite sum says so in one pass over a large tensor."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def max_abs(tensor: Tensor) -> float:
    r"""The largest absolute value; 0 for an empty tensor."""
    if not tensor.numel():
        return 0.0
    low, high = tensor.aminmax()
    return float(torch.maximum(-low, high))  # nan if there is one
