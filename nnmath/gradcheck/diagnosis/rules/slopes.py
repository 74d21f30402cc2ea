r"""A function's derivative with other numbers in it, which are fitted: another slope, another polynomial of h."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients, fit_scale
from nnmath.gradcheck.diagnosis.rules.activations import applied, is_nonconstant, pointwise
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, set_grad_input
from nnmath.gradcheck.graph.graph import Gradients


def derivative_on_one_side(case: Context) -> Iterator[Hypothesis]:
    r"""A function of two slopes, with another slope on the one side: v = rest + s · side."""
    for node in case.graph.nodes:
        function = pointwise(case, node)
        if function is None or case.graph.reachable_leaves[node].isdisjoint(case.remaining):
            continue
        for side, mask in (("negative", function.z < 0), ("positive", function.z > 0)):
            without, unit = case.gradients(one_side(node, mask, 0.0)), case.gradients(one_side(node, mask, 1.0))
            if without is None or unit is None:
                continue
            for name in case.remaining:
                rest, part, value = without[name], unit[name] - without[name], case.value(name)
                s = fit_scale(part, value - rest) if value.shape == rest.shape else None
                if s is None or not rest.any() or not case.fits(name, rest + s * part):
                    continue
                yield Hypothesis(
                    Fault.ACTIVATION_DERIVATIVE_WRONG,
                    {key: without[key] + s * (unit[key] - without[key]) for key in without},
                    f"The derivative of {case.graph.describe(node)} was taken to be {s:.6g} on the {side} side.",
                    f"use the slope that the forward pass has on the {side} side",
                    one_side(node, mask, s),
                    free=1,
                )


def one_side(node: Node, mask: Tensor, slope: float) -> Edit:
    r"""A node that applies a function, with this derivative where the mask is set."""
    return set_grad_input(node, lambda given, right: torch.where(mask, slope * given, right))


def polynomial_of_the_value(case: Context) -> Iterator[Hypothesis]:
    r"""Another polynomial of h for the derivative, as h (1 + h): v = a + b h + c h², fitted to five entries or more."""
    nodes = [node for node in case.graph.nodes if not case.graph.reachable_leaves[node].isdisjoint(case.remaining)]
    for function in (function for node in nodes for function in applied(case, node)):
        h = function.h
        powers = [case.gradients(function.with_derivative(h**k)) for k in range(3)]
        for a, b, c in coefficients(case, [gradients for gradients in powers if gradients is not None]):
            factor = a + b * h + c * h**2
            edit = function.with_derivative(factor)
            gradients = case.gradients(edit) if is_nonconstant(factor) else None
            if gradients is not None:
                yield Hypothesis(
                    Fault.ACTIVATION_DERIVATIVE_WRONG,
                    gradients,
                    f"The derivative of {case.graph.describe(function.nodes[0])} was taken to be "
                    f"{format_polynomial(a, b, c)}, h being its value.",
                    "multiply by the derivative of the function that the forward pass applies",
                    edit,
                )


def format_polynomial(a: float, b: float, c: float) -> str:
    r"""A + b h + c h² as people write it."""
    terms = [f"{factor:+g}{power}" for factor, power in ((a, ""), (b, " h"), (c, " h²")) if factor]
    return " ".join(terms).replace("+1 h", "+h").replace("-1 h", "-h").removeprefix("+").replace("-", "−")


def coefficients(case: Context, powers: list[Gradients]) -> set[tuple[float, float, float]]:
    r"""a, b, c that fit one gradient, or those nearest to the loss together; people write halves and whole numbers."""
    names = [name for name in case.remaining if case.value(name).shape == case.base[name].shape]
    found = set()
    for together in [[name] for name in names] + [names[:k] for k in range(2, len(names) + 1)]:
        wanted = torch.cat([case.value(name).flatten() for name in together])
        if len(powers) == 3 and len(wanted) >= 5:
            terms = [torch.cat([term[name].flatten() for name in together]) for term in powers]
            a, b, c = (round(2 * t) / 2 for t in fit_coefficients(terms, wanted) or (9.0, 9.0, 9.0))
            if max(abs(a), abs(b), abs(c)) <= 4:
                found.add((a, b, c))
    return found
