r"""A sum with some of its terms lost: some samples, some uses of a weight, a repeated index."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.diagnosis.rules.graph_rule import Mistake, relevant_nodes
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, combine, scaled_edges, set_grad_input
from nnmath.gradcheck.graph.graph import Gradients

MAX_SAMPLES = 64

Uses = list[tuple[Node, int]]
r"""The edges of the graph that lead to a leaf, the last use first."""


def last_iteration_only(context: Context) -> Iterator[Hypothesis]:
    r"""A weight that a loop uses in each iteration, with the gradient of the first or last iteration alone."""

    def in_a_loop(uses: Uses) -> bool:
        sites = {context.graph.site(node) for node, _ in uses}
        calls = {id(context.graph.recorder.calls.get(node)) for node, _ in uses}
        return len(uses) > 1 and len(sites) == 1 and len(calls) == len(uses)

    yield from one_use(context, in_a_loop)


def one_of_several_uses(context: Context) -> Iterator[Hypothesis]:
    r"""A weight that is used in three places or more, with the gradient of one of them alone."""
    yield from one_use(context, lambda uses: len(uses) > 2)


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
                gradients = context.gradients(keep_use(uses, uses[kept]))
                results |= {name: gradients[name]} if gradients else {}
        if results:
            explanation = f"This input is used several times, but this is the gradient of the {which} use alone."
            yield Hypothesis(Fault.OVERWRITTEN, results, explanation, "add the gradients of all uses: += instead of =")


def keep_use(uses: Uses, kept: tuple[Node, int]) -> Edit:
    r"""The gradients along all edges but one set to zero."""
    lost: dict[Node, list[int]] = {}
    for node, i in uses:
        if (node, i) != kept:
            lost.setdefault(node, []).append(i)
    return combine(scaled_edges(node, edges, 0.0) for node, edges in lost.items())


def subset_of_samples(context: Context) -> Iterator[Hypothesis]:
    r"""The sum over the samples without some of them: v = Σ t_s g_s, fitted, with every t_s 0 or 1."""
    leaves = set(context.graph.leaf_of)
    nodes = [node for node in context.graph.nodes if any(before in leaves for before, _ in node.next_functions)]
    names = [name for name, _, _ in context.pairs(same_shape=True)]
    for n in context.batch_sizes:
        if not 2 <= n <= MAX_SAMPLES:
            continue
        per_sample = [g for s in range(n) if (g := context.gradients(keep_sample(nodes, n, s))) is not None]
        for group in [names, *([name] for name in names if len(names) > 1)]:
            if len(per_sample) < n or sum(context.value(name).numel() for name in group) < 3:
                continue
            target = torch.cat([context.value(name).flatten() for name in group])
            terms = [torch.cat([gradients[name].flatten() for name in group]) for gradients in per_sample]
            for kept in kept_subsets(terms, target):
                sums = {name: torch.stack([per_sample[s][name] for s in kept]).sum(0) for name in group}
                yield subset_hypothesis(sums, kept, n)


def kept_subsets(terms: list[Tensor], target: Tensor) -> Iterator[list[int]]:
    r"""The samples that may have been kept: the first k, the last k, or those of a fit."""
    n = len(terms)
    for k in sorted({1, n // 2, n - n // 2, n - 1}):
        yield list(range(k))
        yield list(range(n - k, n))
    if len(target) >= n + 2:
        kept = [s for s, t in enumerate(fit_coefficients(terms, target) or ()) if t > 0.5]
        if 0 < len(kept) < n:
            yield kept


def subset_hypothesis(gradients: Gradients, kept: list[int], n: int) -> Hypothesis:
    r"""The hypothesis that only these samples were added."""
    few = len(kept) <= n / 2
    samples = kept if few else [s for s in range(n) if s not in kept]
    text = ", ".join(map(str, samples[:6])) + (f" … {samples[-1]}" if len(samples) > 6 else "")
    which = f"sample {text} alone" if few else f"all but {text}"
    explanation = f"Of the {n} samples, counted from 0, this is the gradient of {which}."
    fix = "add the gradients of all samples: += instead of =, and a loop to the very end"
    return Hypothesis(Fault.OVERWRITTEN if few else Fault.MISSING_PATH, gradients, explanation, fix)


def keep_sample(nodes: list[Node], n: int, sample: int) -> Edit:
    r"""The gradient of one sample at these nodes: zero elsewhere along the first dimension of size n."""

    def hook(gradient: Tensor) -> Tensor:
        if n not in gradient.shape:
            return gradient
        dim, kept = gradient.shape.index(n), torch.zeros_like(gradient)
        kept.select(dim, sample).copy_(gradient.select(dim, sample))
        return kept

    return Edit(grad_output=dict.fromkeys(nodes, hook))


def with_repeated_index_assigned(context: Context) -> Iterator[Mistake[str]]:
    r"""The assignment g[index] = … where an index occurs twice: one occurrence overwrites the other."""
    for node in relevant_nodes(context):
        index = index_of(node)
        if index is not None:
            for which in ("last", "first"):
                yield which, context.graph.describe(node), assign_rows(node, index, which)


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


def assign_rows(node: Node, index: Tensor, which: str) -> Edit:
    r"""A node that takes rows, with its gradient assigned row by row, so that the last or the first one remains."""
    rows = index.flatten().tolist()

    def assign(grad_output: Tensor, right: Tensor) -> Tensor:
        result = torch.zeros_like(right)
        gradients = grad_output.reshape(len(rows), *right.shape[1:])
        order = range(len(rows))
        for i in order if which == "last" else reversed(order):
            result[rows[i]] = gradients[i]
        return result

    return set_grad_input(node, assign)
