r"""The chain rule's paths: one that was left out, or that has a constant of its own."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.check.edits import Edit, derivative, handed_on, partly, passed_through, scaled_edges
from nnmath.check.faults import Fault
from nnmath.check.story import Case, Story, everywhere


def missing_path(case: Case) -> Iterator[Story]:
    r"""One use of a tensor, or a tensor altogether, taken for a constant."""

    def cuts(node: Node) -> Iterator[tuple[str, Edit]]:
        edges = [i for i, (after, _) in enumerate(node.next_functions) if after and case.graph.reach.get(after)]
        if len(edges) > 1:
            for i in edges:
                yield f"its argument {i + 1}", scaled_edges(node, [i], 0.0)
        yield "what it is computed from", scaled_edges(node, edges, 0.0)

    for what, where, edit in everywhere(case, cuts):
        without = case.gradients(edit)
        if without is None:
            continue
        yield Story(
            Fault.MISSING_PATH,
            {name: gradient for name, gradient in without.items() if gradient.any()},
            f"The path through {where} is missing: {what} was taken for a constant.",
            "add the gradient that arrives on this path to those on the others",
            edit,
        )
        yield from scaled_path(case, without, where, what, edit)


def scaled_path(case: Case, without: dict[str, Tensor], where: str, what: str, edit: Edit) -> Iterator[Story]:
    r"""A path whose gradient was multiplied by a constant, the others were not: v = rest + t · path."""
    seen: list[float] = []
    for name in case.remaining:
        rest, value = without[name], case.value(name)
        path = case.base[name] - rest
        if value.shape != rest.shape or case.alike(name, path, case.base[name]) or not path.any():
            continue
        t = case.share(name, path, value - rest)
        if t is None or any(abs(t - other) <= 1e-6 * abs(other) for other in seen) or abs(t) < 1e-6:
            continue
        if not case.fits(name, rest + t * path):
            continue
        seen.append(t)
        close = [k for k in case.constants() if case.fits(name, rest + k.value * path)]
        t, fault = (close[0].value, close[0].fault) if close else (t, Fault.FACTOR)
        yield Story(
            fault,
            {key: without[key] + t * (case.base[key] - without[key]) for key in without},
            f"Along one path, {what} of {where}, the gradient was multiplied by {t:.6g}"
            + (f": {close[0].meaning}." if close else "."),
            close[0].fix if close else "look for this constant where the path begins",
            partly(edit, t),
            free=0 if close else 1,
        )


def upstream_ignored(case: Case) -> Iterator[Story]:
    r"""Ones in the place of the gradient that comes from above."""

    def ignoring(node: Node) -> Iterator[tuple[str, Edit]]:
        if node is not case.graph.nodes[0]:
            yield "", Edit(incoming={node: torch.ones_like})

    for _, where, edit in everywhere(case, ignoring):
        if gradients := case.gradients(edit):
            yield Story(
                Fault.GRAD_OUTPUT_IGNORED,
                gradients,
                f"The gradient that arrives at {where} was not used: this is the local derivative alone.",
                "multiply by the gradient that comes from above",
                edit,
            )


def jacobian_in_part(case: Case) -> Iterator[Story]:
    r"""Softmax without its off-diagonal, log-softmax with one of its two terms, a layer norm with its mean constant."""

    def terms(node: Node) -> Iterator[tuple[str, Edit]]:
        name, output = case.graph.function(node), case.graph.value(node)
        if name == "softmax" and output is not None:
            yield "only the diagonal p of its Jacobian", derivative(node, output)
        elif name == "logsoftmax":
            yield "without the softmax", passed_through([node])
            yield "only the softmax, without the target", handed_on(node, lambda g, right: right - g)
        elif name == "nativelayernorm":
            yield "the variance taken for a constant", handed_on(node, lambda g, _: layer_norm(node, g, True, False))
            yield "the mean taken for a constant", handed_on(node, lambda g, _: layer_norm(node, g, False, True))
            yield "mean and variance constant", handed_on(node, lambda g, _: layer_norm(node, g, False, False))

    for what, where, edit in everywhere(case, terms):
        if gradients := case.gradients(edit):
            yield Story(
                Fault.TARGET_TERM_MISSING if "target" in what else Fault.MISSING_PATH,
                gradients,
                f"A term of the Jacobian is missing: {where}, {what}.",
                "softmax has ∂pᵢ/∂zⱼ = pᵢ (δᵢⱼ − pⱼ), with cross-entropy p − y is left; a normalization's mean and "
                "variance depend on the input too",
                edit,
            )


def layer_norm(node: Node, g: Tensor, mean: bool, variance: bool) -> Tensor:
    r"""∂/∂x of layer norm: (γg − mean(γg) − x̂ mean(γg x̂)) / s, with or without the terms of mean and variance."""
    saved: dict[str, Tensor] = {
        key: getattr(node, f"_saved_{key}") for key in ("input", "result1", "result2", "weight")
    }
    normalized = (saved["input"] - saved["result1"]) * saved["result2"]
    g = g if saved["weight"] is None else g * saved["weight"]
    dims = list(range(-len(node._saved_normalized_shape), 0))  # type: ignore[attr-defined]
    result = g
    if mean:
        result = result - g.mean(dims, keepdim=True)
    if variance:
        result = result - normalized * (g * normalized).mean(dims, keepdim=True)
    return result * saved["result2"]
