r"""The derivative of a function applied entry by entry: missing, of another function, at another tensor, or twice."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.diagnosis.rules.graph_rule import Mistake, at_every_node, relevant_nodes, walk
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, scale_grad_output, set_derivative, set_grad_input, straight_through
from nnmath.gradcheck.graph.graph import Gradients

MAX_NODES = 8
r"""Of a function that is written out, such as 1 / (1 + e^(−z))."""

ALGEBRA = frozenset(("add", "sub", "rsub", "mul", "div", "neg", "reciprocal", "pow"))
LAYOUT = frozenset(
    ("view", "reshape", "t", "transpose", "permute", "clone", "expand", "tobase", "squeeze", "unsqueeze", "tocopy")
)
NOT_POINTWISE = frozenset(("softmax", "logsoftmax", "nativelayernorm", "nativebatchnorm"))
LINEAR = frozenset(("cumsum", "flip", "roll"))

FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "h (1 − h)": lambda h: h * (1 - h),
    "1 − h²": lambda h: 1 - h * h,
    "σ′(z)": lambda z: torch.sigmoid(z) * torch.sigmoid(-z),
    "tanh′(z)": lambda z: 1 - torch.tanh(z) ** 2,
    "1 for z > 0, else 0": lambda z: (z > 0).to(z.dtype),
    "1 for z < 0, else 0": lambda z: (z < 0).to(z.dtype),
}
r"""The usual derivatives, by their formula in the input z or the output h."""

DERIVATIVES = FORMULAS | {
    "σ(z)": torch.sigmoid,
    "Φ(z)": torch.special.ndtr,
    "z": lambda z: z,
    "sign z": torch.sign,
}
r"""With what is mistaken for a derivative."""

EXTRA_FACTORS = FORMULAS | {
    "p (1 − p) with p = softmax(z)": lambda z: torch.softmax(z, -1) * (1 - torch.softmax(z, -1))
}


class AppliedFunction(NamedTuple):
    r"""A function that the forward pass applied, in one node or written out in several."""

    nodes: list[Node]  # the last step first
    z: Tensor  # its input
    h: Tensor  # its output, of the same shape

    def with_derivative(self, derivative: Tensor) -> Edit:
        r"""The mistake to take this for its derivative."""
        return set_derivative(self.nodes[0], derivative) + straight_through(self.nodes[1:])

    @property
    def derivative(self) -> Tensor:
        r"""f′(z), by the backward of its nodes."""
        gradient = torch.ones_like(self.h)
        for node in self.nodes:
            backward: Any = node
            grad_inputs = backward(gradient)
            several = grad_inputs if isinstance(grad_inputs, tuple) else (grad_inputs,)
            gradient = next(g for g in several if g is not None)
        return gradient


def functions_ending_at(context: Context, node: Node) -> Iterator[AppliedFunction]:
    r"""The functions whose last step is a node, the shortest first; algebra and layout alone are no function."""
    graph = context.graph
    h, nodes = graph.value(node), [node]
    while h is not None and len(nodes) <= MAX_NODES:
        edges = [edge for edge in nodes[-1].next_functions if edge[0] is not None]
        if len(edges) != 1 or graph.function(nodes[-1]) in LINEAR or scales_by_tensor(nodes[-1]):
            return
        z = graph.value(*edges[0])
        if z is not None and z.shape == h.shape and {graph.function(step) for step in nodes} - ALGEBRA - LAYOUT:
            yield AppliedFunction(list(nodes), z, h)
        before = edges[0][0]
        if before is None or before in graph.leaf_of:
            return
        nodes.append(before)


def scales_by_tensor(node: Node) -> bool:
    r"""Whether a node multiplies or divides by more than one number, as dropout by its mask."""
    factors = [getattr(node, f"_saved_{name}", None) for name in ("self", "other")]
    return node.name() in ("MulBackward0", "DivBackward0") and any(f is not None and f.numel() > 1 for f in factors)


def pointwise(context: Context, node: Node) -> AppliedFunction | None:
    r"""The function that a node applies to each entry, if it does."""
    function = next(functions_ending_at(context, node), None)
    if function is None or len(function.nodes) > 1 or context.graph.function(node) in NOT_POINTWISE:
        return None
    return function


def at_every_function(
    mistakes: Callable[[Context, AppliedFunction], Iterator[tuple[str, Edit]]],
) -> Callable[[Context], Iterator[Mistake[str]]]:
    r"""Decorates a function that yields the mistakes at one applied function: makes them at every one.

    Those of a single node come first, then those written out in one line, then those in several lines.
    """

    def at_all(context: Context) -> Iterator[Mistake[str]]:
        for lines in (0, 1, 2):

            def at(node: Node, lines: int = lines) -> Iterator[tuple[tuple[str, int], Edit]]:
                for function in functions_ending_at(context, node):
                    length = len(function.nodes)
                    sites = {site[:2] for site in map(context.graph.site, function.nodes) if site is not None}
                    if lines == (0 if length == 1 else min(2, len(sites))):
                        for kind, edit in mistakes(context, function):
                            yield (kind, length), edit

            for (kind, _), place, edit in walk(context, at):
                written_out = f"the function written out in {place.partition(' in ')[2] or 'several places'}"
                yield kind, written_out if lines else place, edit

    return at_all


@at_every_function
def without_derivative(context: Context, function: AppliedFunction) -> Iterator[tuple[str, Edit]]:
    r"""∂E/∂h taken for ∂E/∂z."""
    yield "", straight_through(function.nodes)


@at_every_function
def with_derivative_at_output(context: Context, function: AppliedFunction) -> Iterator[tuple[str, Edit]]:
    r"""f′(h) for f′(z), with h = f(z); or the formula of f′ in h, evaluated at z."""
    for in_h, in_z in (("h (1 − h)", "σ′(z)"), ("1 − h²", "tanh′(z)")):
        if torch.allclose(function.derivative, FORMULAS[in_h](function.h), rtol=1e-6, atol=0):
            yield in_h.replace("h", "z"), function.with_derivative(FORMULAS[in_h](function.z))
            yield "f′(h)", function.with_derivative(FORMULAS[in_z](function.h))
    at_h = context.graph.derivative_at(function.nodes[0], function.h) if len(function.nodes) == 1 else None
    if at_h is not None:
        yield "f′(h)", function.with_derivative(at_h)


@at_every_function
def with_other_derivative(context: Context, function: AppliedFunction) -> Iterator[tuple[str, Edit]]:
    r"""The derivative of another function."""
    for formula, derivative in DERIVATIVES.items():
        factor = derivative(function.z if "z" in formula else function.h)
        if is_nonconstant(factor) and not (formula.startswith("1 for") and len(function.nodes) > 1):
            yield formula, function.with_derivative(factor)


def with_derivative_at_other_tensor(context: Context) -> Iterator[Mistake[str]]:
    r"""The formula of a derivative, evaluated at another layer's tensor of the same shape."""
    for node in relevant_nodes(context):
        function, place = pointwise(context, node), context.graph.describe(node)
        if function is None:
            continue
        for name, tensor in context.graph.tensors():
            if tensor.shape != function.z.shape or tensor is function.z or tensor is function.h:
                continue
            for formula, derivative in FORMULAS.items():
                factor = derivative(tensor)
                if is_nonconstant(factor):
                    yield f"{formula}, evaluated at {name}", place, function.with_derivative(factor)


@at_every_node
def with_extra_derivative(context: Context, node: Node) -> Iterator[tuple[str, Edit]]:
    r"""A derivative where no function was applied, or the same derivative twice."""
    value = context.graph.value(node)
    if value is not None and node is not context.graph.nodes[0] and value.numel() > 1 and value.ndim:
        for formula, derivative in EXTRA_FACTORS.items():
            factor = derivative(value)
            if is_nonconstant(factor):
                yield formula, scale_grad_output(node, factor)


def derivative_on_one_side(context: Context) -> Iterator[Hypothesis]:
    r"""Another slope s for z < 0 alone, or for z > 0 alone: v = rest + s · side."""
    for node in relevant_nodes(context):
        function = pointwise(context, node)
        if function is None:
            continue
        for side, mask in (("negative", function.z < 0), ("positive", function.z > 0)):
            rest, unit = context.gradients(one_side(node, mask, 0.0)), context.gradients(one_side(node, mask, 1.0))
            if rest is None or unit is None:
                continue
            parts = {name: unit[name] - rest[name] for name in rest}
            for _, s in context.fit_steps(rest, {name: part for name, part in parts.items() if rest[name].any()}):
                gradients = {name: rest[name] + s * part for name, part in parts.items()}
                place, edit = context.graph.describe(node), one_side(node, mask, s)
                explanation = f"The derivative of {place} was taken to be {s:.6g} on the {side} side."
                fix = f"use the slope that the forward pass has on the {side} side"
                yield Hypothesis(Fault.ACTIVATION_DERIVATIVE_WRONG, gradients, explanation, fix, edit, fitted=1)


def one_side(node: Node, mask: Tensor, slope: float) -> Edit:
    r"""A node that applies a function, with this derivative where the mask is set."""
    return set_grad_input(node, lambda grad_output, right: torch.where(mask, slope * grad_output, right))


def with_polynomial_of_output(context: Context) -> Iterator[Mistake[str]]:
    r"""Another polynomial a + b h + c h² for the derivative, such as h (1 + h), fitted to five entries or more."""
    for function in (function for node in relevant_nodes(context) for function in functions_ending_at(context, node)):
        h = function.h
        powers = [context.gradients(function.with_derivative(h**k)) for k in range(3)]
        for a, b, c in coefficients(context, [gradients for gradients in powers if gradients is not None]):
            factor = a + b * h + c * h**2
            if is_nonconstant(factor):
                place = context.graph.describe(function.nodes[0])
                yield format_polynomial(a, b, c), place, function.with_derivative(factor)


def format_polynomial(a: float, b: float, c: float) -> str:
    r"""The polynomial a + b h + c h² in the usual notation."""
    terms = [f"{factor:+g}{power}" for factor, power in ((a, ""), (b, " h"), (c, " h²")) if factor]
    return " ".join(terms).replace("+1 h", "+h").replace("-1 h", "-h").removeprefix("+").replace("-", "−")


def coefficients(context: Context, powers: list[Gradients]) -> list[tuple[float, float, float]]:
    r"""The a, b, c that fit one gradient, or those nearest to the loss together; only whole numbers and halves."""
    names = [name for name, _, _ in context.pairs(same_shape=True)]
    results = []
    for group in [[name] for name in names] + [names[:k] for k in range(2, len(names) + 1)]:
        target = torch.cat([context.value(name).flatten() for name in group])
        if len(powers) == 3 and len(target) >= 5:
            terms = [torch.cat([power[name].flatten() for name in group]) for power in powers]
            a, b, c = (round(2 * t) / 2 for t in fit_coefficients(terms, target) or (9.0, 9.0, 9.0))
            if max(abs(a), abs(b), abs(c)) <= 4:
                results.append((a, b, c))
    return list(dict.fromkeys(results))


def is_nonconstant(factor: Tensor) -> bool:
    r"""Whether a factor has two different entries: a mask of ones or of zeros is a constant, not a derivative."""
    return bool((factor != factor.flatten()[0]).any())
