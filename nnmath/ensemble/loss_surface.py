r"""The cost as a landscape over all parameters of a network: θ in, C and ∂C/∂θ out, for many places at once.

Every place is a network of its own, and all of them are one stack, which the equations take as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nnmath.equations import Activation, Layer, backward, error, forward, number_of_parameters

AT_ONCE = 2**17
r"""How many numbers the widest layer of a stack may put out at once; the places are split so that it is not more."""


def flatten(layers: Sequence[Layer]) -> Tensor:
    r"""All parameters in one row, θ = (w, b) of the first layer, of the second, and so on.

    Args:
        layers: w (..., out, in) and b (..., out) of each layer.

    Returns:
        θ, shape (..., P), in the order of torch.nn.utils.parameters_to_vector.

    >>> flatten([Layer(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))])
    tensor([1., 2., 3.])
    """
    return torch.cat([part for weight, bias in layers for part in (weight.flatten(-2), bias)], -1)


def unflatten(theta: Tensor, sizes: Sequence[int]) -> list[Layer]:
    r"""The layers whose parameters are θ; turns :func:`flatten` around.

    Args:
        theta: θ, shape (..., P).
        sizes: the neurons of each layer, the inputs first.

    Raises:
        ValueError: P is not the number of parameters of such a network.

    >>> unflatten(torch.tensor([1.0, 2.0, 3.0]), (2, 1))
    [Layer(weight=tensor([[1., 2.]]), bias=tensor([3.]))]
    """
    if theta.shape[-1] != number_of_parameters(sizes):
        needed = number_of_parameters(sizes)
        raise ValueError(f"theta must have {needed} parameters for sizes={tuple(sizes)}, got {theta.shape[-1]}")
    shapes = list(pairwise(sizes))
    parts = iter(theta.split([size for n_in, n_out in shapes for size in (n_in * n_out, n_out)], -1))
    return [Layer(next(parts).unflatten(-1, (n_out, n_in)), next(parts)) for n_in, n_out in shapes]


@dataclass(frozen=True)
class LossSurface:
    r"""C(θ) = 1/(2n) Σ (O − y)² of the networks of one shape on the same samples.

    >>> from nnmath.equations import SIGMOID
    >>> landscape = LossSurface((2, 4, 1), (SIGMOID, SIGMOID), torch.randn(2, 50), torch.rand(1, 50))
    >>> landscape.cost(torch.zeros(1000, 17)).shape, landscape.gradient(torch.zeros(1000, 17)).shape
    (torch.Size([1000]), torch.Size([1000, 17]))
    """

    sizes: Sequence[int]
    r"""the neurons of each layer, the inputs first"""
    activations: Sequence[Activation]
    r"""f of each layer"""
    x: Tensor
    r"""the samples in columns, shape (in, n)"""
    target: Tensor
    r"""y, shape (out, n)"""

    def cost(self, theta: Tensor) -> Tensor:
        r"""C at M places θ (M, P), shape (M,)."""

        def of_stack(layers: list[Layer]) -> Tensor:
            output = forward(self.x, layers, self.activations)[-1]  # (M, out, n)
            return error(output, self.target.expand_as(output))

        return self.everywhere(theta, of_stack)

    def gradient(self, theta: Tensor) -> Tensor:
        r"""∂C/∂θ at M places θ (M, P), shape (M, P): Case 1 and Case 2."""

        def of_stack(layers: list[Layer]) -> Tensor:
            values = forward(self.x, layers, self.activations)
            return flatten(backward(values, layers, self.activations, self.target.expand_as(values[-1])))

        return self.everywhere(theta, of_stack)

    def everywhere(self, theta: Tensor, of_stack: Callable[[list[Layer]], Tensor]) -> Tensor:
        r"""What a stack of networks gives, a part of the places at a time; computed as x is, returned as θ is."""
        places = max(1, AT_ONCE // (max(self.sizes) * self.x.shape[-1]))
        parts = theta.to(self.x).split(places)
        return torch.cat([of_stack(unflatten(part, self.sizes)) for part in parts]).to(theta)


# --- a way through it ------------------------------------------------------------------------------------------------
