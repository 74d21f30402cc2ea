r"""A sum with some of its terms missing: samples, uses of a weight, occurrences of an index."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.diagnosis.rules.graph_rule import Mistake, graph_rule
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, combine, scaled_edges, set_grad_input
from nnmath.gradcheck.graph.graph import Gradients

MAX_SAMPLES = 64
Uses = list[tuple[Node, int]]  # the edges of the graph that lead to a leaf, the last use first


def last_iteration_only(context: Context) -> Iterator[Hypothesis]:
    r"""A weight that a loop uses in each iteration, with the gradient of the first or last iteration alone."""

    def in_a_loop(uses: Uses) -> bool:
        sites = {context.graph.site(node) for node, _ in uses}
        calls = {id(context.graph.recorder.calls.get(node)) for node, _ in uses}
        return len(uses) > 1 and len(sites) == 1 and len(calls) == len(uses)

    return one_use(context, in_a_loop)


def one_of_several_uses(context: Context) -> Iterator[Hypothesis]:
    r"""A weight that is used three times or more, with the gradient of the first or last use alone."""
    return one_use(context, lambda uses: len(uses) > 2)


def one_use(context: Context, applies_to: Callable[[Uses], bool]) -> Iterator[Hypothesis]:
    r"""The gradients of the last use alone, then those of the first use alone."""
    uses_of: dict[str, Uses] = {name: [] for name in context.graph.leaf_of.values()}
    for node in context.graph.nodes:
        for i, (before, _) in enumerate(node.next_functions):
            if before in context.graph.leaf_of:
                uses_of[context.graph.leaf_of[before]].append((node, i))
    for which, kept in (("last", 0), ("first", -1)):
        results: Gradients = {}
        for name, uses in uses_of.items():
            if uses and applies_to(uses):
                lost = [use for use in uses if use != uses[kept]]
                cuts = {node: scaled_edges(node, [i for other, i in lost if other is node], 0.0) for node, _ in lost}
                if gradients := context.gradients(combine(cuts.values())):
                    results[name] = gradients[name]
        if results:
            explanation = f"This input is used several times, but this is the gradient of the {which} use alone."
            yield Hypothesis(Fault.OVERWRITTEN, results, explanation, "add the gradients of all uses: += instead of =")


def subset_of_samples(context: Context) -> Iterator[Hypothesis]:
    r"""The sum over some of the samples: Σ t_s g_s, with each t_s either 0 or 1."""
    leaves = context.graph.leaf_of
    nodes = [node for node in context.graph.nodes if any(before in leaves for before, _ in node.next_functions)]
    names = [name for name, _, _ in context.pairs(same_shape=True)]
    for n in (n for n in context.batch_sizes if 2 <= n <= MAX_SAMPLES):
        edits = [Edit(grad_output=dict.fromkeys(nodes, partial(keep_sample, n, s))) for s in range(n)]
        per_sample = [gradients for edit in edits if (gradients := context.gradients(edit)) is not None]
        for group in [names, *([name] for name in names if len(names) > 1)]:
            if len(per_sample) < n or sum(context.value(name).numel() for name in group) < 3:
                continue
            target = torch.cat([context.value(name).flatten() for name in group])
            terms = [torch.cat([gradients[name].flatten() for name in group]) for gradients in per_sample]
            for kept in kept_subsets(terms, target):
                sums = {name: torch.stack([per_sample[s][name] for s in kept]).sum(0) for name in group}
                yield subset_hypothesis(sums, kept, n)


def kept_subsets(terms: list[Tensor], target: Tensor) -> Iterator[list[int]]:
    r"""The samples that may have been summed: the first k, the last k, or those with t_s > ½ in a fit."""
    n = len(terms)
    for k in sorted({1, n // 2, n - n // 2, n - 1}):
        yield list(range(k))
        yield list(range(n - k, n))
    if len(target) >= n + 2:
        kept = [s for s, t in enumerate(fit_coefficients(terms, target) or ()) if t > 0.5]
        if 0 < len(kept) < n:
            yield kept


def subset_hypothesis(gradients: Gradients, kept: list[int], n: int) -> Hypothesis:
    r"""The hypothesis that only these samples were summed."""
    few = len(kept) <= n / 2
    samples = kept if few else [s for s in range(n) if s not in kept]
    text = ", ".join(map(str, samples[:6])) + (f" … {samples[-1]}" if len(samples) > 6 else "")
    which = f"sample {text} alone" if few else f"all but {text}"
    explanation = f"Of the {n} samples, counted from 0, this is the gradient of {which}."
    fix = "add the gradients of all samples: += instead of =, and a loop to the very end"
    return Hypothesis(Fault.OVERWRITTEN if few else Fault.MISSING_PATH, gradients, explanation, fix)


def keep_sample(n: int, sample: int, gradient: Tensor) -> Tensor:
    r"""A gradient with zeros for all other samples, along the first dimension of size n."""
    if n not in gradient.shape:
        return gradient
    dim, kept = gradient.shape.index(n), torch.zeros_like(gradient)
    kept.select(dim, sample).copy_(gradient.select(dim, sample))
    return kept


@graph_rule(
    Fault.OVERWRITTEN,
    "An index occurs several times in {place}, but the gradient is that of its {kind} occurrence alone.",
    "add instead of assigning: index_add_, or index_put_ with accumulate=True",
)
def with_repeated_index_assigned(context: Context) -> Iterator[Mistake]:
    for node in context.relevant_nodes():
        if (index := row_index(context.graph.function(node), node)) is not None:
            for which in ("last", "first"):
                edit = set_grad_input(node, partial(assign_rows, index.flatten().tolist(), which))
                yield which, context.graph.describe(node), edit


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


def assign_rows(rows: list[int], which: str, grad_output: Tensor, right: Tensor) -> Tensor:
    r"""The gradient of a tensor from which rows were selected, assigned row by row instead of added."""
    result = torch.zeros_like(right)
    pairs = list(zip(rows, grad_output.reshape(len(rows), *right.shape[1:]), strict=True))
    for row, gradient in pairs if which == "last" else reversed(pairs):
        result[row] = gradient
    return result
