r"""What the report says of a wrong gradient that no hypothesis reproduces."""

import torch

from nnmath.gradcheck.comparison.rounding import RTOL
from nnmath.gradcheck.diagnosis.hypothesis import Context
from nnmath.gradcheck.faults import Fault, Finding

UNEXPLAINED = (Fault.PARTIAL, Fault.LOCALIZED, Fault.SMALL_RELATIVE, Fault.UNKNOWN)
SMALL = 1e-2
FEW = 0.25


def describe_unexplained(context: Context, name: str) -> Finding:
    r"""What distinguishes the wrong entries, without a cause."""
    return wrong_entries(context, name) or small_relative(context, name) or unknown(context, name)


def wrong_entries(context: Context, name: str) -> Finding | None:
    r"""Only some of the entries are wrong."""
    value, base = context.value(name), context.base[name]
    if value.shape != base.shape:
        return None
    wrong = (value - base).abs() > context.comparison.bounds[name]
    count = int(wrong.sum())
    if count == 0:
        return None
    where = f"first at {wrong.nonzero()[0].tolist()}; the others are right"
    if not value[wrong].any() and value[~wrong].any():
        explanation = f"{count} of {wrong.numel()} entries are 0, {where}."
        fix = "fill the rest: look for a loop that ends early, a slice, or a mask that hides too much"
        return Finding(Fault.PARTIAL, [name], explanation, fix)
    if value.numel() >= 4 and count <= FEW * wrong.numel():
        explanation = f"Only {count} of {wrong.numel()} entries are wrong, {where}."
        fix = "look at what is special about these entries: a border, an index, a special case"
        return Finding(Fault.LOCALIZED, [name], explanation, fix)
    return None


def small_relative(context: Context, name: str) -> Finding | None:
    r"""Close but not equal."""
    entry = context.comparison.entry(name)
    tolerance = RTOL[context.comparison.dtype(name)]
    close = entry.relative <= max(SMALL, 2 * tolerance) or (entry.relative <= 5 * SMALL and entry.cosine > 0.999)
    if not close:
        return None
    float32 = torch.finfo(torch.float32).eps
    precision = ", about float32's precision" if float32 / 64 <= entry.relative <= 64 * float32 else ""
    explanation = f"Close but not equal: off by {entry.relative:.1e} of the largest entry{precision}."
    fix = "look for an epsilon on one side only, a finite difference, a lower precision, or cancellation"
    return Finding(Fault.SMALL_RELATIVE, [name], explanation, fix)


def unknown(context: Context, name: str) -> Finding:
    r"""The numbers alone."""
    entry = context.comparison.entry(name)
    numbers = entry.note
    if entry.shape_ok:
        error = f"off by {entry.relative:.1e} of the largest entry"
        numbers = f"{error}, cosine {entry.cosine:.4f}, ratio {entry.ratio:.4g}"
    explanation = f"None of the known mistakes gives these numbers: {numbers}."
    fix = "check its factors one by one: make intermediate values inputs of forward too, and pass their gradients"
    return Finding(Fault.UNKNOWN, [name], explanation, fix)
