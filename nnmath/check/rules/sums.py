r"""Sums of which a part was lost: the last sample alone, the last use alone, a repeated index."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.check.constants import sizes_in
from nnmath.check.edits import Edit, handed_on, scaled_edges
from nnmath.check.faults import Fault
from nnmath.check.story import Case, Story


def one_use(case: Case) -> Iterator[Story]:
    r"""A weight that is used several times, with the gradient of its first or last use alone."""
    for leaf, name in case.graph.leaf_of.items():
        if name not in case.remaining:
            continue
        edges = [
            (node, i) for node in case.graph.nodes for i, (after, _) in enumerate(node.next_functions) if after is leaf
        ]
        if len(edges) < 3:
            continue  # of two uses, one is missing: a missing path
        for which, kept in (("last", edges[0]), ("first", edges[-1])):
            edit = Edit()
            for node in {node for node, _ in edges}:
                lost = [i for other, i in edges if other is node and (node, i) != kept]
                edit = edit + scaled_edges(node, lost, 0.0) if lost else edit
            if gradients := case.gradients(edit):
                yield Story(
                    Fault.OVERWRITTEN,
                    {name: gradients[name]},
                    f"{name} is used {len(edges)} times, but the gradient is that of the {which} use alone.",
                    "add up the gradients of all uses: += instead of =",
                )


def one_sample(case: Case) -> Iterator[Story]:
    r"""The sum over the samples, with the last or the first of them alone."""
    sizes = [case.n] if case.n else list(sizes_in(case.comparison.inputs, case.comparison.gradients))
    leaves = set(case.graph.leaf_of)
    nodes = [node for node in case.graph.nodes if any(after in leaves for after, _ in node.next_functions)]
    for n in sizes:
        if n < 2:
            continue
        for which, index in (("last", n - 1), ("first", 0)):
            edit = Edit(incoming={node: only(n, index) for node in nodes})
            if gradients := case.gradients(edit):
                yield Story(
                    Fault.OVERWRITTEN,
                    gradients,
                    f"This is the gradient of the {which} of {n} samples alone.",
                    "add up the gradients of all samples: += instead of =",
                    edit,
                )


class only:
    r"""A hook that keeps one sample's gradient: zero elsewhere along each dimension of that size, the first of them."""

    def __init__(self, n: int, index: int) -> None:
        self.n, self.index = n, index

    def __call__(self, gradient: Tensor) -> Tensor:
        if self.n not in gradient.shape:
            return gradient
        dim = gradient.shape.index(self.n)
        kept = torch.zeros_like(gradient)
        kept.select(dim, self.index).copy_(gradient.select(dim, self.index))
        return kept


def repeated_index(case: Case) -> Iterator[Story]:
    r"""g[index] = … where an index occurs twice: the last one wins, where they should be added up."""
    for node in case.graph.nodes:
        index = index_of(node)
        if index is None or case.graph.reach[node].isdisjoint(case.remaining):
            continue
        for which in ("last", "first"):
            edit = rows_assigned(node, index, which)
            if gradients := case.gradients(edit):
                yield Story(
                    Fault.OVERWRITTEN,
                    gradients,
                    f"An index occurs several times in {case.graph.where(node)}, but the gradient is that of its "
                    f"{which} occurrence alone.",
                    "add up instead of assigning: index_add_, or index_put_ with accumulate=True",
                    edit,
                )


def index_of(node: Node) -> Tensor | None:
    r"""The index along the first dimension, of a node that takes rows."""
    name = node.name()
    if name.startswith("IndexSelectBackward") and getattr(node, "_saved_dim", 1) == 0:
        return node._saved_index  # type: ignore[attr-defined]
    if name.startswith("EmbeddingBackward"):
        return node._saved_indices  # type: ignore[attr-defined]
    if name.startswith("IndexBackward"):
        indices = node._saved_indices  # type: ignore[attr-defined]
        if len(indices) == 1 and indices[0] is not None and indices[0].dtype is torch.int64:
            return indices[0]
    return None


def rows_assigned(node: Node, index: Tensor, which: str) -> Edit:
    r"""A node that takes rows, whose gradient is assigned row by row."""
    return handed_on(node, lambda given, right: assigned(given, right, index, which))


def assigned(g: Tensor, old: Tensor, index: Tensor, which: str) -> Tensor:
    r"""Rows of g written to where the index says, one after the other."""
    flat = index.reshape(-1)
    rows = g.reshape(flat.numel(), *old.shape[1:])
    result = torch.zeros_like(old)
    order = range(flat.numel()) if which == "last" else reversed(range(flat.numel()))
    for i in order:
        result[flat[i]] = rows[i]
    return result
