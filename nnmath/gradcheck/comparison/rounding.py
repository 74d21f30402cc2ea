r"""How close is close: what a gradient may be off before it is called wrong.

An absolute bound for each tensor, seen from its largest entry, for an entry may be a small difference of large terms::

    bound = rtol · max|reference| + noise + quanta

``rtol`` is the type's. The noise is measured: the reference is computed again with every number rounded at random, as a
right gradient in another order of operations rounds them, and once in the user's own type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.autograd.graph import saved_tensors_hooks

from nnmath.gradcheck.comparison.kinks import Distances, Kinks, Threshold
from nnmath.gradcheck.graph.graph import Forward, Gradients, map_tensors, tensors_in, to_float64

RTOL = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
r"""Of the largest entry of the reference."""
DRAWS = 6
JITTER = 0.5
r"""In eps: how far each number is moved in a draw, as rounding to the nearest moves it."""
SAFETY = 8
r"""A few draws stay below the largest that may happen."""
QUANTA = 64
r"""Smallest numbers of the type: half of one may be lost in each of many terms."""


def lower_precision(a: torch.dtype, b: torch.dtype) -> torch.dtype:
    r"""The type that rounds more."""
    return max(a, b, key=lambda dtype: torch.finfo(dtype).eps)


def underflow_allowance(dtype: torch.dtype) -> float:
    r"""What underflow alone may take away."""
    info = torch.finfo(dtype)
    return QUANTA * info.smallest_normal * info.eps


def bound(reference: Tensor, dtype: torch.dtype, noise: float = 0.0) -> float:
    r"""The bound: rtol · max|reference| + noise + quanta."""
    largest = float(reference.abs().max()) if reference.numel() else 0.0
    return RTOL[dtype] * largest + noise + underflow_allowance(dtype)


class Jitter(Kinks):
    r"""Multiplies every number that a function gets by 1 + a r, r drawn from −1 … 1, and its gradient on the way back.

    An entry that would cross a kink by this is put back: which side it is on is not a matter of rounding here, see
    :mod:`nnmath.gradcheck.comparison.kinks`.

    Args:
        size: a.
        quantum: the smallest number, which underflow may take away or add.
        distances: of the inputs of the functions with a kink, noted without the jitter.
        generator: of r.
    """

    def __init__(self, size: float, quantum: float, distances: Distances, generator: Generator) -> None:
        super().__init__()
        self.size, self.quantum, self.generator = size, quantum, generator
        self.distances, self.chosen_from = distances.seen, distances.chosen_from
        self.moved = [torch.zeros_like(distance) for distance in distances.seen]

    def arguments(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if name in UNROUNDED or not any(tensor.requires_grad for tensor in tensors_in((args, kwargs))):
            return args, kwargs  # no arithmetic, or of data alone: labels are compared, and cast to integers
        rounded = self.rounded if name in SUMS else self.rounded_results
        return map_tensors(rounded, args), map_tensors(rounded, kwargs)

    def rounded_results(self, tensor: Tensor) -> Tensor:
        r"""The tensor with the jitter if it has been computed; inputs are exact."""
        return tensor if tensor.is_leaf else self.rounded(tensor)

    def rounded(self, tensor: Tensor) -> Tensor:
        r"""The tensor with the jitter."""
        if tensor.dtype is not torch.float64:
            return tensor
        r = 2 * torch.rand(tensor.shape, generator=self.generator, dtype=tensor.dtype, device=tensor.device) - 1
        return tensor * (1 + self.size * r) + self.quantum * r.sign() * (tensor != 0)

    def packed(self, tensor: Tensor) -> tuple[Tensor, bool]:
        r"""A tensor that is saved for backward, and whether it is saved to be compared with another."""
        return tensor.detach(), self.deciding

    def unpacked(self, packed: tuple[Tensor, bool]) -> Tensor:
        r"""The saved tensor with the jitter, if that changes no decision."""
        tensor, decides = packed
        return tensor if decides else self.rounded(tensor)

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        distance = (tensor - threshold).detach()
        if call >= len(self.distances) or self.distances[call].shape != distance.shape:
            return tensor
        before = self.distances[call]
        if bool(before.isinf().all()):
            return tensor
        self.moved[call] = (distance - before).abs()
        return tensor + torch.where(distance.sign() != before.sign(), before - distance, 0.0)

    def selected(self, call: int, tensor: Tensor) -> Tensor:
        if call >= len(self.chosen_from) or self.chosen_from[call].shape != tensor.shape:
            return tensor
        return self.chosen_from[call] + (tensor - tensor.detach())


VIEWS = "view view_as reshape t transpose permute expand expand_as squeeze unsqueeze flatten select narrow chunk split"
OTHERS = "get getitem setitem set size dim unbind detach clone contiguous item tolist numel"
DECISIONS = "eq ne gt ge lt le greater less isclose long int bool to round floor ceil trunc sign sgn"
LOSSES = "hinge_embedding_loss margin_ranking_loss triplet_margin_loss multi_margin_loss cosine_embedding_loss"
UNROUNDED = frozenset(f"{VIEWS} {OTHERS} {DECISIONS} {LOSSES}".split())
r"""What does no arithmetic, or has a kink that is not seen from outside."""
PRODUCTS = "matmul mm bmm mv dot addmm addmv baddbmm linear bilinear einsum conv1d conv2d conv3d"
REDUCTIONS = (
    "sum mean var std cumsum norm vector_norm normalize cosine_similarity pairwise_distance logsumexp softmax "
    "log_softmax layer_norm batch_norm cross_entropy"
)
SUMS = frozenset(f"{PRODUCTS} conv_transpose1d conv_transpose2d scaled_dot_product_attention {REDUCTIONS}".split())
r"""What rounds inside, in the order of its terms."""


class Noise(NamedTuple):
    r"""What rounding may do."""

    gradients: dict[str, float]
    r"""name ↦ by how much an entry of its gradient may be off"""
    loss: float
    r"""by how much the loss may be off"""
    kinks: list[Tensor]
    r"""for each call of a function with a kink: by how much each entry of its input may be off"""
    distances: list[Tensor]
    r"""for each such call: how far each entry of its input is from the kink"""


def noise(forward: Forward, inputs: Mapping[str, Tensor], reference: Gradients, dtype: torch.dtype) -> Noise:
    r"""Measures what rounding in ``dtype`` does to the gradients.

    Args:
        forward: the loss.
        inputs: in the user's types.
        reference: name ↦ the gradient in float64.
        dtype: the coarsest of the types at hand.

    Returns:
        SAFETY times the largest of DRAWS draws, and of a run in the user's own types.
    """
    doubles = {name: to_float64(tensor) for name, tensor in inputs.items()}
    distances = Distances()
    losses = [evaluated(forward, doubles, reference, distances)[0]]
    generator = Generator(next(iter(reference.values())).device).manual_seed(0)
    size = JITTER * torch.finfo(dtype).eps
    off = dict.fromkeys(reference, 0.0)
    kinks = [torch.zeros_like(distance) for distance in distances.seen]

    def widen(gradients: Gradients) -> None:
        for name, gradient in gradients.items():
            off[name] = max(off[name], largest((gradient - reference[name]).abs()))

    for _ in range(DRAWS):
        jitter = Jitter(size, underflow_allowance(dtype) / QUANTA, distances, generator)
        rounding = saved_tensors_hooks(jitter.packed, jitter.unpacked)
        loss, gradients = evaluated(forward, doubles, reference, rounding, jitter)
        losses.append(loss)
        widen(gradients)
        kinks = [torch.maximum(a, b) for a, b in zip(kinks, jitter.moved, strict=True)]
    own = own_error(forward, inputs, reference)
    widest = {  # a run of its own that is off by far more than the draws has crossed a kink, or a limit of its range
        name: SAFETY * max(off[name], min(own[name], 16 * off[name])) for name in off
    }
    return Noise(widest, SAFETY * (max(losses) - min(losses)), kinks, distances.seen)


def own_error(forward: Forward, inputs: Mapping[str, Tensor], reference: Gradients) -> dict[str, float]:
    r"""How far autograd itself is off in the user's types; 0 where it cannot run in them."""
    try:
        own = gradients_of(forward, inputs, list(reference))
    except Exception:  # a function that the type does not have, say: then there is no such error to allow for
        return dict.fromkeys(reference, 0.0)
    return {name: largest((own[name].double() - reference[name]).abs()) for name in reference}


def gradients_of(
    forward: Forward, inputs: Mapping[str, Tensor], names: Iterable[str], *modes: AbstractContextManager[Any]
) -> Gradients:
    r"""Gradients by autograd, in the inputs' types, of a forward pass within some context managers."""
    return evaluated(forward, inputs, names, *modes)[1]


def evaluated(
    forward: Forward, inputs: Mapping[str, Tensor], names: Iterable[str], *modes: AbstractContextManager[Any]
) -> tuple[float, Gradients]:
    r"""The loss, and its gradients by autograd, of a forward pass within some context managers."""
    names = list(names)
    copies = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    leaves = [copies[name].requires_grad_() for name in names]
    with torch.enable_grad():
        with ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            loss = forward(**copies)
        if not loss.requires_grad:
            return loss.item(), {name: torch.zeros_like(copies[name]) for name in names}
        gradients = torch.autograd.grad(loss, leaves, torch.ones_like(loss), allow_unused=True)
    return loss.item(), {
        name: torch.zeros_like(copies[name]) if gradient is None else gradient
        for name, gradient in zip(names, gradients, strict=True)
    }


def largest(tensor: Tensor) -> float:
    r"""The largest finite entry; 0 if there is none."""
    finite = tensor[tensor.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0
