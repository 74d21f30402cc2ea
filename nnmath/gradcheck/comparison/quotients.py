r"""Gradients by finite differences of all entries, where autograd cannot run."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.compare import STEPS, loss_of_leaf
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.errors import max_abs
from nnmath.gradcheck.comparison.finite_differences import one_sided_derivatives
from nnmath.gradcheck.comparison.rounding import bound
from nnmath.gradcheck.graph.graph import Forward, Graph, to_float64

MAX_ENTRIES = 20_000  # of an input that is differentiated by finite differences
RTOL_QUOTIENTS = 1e-6  # error of finite differences, relative to the largest entry


class Quotients(NamedTuple):
    r"""The gradients from the left and from the right by finite differences, and the largest error of an entry."""

    left: Tensor
    right: Tensor
    error: float

    def allow(self, gradient: Tensor) -> bool:
        r"""Whether a gradient lies between the two everywhere."""
        return bool(((gradient - self.nearest(gradient)).abs() <= self.error).all())

    def nearest(self, gradient: Tensor | None) -> Tensor:
        r"""The gradient, clamped to lie between the two; their mean if the gradient is missing or has another shape."""
        low, high = torch.minimum(self.left, self.right), torch.maximum(self.left, self.right)
        return (low + high) / 2 if gradient is None or gradient.shape != low.shape else gradient.clamp(low, high)


def compare_with_quotients(
    tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None], quotients: dict[str, Quotients]
) -> Comparison:
    r"""The comparison with finite differences q; its graph is that of Σ q x, whose gradients they are."""
    values = {name: gradient.detach().double() for name, gradient in gradients.items() if gradient is not None}
    reference = {name: sides.nearest(values.get(name)) for name, sides in quotients.items()}

    def linear(**inputs: Tensor) -> Tensor:
        return torch.stack([(reference[name] * inputs[name]).sum() for name in gradients]).sum()

    graph = Graph(linear, tensors, list(gradients))
    comparison = Comparison(linear, tensors, gradients, values, graph.gradients(), graph, bounds={})
    for name, sides in quotients.items():
        comparison.noise[name] = sides.error
        comparison.bounds[name] = bound(reference[name], comparison.dtype(name), sides.error)
        if comparison.has_shape(name):
            comparison.notes[name] = "compared with difference quotients"
    comparison.wrong = [name for name in gradients if not comparison.fits(name)]
    return comparison


def finite_differences(forward: Forward, inputs: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Quotients]:
    r"""Name ↦ the gradient of a scalar loss by finite differences; ValueError if an input has too many entries."""
    doubles = {name: to_float64(tensor) for name, tensor in inputs.items()}
    for name in names:
        if (size := doubles[name].numel()) > MAX_ENTRIES:
            message = f"inputs[{name!r}] has {size} entries, too many for difference quotients; pass forward in torch"
            raise ValueError(message)
    return {name: quotients_of(*loss_of_leaf(forward, doubles, name)) for name in names}


def quotients_of(loss: Callable[[], Tensor], leaf: Tensor) -> Quotients:
    r"""The one-sided derivatives with respect to each entry of a tensor; their mean where there is no kink."""
    left, right, error = torch.zeros_like(leaf), torch.zeros_like(leaf), 0.0
    step = STEPS[2] * (max_abs(leaf) or 1.0)
    for index in map(tuple, torch.ones_like(leaf).nonzero().tolist()):
        sides = one_sided_derivatives(loss, leaf, index, step)
        left[index], right[index] = sides.left, sides.right
        error = max(error, sides.error)
    size = max(max_abs(left), max_abs(right))
    smooth = (left - right).abs() <= RTOL_QUOTIENTS * size + 10 * error
    mean = (left + right) / 2
    return Quotients(torch.where(smooth, mean, left), torch.where(smooth, mean, right), error + RTOL_QUOTIENTS * size)
