r"""A function applied entry by entry, and its derivative: left out, twice, of another function, at another tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.check.edits import Edit, handed_on, multiplied, passed_through
from nnmath.check.edits import derivative as derivative_of
from nnmath.check.faults import Fault
from nnmath.check.story import Case, Story, everywhere

Derivative = Callable[[Tensor], Tensor]

DERIVATIVES: dict[str, Derivative] = {
    "h (1 − h)": lambda h: h * (1 - h),
    "1 − h²": lambda h: 1 - h * h,
    "σ′(z)": lambda z: torch.sigmoid(z) * torch.sigmoid(-z),
    "tanh′(z)": lambda z: 1 - torch.tanh(z) ** 2,
    "1 for z > 0, else 0": lambda z: (z > 0).to(z.dtype),
    "1 for z < 0, else 0": lambda z: (z < 0).to(z.dtype),
}
r"""The usual ones, by their formula in the input z or the output h."""

ALGEBRA = "add sub mul div neg pow mean sum"
LAYOUT = "view reshape t transpose permute clone expand tobase toCopy"
NO_ACTIVATIONS = frozenset(f"{ALGEBRA} {LAYOUT}".lower().split())


def pointwise(case: Case, node: Node) -> bool:
    r"""Whether a node applies a function of its own to each entry, or a softmax to each row."""
    value, before = case.graph.value(node), case.graph.input(node)
    return (
        value is not None and before is not None and value.shape == before.shape
        and case.graph.function(node) not in NO_ACTIVATIONS
        and sum(following is not None for following, _ in node.next_functions) == 1
    )  # fmt: skip


def derivative_missing(case: Case) -> Iterator[Story]:
    r"""δ = ∂E/∂h taken for ∂E/∂z."""

    def passing(node: Node) -> Iterator[tuple[str, Edit]]:
        if pointwise(case, node):
            yield "", passed_through([node])
            run = [node]
            while (following := only_input(run[-1])) is not None and entry_by_entry(case, following):
                run.append(following)
                yield f" with the {len(run) - 1} before it", passed_through(run)

    for chain, where, edit in everywhere(case, passing):
        if gradients := case.gradients(edit):
            yield Story(
                Fault.ACTIVATION_DERIVATIVE_MISSING,
                gradients,
                f"The derivative of {where}{chain} is missing: the gradient of its output was taken for that of its "
                "input.",
                "multiply by the function's derivative",
                edit,
            )


def derivative_wrong(case: Case) -> Iterator[Story]:
    r"""Another function's derivative, or the function's own at its output instead of its input."""

    def wrong(node: Node) -> Iterator[tuple[str, Edit]]:
        if pointwise(case, node):
            z, h = case.graph.input(node), case.graph.value(node)
            assert z is not None
            assert h is not None
            for formula, derivative in DERIVATIVES.items():
                factor = derivative(z if "z" in formula else h)
                if tells(factor):
                    yield formula, derivative_of(node, factor)

    for formula, where, edit in everywhere(case, wrong):
        if gradients := case.gradients(edit):
            yield Story(
                Fault.ACTIVATION_DERIVATIVE_WRONG,
                gradients,
                f"The derivative of {where} was taken to be {formula}, which it is not.",
                "multiply by the derivative of the function that the forward pass applies",
                edit,
            )


def derivative_at_the_output(case: Case) -> Iterator[Story]:
    r"""f′(h) with h = f(z), where f′(z) is meant; or f′'s formula in h, evaluated at z."""

    def wrong(node: Node) -> Iterator[tuple[str, Edit]]:
        if not pointwise(case, node):
            return
        z, h = case.graph.input(node), case.graph.value(node)
        assert z is not None
        assert h is not None
        for formula in ("h (1 − h)", "1 − h²"):
            if case.graph.function(node) == {"h (1 − h)": "sigmoid", "1 − h²": "tanh"}[formula]:
                yield formula.replace("h", "z"), derivative_of(node, DERIVATIVES[formula](z))
        leaf = h.clone().requires_grad_()
        with torch.enable_grad():
            again = replayed(case, node, leaf)
        if again is not None and again.requires_grad:
            (factor,) = torch.autograd.grad(again.sum(), leaf)
            yield "f′(h)", derivative_of(node, factor)

    for formula, where, edit in everywhere(case, wrong):
        if gradients := case.gradients(edit):
            yield Story(
                Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
                gradients,
                f"The derivative of {where} was evaluated at the wrong tensor: {formula}, z being its input and h its "
                "output.",
                "evaluate f′ at the function's input, or its formula in h at the function's output",
                edit,
            )


def replayed(case: Case, node: Node, tensor: Tensor) -> Tensor | None:
    r"""The function that created a node, of another tensor."""
    try:
        return case.graph.replay(node, tensor)
    except RuntimeError:
        return None


def slope_wrong(case: Case) -> Iterator[Story]:
    r"""A function of two slopes, with another slope on the one side: v = rest + s · side."""
    for node in case.graph.nodes:
        if not pointwise(case, node) or case.graph.reach[node].isdisjoint(case.remaining):
            continue
        z = case.graph.input(node)
        assert z is not None
        for side, mask in (("negative", z < 0), ("positive", z > 0)):
            without, unit = case.gradients(one_side(node, mask, 0.0)), case.gradients(one_side(node, mask, 1.0))
            if without is None or unit is None:
                continue
            for name in case.remaining:
                rest, part, value = without[name], unit[name] - without[name], case.value(name)
                s = case.share(name, part, value - rest) if value.shape == rest.shape else None
                if s is None or not rest.any() or not case.fits(name, rest + s * part):
                    continue
                yield Story(
                    Fault.ACTIVATION_DERIVATIVE_WRONG,
                    {key: without[key] + s * (unit[key] - without[key]) for key in without},
                    f"The derivative of {case.graph.where(node)} was taken to be {s:.6g} on the {side} side.",
                    f"use the slope that the forward pass has on the {side} side",
                    one_side(node, mask, s),
                    free=1,
                )


def one_side(node: Node, mask: Tensor, slope: float) -> Edit:
    r"""A node that applies a function, with this derivative where the mask is set."""
    return handed_on(node, lambda given, right: torch.where(mask, slope * given, right))


def derivative_extra(case: Case) -> Iterator[Story]:
    r"""A derivative where there is no function, or the same one twice."""

    def extra(node: Node) -> Iterator[tuple[str, Edit]]:
        value = case.graph.value(node)
        if value is not None and node is not case.graph.nodes[0] and value.numel() > 1:
            for formula, derivative in DERIVATIVES.items():
                factor = derivative(value)
                if tells(factor):
                    yield formula, multiplied(node, factor)

    for formula, where, edit in everywhere(case, extra):
        if gradients := case.gradients(edit):
            yield Story(
                Fault.ACTIVATION_DERIVATIVE_EXTRA,
                gradients,
                f"The gradient of the value of {where} was multiplied by a derivative that does not belong there: "
                f"{formula}, z or h being that value.",
                "leave it out: it is applied already, or cancelled by the loss, as in the sigmoid with cross-entropy",
                edit,
            )


def tells(factor: Tensor) -> bool:
    r"""Whether a factor is more than a constant: a mask that is 1 everywhere, or 0, stands for no derivative."""
    return bool((factor != factor.flatten()[0]).any())


def only_input(node: Node) -> Node | None:
    r"""The node before one that has a single input."""
    edges = [following for following, _ in node.next_functions if following is not None]
    return edges[0] if len(edges) == 1 else None


def entry_by_entry(case: Case, node: Node) -> bool:
    r"""Whether a node's output has the shape of its one input and nothing else goes into it, as in 1 / (1 + e^(−z))."""
    value, before = case.graph.value(node), case.graph.input(node)
    return value is not None and before is not None and value.shape == before.shape
