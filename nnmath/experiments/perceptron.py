r"""What one perceptron can compute: 14 of the 16 Boolean functions of two inputs, and a network the other two (P2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nnmath.equations import Layer, perceptron, validate, weighted_sum

CORNERS = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
r"""All inputs: x₁ and x₂ of the samples 00, 01, 10 and 11 in columns, shape (2, 4)."""

NAMES = (
    *("never", "x₁ and x₂", "x₁ and not x₂", "x₁", "x₂ and not x₁", "x₂", "XOR", "x₁ or x₂"),
    *("neither", "XNOR", "not x₂", "x₁ or not x₂", "not x₁", "x₂ or not x₁", "not both", "always"),
)
r"""Boolean function k has the outputs of k's four binary digits, for 00 the first."""


@dataclass(frozen=True)
class BooleanFunctions:
    r"""The 16 Boolean functions of two inputs, and what was found for each."""

    outputs: Tensor
    r"""y for the inputs 00, 01, 10, 11; shape (16, 4)"""
    count: Tensor
    r"""how many of the perceptrons tried compute it, shape (16,)"""
    tried: int
    r"""how many were tried"""
    weight: Tensor
    r"""w of the one whose line keeps farthest from the four corners, nan where there is none, shape (16, 2)"""
    bias: Tensor
    r"""its b, shape (16,)"""
    contradictory: Tensor
    r"""whether its four inequalities contradict each other, shape (16,)"""

    @property
    def reachable(self) -> Tensor:
        r"""Which of them one perceptron computes, shape (16,)."""
        return self.count > 0


def boolean_functions(reach: float = 3.0, spacing: float = 0.5) -> BooleanFunctions:
    r"""All weights and biases of a grid, as one stack of perceptrons: what they compute, and what none of them can.

    That the grid has no perceptron for XOR proves nothing; four inequalities do. It would need

        b ≤ 0,   w₂ + b > 0,   w₁ + b > 0,   w₁ + w₂ + b ≤ 0.

    The second and the third add up to w₁ + w₂ + 2b > 0, the first and the fourth to w₁ + w₂ + 2b ≤ 0: there are no
    such numbers. XNOR turns all four around. So a function is out of reach if y(00) + y(11) − y(01) − y(10) is 2 or
    −2, and the other 14 are found.

    Args:
        reach: how far the grid goes to either side, for w₁, w₂ and b alike.
        spacing: from one of its values to the next, > 0.

    Raises:
        ValueError: the grid is none.

    Source: article, Fig. 2 (P2); M. Minsky and S. Papert, "Perceptrons" (1969).

    >>> found = boolean_functions()
    >>> int(found.reachable.sum()), [NAMES[k] for k in range(16) if not found.reachable[k]]
    (14, ['XOR', 'XNOR'])
    """
    validate.in_interval(0, float("inf"), closed="neither", spacing=spacing)
    validate.in_interval(spacing, float("inf"), closed="left", reach=reach)
    steps = int(reach / spacing)
    values = spacing * torch.arange(-steps, steps + 1)
    grid = torch.cartesian_prod(values, values, values)  # (P, 3)
    weight, bias = grid[:, None, :2], grid[:, 2:]  # (P, 1, 2), (P, 1)
    computed = perceptron(CORNERS, weight, bias)[:, 0]  # (P, 4)
    outputs = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)  # (16, 4)
    same = (computed == outputs[:, None]).all(-1)  # (16, P)
    margin = weighted_sum(CORNERS, weight, bias).abs().amin((1, 2)) / weight.norm(dim=(1, 2))  # (P,)
    widest = torch.where(same, margin.nan_to_num(0.0), -1.0).max(1)
    found = torch.where(widest.values[:, None] < 0, torch.nan, grid[widest.indices])  # (16, 3)
    contradictory = (outputs @ torch.tensor([1.0, -1.0, -1.0, 1.0])).abs() == 2
    return BooleanFunctions(outputs, same.sum(1), len(grid), found[:, :2], found[:, 2], contradictory)


def xor_layers() -> list[Layer]:
    r"""Network 2-2-1 of perceptrons that computes XOR, its weights set by hand: "x₁ or x₂" and "not both".

    >>> network(CORNERS, xor_layers())
    tensor([[0., 1., 1., 0.]])
    """
    return [
        Layer(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([-0.5, 1.5])),
        Layer(torch.tensor([[1.0, 1.0]]), torch.tensor([-1.5])),
    ]


def network(x: Tensor, layers: list[Layer]) -> Tensor:
    r"""Perceptrons in layers, each of which sees what the one below it puts out.

    Args:
        x: the inputs, shape (..., in, n).
        layers: w and b of each layer.

    Returns:
        0 or 1, shape (..., out, n).
    """
    for weight, bias in layers:
        x = perceptron(x, weight, bias)
    return x
