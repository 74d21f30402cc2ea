r"""A gradient that is zero, scaled by a constant, or clipped."""

from collections.abc import Iterator

import torch

from nnmath.gradcheck.comparison.errors import max_abs
from nnmath.gradcheck.comparison.rounding import RTOL
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.faults import Fault


def detached(context: Context) -> Iterator[Hypothesis]:
    zeros = {name: torch.zeros_like(value) for name, value, _ in context.pairs() if not value.any()}
    if zeros:
        explanation = "The gradient is zero or missing, although the loss depends on this input."
        fix = "look for a detach, a no_grad, a None, or a term of the chain rule that was left out"
        yield Hypothesis(Fault.DETACHED, zeros, explanation, fix)


def constant(context: Context) -> Iterator[Hypothesis]:
    r"""A constant factor, known or fitted, and no other mistake."""
    yield Hypothesis(None, context.base)


def clipped_to_a_norm(context: Context) -> Iterator[Hypothesis]:
    r"""All gradients, or one of them, scaled so that the norm is a round number."""
    base = context.base
    names = [name for name in base if context.value(name).shape == base[name].shape]
    if len(names) < len(base) or any(RTOL[context.comparison.dtype(name)] > 1e-3 for name in names):
        return
    for group in [names, *([name] for name in names if len(names) > 1)]:
        if sum(base[name].numel() for name in group) < 4:
            continue  # a few numbers have a round norm by chance
        norm = float(torch.cat([context.value(name).flatten() for name in group]).norm())
        before = float(torch.cat([base[name].flatten() for name in group]).norm())
        target = float(f"{norm:.2g}")
        if target and before and abs(norm - target) <= 1e-6 * target:
            gradients = {name: target / before * base[name] for name in group}
            explanation = f"The gradient was scaled to the norm {target:g}; its norm is {before:.6g}."
            yield Hypothesis(Fault.CLIPPED, gradients, explanation, "compare the gradient before clipping")


def clipped_to_a_value(context: Context) -> Iterator[Hypothesis]:
    for _, value, base in context.pairs(same_shape=True):
        limit = max_abs(value)
        clamped = base.abs() > limit
        if value.numel() >= 3 and limit > 0 and 0 < int(clamped.sum()) < clamped.numel():
            gradients = {name: gradient.clamp(-limit, limit) for name, gradient in context.base.items()}
            explanation = f"Entries were cut off at ±{limit:.6g}."
            yield Hypothesis(Fault.CLIPPED, gradients, explanation, "compare the gradient before clipping", fitted=1)
