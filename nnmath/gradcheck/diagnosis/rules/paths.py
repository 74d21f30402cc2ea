r"""The chain rule's paths: one that was left out, or that has a constant of its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, at_every_node, fit_scale
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, blend, pass_grad_output, scaled_edges, transpose_grad_output


def missing_path(case: Context) -> Iterator[Hypothesis]:
    r"""One use of a tensor, or a tensor altogether, taken for a constant."""

    def cuts(node: Node) -> Iterator[tuple[str, Edit]]:
        edges = [
            i for i, (after, _) in enumerate(node.next_functions) if after and case.graph.reachable_leaves.get(after)
        ]
        if len(edges) > 1:
            for i in edges:
                yield f"its argument {i + 1}", scaled_edges(node, [i], 0.0)
        yield "what it is computed from", scaled_edges(node, edges, 0.0)

    for what, where, edit in at_every_node(case, cuts):
        without = case.gradients(edit)
        if without is None:
            continue
        yield Hypothesis(
            Fault.MISSING_PATH,
            {name: gradient for name, gradient in without.items() if gradient.any()},
            f"The path through {where} is missing: {what} was taken for a constant.",
            "add the gradient that arrives on this path to those on the others",
            edit,
        )
        yield from scaled_path(case, without, where, what, edit)


def scaled_path(case: Context, without: dict[str, Tensor], where: str, what: str, edit: Edit) -> Iterator[Hypothesis]:
    r"""A path whose gradient was multiplied by a constant, the others were not: v = rest + t · path."""
    seen: list[float] = []
    for name in case.remaining:
        rest, value = without[name], case.value(name)
        path = case.base[name] - rest
        if value.shape != rest.shape or case.indistinguishable(name, path, case.base[name]) or not path.any():
            continue
        t = fit_scale(path, value - rest)
        if t is None or any(abs(t - other) <= 1e-6 * abs(other) for other in seen) or abs(t) < 1e-6:
            continue
        if not case.fits(name, rest + t * path):
            continue
        seen.append(t)
        close = [k for k in case.constants if case.fits(name, rest + k.value * path)]
        t, fault = (close[0].value, close[0].fault) if close else (t, Fault.FACTOR)
        yield Hypothesis(
            fault,
            {key: without[key] + t * (case.base[key] - without[key]) for key in without},
            f"Along one path, through {where}, the gradient of {what} was multiplied by {t:.6g}"
            + (f": {close[0].meaning}." if close else "."),
            close[0].fix if close else "look for this constant where the path begins",
            blend(edit, t),
            free=0 if close else 1,
        )


def upstream_ignored(case: Context) -> Iterator[Hypothesis]:
    r"""Ones in the place of the gradient that comes from above."""

    def ignoring(node: Node) -> Iterator[tuple[str, Edit]]:
        if node is not case.graph.nodes[0]:
            yield "", Edit(grad_output={node: torch.ones_like})

    for _, where, edit in at_every_node(case, ignoring):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                Fault.GRAD_OUTPUT_IGNORED,
                gradients,
                f"The gradient that arrives at {where} was not used: this is the local derivative alone.",
                "multiply by the gradient that comes from above",
                edit,
            )


def transposed_path(case: Context) -> Iterator[Hypothesis]:
    r"""A square weight that is used twice, with the gradient of one use transposed."""
    for leaf, name in case.graph.leaf_of.items():
        shape = case.base[name].shape
        if name not in case.remaining or len(shape) != 2 or shape[0] != shape[1]:
            continue
        for node in case.graph.nodes:
            edges = [i for i, (after, _) in enumerate(node.next_functions) if after is leaf]
            without = case.gradients(scaled_edges(node, edges, 0.0)) if edges else None
            if without is not None:
                yield Hypothesis(
                    Fault.TRANSPOSE,
                    {name: without[name] + (case.base[name] - without[name]).T},
                    f"The part of the gradient that comes from {case.graph.describe(node)} is transposed.",
                    "exchange the two factors of that product, or transpose it before it is added",
                )


def missing_factor(case: Context) -> Iterator[Hypothesis]:
    r"""A factor of a product, or a divisor, left out: g for g·b or g/b."""

    def factors(node: Node) -> Iterator[tuple[str, Edit]]:
        if case.graph.function(node) in ("mul", "div"):
            for i, (after, _) in enumerate(node.next_functions):
                if after is not None and case.graph.reachable_leaves.get(after):
                    yield f"argument {i + 1}", pass_grad_output(node, i)

    for argument, where, edit in at_every_node(case, factors):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                Fault.MISSING_FACTOR,
                gradients,
                f"The factor or divisor that goes with {argument} of {where} was left out of its gradient.",
                "multiply by the other factor: the derivative of a b with respect to a is b",
                edit,
            )


def transposed_above(case: Context) -> Iterator[Hypothesis]:
    r"""Square gradients of a product used as they are where their transpose is meant, as in dk = dsᵀ q for s = q kᵀ."""

    def transposed_tensor(node: Node) -> Iterator[tuple[str, Edit]]:
        value = case.graph.value(node)
        if case.graph.function(node) in ("mm", "bmm") and value is not None and value.shape[-1] == value.shape[-2]:
            for i, (after, _) in enumerate(node.next_functions):
                if after is not None and case.graph.reachable_leaves.get(after):
                    yield f"argument {i + 1}", transpose_grad_output(node, i)

    for argument, where, edit in at_every_node(case, transposed_tensor):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                Fault.TRANSPOSE,
                gradients,
                f"The gradient that arrives at {where} was transposed in the gradient of its {argument}.",
                "for S = A B the gradients are dS Bᵀ and Aᵀ dS",
                edit,
            )


def tensor_missing(case: Context) -> Iterator[Hypothesis]:
    r"""The whole gradient times or divided by a tensor of the forward pass, row by row or entry by entry."""
    for name in case.remaining:
        base = case.base[name]
        for what, tensor in case.graph.tensors():
            if tensor.numel() < 2 or not expands(tensor, base) or not tensor.all():
                continue
            for verb, gradient in (("multiplied", base / tensor), ("divided", base * tensor)):
                yield Hypothesis(
                    Fault.MISSING_FACTOR,
                    {name: gradient},
                    f"The gradient is the right one, not yet {verb} by {what}.",
                    "look for this factor where the gradient is put together",
                )


def expands(tensor: Tensor, to: Tensor) -> bool:
    r"""Whether a tensor broadcasts to the shape of another."""
    padded = (1,) * (to.ndim - tensor.ndim) + tuple(tensor.shape)
    return len(padded) == to.ndim and all(a in (1, b) for a, b in zip(padded, to.shape, strict=True))
