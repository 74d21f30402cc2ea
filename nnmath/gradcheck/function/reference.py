r"""What a Function's backward should return: by autograd, or by difference quotients where autograd cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.compare import STEPS, at_leaf, compare
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.finite_differences import one_sided_derivatives
from nnmath.gradcheck.comparison.rounding import bound
from nnmath.gradcheck.function.call import Function, Outputs, contracted
from nnmath.gradcheck.graph.graph import Graph, to_float64

MOST_ENTRIES = 20_000
r"""More than that are too many for difference quotients."""
QUOTIENTS = 1e-6
r"""How close difference quotients come, of the largest entry."""


def reference(
    function: Function, forward: Callable[..., Any] | None, above: Outputs, gradients: Mapping[str, Tensor | None]
) -> tuple[Comparison, bool]:
    r"""The comparison with autograd or, without forward, with difference quotients; and whether it has a real graph."""
    tensors = {name: value.detach() for name, value in function.inputs.items() if isinstance(value, Tensor)}
    if forward is not None:
        return compare(contracted(function, forward, above), tensors, gradients), True
    quotients = by_quotients(function, above)
    own = plain(function.apply)
    if own is not None:
        try:
            comparison = compare(contracted(function, own, above), tensors, gradients)
        except (TypeError, ValueError):  # its forward is not for autograd: difference quotients will do
            pass
        else:
            if agree(comparison, quotients):
                return comparison, True
    return with_quotients(tensors, gradients, quotients), False


def agree(comparison: Comparison, quotients: dict[str, Quotients]) -> bool:
    r"""Whether autograd's gradient lies between the one-sided difference quotients everywhere."""
    return all(found.allow(comparison.graph.gradients()[name]) for name, found in quotients.items())


def with_quotients(
    tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None], quotients: dict[str, Quotients]
) -> Comparison:
    r"""The comparison with difference quotients; its graph is that of Σ q x, which has them for gradients."""
    values = {name: gradient.detach().double() for name, gradient in gradients.items() if gradient is not None}
    reference = {name: found.nearest(values.get(name)) for name, found in quotients.items()}

    def linear(**inputs: Tensor) -> Tensor:
        return torch.stack([(reference[name] * inputs[name]).sum() for name in gradients]).sum()

    graph = Graph(linear, tensors, list(gradients))
    comparison = Comparison(linear, tensors, gradients, values, graph.gradients(), graph, bounds={})
    for name, found in quotients.items():
        comparison.noise[name] = found.error
        comparison.bounds[name] = bound(reference[name], comparison.dtype(name), found.error)
        if comparison.has_shape(name):
            comparison.notes[name] = "compared with difference quotients"
    comparison.wrong = [name for name in gradients if not comparison.fits(name)]
    return comparison


class Quotients(NamedTuple):
    r"""The gradient from the left and from the right, entry by entry, and by how much it may be off."""

    left: Tensor
    right: Tensor
    error: float

    def allow(self, gradient: Tensor) -> bool:
        r"""Whether a gradient lies between the two everywhere."""
        return bool(((gradient - self.nearest(gradient)).abs() <= self.error).all())

    def nearest(self, gradient: Tensor | None) -> Tensor:
        r"""What lies between the two and is nearest to a gradient; the middle if there is none of this shape."""
        low, high = torch.minimum(self.left, self.right), torch.maximum(self.left, self.right)
        return (low + high) / 2 if gradient is None or gradient.shape != low.shape else gradient.clamp(low, high)


def by_quotients(function: Function, above: Outputs) -> dict[str, Quotients]:
    r"""Name ↦ the gradient by difference quotients.

    Raises:
        ValueError: an input has too many entries.
    """
    tensors = {name: value for name, value in function.inputs.items() if isinstance(value, Tensor)}
    for name in function.names:
        if tensors[name].numel() > MOST_ENTRIES:
            raise ValueError(
                f"inputs[{name!r}] has {tensors[name].numel()} entries, too many for difference quotients; pass forward"
            )
    contraction = contracted(function, function.apply, above)
    doubles = {name: to_float64(tensor) for name, tensor in tensors.items()}
    found = {}
    for name in function.names:
        loss, leaf = at_leaf(contraction, doubles, name)
        loss = guarded(loss)
        left, right, error = torch.zeros_like(leaf), torch.zeros_like(leaf), 0.0
        scale = float(leaf.abs().max()) if leaf.numel() else 0.0
        for index in (
            torch.cartesian_prod(*map(torch.arange, leaf.shape)).view(-1, leaf.ndim).tolist() if leaf.ndim else [()]
        ):
            found_there = one_sided_derivatives(loss, leaf, tuple(index), STEPS[2] * (scale or 1.0))
            left[tuple(index)], right[tuple(index)] = found_there.left, found_there.right
            error = max(error, found_there.error)
        size = float(torch.maximum(left.abs(), right.abs()).max()) if leaf.numel() else 0.0
        smooth = (left - right).abs() <= QUOTIENTS * size + 10 * error
        middle = (left + right) / 2
        left, right = torch.where(smooth, middle, left), torch.where(smooth, middle, right)
        found[name] = Quotients(left, right, error + QUOTIENTS * size)
    return found


def guarded(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    r"""What apply raises in float64 is one line."""
    return lambda: validation.call("apply in float64", loss)


def plain(apply: Callable[..., Any]) -> Callable[..., Any] | None:
    r"""A Function's own forward as plain torch; None if apply is not a Function's."""
    owner = getattr(apply, "__self__", None)
    if not (isinstance(owner, type) and issubclass(owner, torch.autograd.Function)):
        return None
    separate = owner.setup_context is not torch.autograd.Function.setup_context
    return lambda *args: owner.forward(*args) if separate else owner.forward(Context(), *args)


class Context:
    r"""Stands in for a Function's ctx where nothing is differentiated by it."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None
