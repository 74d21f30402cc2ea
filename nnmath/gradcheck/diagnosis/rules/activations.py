r"""The derivative of an elementwise function: missing, of another function, at another tensor, or applied twice."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.diagnosis.rules.graph_rule import Mistake, Mistakes, at_every_node, graph_rule, walk
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, scale_grad_output, set_derivative, set_grad_input, straight_through
from nnmath.gradcheck.graph.graph import Gradients

MAX_NODES = 8  # of a function that is written out, such as 1 / (1 + e^(−z))
ALGEBRA = {"add", "sub", "rsub", "mul", "div", "neg", "reciprocal", "pow"}
LAYOUT = {"view", "reshape", "t", "transpose", "permute", "clone", "expand", "tobase", "squeeze", "unsqueeze", "tocopy"}
LINEAR = {"cumsum", "flip", "roll"}
NOT_ELEMENTWISE = {"softmax", "logsoftmax", "nativelayernorm", "nativebatchnorm"}

# the usual derivatives, by their formula in the input z or the output h
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "h (1 − h)": lambda h: h * (1 - h),
    "1 − h²": lambda h: 1 - h * h,
    "σ′(z)": lambda z: torch.sigmoid(z) * torch.sigmoid(-z),
    "tanh′(z)": lambda z: 1 - torch.tanh(z) ** 2,
    "1 for z > 0, else 0": lambda z: (z > 0).to(z.dtype),
    "1 for z < 0, else 0": lambda z: (z < 0).to(z.dtype),
}
MISTAKEN = {"σ(z)": torch.sigmoid, "Φ(z)": torch.special.ndtr, "z": lambda z: z, "sign z": torch.sign}
SOFTMAX = {"p (1 − p) with p = softmax(z)": lambda z: torch.softmax(z, -1) * (1 - torch.softmax(z, -1))}


class AppliedFunction(NamedTuple):
    r"""A function that the forward pass applied, in one node or written out in several."""

    nodes: list[Node]  # the last step first
    z: Tensor  # its input
    h: Tensor  # its output, of the same shape

    def with_derivative(self, derivative: Tensor) -> Edit:
        r"""The mistake of taking this for its derivative."""
        return set_derivative(self.nodes[0], derivative) + straight_through(self.nodes[1:])


def functions_ending_at(context: Context, node: Node) -> Iterator[AppliedFunction]:
    r"""The functions whose last step is a node, the shortest first; algebra and layout alone do not count."""
    graph = context.graph
    h, nodes = graph.value(node), [node]
    while h is not None and len(nodes) <= MAX_NODES:
        edges = [edge for edge in nodes[-1].next_functions if edge[0] is not None]
        name = graph.function(nodes[-1])
        if len(edges) != 1 or name in LINEAR:
            return
        z = graph.value(*edges[0])
        if z is not None and z.shape == h.shape and {graph.function(step) for step in nodes} - ALGEBRA - LAYOUT:
            yield AppliedFunction(list(nodes), z, h)
        before = edges[0][0]
        if before is None or before in graph.leaf_of:
            return
        nodes.append(before)


def elementwise(context: Context, node: Node) -> AppliedFunction | None:
    r"""The elementwise function of a single node; None if the node is not one."""
    function = next(functions_ending_at(context, node), None)
    single = function is not None and len(function.nodes) == 1
    return function if single and context.graph.function(node) not in NOT_ELEMENTWISE else None


def at_every_function(mistakes: Callable[[Context, AppliedFunction], Iterator[tuple[str, Edit]]]) -> Mistakes:
    r"""Decorates a function that yields (kind, edit) for the mistakes at one applied function: makes them at all."""

    def at_all(context: Context) -> Iterator[Mistake]:
        for lines in (0, 1, 2):  # first single nodes, then what is written out in one line, then in several

            def at(node: Node, lines: int = lines) -> Iterator[tuple[tuple[str, int], Edit]]:
                for function in functions_ending_at(context, node):
                    length = len(function.nodes)
                    sites = {(site.file, site.line) for site in map(context.graph.site, function.nodes) if site}
                    if lines == (0 if length == 1 else min(2, len(sites))):
                        for kind, edit in mistakes(context, function):
                            yield (kind, length), edit

            for (kind, _), place, edit in walk(context, at):
                written_out = f"the function written out in {place.partition(' in ')[2] or 'several places'}"
                yield kind, written_out if lines else place, edit

    return at_all


@graph_rule(
    Fault.ACTIVATION_DERIVATIVE_MISSING,
    "The derivative of {place} is missing: the gradient of its output was taken for that of its input.",
    "multiply by the function's derivative",
)
@at_every_function
def without_derivative(context: Context, function: AppliedFunction) -> Iterator[tuple[str, Edit]]:
    yield "", straight_through(function.nodes)


@graph_rule(
    Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
    "The derivative of {place} was evaluated at the wrong tensor: {kind}, where z is its input and h its output.",
    "evaluate f′ at the function's input, or its formula in h at the function's output",
)
@at_every_function
def with_derivative_at_output(context: Context, function: AppliedFunction) -> Iterator[tuple[str, Edit]]:
    r"""f′(h) for f′(z), with h = f(z); or the formula of f′ in h at z."""
    for f, in_h, in_z in ((torch.sigmoid, "h (1 − h)", "σ′(z)"), (torch.tanh, "1 − h²", "tanh′(z)")):
        if torch.allclose(function.h, f(function.z), rtol=1e-6, atol=0):
            yield in_h.replace("h", "z"), function.with_derivative(FORMULAS[in_h](function.z))
            yield "f′(h)", function.with_derivative(FORMULAS[in_z](function.h))
    at_h = context.graph.derivative_at(function.nodes[0], function.h) if len(function.nodes) == 1 else None
    if at_h is not None:
        yield "f′(h)", function.with_derivative(at_h)


@graph_rule(
    Fault.ACTIVATION_DERIVATIVE_WRONG,
    "The derivative of {place} was taken to be {kind}, which it is not.",
    "multiply by the derivative of the function that the forward pass applies",
)
@at_every_function
def with_other_derivative(context: Context, function: AppliedFunction) -> Iterator[tuple[str, Edit]]:
    for formula, derivative in (FORMULAS | MISTAKEN).items():
        factor = derivative(function.z if "z" in formula else function.h)
        if is_nonconstant(factor):
            yield formula, function.with_derivative(factor)


@graph_rule(
    Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
    "The derivative of {place} was taken to be {kind}.",
    "evaluate it at the function's own input or output",
)
def with_derivative_at_other_tensor(context: Context) -> Iterator[Mistake]:
    functions = [function for node in context.relevant_nodes() if (function := elementwise(context, node))]
    for function in functions:
        place = context.graph.describe(function.nodes[0])
        for name, tensor in context.graph.tensors():
            if tensor.shape == function.z.shape and tensor is not function.z and tensor is not function.h:
                for formula, derivative in FORMULAS.items():
                    if is_nonconstant(factor := derivative(tensor)):
                        yield f"{formula}, evaluated at {name}", place, function.with_derivative(factor)


@graph_rule(
    Fault.ACTIVATION_DERIVATIVE_EXTRA,
    "The gradient of the value of {place} was multiplied by a derivative that does not belong there: {kind}, where "
    "z or h is that value.",
    "remove it: it is already applied, or the loss cancels it, as cross-entropy does with the sigmoid",
)
@at_every_node
def with_extra_derivative(context: Context, node: Node) -> Iterator[tuple[str, Edit]]:
    value = context.graph.value(node)
    if value is not None and node is not context.graph.nodes[0] and value.ndim:
        for formula, derivative in (FORMULAS | SOFTMAX).items():
            if is_nonconstant(factor := derivative(value)):
                yield formula, scale_grad_output(node, factor)


def derivative_on_one_side(context: Context) -> Iterator[Hypothesis]:
    r"""Another slope s for z < 0 alone, or for z > 0 alone: the gradient is rest + s · part."""
    functions = [function for node in context.relevant_nodes() if (function := elementwise(context, node))]
    for [node], z, _ in functions:
        for side, mask in (("negative", z < 0), ("positive", z > 0)):
            rest, unit = (context.gradients(one_side(node, mask, slope)) for slope in (0.0, 1.0))
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
    r"""The mistake of taking this slope for the derivative where the mask is set."""
    return set_grad_input(node, lambda grad_output, right: torch.where(mask, slope * grad_output, right))


@graph_rule(
    Fault.ACTIVATION_DERIVATIVE_WRONG,
    "The derivative of {place} was taken to be {kind}, where h is its value.",
    "multiply by the derivative of the function that the forward pass applies",
)
def with_polynomial_of_output(context: Context) -> Iterator[Mistake]:
    r"""A polynomial a + b h + c h², such as h (1 + h), fitted to five entries or more."""
    for function in (function for node in context.relevant_nodes() for function in functions_ending_at(context, node)):
        h = function.h
        powers = [context.gradients(function.with_derivative(h**k)) for k in range(3)]
        for a, b, c in coefficients(context, [gradients for gradients in powers if gradients is not None]):
            if is_nonconstant(factor := a + b * h + c * h**2):
                terms = [f"{t:g}{power}" for t, power in ((a, ""), (b, " h"), (c, " h²")) if t]
                formula = " + ".join(terms).replace("+ -", "- ").replace("1 h", "h")
                place = context.graph.describe(function.nodes[0])
                yield formula.replace("-", "−"), place, function.with_derivative(factor)


def coefficients(context: Context, powers: list[Gradients]) -> list[tuple[float, float, float]]:
    r"""The a, b, c that fit one gradient, or those nearest to the loss together; only multiples of ½ up to 4."""
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
    r"""Whether a factor has two different entries: a constant is not a derivative."""
    return bool((factor != factor.flatten()[0]).any())
