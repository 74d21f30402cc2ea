r"""No story: what can be said of a wrong gradient all the same, without saying why."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.rounding import RTOL
from nnmath.gradcheck.diagnosis.hypothesis import Context
from nnmath.gradcheck.faults import Fault, Finding

SMALL = 1e-2
FEW = 0.25


def partial(case: Context, name: str) -> Finding | None:
    r"""Some entries right, the rest zero."""
    value, base = case.value(name), case.base[name]
    if value.shape != base.shape:
        return None
    wrong = (value - base).abs() > case.comparison.bounds[name]
    if not wrong.any() or value[wrong].any() or not value[~wrong].any():
        return None
    return Finding(
        Fault.PARTIAL,
        [name],
        f"{int(wrong.sum())} of {wrong.numel()} entries are 0, first at {first(wrong)}; the others are right.",
        "fill the rest: a loop that ends early, a slice, or a mask that hides too much",
    )


def localized(case: Context, name: str) -> Finding | None:
    r"""Wrong in few entries."""
    value, base = case.value(name), case.base[name]
    if value.shape != base.shape or value.numel() < 4:
        return None
    wrong = (value - base).abs() > case.comparison.bounds[name]
    if not 0 < int(wrong.sum()) <= FEW * wrong.numel():
        return None
    return Finding(
        Fault.LOCALIZED,
        [name],
        f"Only {int(wrong.sum())} of {wrong.numel()} entries are wrong, first at {first(wrong)}; the others are right.",
        "look at what is special about these entries: a border, an index, a case of its own",
    )


def small_relative(case: Context, name: str) -> Finding | None:
    r"""Close but not equal."""
    entry = case.comparison.entry(name)
    tolerance = RTOL[case.comparison.dtype(name)]
    close = entry.relative <= max(SMALL, 2 * tolerance) or (entry.relative <= 5 * SMALL and entry.cosine > 0.999)
    if not close:
        return None
    float32 = torch.finfo(torch.float32).eps
    precision = ", about float32's precision" if float32 / 64 <= entry.relative <= 64 * float32 else ""
    return Finding(
        Fault.SMALL_RELATIVE,
        [name],
        f"Close but not equal: off by {entry.relative:.1e} of the largest entry{precision}.",
        "look for an epsilon on one side only, a difference quotient, a coarser type, or a formula that cancels",
    )


def unknown(case: Context, name: str) -> Finding:
    r"""The numbers, and nothing made up."""
    entry = case.comparison.entry(name)
    numbers = (
        f"off by {entry.relative:.1e} of the largest entry, cosine {entry.cosine:.4f}, ratio {entry.ratio:.4g}"
        if entry.shape_ok
        else entry.note
    )
    return Finding(
        Fault.UNKNOWN,
        [name],
        f"None of the known mistakes gives these numbers: {numbers}.",
        "check its factors one by one: give the intermediate gradients as inputs of forward too",
    )


def first(wrong: Tensor) -> list[int]:
    r"""The first index of a mask."""
    return wrong.nonzero()[0].tolist()


REMAINDERS: tuple[Callable[[Context, str], Finding | None], ...] = (partial, localized, small_relative, unknown)
