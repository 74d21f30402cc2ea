r"""Eight errors in the article, its translation or its author's notebook, each with numbers that refute it."""

import math
from typing import Any, NamedTuple

import mpmath
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from nnmath import equations as eq
from nnmath.ensemble.stack import init_stack, train
from nnmath.equations.cost import Reduction
from nnmath.experiments import approximation
from nnmath.experiments.haberman import Data
from nnmath.experiments.notebook import ACTIVATIONS, FINAL_EPOCHS, FINAL_RATE, RATES, SIZES, mse, train_rates
from nnmath.experiments.perceptron import CORNERS
from nnmath.experiments.report import Report, table
from nnmath.figures.style import BLACK, BLUE, SKY, VERMILION, new_axes
from nnmath.verification.exact_arithmetic import DIGITS, to_mpmath

X = torch.linspace(0, 2, 129)  # where erratum 8 evaluates the fit of a sine, shape (n,)


class Erratum(NamedTuple):
    r"""A wrong claim, and the numbers that refute it."""

    number: int
    claim: str
    evidence: str
    confirmed: bool  # whether the numbers do refute the claim


def open_range() -> Erratum:
    r"""Erratum 1: the range of σ is the open interval (0, 1); σ(z) is 1 only after rounding."""
    z32, z64 = rounds_to_one(torch.float32), rounds_to_one(torch.float64)
    distance = float(eq.sigmoid(torch.tensor(-z64, dtype=torch.float64)))  # 1 − σ(z) = σ(−z)
    return Erratum(
        1,
        'The sigmoid always returns a "binary (0/1) output".',
        f"σ(1) = {float(eq.sigmoid(torch.tensor(1.0))):.3f}; it rounds to 1 from z = {z32:.2f} in float32, "
        f"from z = {z64:.2f} in float64, where 1 − σ(z) is {distance:.1e}",
        0 < distance < 1e-15 and 36 < z64 < 38,
    )


def rounds_to_one(dtype: torch.dtype) -> float:
    r"""The least z with σ(z) = 1 in this type, by bisection.

    >>> round(rounds_to_one(torch.float64), 4)
    36.7368
    """
    low, high = torch.tensor([0.0, 100.0], dtype=dtype)
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if eq.sigmoid(middle) == 1 else (middle, high)
    return float(high)


def lost_square() -> Erratum:
    r"""Erratum 2: the printed 1/(2n) (θ₀ + xθ₁ − y) is not a cost: the lower ŷ, the lower it is."""
    prediction, y = torch.tensor([[1.0, 3.0], [2.0, 2.0], [-1e3, -1e3]]), torch.tensor([2.0, 2.0]).expand(3, 2)
    printed, cost = (prediction - y).sum(-1) / 4, eq.half_mse(prediction, y)
    opposite, exact, far = ([f"{float(c):g}" for c in pair] for pair in zip(printed, cost, strict=True))
    return Erratum(
        2,
        "C = 1/(2n) (θ₀ + xθ₁ − y).",
        f"errors of −1 and 1: {opposite[0]}, as if both were right, and with Σ and the square {opposite[1]}; both "
        f"right: {exact[0]} and {exact[1]}; both far too low: {far[0]} and {far[1]}",
        bool((printed.argmin() == 2) & (printed[0] == printed[1]) & (cost.argmin() == 1)),
    )


def growth() -> Erratum:
    r"""Erratum 3: Σ n_in n_out + n_out grows linearly with depth and quadratically with width."""
    depth = np.diff([eq.number_of_parameters([8] * (layers + 1)) for layers in range(1, 9)])
    width = [eq.number_of_parameters([n] * 3) for n in range(1, 9)]
    second = np.diff(width, 2)
    return Erratum(
        3,
        'A network has "an exponential number of parameters".',
        f"each further layer of 8 adds {depth[0]}; 1-1-1 to 8-8-8 have {', '.join(map(str, width))}, each increase "
        f"larger than the last by {second[0]}",
        len({*depth}) == len({*second}) == 1,
    )


def conventions(rows: int = 266, epochs: int = 10) -> Erratum:
    r"""Erratum 4: the same η means different steps with and without the ½, and for sums and means."""
    x = torch.rand(SIZES[0], rows, dtype=torch.float64, generator=Generator().manual_seed(0))
    y = (x.sum(0, keepdim=True) > 1.5).double()
    stack = init_stack(SIZES, seeds=[0], dtype=torch.float64)

    def output(reduction: Reduction, learning_rate: float) -> Tensor:
        layers = train(stack, x, y, epochs=epochs, learning_rate=learning_rate, reduction=reduction).layers
        return eq.forward(x, layers, ACTIVATIONS)[-1]

    summed, averaged, same = output("sum", FINAL_RATE), output("mean", FINAL_RATE * rows), output("mean", FINAL_RATE)
    scaled, unscaled = float((summed - averaged).abs().max()), float((summed - same).abs().max())
    ratio = float(eq.squared_error(x, 0 * x).sum() / rows / eq.half_mse(x, 0 * x).sum())
    return Erratum(
        4,
        f"E is (ŷ − y)², and E is half of it; η is {FINAL_RATE} for a sum and for a mean.",
        f"(ŷ − y)² is {ratio:g} times the other; summed over {rows} rows, η = {FINAL_RATE} is "
        f"η = {FINAL_RATE * rows:.1f} averaged: after {epochs} epochs the outputs differ by {scaled:.0e}, "
        f"with the same η by {unscaled:.2f}",
        ratio == 2 and scaled < 1e-9 < 0.01 < unscaled,
    )


def best_rate(data: Data) -> Erratum:
    r"""Erratum 5: in the notebook's own sweep the least validation error is not at η = 0.45."""
    costs = train_rates(data.train, RATES, 1, validation=data.val).val_cost
    assert costs is not None  # there are validation rows
    best, claimed = int(costs[0].argmin()), RATES.index(FINAL_RATE)
    return Erratum(
        5,
        f"η = {FINAL_RATE} is the best of the notebook's sweep.",
        f"validation error {costs[0, claimed]:.7f} at {FINAL_RATE}, {costs[0, best]:.7f} at {RATES[best]}",
        RATES[best] == 0.46,
    )


def constant_predictor(data: Data) -> Erratum:
    r"""Erratum 6: the final network outputs 1 for every row; its test error is half the share of deaths."""
    layers = train_rates(data.train, [FINAL_RATE], FINAL_EPOCHS).layers
    least = float(eq.forward(data.test.x, layers, ACTIVATIONS)[-1].min())
    n, deaths, measured = data.test.y.shape[-1], int((data.test.y == 0).sum()), mse(layers, data.test)
    return Erratum(
        6,
        "The final network has learnt from 6000 epochs: its test error is 0.125.",
        f"the least of its {n} outputs is 1 − {1 - least:.0e}; {deaths} deaths / (2·{n}) = {deaths / (2 * n)}, "
        f"test error {measured:.6f}",
        1 - least < 1e-6 and abs(measured - deaths / (2 * n)) < 1e-6,
    )


def rounded_slope(z: float = 40.0) -> Erratum:
    r"""Erratum 7: h (1 − h) is 0 once h has rounded to 1, but σ′(z) is not."""
    weighted_sum = torch.tensor([z], dtype=torch.float64)
    from_output = float(eq.sigmoid_derivative_from_output(eq.sigmoid(weighted_sum)))
    from_sum = float(eq.sigmoid_derivative(weighted_sum))
    with mpmath.workdps(DIGITS):
        exact: Any = to_mpmath(weighted_sum)  # the equations are typed for tensors
        truth = float(eq.sigmoid_derivative(exact).item())
    return Erratum(
        7,
        "h (1 − h), computed from h = σ(z), is σ′(z).",
        f"at z = {z:g}: h (1 − h) = {from_output:g}, σ(z) σ(−z) = {from_sum:.6e}, to 50 digits {truth:.6e}",
        from_output == 0 and abs(from_sum / truth - 1) < 1e-14,
    )


def representable_not_learnable(output: Tensor, xor: Tensor) -> Erratum:
    r"""Erratum 8: a network that can represent a function does not always learn it by descent, or generalise."""
    square = (output - sine(X)).square()
    inside, outside = (float(square[part].mean().sqrt()) for part in (X <= 1, X > 1))
    stuck = int((xor > 0.01).sum())
    return Erratum(
        8,
        '"A neural network can solve any problem."',
        f"sin 2πx, fitted on 0 to 1 with an error of {inside:.3f}, is missed by {outside:.2f} on 1 to 2; "
        f"of {len(xor)} networks 2-2-1, which can represent XOR, descent leaves {stuck} without it",
        inside < 0.05 < 0.5 < outside and 0 < stuck < len(xor),
    )


def sine(x: Tensor) -> Tensor:
    r"""The function that erratum 8 fits: sin 2πx; any shape."""
    return (2 * math.pi * x).sin()


def extrapolate(epochs: int = 2000) -> Tensor:
    r"""Output at ``X`` of the best of eight networks 1-8-1 that are trained on sin 2πx for x ≤ 1, shape (n,).

    Their input is 8x − 4, because the initial input weights lie in (−1, 1): too small for a range of length 1.
    """
    x = X[X <= 1][None]
    stack = approximation.fit(8 * x - 4, sine(x), width=8, seeds=range(8), epochs=epochs)
    return eq.forward(8 * X[None] - 4, stack.layers, approximation.ACTIVATIONS)[-1][stack.train_cost[-1].argmin(), 0]


def xor_costs(networks: int = 200, epochs: int = 3000) -> Tensor:
    r"""Costs C = 1/(2n) Σ (O − y)² of networks 2-2-1 after training on the four samples of XOR, in ascending order.

    Most of the networks that do not learn XOR end near ¹⁄₁₆: two samples learnt, output ½ for the others. Some end near
    ¹⁄₁₂: one sample learnt, output ⅓ for the others.
    """
    y = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    stack = init_stack((2, 2, 1), range(networks))
    return train(stack, CORNERS, y, epochs=epochs, learning_rate=2.0, momentum=0.9).train_cost[-1].sort().values


def run(data: Data | None, output: Tensor, xor: Tensor) -> list[Erratum]:
    r"""All errata, given the results of ``extrapolate`` and ``xor_costs``; without data, 5 and 6 are left out.

    Source: article, errata 1 to 8.
    """
    errata = [open_range(), lost_square(), growth(), conventions()]
    if data is not None:
        errata += [best_rate(data), constant_predictor(data)]
    return [*errata, rounded_slope(), representable_not_learnable(output, xor)]


def draw_extrapolation(output: Tensor) -> Figure:
    r"""The network's output and sin 2πx, on the training range and beyond."""
    figure, axes = new_axes("x", "output", "a good fit does not extrapolate")
    axes.axvspan(0, 1, color=SKY, alpha=0.25, label="training range")
    axes.plot(X, sine(X), color=BLACK, linewidth=3, alpha=0.4, label="sin 2πx")
    axes.plot(X, output, color=VERMILION, linestyle="--", label="network 1-8-1")
    axes.legend(loc="upper left")
    return figure


def draw_xor(costs: Tensor) -> Figure:
    r"""Final cost of each network on XOR, in ascending order."""
    figure, axes = new_axes("networks 2-2-1, best first", "cost C after training", "XOR: some networks get stuck")
    axes.axhline(1 / 16, color=BLACK, linestyle="--", label="¹⁄₁₆: two samples learnt, ½ for the others")
    axes.semilogy(range(1, len(costs) + 1), costs, color=BLUE, marker=".", linestyle="", label="a network")
    axes.legend(loc="center left")
    return figure


def report(data: Data | None) -> Report:
    r"""A table of the errata."""
    output, xor = extrapolate(), xor_costs()
    errata = run(data, output, xor)
    rows = [(f"{e.number}", e.claim, e.evidence, "wrong" if e.confirmed else "not refuted") for e in errata]
    claims = table(("", "claim", "computed", "the claim is"), rows, show_lines=True)
    figures = {"errata/beyond_the_data": draw_extrapolation(output), "errata/xor_costs": draw_xor(xor)}
    scalars = {"errata/xor_cost": enumerate(xor), "errata/holds": [(e.number, e.confirmed) for e in errata]}
    return Report([claims], figures, scalars)
