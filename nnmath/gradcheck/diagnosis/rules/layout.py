r"""The right numbers in the wrong place: transposed, flipped, swapped, not summed, of another shape."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, permutations

import torch
from torch import Tensor

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.faults import Fault

MAX_DIMENSIONS = 5


def transposed(case: Context) -> Iterator[Hypothesis]:
    r"""Dimensions exchanged, of a gradient that is not symmetric."""
    for name in case.remaining:
        base, value = case.base[name], case.value(name)
        if not 2 <= base.ndim <= MAX_DIMENSIONS:
            continue
        for order in permutations(range(base.ndim)):
            candidate = base.permute(order)
            if candidate.shape == value.shape and clearly_other(candidate, base):
                yield Hypothesis(
                    Fault.TRANSPOSE,
                    {name: candidate},
                    f"This is the transpose: the dimensions of the gradient stand in the order {order}.",
                    "exchange the two factors of the product, or transpose the result",
                )


def flipped(case: Context) -> Iterator[Hypothesis]:
    r"""In reverse order along some dimensions."""
    for name in case.remaining:
        base = case.base[name]
        if base.ndim <= MAX_DIMENSIONS:
            for dims in subsets([d for d in range(base.ndim) if base.shape[d] > 1]):
                candidate = base.flip(dims)
                if clearly_other(candidate, base):
                    yield Hypothesis(
                        Fault.FLIP,
                        {name: candidate},
                        f"The entries stand in reverse order along dimension {format_list(dims)}.",
                        f"flip it along dimension {format_list(dims)}",
                    )


def permuted(case: Context) -> Iterator[Hypothesis]:
    r"""The same numbers, each in some other place."""
    for name in case.remaining:
        base, value = case.base[name].flatten(), case.value(name)
        ordered = base.sort().values
        if value.numel() == base.numel() and ordered.unique().numel() >= 3:
            candidate = torch.empty_like(base)
            candidate[value.flatten().argsort()] = ordered
            yield Hypothesis(
                Fault.PERMUTED,
                {name: candidate.view(value.shape)},
                "The right numbers stand in other places, as after a reshape where a transpose was meant.",
                "look at the order of the entries: reshape does not exchange dimensions",
            )


def swapped(case: Context) -> Iterator[Hypothesis]:
    r"""The gradient of another input; two that hold each other's first."""
    for a in case.remaining:
        for b in case.base:
            fitting = [t for t in views(case.base[b]) if t.shape == case.value(a).shape]
            if a == b or not fitting or not clearly_other(fitting[0], case.base[a]):
                continue
            back = [t for t in views(case.base[a]) if t.shape == case.value(b).shape]
            if back and b in case.remaining and case.fits(b, back[0]):
                explanation = f"{a} and {b} hold each other's gradient."
                yield Hypothesis(Fault.SWAPPED, {a: fitting[0], b: back[0]}, explanation, "exchange them")
            for candidate in fitting:
                yield Hypothesis(
                    Fault.SWAPPED, {a: candidate}, f"{a} holds the gradient of {b}.", f"return {a}'s own in its place"
                )


def not_summed(case: Context) -> Iterator[Hypothesis]:
    r"""One gradient for each sample, where the sum over them is the gradient."""
    for name in case.remaining:
        value, base = case.value(name), case.base[name]
        if value.shape == base.shape or not value.ndim <= MAX_DIMENSIONS:
            continue
        for dims in subsets(range(value.ndim)):
            for keepdim in (False, True):
                total = value.sum(dims, keepdim=keepdim)
                if total.shape == base.shape and value.numel() > base.numel():
                    yield Hypothesis(
                        Fault.BIAS_NOT_SUMMED,
                        {name: base},
                        f"Shape {tuple(value.shape)}: these are summands; their sum over dimension {format_list(dims)} "
                        "is the gradient. What is broadcast in the forward pass is summed in the backward pass.",
                        f"add .sum({format_list(dims)}{', keepdim=True' if keepdim else ''})",
                        given={name: total},
                    )


def other_shape(case: Context) -> Iterator[Hypothesis]:
    r"""The right numbers in another shape; or repeated; or summed over too much."""
    for name in case.remaining:
        value, base = case.value(name), case.base[name]
        if value.shape == base.shape:
            continue
        shapes = f"shape {tuple(value.shape)} where the input has {tuple(base.shape)}"
        if value.numel() == base.numel():
            yield Hypothesis(
                Fault.SHAPE,
                {name: base.reshape(value.shape)},
                f"The numbers are right, in {shapes}.",
                f"return it with .reshape({tuple(base.shape)})",
            )
        if broadcasts(base, value):
            yield Hypothesis(
                Fault.SHAPE,
                {name: base.expand(value.shape)},
                f"The gradient is there several times over: {shapes}.",
                "return it once",
            )
        for dims in subsets(range(base.ndim)):
            for keepdim in (False, True):
                candidate = base.sum(dims, keepdim=keepdim)
                if candidate.shape == value.shape:
                    yield Hypothesis(
                        Fault.SHAPE,
                        {name: candidate},
                        f"Summed over dimension {format_list(dims)}, which the input has: {shapes}.",
                        f"do not sum over dimension {format_list(dims)}",
                    )


def clearly_other(a: Tensor, b: Tensor) -> bool:
    r"""Whether two tensors differ enough to tell one from the other."""
    return a.shape != b.shape or float((a - b).abs().max()) > 1e-2 * float(b.abs().max())


def broadcasts(small: Tensor, large: Tensor) -> bool:
    r"""Whether one shape broadcasts to the other."""
    try:
        return torch.broadcast_shapes(small.shape, large.shape) == large.shape
    except RuntimeError:
        return False


def views(tensor: Tensor) -> list[Tensor]:
    r"""A tensor, and its transpose."""
    return [tensor, tensor.mT] if tensor.ndim == 2 else [tensor]


def subsets(dims: range | list[int]) -> Iterator[tuple[int, ...]]:
    r"""The subsets of some dimensions, small ones first, without the empty one."""
    return chain.from_iterable(combinations(dims, size) for size in range(1, len(dims) + 1))


def format_list(dims: tuple[int, ...]) -> str:
    r"""Dimensions for a person."""
    return str(dims[0]) if len(dims) == 1 else str(dims)
