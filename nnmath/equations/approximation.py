r"""Universal approximation (U1): a network with one hidden layer whose weights are computed, not trained."""

from collections.abc import Callable

import torch
from torch import Tensor

from nnmath.equations import validate
from nnmath.equations.backpropagation import Layer


def staircase(
    f: Callable[[Tensor], Tensor], low: float, high: float, width: int, steepness: float = 4.0
) -> list[Layer]:
    r"""Network 1-N-1 that approximates f untrained: f̂(x) = f(t₀) + Σ_k (f(t_k) − f(t_{k−1})) σ(s (x − m_k) / d).

    Each hidden neuron is one stair: at the midpoint m_k of the interval from t_{k−1} to t_k it rises as much as f does
    over the interval. The error falls in proportion to 1/N. This answers half of the article's title question: such a
    network can *represent* the function. It does not say that descent finds the weights.

    Args:
        f: a continuous function of one variable, applied to a tensor of shape (N + 1,).
        low: the left end t₀ of the interval.
        high: its right end t_N.
        width: the number N ≥ 1 of hidden neurons.
        steepness: s > 0, the slope of a stair relative to the width d = (t_N − t₀) / N of a stair.

    Returns:
        The two layers in float64. The hidden layer has sigmoids, the output layer the identity.

    Raises:
        ValueError: the width or the steepness is out of range, or the interval is empty.

    Source: article, "Can a neural network solve any problem?" (U1); G. Cybenko, "Approximation by superpositions of a
    sigmoidal function" (1989).

    >>> first, last = staircase(torch.sin, 0, 3, width=8)
    >>> tuple(first.weight.shape), tuple(last.weight.shape)
    ((8, 1), (1, 8))
    """
    validate.in_interval(1, float("inf"), width=width)
    validate.in_interval(0, float("inf"), closed="neither", steepness=steepness)
    if not low < high:
        raise ValueError(f"low must be less than high, got {low=}, {high=}")
    t = torch.linspace(low, high, width + 1, dtype=torch.float64)  # (N + 1,)
    slope = steepness * width / (high - low)
    midpoint = (t[1:] + t[:-1]) / 2  # (N,)
    height = f(t)  # (N + 1,)
    return [
        Layer(weight=0 * midpoint[:, None] + slope, bias=-slope * midpoint),
        Layer(weight=(height[1:] - height[:-1])[None, :], bias=height[:1]),
    ]
