r"""A function applied entry by entry, and its derivative: left out, of another function, at another tensor, twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, at_every_node
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, scale_grad_output, set_derivative, straight_through

LONGEST = 8
r"""Nodes of a function that is written out, as 1 / (1 + e^(−z)) is."""

ALGEBRA = frozenset(("add", "sub", "rsub", "mul", "div", "neg", "reciprocal", "pow"))
LAYOUT = frozenset(
    ["view", "reshape", "t", "transpose", "permute", "clone", "expand", "tobase", "squeeze", "unsqueeze", "tocopy"]
)
SEVERAL_AT_ONCE = frozenset(("softmax", "logsoftmax", "nativelayernorm", "nativebatchnorm"))
LINEAR = frozenset(("cumsum", "flip", "roll"))

DERIVATIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "h (1 − h)": lambda h: h * (1 - h),
    "1 − h²": lambda h: 1 - h * h,
    "σ′(z)": lambda z: torch.sigmoid(z) * torch.sigmoid(-z),
    "tanh′(z)": lambda z: 1 - torch.tanh(z) ** 2,
    "1 for z > 0, else 0": lambda z: (z > 0).to(z.dtype),
    "1 for z < 0, else 0": lambda z: (z < 0).to(z.dtype),
    "σ(z)": torch.sigmoid,
    "Φ(z)": torch.special.ndtr,
    "z": lambda z: z,
    "sign z": torch.sign,
}
r"""The usual ones, and what is taken for them, by their formula in the input z or the output h."""

EXTRA = {
    **{formula: f for formula, f in DERIVATIVES.items() if formula not in ("σ(z)", "Φ(z)", "z", "sign z")},
    "p (1 − p) with p = softmax(z)": lambda z: torch.softmax(z, -1) * (1 - torch.softmax(z, -1)),
}


class Applied(NamedTuple):
    r"""A function as the forward pass applied it, by one node or by several in a row."""

    nodes: list[Node]
    r"""the last step first"""
    z: Tensor
    r"""its input"""
    h: Tensor
    r"""its output, of the same shape"""

    def with_derivative(self, factor: Tensor) -> Edit:
        r"""The mistake to take this for its derivative."""
        return set_derivative(self.nodes[0], factor) + straight_through(self.nodes[1:])

    @property
    def derivative(self) -> Tensor:
        r"""f′(z), by the nodes themselves."""
        gradient: Any = torch.ones_like(self.h)
        for node in self.nodes:
            step: Any = node
            handed_on = step(gradient)
            several = handed_on if isinstance(handed_on, tuple) else (handed_on,)
            gradient = next(g for g in several if g is not None)
        return gradient


def applied(case: Context, node: Node) -> Iterator[Applied]:
    r"""The functions that end at a node, the shortest first, none of them mere algebra or layout."""
    h, run = case.graph.value(node), [node]
    while h is not None and len(run) <= LONGEST:
        before = [edge for edge in run[-1].next_functions if edge[0] is not None]
        if len(before) != 1 or case.graph.function(run[-1]) in LINEAR or by_a_tensor(run[-1]):
            return
        z = case.graph.value(*before[0])
        if z is not None and z.shape == h.shape and {case.graph.function(n) for n in run} - ALGEBRA - LAYOUT:
            yield Applied(list(run), z, h)
        if before[0][0] in case.graph.leaf_of or before[0][0] is None:
            return
        run.append(before[0][0])


def by_a_tensor(node: Node) -> bool:
    r"""Whether a node multiplies or divides by more than one number, as a mask does."""
    others = [getattr(node, f"_saved_{name}", None) for name in ("self", "other")]
    return node.name() in ("MulBackward0", "DivBackward0") and any(o is not None and o.numel() > 1 for o in others)


def pointwise(case: Context, node: Node) -> Applied | None:
    r"""The function of a single node that is applied to each entry, if it is one."""
    function = next(applied(case, node), None)
    several = case.graph.function(node) in SEVERAL_AT_ONCE
    return None if function is None or several or len(function.nodes) > 1 else function


def wherever_applied(
    case: Context, mistakes: Callable[[Applied], Iterator[tuple[str, Edit]]]
) -> Iterator[tuple[str, str, Edit]]:
    r"""A mistake at each function: those of a single node, then those written out in one line, then in several.

    Yields:
        the kind, the function for a person, the mistake; as :func:`at_every_node`.
    """
    for lines in (0, 1, 2):

        def at(node: Node, lines: int = lines) -> Iterator[tuple[str, Edit]]:
            for function in applied(case, node):
                sites = {(site.file, site.line) for site in map(case.graph.site, function.nodes) if site is not None}
                if lines == (0 if len(function.nodes) == 1 else min(2, len(sites))):
                    for kind, edit in mistakes(function):
                        yield f"{kind}\n{len(function.nodes)}", edit

        for kind, where, edit in at_every_node(case, at):
            written_out = f"the function written out in {where.partition(' in ')[2] or 'several places'}"
            yield kind.partition("\n")[0], written_out if lines else where, edit


def derivative_missing(case: Context) -> Iterator[Hypothesis]:
    r"""δ = ∂E/∂h taken for ∂E/∂z."""

    def passing(function: Applied) -> Iterator[tuple[str, Edit]]:
        yield "", straight_through(function.nodes)

    for _, where, edit in wherever_applied(case, passing):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                Fault.ACTIVATION_DERIVATIVE_MISSING,
                gradients,
                f"The derivative of {where} is missing: the gradient of its output was taken for that of its input.",
                "multiply by the function's derivative",
                edit,
            )


def derivative_at_the_output(case: Context) -> Iterator[Hypothesis]:
    r"""f′(h) with h = f(z), where f′(z) is meant; or f′'s formula in h, evaluated at z."""

    def wrong(function: Applied) -> Iterator[tuple[str, Edit]]:
        for formula in ("h (1 − h)", "1 − h²"):
            if torch.allclose(function.derivative, DERIVATIVES[formula](function.h), rtol=1e-6, atol=0):
                at_z = function.with_derivative(DERIVATIVES[formula](function.z))
                yield formula.replace("h", "z"), at_z
                own = DERIVATIVES[{"h (1 − h)": "σ′(z)", "1 − h²": "tanh′(z)"}[formula]]
                yield "f′(h)", function.with_derivative(own(function.h))
        at_h = case.graph.derivative_at(function.nodes[0], function.h) if len(function.nodes) == 1 else None
        if at_h is not None:
            yield "f′(h)", function.with_derivative(at_h)

    for formula, where, edit in wherever_applied(case, wrong):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
                gradients,
                f"The derivative of {where} was evaluated at the wrong tensor: {formula}, z being its input and h its "
                "output.",
                "evaluate f′ at the function's input, or its formula in h at the function's output",
                edit,
            )


def derivative_wrong(case: Context) -> Iterator[Hypothesis]:
    r"""Another function's derivative."""

    def wrong(function: Applied) -> Iterator[tuple[str, Edit]]:
        for formula, derivative in DERIVATIVES.items():
            factor = derivative(function.z if "z" in formula else function.h)
            if is_nonconstant(factor) and not (formula.startswith("1 for") and len(function.nodes) > 1):
                yield formula, function.with_derivative(factor)

    for formula, where, edit in wherever_applied(case, wrong):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                Fault.ACTIVATION_DERIVATIVE_WRONG,
                gradients,
                f"The derivative of {where} was taken to be {formula}, which it is not.",
                "multiply by the derivative of the function that the forward pass applies",
                edit,
            )


def derivative_at_another(case: Context) -> Iterator[Hypothesis]:
    r"""A derivative's formula, evaluated at another layer's tensor of the same shape."""
    for node in case.graph.nodes:
        function = pointwise(case, node)
        if function is None or case.graph.reachable_leaves[node].isdisjoint(case.remaining):
            continue
        for other, tensor in case.graph.tensors():
            if tensor.shape != function.z.shape or tensor is function.z or tensor is function.h:
                continue
            for formula in list(DERIVATIVES)[:6]:
                factor = DERIVATIVES[formula](tensor)
                edit = function.with_derivative(factor)
                if is_nonconstant(factor) and (gradients := case.gradients(edit)):
                    yield Hypothesis(
                        Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
                        gradients,
                        f"The derivative of {case.graph.describe(node)} was taken as {formula}, evaluated at {other}.",
                        "evaluate it at the function's own input or output",
                        edit,
                    )


def derivative_extra(case: Context) -> Iterator[Hypothesis]:
    r"""A derivative where there is no function, or the same one twice."""

    def extra(node: Node) -> Iterator[tuple[str, Edit]]:
        value = case.graph.value(node)
        if value is not None and node is not case.graph.nodes[0] and value.numel() > 1 and value.ndim:
            for formula, derivative in EXTRA.items():
                factor = derivative(value)
                if is_nonconstant(factor):
                    yield formula, scale_grad_output(node, factor)

    for formula, where, edit in at_every_node(case, extra):
        if gradients := case.gradients(edit):
            yield Hypothesis(
                Fault.ACTIVATION_DERIVATIVE_EXTRA,
                gradients,
                f"The gradient of the value of {where} was multiplied by a derivative that does not belong there: "
                f"{formula}, z or h being that value.",
                "leave it out: it is applied already, or cancelled by the loss, as in the sigmoid with cross-entropy",
                edit,
            )


def is_nonconstant(factor: Tensor) -> bool:
    r"""Whether a factor is more than a constant: a mask that is 1 everywhere, or 0, stands for no derivative."""
    return bool((factor != factor.flatten()[0]).any())
