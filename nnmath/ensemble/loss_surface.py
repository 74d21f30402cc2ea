r"""The cost as a function of all parameters: θ in, C and ∂C/∂θ out, at many points at once.

Every θ is a network of its own. All of them are one stack, which the equations take as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from nnmath.equations import Activation, Layer, backward, error, forward, number_of_parameters

MAX_VALUES = 2**17  # of the widest layer that are computed at once, for some of the points


def flatten(layers: Sequence[Layer]) -> Tensor:
    r"""All parameters in one vector: θ = (w, b) of the first layer, of the second, and so on.

    Args:
        layers: w (..., out, in) and b (..., out) of each layer.

    Returns:
        θ, shape (..., P), in the order of torch.nn.utils.parameters_to_vector.

    >>> flatten([Layer(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))])
    tensor([1., 2., 3.])
    """
    return torch.cat([part for weight, bias in layers for part in (weight.flatten(-2), bias)], -1)


def unflatten(theta: Tensor, sizes: Sequence[int]) -> list[Layer]:
    r"""The layers whose parameters are θ; the inverse of :func:`flatten`.

    Args:
        theta: θ, shape (..., P).
        sizes: the neurons of each layer, the inputs first.

    Raises:
        ValueError: P is not the number of parameters of such a network.

    >>> unflatten(torch.tensor([1.0, 2.0, 3.0]), (2, 1))
    [Layer(weight=tensor([[1., 2.]]), bias=tensor([3.]))]
    """
    p = number_of_parameters(sizes)
    if theta.shape[-1] != p:
        raise ValueError(f"theta must have {p} parameters for sizes={tuple(sizes)}, got {theta.shape[-1]}")
    shapes = list(pairwise(sizes))
    parts = iter(theta.split([size for n_in, n_out in shapes for size in (n_in * n_out, n_out)], -1))
    return [Layer(next(parts).unflatten(-1, (n_out, n_in)), next(parts)) for n_in, n_out in shapes]


@dataclass(frozen=True)
class LossSurface:
    r"""C(θ) = 1/(2n) Σ (O − y)² of networks of the same sizes on the same samples.

    Args:
        sizes: the neurons of each layer, the inputs first.
        activations: f of each layer.
        x: the samples in columns, shape (in, n).
        target: y, shape (out, n).

    >>> from nnmath.equations import SIGMOID
    >>> surface = LossSurface((2, 4, 1), (SIGMOID, SIGMOID), torch.randn(2, 50), torch.rand(1, 50))
    >>> surface.cost(torch.zeros(1000, 17)).shape, surface.gradient(torch.zeros(1000, 17)).shape
    (torch.Size([1000]), torch.Size([1000, 17]))
    """

    sizes: Sequence[int]
    activations: Sequence[Activation]
    x: Tensor
    target: Tensor

    def cost(self, theta: Tensor) -> Tensor:
        r"""C at M points θ (M, P), shape (M,)."""
        return self.in_parts(theta, lambda layers, values, target: error(values[-1], target))

    def gradient(self, theta: Tensor) -> Tensor:
        r"""∂C/∂θ at M points θ (M, P), shape (M, P): Case 1 and Case 2."""
        return self.in_parts(
            theta, lambda layers, values, target: flatten(backward(values, layers, self.activations, target))
        )

    def in_parts(self, theta: Tensor, function: Callable[[list[Layer], list[Tensor], Tensor], Tensor]) -> Tensor:
        r"""Apply a function of layers, values and target to some of the points at a time.

        It is computed in the dtype of x and returned in the dtype of θ.
        """
        results = []
        for part in theta.to(self.x).split(max(1, MAX_VALUES // (max(self.sizes) * self.x.shape[-1]))):
            layers = unflatten(part, self.sizes)
            values = forward(self.x, layers, self.activations)  # the last is (M, out, n)
            results.append(function(layers, values, self.target.expand_as(values[-1])))
        return torch.cat(results).to(theta)
