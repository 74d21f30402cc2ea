r"""A sum with some of its terms missing: samples, uses of a weight, occurrences of an index."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.diagnosis.rules.graph_rule import Mistake, graph_rule
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, combine, scaled_edges, set_grad_input
from nnmath.gradcheck.graph.graph import Gradients


def last_iteration_only(context: Context) -> Iterator[Hypothesis]:
    r"""A weight that a loop uses in each iteration, with the gradient of the first or last iteration alone."""
    graph = context.graph
    uses_of: dict[str, list[tuple[Node, int]]] = {}  # leaf ↦ the edges that lead to it, the last use first
    for node in graph.nodes:
        for i, (before, _) in enumerate(node.next_functions):
            if before in graph.leaf_of:
                uses_of.setdefault(graph.leaf_of[before], []).append((node, i))
    for which, kept in (("last", 0), ("first", -1)):
        results: Gradients = {}
        for name, uses in uses_of.items():
            calls = {id(graph.recorder.calls.get(node)) for node, _ in uses}
            if 1 < len(uses) == len(calls) and len({graph.site(node) for node, _ in uses}) == 1:
                cuts = combine(scaled_edges(node, [i], 0.0) for node, i in uses if (node, i) != uses[kept])
                if gradients := context.gradients(cuts):
                    results[name] = gradients[name]
        if results:
            explanation = f"This input is used several times, but this is the gradient of the {which} use alone."
            yield Hypothesis(Fault.OVERWRITTEN, results, explanation, "add the gradients of all uses: += instead of =")


def subset_of_samples(context: Context) -> Iterator[Hypothesis]:
    r"""The gradients of the first samples alone, or of the last: one, half of them, all but one."""
    leaves = context.graph.leaf_of
    nodes = [node for node in context.graph.nodes if any(before in leaves for before, _ in node.next_functions)]
    for n in (n for n in context.batch_sizes if n >= 2):
        for k in sorted({1, n // 2, n - n // 2, n - 1}):
            for which, start in (("first", 0), ("last", n - k)):
                edit = Edit(grad_output=dict.fromkeys(nodes, partial(keep_samples, n, start, k)))
                if gradients := context.gradients(edit):
                    some = which if k == 1 else f"{which} {k}"
                    explanation = f"This is the gradient of the {some} of {n} samples alone."
                    fault, how = Fault.OVERWRITTEN, "use += instead of ="
                    if k > n / 2:
                        end = "begin at the first" if which == "last" else "end at the last"
                        fault, how = Fault.MISSING_PATH, f"the loop must {end} one"
                    fix = f"add the gradients of all samples: {how}"
                    yield Hypothesis(fault, gradients, explanation, fix)


def keep_samples(n: int, start: int, count: int, gradient: Tensor) -> Tensor:
    r"""A gradient with zeros for all other samples, along the first dimension of size n."""
    if n not in gradient.shape:
        return gradient
    dim, kept = gradient.shape.index(n), torch.zeros_like(gradient)
    kept.narrow(dim, start, count).copy_(gradient.narrow(dim, start, count))
    return kept


@graph_rule(
    Fault.OVERWRITTEN,
    "An index occurs several times in {place}, but the gradient is that of its last occurrence alone.",
    "add instead of assigning: index_add_, or index_put_ with accumulate=True",
)
def with_repeated_index_assigned(context: Context) -> Iterator[Mistake]:
    for node in context.relevant_nodes():
        if (index := row_index(context.graph.function(node), node)) is not None:
            yield "", context.graph.describe(node), set_grad_input(node, partial(assign_rows, index.flatten().tolist()))


def row_index(function: str, node: Any) -> Tensor | None:
    r"""The index of a node that selects rows; None for any other node."""
    if function == "indexselect" and node._saved_dim == 0:
        return node._saved_index
    if function == "embedding":
        return node._saved_indices
    if function == "index" and len(node._saved_indices) == 1:
        index = node._saved_indices[0]
        return index if index is not None and index.dtype is torch.int64 else None
    return None


def assign_rows(rows: list[int], grad_output: Tensor, right: Tensor) -> Tensor:
    r"""The gradient of a tensor from which rows were selected, assigned row by row instead of added."""
    result = torch.zeros_like(right)
    for row, gradient in zip(rows, grad_output.reshape(len(rows), *right.shape[1:]), strict=True):
        result[row] = gradient
    return result
