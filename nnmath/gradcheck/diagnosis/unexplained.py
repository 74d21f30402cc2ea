r"""What the report says of a wrong gradient that no hypothesis reproduces."""

import torch

from nnmath.gradcheck.comparison.rounding import RTOL
from nnmath.gradcheck.diagnosis.hypothesis import Context
from nnmath.gradcheck.faults import Fault, Finding

MAX_CLOSE = 1e-2  # relative error
UNEXPLAINED = (Fault.PARTIAL, Fault.LOCALIZED, Fault.SMALL_RELATIVE, Fault.UNKNOWN)


def wrong_entries(context: Context, name: str) -> Finding | None:
    r"""Some entries are 0, or only a few are wrong; None if neither is so."""
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
    if value.numel() >= 4 and count <= wrong.numel() / 4:
        explanation = f"Only {count} of {wrong.numel()} entries are wrong, {where}."
        fix = "look at what is special about these entries: a border, an index, a special case"
        return Finding(Fault.LOCALIZED, [name], explanation, fix)
    return None


def is_close(context: Context, name: str) -> bool:
    r"""Whether a lower precision may be the reason for a gradient's error."""
    return context.comparison.entry(name).relative <= max(MAX_CLOSE, 2 * RTOL[context.comparison.dtype(name)])


def describe_unexplained(context: Context, name: str) -> Finding:
    r"""What is known of a wrong gradient: which entries are wrong, that it is close but not equal, or its numbers."""
    if finding := wrong_entries(context, name):
        return finding
    entry = context.comparison.entry(name)
    error = f"off by {entry.relative:.1e} of the largest entry"
    if is_close(context, name) and all(is_close(context, other) for other in context.remaining):
        float32 = torch.finfo(torch.float32).eps
        precision = ", about float32's precision" if float32 / 64 <= entry.relative <= 64 * float32 else ""
        fix = "look for an epsilon on one side only, a finite difference, a lower precision, or cancellation"
        return Finding(Fault.SMALL_RELATIVE, [name], f"Close but not equal: {error}{precision}.", fix)
    numbers = f"{error}, cosine {entry.cosine:.4f}, ratio {entry.ratio:.4g}" if entry.shape_ok else entry.note
    fix = "check its factors one by one: make intermediate values inputs of forward too, and pass their gradients"
    return Finding(Fault.UNKNOWN, [name], f"None of the known mistakes gives these numbers: {numbers}.", fix)
