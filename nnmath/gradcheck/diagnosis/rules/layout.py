r"""The right numbers in the wrong place: transposed, flipped, swapped, not summed, in another shape."""

from collections.abc import Iterator
from itertools import chain, combinations, permutations

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.errors import max_abs
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.faults import Fault

MAX_DIMENSIONS = 5


def transposed(context: Context) -> Iterator[Hypothesis]:
    for name, value, base in context.pairs():
        for order in permutations(range(base.ndim)) if base.ndim <= MAX_DIMENSIONS else ():
            candidate = base.permute(order)
            if candidate.shape == value.shape and is_distinct(candidate, base):
                explanation = f"This is the transpose: the dimensions of the gradient are in the order {order}."
                fix = "exchange the two factors of the product, or transpose the result"
                yield Hypothesis(Fault.TRANSPOSE, {name: candidate}, explanation, fix)


def flipped(context: Context) -> Iterator[Hypothesis]:
    for name, _, base in context.pairs():
        for dims in subsets([d for d in range(base.ndim) if base.shape[d] > 1]):
            candidate = base.flip(dims)
            if is_distinct(candidate, base):
                explanation = f"The entries are in reverse order along dimension {format_dims(dims)}."
                fix = f"flip the gradient along dimension {format_dims(dims)}"
                yield Hypothesis(Fault.FLIP, {name: candidate}, explanation, fix)


def permuted(context: Context) -> Iterator[Hypothesis]:
    for name, value, base in context.pairs():
        ordered = base.flatten().sort().values
        if value.numel() == base.numel() and ordered.unique().numel() >= 3:
            candidate = torch.empty_like(ordered)
            candidate[value.flatten().argsort()] = ordered
            explanation = "The right numbers are in other places, as after a reshape where a transpose was meant."
            fix = "look at the order of the entries: reshape does not exchange dimensions"
            yield Hypothesis(Fault.PERMUTED, {name: candidate.view(value.shape)}, explanation, fix)


def swapped(context: Context) -> Iterator[Hypothesis]:
    for a in context.remaining:
        for b in context.base:
            candidates = [t for t in orientations(context.base[b]) if t.shape == context.value(a).shape]
            if a == b or not candidates or not is_distinct(candidates[0], context.base[a]):
                continue
            back = [t for t in orientations(context.base[a]) if t.shape == context.value(b).shape]
            if back and b in context.remaining and context.fits(b, back[0]):
                explanation = f"{a} and {b} have each other's gradient."
                yield Hypothesis(Fault.SWAPPED, {a: candidates[0], b: back[0]}, explanation, "exchange them")
            for candidate in candidates:
                explanation = f"{a} has the gradient of {b}."
                yield Hypothesis(Fault.SWAPPED, {a: candidate}, explanation, f"return the gradient of {a} instead")


def not_summed(context: Context) -> Iterator[Hypothesis]:
    for name, value, base in context.pairs():
        for dims, keepdim, total in partial_sums(value) if value.numel() > base.numel() else ():
            if total.shape == base.shape:
                explanation = (
                    f"Shape {tuple(value.shape)}: the sum of this over dimension {format_dims(dims)} is the gradient. "
                    "What is broadcast in the forward pass is summed in the backward pass."
                )
                fix = f"add .sum({format_dims(dims)}{', keepdim=True' if keepdim else ''})"
                yield Hypothesis(Fault.BIAS_NOT_SUMMED, {name: base}, explanation, fix, observed={name: total})


def other_shape(context: Context) -> Iterator[Hypothesis]:
    for name, value, base in context.pairs():
        if value.shape != base.shape and value.numel() == base.numel():
            explanation = f"The numbers are right, in shape {tuple(value.shape)}; the input has {tuple(base.shape)}."
            fix = f"return it with .reshape({tuple(base.shape)})"
            yield Hypothesis(Fault.SHAPE, {name: base.reshape(value.shape)}, explanation, fix)


def is_distinct(a: Tensor, b: Tensor) -> bool:
    r"""Whether two tensors differ enough to distinguish them."""
    return a.shape != b.shape or max_abs(a - b) > 1e-2 * max_abs(b)


def broadcasts(small: Tensor, large: Tensor) -> bool:
    r"""Whether the small tensor broadcasts to the shape of the large one."""
    padded = (1,) * (large.ndim - small.ndim) + tuple(small.shape)
    return len(padded) == large.ndim and all(a in (1, b) for a, b in zip(padded, large.shape, strict=True))


def orientations(tensor: Tensor) -> list[Tensor]:
    r"""A tensor, and its transpose if it is a matrix."""
    return [tensor, tensor.mT] if tensor.ndim == 2 else [tensor]


def partial_sums(tensor: Tensor) -> Iterator[tuple[tuple[int, ...], bool, Tensor]]:
    r"""The sums over each set of dimensions: dims, keepdim, sum."""
    for dims in subsets(list(range(tensor.ndim))):
        for keepdim in (False, True):
            yield dims, keepdim, tensor.sum(dims, keepdim=keepdim)


def subsets(dims: list[int]) -> Iterator[tuple[int, ...]]:
    r"""The nonempty subsets of some dimensions, small ones first; none of too many dimensions."""
    sizes = range(1, len(dims) + 1 if len(dims) <= MAX_DIMENSIONS else 1)
    return chain.from_iterable(combinations(dims, size) for size in sizes)


def format_dims(dims: tuple[int, ...]) -> str:
    r"""Dimensions as in code: 0, or (0, 1)."""
    return str(dims[0]) if len(dims) == 1 else str(dims)
