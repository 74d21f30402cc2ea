r"""A constant: the sign, 2, n, or any other; or a gradient that was clipped."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nnmath.gradcheck.comparison.rounding import RTOL
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, scaled
from nnmath.gradcheck.faults import Fault


def constant(case: Context) -> Iterator[Hypothesis]:
    r"""Nothing but a constant, whatever it is."""
    yield Hypothesis(None, case.base)


def clipped_to_a_norm(case: Context) -> Iterator[Hypothesis]:
    r"""All gradients, or one of them, scaled so that the norm is a round number."""
    names = [name for name in case.base if case.value(name).shape == case.base[name].shape]
    if len(names) < len(case.base) or any(RTOL[case.comparison.dtype(name)] > 1e-3 for name in names):
        return
    for together in [names, *([name] for name in names if len(names) > 1)]:
        if sum(case.value(name).numel() for name in together) < 4:
            continue  # a few numbers have a round norm by chance
        norm = float(torch.cat([case.value(name).flatten() for name in together]).norm())
        before = float(torch.cat([case.base[name].flatten() for name in together]).norm())
        wanted = float(f"{norm:.2g}")
        if wanted and before and abs(norm - wanted) <= 1e-6 * wanted:
            yield Hypothesis(
                Fault.CLIPPED,
                scaled({name: case.base[name] for name in together}, wanted / before),
                f"The gradient was scaled to the norm {wanted:g}; it is {before:.6g}.",
                "compare the gradient from before the clipping",
            )


def clipped_to_a_value(case: Context) -> Iterator[Hypothesis]:
    r"""Entries beyond a value cut off at it."""
    for name in case.remaining:
        value, base = case.value(name), case.base[name]
        if value.shape != base.shape or value.numel() < 3:
            continue
        limit = float(value.abs().max())
        cut = base.abs() > limit
        if limit > 0 and 0 < int(cut.sum()) < cut.numel():
            yield Hypothesis(
                Fault.CLIPPED,
                {key: gradient.clamp(-limit, limit) for key, gradient in case.base.items()},
                f"Entries were cut off at ±{limit:.6g}.",
                "compare the gradient from before the clipping",
                free=1,
            )
