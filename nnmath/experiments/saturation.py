r"""Where σ′ vanishes: what is left of it in floating point, and what that does to the notebook's network (A1, B1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import torch
from torch import Tensor

from nnmath.ensemble.stack import train
from nnmath.equations import (
    SIGMOID,
    Layer,
    backward,
    error,
    forward,
    sigmoid,
    sigmoid_derivative,
    sigmoid_derivative_from_output,
)
from nnmath.experiments.haberman import Data
from nnmath.experiments.notebook import FINAL_EPOCHS, FINAL_RATE, initial_layers
from nnmath.verification.exact_arithmetic import DIGITS, to_mpmath

DTYPES = (torch.float32, torch.float64)
SATURATED = 0.01 / 4
r"""A neuron counts as saturated where h (1 − h) is less than a hundredth of its greatest value, ¼."""


@dataclass(frozen=True)
class Slopes:
    r"""Relative errors of σ′(z), computed in two ways and in two types."""

    z: Tensor
    r"""the weighted sums, exact in both types, shape (K,)"""
    of_value: dict[torch.dtype, Tensor]
    r"""error of h (1 − h) with h = σ(z) rounded, shape (K,); 1 where it is 0"""
    of_sum: dict[torch.dtype, Tensor]
    r"""error of σ(z) σ(−z), shape (K,)"""


@dataclass(frozen=True)
class Saturation:
    r"""The notebook's network at several learning rates."""

    rates: tuple[float, ...]
    r"""M learning rates η, for errors summed over the rows"""
    epochs: list[int]
    r"""K numbers of epochs"""
    outputs: Tensor
    r"""share of the rows for which the output neuron is saturated, shape (K, M)"""
    hidden: Tensor
    r"""the same of the hidden neurons, over rows and neurons"""
    gradient_norm: Tensor
    r"""‖∂E/∂(w, b)‖₂ of all parameters together"""
    cost: Tensor
    r"""C = 1/(2n) Σ (O − y)² of the rows it is trained on"""


def slopes(end: float = 50.0, spacing: float = 0.5) -> Slopes:
    r"""Relative error of h (1 − h) and of σ(z) σ(−z), against σ′(z) to 50 digits.

    1 − h cancels more of its digits with every step in z, and all of them once h has rounded to 1. σ(−z) = 1 − σ(z)
    is as good as the exponential is.

    Args:
        end: the last z, from 0.
        spacing: from one z to the next: a power of two, for z to be exact.

    Source: article, Fig. 3 (A1) and Figs. 10 and 11 (B1, B4).

    >>> last = slopes(end=40)
    >>> float(last.of_value[torch.float64][-1]), float(last.of_sum[torch.float64][-1]) < 1e-15
    (1.0, True)
    """
    z = torch.arange(0, end + spacing / 2, spacing, dtype=torch.float64)
    with mpmath.workdps(DIGITS):
        exact: Any = to_mpmath(z)  # the equations take numbers as they take tensors
        truth = sigmoid_derivative(exact)

        def relative(value: Tensor) -> Tensor:
            return torch.tensor([float(abs(entry)) for entry in to_mpmath(value) / truth - 1], dtype=torch.float64)

        of_value = {dtype: relative(sigmoid_derivative_from_output(sigmoid(z.to(dtype)))) for dtype in DTYPES}
        of_sum = {dtype: relative(sigmoid_derivative(z.to(dtype))) for dtype in DTYPES}
    return Slopes(z, of_value, of_sum)


def saturation(data: Data, rates: Sequence[float] = (0.02, FINAL_RATE), epochs: int = FINAL_EPOCHS) -> Saturation:
    r"""Share of saturated neurons and norm of the gradient while the notebook's network is trained.

    At its η = 0.45 a few long steps throw the output neuron far to one side: O (1 − O) is next to 0 for every row, the
    gradient with it, and the thousands of epochs that are left change nothing.

    Args:
        data: the notebook's.
        rates: M learning rates.
        epochs: how many; each of the first ten is looked at, then ever fewer.

    Raises:
        ValueError: an argument is out of range.

    Source: the author's notebook; article, Fig. 10 (B1).
    """
    m, activations = len(rates), (SIGMOID, SIGMOID)
    eta = torch.tensor(rates, dtype=torch.float64)
    x, y = data.train.x, data.train.y.expand(m, *data.train.y.shape)
    layers = [Layer(weight.expand(m, -1, -1), bias.expand(m, -1)) for weight, bias in initial_layers()]
    at = [t for t in [*range(10), *sorted({round(10 ** (k / 10)) for k in range(10, 60)})] if t < epochs] + [epochs]
    rows, done = [], 0
    for t in at:
        layers = train(layers, x, y, epochs=t - done, learning_rate=eta, reduction="sum").layers
        done = t
        values = forward(x, layers, activations)
        gradients = backward(values, layers, activations, y, "sum")
        norm = torch.cat([gradient.flatten(1) for layer in gradients for gradient in layer], 1).norm(dim=1)
        hidden, outputs = ((sigmoid_derivative_from_output(h) < SATURATED).double().mean((-2, -1)) for h in values[1:])
        rows.append(torch.stack([outputs, hidden, norm, error(values[-1], y)]))  # (4, M)
    return Saturation(tuple(rates), at, *torch.stack(rows, 1))
