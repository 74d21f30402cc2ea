r"""The paths of the chain rule: one omitted, multiplied by a constant, or transposed; a factor omitted."""

from collections.abc import Iterator

import torch
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.constants import Constant
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.diagnosis.rules.graph_rule import at_every_node, differentiable_edges, graph_rule
from nnmath.gradcheck.diagnosis.rules.layout import broadcasts
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, blend, pass_grad_output, scaled_edges
from nnmath.gradcheck.graph.graph import Gradients


@at_every_node
def without_path(context: Context, node: Node) -> Iterator[tuple[str, Edit]]:
    r"""One argument, or all of them, treated as constants."""
    edges = differentiable_edges(context, node)
    if len(edges) > 1:
        for i in edges:
            yield f"its argument {i + 1}", scaled_edges(node, [i], 0.0)
    yield "what it is computed from", scaled_edges(node, edges, 0.0)


def missing_path(context: Context) -> Iterator[Hypothesis]:
    r"""A use of a tensor, or the tensor itself, treated as a constant; or the gradient along this path scaled."""
    for kind, place, edit in without_path(context):
        if without := context.gradients(edit):
            gradients = {name: gradient for name, gradient in without.items() if gradient.any()}
            explanation = f"The path through {place} is missing: {kind} was treated as a constant."
            fix = "add the gradient that arrives on this path to the gradients on the others"
            yield Hypothesis(Fault.MISSING_PATH, gradients, explanation, fix, edit)
            yield from scaled_path(context, without, place, kind, edit)


def scaled_path(context: Context, without: Gradients, place: str, kind: str, cut: Edit) -> Iterator[Hypothesis]:
    r"""The gradient along one path multiplied by a constant t, the others right: without + t · path."""
    paths = {name: context.base[name] - rest for name, rest in without.items()}
    partial = {name: p for name, p in paths.items() if not context.indistinguishable(name, p, context.base[name])}
    for name, t in context.fit_steps(without, partial):
        if abs(t) < 1e-6:
            continue
        fitted = Constant(Fault.FACTOR, t, "", "look for this constant where the path begins")
        close = (k for k in context.constants if context.fits(name, without[name] + k.value * paths[name]))
        constant = next(close, fitted)
        gradients = {key: rest + constant.value * paths[key] for key, rest in without.items()}
        explanation = f"Along one path, through {place}, the gradient of {kind} was multiplied by {constant.value:.6g}"
        explanation += f": {constant.meaning}." if constant.meaning else "."
        edit = blend(cut, constant.value)
        yield Hypothesis(constant.fault, gradients, explanation, constant.fix, edit, fitted=int(constant is fitted))


@graph_rule(
    Fault.GRAD_OUTPUT_IGNORED,
    "The gradient that arrives at {place} was not used: this is the local derivative alone.",
    "multiply by grad_output, the gradient that arrives from the loss",
)
@at_every_node
def with_ones_for_grad_output(context: Context, node: Node) -> Iterator[tuple[str, Edit]]:
    if node is not context.graph.nodes[0]:
        yield "", Edit(grad_output={node: torch.ones_like})


@graph_rule(
    Fault.MISSING_FACTOR,
    "The factor or divisor that goes with {kind} of {place} was left out of its gradient.",
    "multiply by the other factor: the derivative of a b with respect to a is b",
)
@at_every_node
def without_factor(context: Context, node: Node) -> Iterator[tuple[str, Edit]]:
    if context.graph.function(node) in ("mul", "div"):
        for i in differentiable_edges(context, node):
            yield f"argument {i + 1}", pass_grad_output(node, i)


def transposed_path(context: Context) -> Iterator[Hypothesis]:
    r"""A square weight that is used twice, with the gradient of one use transposed."""
    leaf_of = {name: leaf for leaf, name in context.graph.leaf_of.items()}
    for name, _, base in context.pairs():
        for node in context.graph.nodes if base.ndim == 2 and base.shape[0] == base.shape[1] else ():
            edges = [i for i, (before, _) in enumerate(node.next_functions) if before is leaf_of[name]]
            if edges and (without := context.gradients(scaled_edges(node, edges, 0.0))):
                candidate = without[name] + (base - without[name]).T
                explanation = f"The part of the gradient that comes from {context.graph.describe(node)} is transposed."
                fix = "exchange the two factors of that product, or transpose it before it is added"
                yield Hypothesis(Fault.TRANSPOSE, {name: candidate}, explanation, fix)


def tensor_missing(context: Context) -> Iterator[Hypothesis]:
    r"""The gradient multiplied or divided by a tensor of the forward pass that broadcasts to it."""
    fix = "look for this factor where the gradient is computed"
    for name, _, base in context.pairs():
        for what, tensor in context.graph.tensors():
            if broadcasts(tensor, base) and tensor.all():
                for verb, gradient in (("multiplied", base / tensor), ("divided", base * tensor)):
                    explanation = f"This is the gradient before it is {verb} by {what}."
                    yield Hypothesis(Fault.MISSING_FACTOR, {name: gradient}, explanation, fix)
