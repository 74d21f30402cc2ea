r"""The Jacobian of a softmax, a log-softmax, a logsumexp or a layer norm, with a term missing."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context
from nnmath.gradcheck.diagnosis.rules.graph_rule import at_every_node
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, derivative_of, set_grad_input, straight_through

FAULTS = {
    "only the diagonal p of the Jacobian is used": Fault.MISSING_PATH,
    "its softmax is left out": Fault.MISSING_PATH,
    "only its softmax is used, without the target": Fault.TARGET_TERM_MISSING,
    "its weights, the softmax, are left out": Fault.MISSING_FACTOR,
    "its sum runs along another dimension": Fault.ACTIVATION_DERIVATIVE_WRONG,
    "the variance is taken for a constant": Fault.MISSING_PATH,
    "the mean is taken for a constant": Fault.MISSING_PATH,
    "mean and variance are taken for constants": Fault.MISSING_PATH,
}


@at_every_node
def incomplete_jacobian(context: Context, node: Node) -> Iterator[tuple[str, Edit]]:
    r"""Softmax without its off-diagonal, log-softmax with one of its two terms, a layer norm with its mean constant."""
    name, p = context.graph.function(node), context.graph.value(node)
    if name == "softmax" and p is not None:
        yield "only the diagonal p of the Jacobian is used", derivative_of(node, p)
        for dim in range(p.ndim):
            yield "its sum runs along another dimension", set_grad_input(node, softmax_along(p, dim))
    elif name == "logsoftmax":
        yield "its softmax is left out", straight_through([node])
        yield "only its softmax is used, without the target", set_grad_input(node, lambda g, right: right - g)
    elif name == "logsumexp":
        yield "its weights, the softmax, are left out", set_grad_input(node, expand_to_input)
    elif name == "nativelayernorm":
        yield "the variance is taken for a constant", set_grad_input(node, partial(layer_norm, node, True, False))
        yield "the mean is taken for a constant", set_grad_input(node, partial(layer_norm, node, False, True))
        yield "mean and variance are taken for constants", set_grad_input(node, partial(layer_norm, node, False, False))


def softmax_along(p: Tensor, dim: int) -> Callable[[Tensor, Tensor], Tensor]:
    r"""The gradient p (g − Σ p g), with the sum along a given dimension."""
    return lambda g, right: p * (g - (p * g).sum(dim, keepdim=True))


def expand_to_input(g: Tensor, right: Tensor) -> Tensor:
    r"""The gradient of a sum over one dimension of the input: the same for each entry."""
    if g.ndim < right.ndim:
        dim = next(i for i in range(right.ndim) if i >= g.ndim or g.shape[i] != right.shape[i])
        g = g.unsqueeze(dim)
    return g.expand(right.shape)


def layer_norm(node: Any, mean: bool, variance: bool, g: Tensor, right: Tensor) -> Tensor:
    r"""∂/∂x of layer norm: (γg − mean(γg) − x̂ mean(γg x̂)) / s, with or without the terms of mean and variance."""
    normalized = (node._saved_input - node._saved_result1) * node._saved_result2
    g = g if node._saved_weight is None else g * node._saved_weight
    dims = list(range(-len(node._saved_normalized_shape), 0))
    result = g - g.mean(dims, keepdim=True) if mean else g
    if variance:
        result = result - normalized * (g * normalized).mean(dims, keepdim=True)
    return result * node._saved_result2
