r"""Sums of which a part was lost: some samples, some uses of a weight, a repeated index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, scaled_edges, set_grad_input
from nnmath.gradcheck.graph.graph import Gradients

MOST_SAMPLES = 64


def last_iteration_only(case: Context) -> Iterator[Hypothesis]:
    r"""A weight that a loop uses in each pass, with the gradient of the first or last pass alone."""

    def in_a_loop(edges: list[tuple[Node, int]]) -> bool:
        sites = {case.graph.site(node) for node, _ in edges}
        calls = {id(case.graph.recorder.calls.get(node)) for node, _ in edges}
        return len(edges) > 1 and len(sites) == 1 and len(calls) == len(edges)

    yield from one_use(case, in_a_loop)


def one_of_several_uses(case: Context) -> Iterator[Hypothesis]:
    r"""A weight that is used in three places or more, with the gradient of one of them alone."""
    yield from one_use(case, lambda edges: len(edges) > 2)


def one_use(case: Context, chosen: Callable[[list[tuple[Node, int]]], bool]) -> Iterator[Hypothesis]:
    r"""The gradients of the first and of the last use alone, of weights whose uses are of the chosen kind."""
    keeping: dict[str, Gradients] = {"last": {}, "first": {}}
    for leaf, name in case.graph.leaf_of.items():
        edges = [
            (node, i) for node in case.graph.nodes for i, (after, _) in enumerate(node.next_functions) if after is leaf
        ]
        for which, kept in (("last", edges[0]), ("first", edges[-1])) if edges and chosen(edges) else ():
            edit = Edit()
            for node in {node for node, _ in edges}:
                lost = [i for other, i in edges if other is node and (node, i) != kept]
                edit = edit + scaled_edges(node, lost, 0.0) if lost else edit
            if gradients := case.gradients(edit):
                keeping[which][name] = gradients[name]
    for which, gradients in keeping.items():
        if gradients:
            yield Hypothesis(
                Fault.OVERWRITTEN,
                gradients,
                f"Used several times, but this is the gradient of the {which} use alone.",
                "add up the gradients of all uses: += instead of =",
            )


def subset_of_samples(case: Context) -> Iterator[Hypothesis]:
    r"""The sum over the samples without some of them: v = Σ t_s g_s, fitted, with every t_s 0 or 1."""
    leaves = set(case.graph.leaf_of)
    nodes = [node for node in case.graph.nodes if any(after in leaves for after, _ in node.next_functions)]
    names = [name for name in case.remaining if case.value(name).shape == case.base[name].shape]
    for n in case.sizes:
        if not 2 <= n <= MOST_SAMPLES:
            continue
        parts = [case.gradients(only(nodes, n, s)) for s in range(n)]
        for together in [names, *([name] for name in names if len(names) > 1)]:
            wanted = torch.cat([case.value(name).flatten() for name in together] or [torch.empty(0)])
            if len(wanted) < 3 or any(part is None for part in parts):
                continue
            columns = [torch.cat([part[name].flatten() for name in together]) for part in parts if part is not None]
            for kept in kept_subsets(columns, wanted):
                gradients = {
                    name: torch.stack(
                        [part[name] for part, keep in zip(parts, kept, strict=True) if part and keep]
                    ).sum(0)
                    for name in together
                }
                yield from told(gradients, kept, n)


def kept_subsets(parts: list[Tensor], wanted: Tensor) -> Iterator[list[bool]]:
    r"""Which samples may have been kept: the first or last of them, or those that a fit says."""
    n = len(parts)
    for k in sorted({1, n // 2, n - n // 2, n - 1}):
        yield [s < k for s in range(n)]
        yield [s >= n - k for s in range(n)]
    if len(wanted) >= n + 2:
        kept = [t > 0.5 for t in fit_coefficients(parts, wanted) or ()]
        if any(kept) and not all(kept):
            yield kept


def told(gradients: Gradients, kept: list[bool], n: int) -> Iterator[Hypothesis]:
    r"""The story that only these samples were added up."""
    there = [s for s, keep in enumerate(kept) if keep]
    few = len(there) <= n / 2
    which = (
        f"sample {format_list(there)} alone"
        if few
        else f"all but {format_list([s for s in range(n) if s not in there])}"
    )
    yield Hypothesis(
        Fault.OVERWRITTEN if few else Fault.MISSING_PATH,
        gradients,
        f"Of the {n} samples, counted from 0, this is the gradient of {which}.",
        "add up the gradients of all samples: += instead of =, and a loop to the very end",
    )


def format_list(samples: list[int]) -> str:
    r"""Samples for a person."""
    return ", ".join(map(str, samples[:6])) + (f" … {samples[-1]}" if len(samples) > 6 else "")


def only(nodes: list[Node], n: int, sample: int) -> Edit:
    r"""One sample's gradient at these nodes: zero elsewhere along the first dimension of that size."""

    def hook(gradient: Tensor) -> Tensor:
        if n not in gradient.shape:
            return gradient
        dim, kept = gradient.shape.index(n), torch.zeros_like(gradient)
        kept.select(dim, sample).copy_(gradient.select(dim, sample))
        return kept

    return Edit(grad_output=dict.fromkeys(nodes, hook))


def repeated_index(case: Context) -> Iterator[Hypothesis]:
    r"""g[index] = … where an index occurs twice: the last one wins, where they should be added up."""
    for node in case.graph.nodes:
        index = index_of(node)
        if index is None or case.graph.reachable_leaves[node].isdisjoint(case.remaining):
            continue
        for which in ("last", "first"):
            edit = rows_assigned(node, index, which)
            if gradients := case.gradients(edit):
                yield Hypothesis(
                    Fault.OVERWRITTEN,
                    gradients,
                    f"An index occurs several times in {case.graph.describe(node)}, but the gradient is that of its "
                    f"{which} occurrence alone.",
                    "add up instead of assigning: index_add_, or index_put_ with accumulate=True",
                    edit,
                )


def index_of(node: Node) -> Tensor | None:
    r"""The index along the first dimension, of a node that takes rows."""
    name, saved = node.name(), cast(Any, node)
    if name.startswith("IndexSelectBackward") and getattr(node, "_saved_dim", 1) == 0:
        return saved._saved_index
    if name.startswith("EmbeddingBackward"):
        return saved._saved_indices
    if name.startswith("IndexBackward"):
        indices = saved._saved_indices
        if len(indices) == 1 and indices[0] is not None and indices[0].dtype is torch.int64:
            return indices[0]
    return None


def rows_assigned(node: Node, index: Tensor, which: str) -> Edit:
    r"""A node that takes rows, whose gradient is assigned row by row."""
    return set_grad_input(node, lambda given, right: assigned(given, right, index, which))


def assigned(g: Tensor, right: Tensor, index: Tensor, which: str) -> Tensor:
    r"""Rows of g written to where the index says, one after the other."""
    flat = index.reshape(-1)
    rows = g.reshape(flat.numel(), *right.shape[1:])
    result = torch.zeros_like(right)
    for i in range(flat.numel()) if which == "last" else reversed(range(flat.numel())):
        result[flat[i]] = rows[i]
    return result
