r"""Universal approximation (U1): the error of one fixed function against the number of hidden neurons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnmath.ensemble.stack import init_stack, train
from nnmath.equations import IDENTITY, SIGMOID, Layer, forward, staircase

LOW, HIGH = -math.pi, math.pi
r"""The range of x."""
ACTIVATIONS = (SIGMOID, IDENTITY)


@dataclass(frozen=True)
class Approximation:
    r"""How well networks 1-N-1 fit :func:`target_function`; errors are root mean squares over the range."""

    widths: list[int]
    r"""K numbers N of hidden neurons"""
    trained: Tensor
    r"""the errors after training, of each width and seed, the best seed first; shape (K, seeds)"""
    untrained: Tensor
    r"""the errors of the staircases as wide, shape (K,)"""
    x: Tensor
    r"""the points where the errors are measured, shape (n,)"""
    target: Tensor
    r"""f(x), shape (n,)"""
    outputs: Tensor
    r"""what the best network of each width makes of them, shape (K, n)"""


def target_function(x: Tensor) -> Tensor:
    r"""Function to fit: f(x) = sin x + ½ sin(5x/2), from −π to π; any shape."""
    return x.sin() + (2.5 * x).sin() / 2


def approximation(
    widths: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    seeds: Iterable[int] = range(16),
    epochs: int = 3000,
    learning_rate: float = 0.2,
    momentum: float = 0.95,
) -> Approximation:
    r"""More hidden neurons fit more, up to a point: that of what descent finds, not of what the network could be.

    Each width is trained on 65 samples from as many initial values as there are seeds, with momentum and cosine
    annealing. Beside it stands the staircase, which is not trained at all: a poor fit while it is narrow, but its
    error falls with every neuron: at each point at least like 1/N, and over the range nearly like 1/N².

    Args:
        widths: K numbers of hidden neurons.
        seeds: of the initial values.
        epochs: how many, the same for all widths.
        learning_rate: η ≥ 0 at the start.
        momentum: m in [0, 1).

    Raises:
        ValueError: an argument is out of range.

    Source: article, "Can a neural network solve any problem?" (U1).

    >>> approximation(widths=(1, 4), seeds=range(3), epochs=20).trained.shape
    torch.Size([2, 3])
    """
    samples = torch.linspace(LOW, HIGH, 65)[None]  # (1, 65)
    x = torch.linspace(LOW, HIGH, 513)[None]  # (1, n)
    seeds = list(seeds)
    trained, untrained, outputs = [], [], []
    for width in widths:
        stack = train(
            init_stack((1, width, 1), seeds),
            samples,
            target_function(samples),
            epochs=epochs,
            learning_rate=learning_rate,
            momentum=momentum,
            schedule="cosine",
            activations=ACTIVATIONS,
        )
        error = rms(x, stack.layers)
        trained.append(error.nan_to_num(torch.inf).sort().values)
        outputs.append(forward(x, stack.layers, ACTIVATIONS)[-1][error.nan_to_num(torch.inf).argmin(), 0])
        untrained.append(rms(x.double(), staircase(target_function, LOW, HIGH, width)))
    return Approximation(
        list(widths), torch.stack(trained), torch.stack(untrained), x[0], target_function(x[0]), torch.stack(outputs)
    )


def rms(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    r"""Root mean squared error of a network or of a stack: √(1/n Σ (O − f(x))²), shape (...)."""
    return (forward(x, layers, ACTIVATIONS)[-1][..., 0, :] - target_function(x[0])).square().mean(-1).sqrt()
