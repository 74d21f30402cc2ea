r"""A function's derivative with other numbers in it, which are fitted: another slope, another polynomial of h."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.diagnosis.rules.activations import functions_ending_at, is_nonconstant, pointwise
from nnmath.gradcheck.diagnosis.rules.graph_rule import Mistake, relevant_nodes
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, set_grad_input
from nnmath.gradcheck.graph.graph import Gradients


def derivative_on_one_side(context: Context) -> Iterator[Hypothesis]:
    r"""Another slope s for z < 0 alone, or for z > 0 alone: v = rest + s · side."""
    for node in relevant_nodes(context):
        function = pointwise(context, node)
        if function is None:
            continue
        for side, mask in (("negative", function.z < 0), ("positive", function.z > 0)):
            rest, unit = context.gradients(one_side(node, mask, 0.0)), context.gradients(one_side(node, mask, 1.0))
            if rest is None or unit is None:
                continue
            parts = {name: unit[name] - rest[name] for name in rest}
            for _, s in context.fit_steps(rest, {name: part for name, part in parts.items() if rest[name].any()}):
                yield Hypothesis(
                    Fault.ACTIVATION_DERIVATIVE_WRONG,
                    {name: rest[name] + s * part for name, part in parts.items()},
                    f"The derivative of {context.graph.describe(node)} was taken to be {s:.6g} on the {side} side.",
                    f"use the slope that the forward pass has on the {side} side",
                    one_side(node, mask, s),
                    fitted=1,
                )


def one_side(node: Node, mask: Tensor, slope: float) -> Edit:
    r"""A node that applies a function, with this derivative where the mask is set."""
    return set_grad_input(node, lambda grad_output, right: torch.where(mask, slope * grad_output, right))


def with_polynomial_of_output(context: Context) -> Iterator[Mistake[str]]:
    r"""Another polynomial a + b h + c h² for the derivative, such as h (1 + h), fitted to five entries or more."""
    for function in (function for node in relevant_nodes(context) for function in functions_ending_at(context, node)):
        h = function.h
        powers = [context.gradients(function.with_derivative(h**k)) for k in range(3)]
        for a, b, c in coefficients(context, [gradients for gradients in powers if gradients is not None]):
            factor = a + b * h + c * h**2
            if is_nonconstant(factor):
                place = context.graph.describe(function.nodes[0])
                yield format_polynomial(a, b, c), place, function.with_derivative(factor)


def format_polynomial(a: float, b: float, c: float) -> str:
    r"""The polynomial a + b h + c h² in the usual notation."""
    terms = [f"{factor:+g}{power}" for factor, power in ((a, ""), (b, " h"), (c, " h²")) if factor]
    return " ".join(terms).replace("+1 h", "+h").replace("-1 h", "-h").removeprefix("+").replace("-", "−")


def coefficients(context: Context, powers: list[Gradients]) -> list[tuple[float, float, float]]:
    r"""The a, b, c that fit one gradient, or those nearest to the loss together; only whole numbers and halves."""
    names = [name for name, _, _ in context.pairs(same_shape=True)]
    results = []
    for group in [[name] for name in names] + [names[:k] for k in range(2, len(names) + 1)]:
        target = torch.cat([context.value(name).flatten() for name in group])
        if len(powers) == 3 and len(target) >= 5:
            terms = [torch.cat([power[name].flatten() for name in group]) for power in powers]
            a, b, c = (round(2 * t) / 2 for t in fit_coefficients(terms, target) or (9.0, 9.0, 9.0))
            if max(abs(a), abs(b), abs(c)) <= 4:
                results.append((a, b, c))
    return list(dict.fromkeys(results))
