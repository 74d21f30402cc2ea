r"""Where the article is wrong, or its translation or its author's notebook: each of eight errata by numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import mpmath
import torch
from torch import Generator, Tensor

from nnmath.ensemble.stack import init_stack, train
from nnmath.equations import (
    IDENTITY,
    SIGMOID,
    forward,
    half_mse,
    number_of_parameters,
    sigmoid,
    sigmoid_derivative,
    sigmoid_derivative_from_output,
    squared_error,
)
from nnmath.equations.cost import Reduction
from nnmath.experiments.haberman import Data
from nnmath.experiments.notebook import FINAL_EPOCHS, FINAL_RATE, RATES, SIZES, mse, train_rates
from nnmath.experiments.perceptron import CORNERS
from nnmath.verification.exact_arithmetic import DIGITS, to_mpmath


class Erratum(NamedTuple):
    r"""A claim, and numbers that show it to be wrong."""

    number: int
    r"""1 to 8"""
    claim: str
    r"""what is claimed"""
    shown: str
    r"""what was computed"""
    holds: bool
    r"""whether the numbers bear the erratum out"""


@dataclass(frozen=True)
class Extrapolation:
    r"""A network trained on one half of a range and asked about the other as well."""

    x: Tensor
    r"""0 to 2, trained up to 1; shape (n,)"""
    target: Tensor
    r"""sin 2πx, shape (n,)"""
    output: Tensor
    r"""the network's, shape (n,)"""
    inside: float
    r"""root mean squared error on 0 to 1"""
    outside: float
    r"""the same on 1 to 2"""


@dataclass(frozen=True)
class Errata:
    r"""The errata, and the two experiments that the last one rests on."""

    rows: list[Erratum]
    r"""in their order; 5 and 6 only where there are data"""
    beyond: Extrapolation
    r"""a good fit that does not generalise"""
    xor: Tensor
    r"""final costs of networks 2-2-1 on XOR, in ascending order"""


def errata(data: Data | None = None, networks: int = 200) -> Errata:
    r"""All errata.

    Args:
        data: the notebook's; without them 5 and 6, which are about it, are left out.
        networks: how many are to learn XOR.

    Source: article, errata 1 to 8.
    """
    beyond, xor = extrapolate(), xor_costs(networks)
    rows = [open_range(), lost_square(), growth(), conventions()]
    if data is not None:
        rows += [best_rate(data), constant_predictor(data)]
    return Errata([*rows, rounded_slope(), representable_not_learnable(beyond, xor)], beyond, xor)


# --- the article -----------------------------------------------------------------------------------------------------


def open_range() -> Erratum:
    r"""Erratum 1: the range of σ is the open interval (0, 1); it is 1 only where it rounds to it."""
    z = {dtype: rounds_to_one(dtype) for dtype in (torch.float32, torch.float64)}
    with mpmath.workdps(DIGITS):
        exact: Any = to_mpmath(
            torch.tensor([z[torch.float64]], dtype=torch.float64)
        )  # the equations are typed for tensors
        short = float(1 - sigmoid(exact).item())
    return Erratum(
        1,
        'The sigmoid always returns a "binary (0/1) output".',
        f"σ(1) = {float(sigmoid(torch.tensor(1.0))):.3f}; it rounds to 1 from z = {z[torch.float32]:.2f} in float32, "
        f"from z = {z[torch.float64]:.2f} in float64, where 1 − σ(z) is {short:.1e}",
        0 < short < 1e-15 and 36 < z[torch.float64] < 38,
    )


def rounds_to_one(dtype: torch.dtype) -> float:
    r"""The least z for which σ(z) is 1 in this type, by bisection.

    >>> round(rounds_to_one(torch.float64), 4)
    36.7368
    """
    low, high = torch.tensor([0.0, 100.0], dtype=dtype)
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if sigmoid(middle) == 1 else (middle, high)
    return float(high)


def lost_square() -> Erratum:
    r"""Erratum 2: 1/(2n) (θ₀ + xθ₁ − y), as printed, is not a cost: it is least where ŷ is least."""
    prediction, y = torch.tensor([[1.0, 3.0], [2.0, 2.0], [-1e3, -1e3]]), torch.tensor([2.0, 2.0]).expand(3, 2)
    printed = (prediction - y).sum(-1) / 4
    cost = half_mse(prediction, y)
    wrong, right, far = ([f"{float(c):g}" for c in pair] for pair in zip(printed, cost, strict=True))
    return Erratum(
        2,
        "C = 1/(2n) (θ₀ + xθ₁ − y).",
        f"one off by −1 and one by 1: {wrong[0]}, as if both were right, and with Σ and the square {wrong[1]}; both "
        f"right: {right[0]} and {right[1]}; both far too low: {far[0]} and {far[1]}",
        bool((printed.argmin() == 2) & (printed[0] == printed[1]) & (cost.argmin() == 1)),
    )


def growth() -> Erratum:
    r"""Erratum 3: Σ n_in n_out + n_out has constant first differences in depth and constant second ones in width."""
    depth = [number_of_parameters([8] * (layers + 1)) for layers in range(1, 9)]
    width = [number_of_parameters([n] * 3) for n in range(1, 9)]
    first, second = differences(depth), differences(differences(width))
    return Erratum(
        3,
        'A network has "an exponential number of parameters".',
        f"each further layer of 8 adds {first[0]}; 1-1-1 to 8-8-8 have {', '.join(map(str, width))}, each step by "
        f"{second[0]} longer than the last",
        len(set(first)) == len(set(second)) == 1,
    )


def differences(values: Sequence[int]) -> list[int]:
    r"""Each value less the one before it.

    >>> differences([1, 4, 9])
    [3, 5]
    """
    return [b - a for a, b in pairwise(values)]


def conventions(rows: int = 266, epochs: int = 10) -> Erratum:
    r"""Erratum 4: with the ½ or without, and summed or averaged, the same η is another learning rate."""
    generator = Generator().manual_seed(0)
    x = torch.rand(SIZES[0], rows, dtype=torch.float64, generator=generator)
    y = (x.sum(0, keepdim=True) > 1.5).double()
    stack = init_stack(SIZES, seeds=[0], dtype=torch.float64)

    def output(reduction: Reduction, learning_rate: float) -> Tensor:
        layers = train(stack, x, y, epochs=epochs, learning_rate=learning_rate, reduction=reduction).layers
        return forward(x, layers, (SIGMOID, SIGMOID))[-1]

    summed, averaged, same = output("sum", FINAL_RATE), output("mean", FINAL_RATE * rows), output("mean", FINAL_RATE)
    apart, otherwise = float((summed - averaged).abs().max()), float((summed - same).abs().max())
    twice = float(squared_error(x, 0 * x).sum() / rows / half_mse(x, 0 * x).sum())
    return Erratum(
        4,
        f"E is (ŷ − y)², and E is half of it; η is {FINAL_RATE}, whatever is summed.",
        f"(ŷ − y)² is {twice:g} times the other; summed over {rows} rows, η = {FINAL_RATE} is "
        f"η = {FINAL_RATE * rows:.1f} averaged: after {epochs} epochs the outputs differ by {apart:.0e}, "
        f"with the same η by {otherwise:.2f}",
        twice == 2 and apart < 1e-9 < 0.01 < otherwise,
    )


# --- the notebook ----------------------------------------------------------------------------------------------------


def best_rate(data: Data) -> Erratum:
    r"""Erratum 5: the least validation error of the notebook's own sweep is not at η = 0.45."""
    result = train_rates(data.train, RATES, 1, validation=data.val).val_cost
    assert result is not None  # for there is a validation part
    best, claimed = int(result[0].argmin()), RATES.index(FINAL_RATE)
    return Erratum(
        5,
        f"η = {FINAL_RATE} is the best of the notebook's sweep.",
        f"validation error {result[0, claimed]:.7f} at {FINAL_RATE}, {result[0, best]:.7f} at {RATES[best]}",
        RATES[best] == 0.46,
    )


def constant_predictor(data: Data) -> Erratum:
    r"""Erratum 6: the final network says 1 whatever it is asked; its test error is the share of deaths, halved."""
    layers = train_rates(data.train, [FINAL_RATE], FINAL_EPOCHS).layers
    least = float(forward(data.test.x, layers, (SIGMOID, SIGMOID))[-1].min())
    n, deaths = data.test.y.shape[-1], int((data.test.y == 0).sum())
    measured = mse(layers, data.test)
    return Erratum(
        6,
        "The final network has learnt from 6000 epochs: its test error is 0.125.",
        f"the least of its {n} outputs is 1 − {1 - least:.0e}; {deaths} deaths / (2·{n}) = {deaths / (2 * n)}, "
        f"test error {measured:.6f}",
        1 - least < 1e-6 and abs(measured - deaths / (2 * n)) < 1e-6,
    )


# --- the mathematics -------------------------------------------------------------------------------------------------


def rounded_slope(z: float = 40.0) -> Erratum:
    r"""Erratum 7: h (1 − h) is 0 once h has rounded to 1, though σ′(z) is not."""
    weighted_sum = torch.tensor([z], dtype=torch.float64)
    of_value, of_sum = sigmoid_derivative_from_output(sigmoid(weighted_sum)), sigmoid_derivative(weighted_sum)
    with mpmath.workdps(DIGITS):
        exact: Any = to_mpmath(weighted_sum)  # the equations are typed for tensors
        truth = float(sigmoid_derivative(exact).item())
    return Erratum(
        7,
        "h (1 − h), computed from h = σ(z), is σ′(z).",
        f"at z = {z:g}: h (1 − h) = {float(of_value):g}, σ(z) σ(−z) = {float(of_sum):.6e}, to 50 digits {truth:.6e}",
        float(of_value) == 0 and abs(float(of_sum) / truth - 1) < 1e-14,
    )


def representable_not_learnable(beyond: Extrapolation, xor: Tensor) -> Erratum:
    r"""Erratum 8: to represent a function is neither to find it by descent nor to generalise beyond the data."""
    stuck = int((xor > 0.01).sum())
    return Erratum(
        8,
        '"A neural network can solve any problem."',
        f"sin 2πx, fitted on 0 to 1 with an error of {beyond.inside:.3f}, is missed by {beyond.outside:.2f} on 1 to 2; "
        f"of {len(xor)} networks 2-2-1, which can represent XOR, descent leaves {stuck} without it",
        beyond.inside < 0.05 < 0.5 < beyond.outside and 0 < stuck < len(xor),
    )


def extrapolate(epochs: int = 2000) -> Extrapolation:
    r"""Fit of sin 2πx by the best of eight networks 1-8-1 on 0 ≤ x ≤ 1, and what it says on 1 < x ≤ 2.

    The network is given 8x − 4: its first weights lie in (−1, 1), too flat for a range of length 1.
    """
    x = torch.linspace(0, 2, 129)
    target = (2 * math.pi * x).sin()
    known, activations = x <= 1, (SIGMOID, IDENTITY)
    stack = train(
        init_stack((1, 8, 1), seeds=range(8)),
        8 * x[None, known] - 4,
        target[None, known],
        epochs=epochs,
        learning_rate=0.2,
        momentum=0.95,
        schedule="cosine",
        activations=activations,
    )
    output = forward(8 * x[None] - 4, stack.layers, activations)[-1][stack.train_cost[-1].argmin(), 0]
    inside, outside = (float((output - target)[part].square().mean().sqrt()) for part in (known, ~known))
    return Extrapolation(x, target, output, inside, outside)


def xor_costs(networks: int = 200, epochs: int = 3000) -> Tensor:
    r"""Costs C = 1/(2n) Σ (O − y)² of networks 2-2-1 after training on the four samples of XOR, in ascending order.

    Most of those that are stuck are near ¹⁄₁₆, with two samples learnt and ½ for the two others, and some near ¹⁄₁₂,
    with one sample learnt and ⅓ for the three others.

    Args:
        networks: M ≥ 1, with the seeds 0 to M − 1.
        epochs: how many, with η = 2 and m = 0.9.

    Returns:
        The costs, shape (M,).
    """
    y = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    stack = init_stack((2, 2, 1), range(networks))
    return train(stack, CORNERS, y, epochs=epochs, learning_rate=2.0, momentum=0.9).train_cost[-1].sort().values
