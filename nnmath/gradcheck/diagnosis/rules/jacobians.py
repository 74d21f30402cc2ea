r"""The Jacobian of a softmax, a log-softmax, a logsumexp or a layer norm, with a term missing."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.diagnosis.rules.graph_rule import walk
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, set_derivative, set_grad_input, straight_through


def incomplete_jacobian(context: Context) -> Iterator[Hypothesis]:
    r"""The hypotheses that one of these terms is missing."""
    for (fault, mistake), place, edit in walk(context, partial(missing_terms, context)):
        if gradients := context.gradients(edit):
            fix = "softmax has ∂pᵢ/∂zⱼ = pᵢ (δᵢⱼ − pⱼ), with cross-entropy p − y; mean and variance depend on the input"
            yield Hypothesis(fault, gradients, f"The Jacobian of {place} is not complete: {mistake}.", fix, edit)


def missing_terms(context: Context, node: Node) -> Iterator[tuple[tuple[Fault, str], Edit]]:
    r"""The terms that may be missing at a node: ((fault, description), edit)."""
    name, p = context.graph.function(node), context.graph.value(node)
    if name == "softmax" and p is not None:
        yield (Fault.MISSING_PATH, "only the diagonal p of the Jacobian is used"), set_derivative(node, p)
        for dim in range(p.ndim):
            kind = (Fault.ACTIVATION_DERIVATIVE_WRONG, "its sum runs along another dimension")
            yield kind, set_grad_input(node, partial(softmax_along, p, dim))
    elif name == "logsoftmax":
        yield (Fault.MISSING_PATH, "its softmax is left out"), straight_through([node])
        kind = (Fault.TARGET_TERM_MISSING, "only its softmax is used, without the target")
        yield kind, set_grad_input(node, lambda g, right: right - g)
    elif name == "logsumexp":
        yield (Fault.MISSING_FACTOR, "its weights, the softmax, are left out"), set_grad_input(node, expand_to_input)
    elif name == "nativelayernorm":
        for text, mean, variance in (
            ("the variance is treated as a constant", True, False),
            ("the mean is treated as a constant", False, True),
            ("mean and variance are treated as constants", False, False),
        ):
            yield (Fault.MISSING_PATH, text), set_grad_input(node, partial(layer_norm, node, mean, variance))


def softmax_along(p: Tensor, dim: int, g: Tensor, right: Tensor) -> Tensor:
    r"""∂/∂z of p = softmax(z): p (g − Σ p g), with the sum along a given dimension."""
    return p * (g - (p * g).sum(dim, keepdim=True))


def expand_to_input(g: Tensor, right: Tensor) -> Tensor:
    r"""The gradient of a sum over one dimension of the input: the same for each entry."""
    if g.ndim < right.ndim:
        g = g.unsqueeze(next(i for i in range(right.ndim) if i >= g.ndim or g.shape[i] != right.shape[i]))
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
