"""A model twice: in torch, and with its backward written by hand, which can make mistakes by name; and its data."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

Gradients = dict[str, Tensor]
Pull = Callable[[Tensor], Gradients]

MAX_LOOP = 64  # samples added one by one: in bfloat16 the 257th of equal terms no longer changes the sum


def normal(seed: int) -> Callable[..., Tensor]:
    """A function that draws normal tensors of a shape from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Model(NamedTuple):
    """A function of named tensors.

    manual(mistakes, **inputs) gives the output and the pullback: the output's gradient to the gradients of the inputs.
    Each string among the mistakes switches one on; without any the gradients are right.
    """

    forward: Callable[..., Tensor]
    manual: Callable[..., tuple[Tensor, Pull]]


def gradients(model: Model, inputs: dict[str, Tensor], mistakes: Collection[str] = ()) -> Gradients:
    """The hand-written gradients of a model whose output is the loss."""
    loss, pull = model.manual(mistakes, **inputs)
    return pull(torch.ones_like(loss))


class Arithmetic(NamedTuple):
    """What a backward is free to choose: the order of its sums over the samples, and derivatives at kinks."""

    order: str = "plain"
    kink: float = 0.0

    def product(self, x: Tensor, d: Tensor) -> Tensor:
        """Σᵢ xᵢ dᵢ over the samples, x being (n, k) and d (n,) or (n, m)."""
        is_vector, d = d.dim() == 1, d.reshape(len(d), -1)
        if self.order in ("plain", "matmul"):
            result = x.T @ d
        elif self.order == "einsum":
            result = torch.einsum("ik,im->km", x, d)
        elif self.order == "broadcast":
            result = (x[:, :, None] * d[:, None, :]).sum(0)
        elif self.order == "flipped" or len(d) > MAX_LOOP:
            result = x.flip(0).T @ d.flip(0)
        else:
            samples = range(len(d)) if self.order == "loop" else reversed(range(len(d)))
            result = torch.zeros(x.shape[1], d.shape[1], dtype=d.dtype)
            for i in samples:
                result = result + x[i][:, None] * d[i][None, :]
        return result[:, 0] if is_vector else result

    def total(self, d: Tensor) -> Tensor:
        """The sum over the samples."""
        if self.order == "flipped" or (self.order != "plain" and len(d) > MAX_LOOP):
            return d.flip(0).sum(0)
        if self.order == "loop":
            return sum(d)
        if self.order == "reversed loop":
            return sum(d.flip(0))
        if self.order == "matmul":
            return (torch.ones(1, len(d), dtype=d.dtype) @ d.reshape(len(d), -1)).reshape(d.shape[1:])
        return d.sum(0)

    def step(self, z: Tensor) -> Tensor:
        """The derivative of max(z, 0)."""
        return (z > 0).to(z.dtype) + self.kink * (z == 0).to(z.dtype)

    def sign(self, z: Tensor) -> Tensor:
        """The derivative of |z|."""
        return 2 * self.step(z) - 1


PLAIN = Arithmetic()
