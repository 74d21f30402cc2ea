r"""Functions of several entries at once, with a term of their Jacobian missing or summed along the wrong dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, at_every_node
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, set_derivative, set_grad_input, straight_through

FAULTS = {
    "only the diagonal p of its Jacobian": Fault.MISSING_PATH,
    "its softmax left out": Fault.MISSING_PATH,
    "only its softmax, without the target": Fault.TARGET_TERM_MISSING,
    "its weights, the softmax, left out": Fault.MISSING_FACTOR,
    "its sum taken along another dimension": Fault.ACTIVATION_DERIVATIVE_WRONG,
    "the variance taken for a constant": Fault.MISSING_PATH,
    "the mean taken for a constant": Fault.MISSING_PATH,
    "mean and variance taken for constants": Fault.MISSING_PATH,
}


def incomplete_jacobian(case: Context) -> Iterator[Hypothesis]:
    r"""Softmax without its off-diagonal, log-softmax with one of its two terms, a layer norm with its mean constant."""

    def terms(node: Node) -> Iterator[tuple[str, Edit]]:
        name, p = case.graph.function(node), case.graph.value(node)
        if name == "softmax" and p is not None:
            yield "only the diagonal p of its Jacobian", set_derivative(node, p)
            for dim in range(p.ndim):
                yield "its sum taken along another dimension", set_grad_input(node, softmax_along(p, dim))
        elif name == "logsoftmax":
            yield "its softmax left out", straight_through([node])
            yield "only its softmax, without the target", set_grad_input(node, lambda g, right: right - g)
        elif name == "logsumexp":
            yield "its weights, the softmax, left out", set_grad_input(node, rows_repeated)
        elif name == "nativelayernorm":
            yield (
                "the variance taken for a constant",
                set_grad_input(node, lambda g, _: layer_norm(node, g, True, False)),
            )
            yield "the mean taken for a constant", set_grad_input(node, lambda g, _: layer_norm(node, g, False, True))
            yield (
                "mean and variance taken for constants",
                set_grad_input(node, lambda g, _: layer_norm(node, g, False, False)),
            )

    for what, where, edit in at_every_node(case, terms):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                FAULTS[what],
                gradients,
                f"The Jacobian of {where} is not complete: {what}.",
                "softmax has ∂pᵢ/∂zⱼ = pᵢ (δᵢⱼ − pⱼ), with cross-entropy p − y is left; a normalization's mean and "
                "variance depend on the input too",
                edit,
            )


def softmax_along(p: Tensor, dim: int) -> Callable[[Tensor, Tensor], Tensor]:
    r"""P (g − Σ p g), with the sum along some dimension."""
    return lambda g, right: p * (g - (p * g).sum(dim, keepdim=True))


def rows_repeated(g: Tensor, right: Tensor) -> Tensor:
    r"""The gradient of a sum over one dimension of the input: the same for each entry."""
    if g.ndim < right.ndim:
        dim = next(i for i in range(right.ndim) if i >= g.ndim or g.shape[i] != right.shape[i])
        g = g.unsqueeze(dim)
    return g.expand(right.shape)


def layer_norm(node: Node, g: Tensor, mean: bool, variance: bool) -> Tensor:
    r"""∂/∂x of layer norm: (γg − mean(γg) − x̂ mean(γg x̂)) / s, with or without the terms of mean and variance."""
    saved: Any = node
    normalized = (saved._saved_input - saved._saved_result1) * saved._saved_result2
    g = g if saved._saved_weight is None else g * saved._saved_weight
    dims = list(range(-len(saved._saved_normalized_shape), 0))
    result = g
    if mean:
        result = result - g.mean(dims, keepdim=True)
    if variance:
        result = result - normalized * (g * normalized).mean(dims, keepdim=True)
    return result * saved._saved_result2
