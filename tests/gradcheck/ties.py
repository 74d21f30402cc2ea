r"""Draws right and wrong gradients at ties of the operations that select: any of the tied entries may be chosen."""

from typing import NamedTuple

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
WINDOWS = [range(2), range(2, 4), range(4, 6)]
CELLS = torch.arange(16).view(4, 4).unfold(0, 2, 2).unfold(1, 2, 2).reshape(4, 4).tolist()  # windows of 2 × 2

# operation on rows of n entries ↦ its forward, n, and for each output the entries it selects from and their rank
SELECTIONS = {
    "max": (lambda z: z.max(1, keepdim=True).values, 6, [(range(6), 5)]),
    "min": (lambda z: z.min(1, keepdim=True).values, 6, [(range(6), 0)]),
    "amax": (lambda z: z.amax(1, keepdim=True), 6, [(range(6), 5)]),
    "topk": (lambda z: z.topk(3, 1).values, 6, [(range(6), 5 - i) for i in range(3)]),
    "sort": (lambda z: z.sort(1).values, 6, [(range(6), i) for i in range(6)]),
    "sort, descending": (lambda z: z.sort(1, descending=True).values, 6, [(range(6), 5 - i) for i in range(6)]),
    "median": (lambda z: z.median(1, keepdim=True).values, 6, [(range(6), 2)]),
    "kthvalue": (lambda z: z.kthvalue(2, 1, keepdim=True).values, 6, [(range(6), 1)]),
    "cummax": (lambda z: z.cummax(1).values, 6, [(range(i + 1), i) for i in range(6)]),
    "max_pool1d": (lambda z: F.max_pool1d(z[:, None], 2)[:, 0], 6, [(window, 1) for window in WINDOWS]),
    "max_pool1d, overlapping": (
        lambda z: F.max_pool1d(z[:, None], 3, 1)[:, 0],
        6,
        [(range(i, i + 3), 2) for i in range(4)],
    ),
    "max_pool2d": (
        lambda z: F.max_pool2d(z.view(-1, 1, 4, 4), 2).flatten(1),
        16,
        [(window, 3) for window in map(tuple, CELLS)],
    ),
}
DISJOINT = ["max", "min", "amax", "median", "kthvalue", "max_pool1d", "max_pool2d"]
CHOICES = ["first", "last", "equal shares", "shares between first and last"]
MISTAKES = ["every tied entry", "twice", "another entry", "nothing"]
BEFORE = {  # the function of the inputs that is selected from, and its derivative; equal entries stay equal
    "the inputs": (lambda x: x, lambda x: torch.ones_like(x)),
    "tanh": (lambda x: torch.tanh(x / 4), lambda x: (1 - torch.tanh(x / 4) ** 2) / 4),
    "square": (lambda x: x * x / 2, lambda x: x),
}
AFTER = {
    "linear": (lambda s, w: (s * w).sum(), lambda s, w: w),
    "tanh": (lambda s, w: (torch.tanh(s / 8) * w).sum(), lambda s, w: (1 - torch.tanh(s / 8) ** 2) / 8 * w),
    "half mean square": (lambda s, w: ((s - 20 * w) ** 2).mean() / 2, lambda s, w: (s - 20 * w) / s.numel()),
}


class TieCase(NamedTuple):
    description: str
    forward: object
    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]


def tied_entries(row: Tensor, output: tuple[range, int]) -> list[int]:
    r"""The entries that are equal to an output."""
    entries, rank = output
    value = sorted(float(row[j]) for j in entries)[rank]
    return [j for j in entries if float(row[j]) == value]


def shares(row: Tensor, outputs: list[tuple[range, int]], choice: str) -> Tensor:
    r"""S with selected = S row: which of the tied entries each output selects, or its share of each."""
    matrix = torch.zeros(len(outputs), len(row), dtype=row.dtype)
    in_order = len({entries for entries, _ in outputs}) == 1  # the next output of the same value has the next entry
    for i, (entries, rank) in enumerate(outputs):
        tied = tied_entries(row, (entries, rank))
        if choice == "equal shares":
            matrix[i, tied] = 1 / len(tied)
        elif choice == "every tied entry":
            matrix[i, tied] = 1
        else:
            place = rank - sum(float(row[j]) < float(row[tied[0]]) for j in entries) if in_order else 0
            matrix[i, tied[place] if choice == "first" else tied[-1 - place]] = 1
    return matrix


def is_selection(S: Tensor, row: Tensor, outputs: list[tuple[range, int]]) -> bool:
    r"""Whether each output selects entries that are equal to it, in shares whose sum is 1."""
    right = [set(shares.nonzero()[:, 0].tolist()) <= set(tied_entries(row, o)) for shares, o in zip(S, outputs)]
    return all(right) and bool(((S.double().sum(1) - 1).abs() < 0.1).all())


@st.composite
def tie_cases(draw, mistakes=("",)):
    operation, before, after = (draw(st.sampled_from(sorted(kinds))) for kinds in (SELECTIONS, BEFORE, AFTER))
    dtype, choice, mistake = (draw(st.sampled_from(options)) for options in (DTYPES, CHOICES, mistakes))
    select, n, outputs = SELECTIONS[operation]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows = draw(st.integers(1, 3))
    x = torch.randint(1, draw(st.integers(2, 5)), (rows, n), generator=generator).to(dtype)
    w = torch.randn(rows, len(outputs), generator=generator)
    w = (w.sign() * (0.5 + w.abs())).to(dtype)
    (function, derivative), (loss, loss_derivative) = BEFORE[before], AFTER[after]

    def forward(x: Tensor, w: Tensor) -> Tensor:
        return loss(select(function(x)), w)

    z = function(x)
    delta = loss_derivative(select(z), w)[:, None]
    share = torch.rand(rows, 1, 1, generator=generator).to(dtype)
    if choice == "shares between first and last":
        first, last = (torch.stack([shares(row, outputs, choice) for row in x]) for choice in ("first", "last"))
        S = share * first + (1 - share) * last
    else:
        S = torch.stack([shares(row, outputs, choice) for row in x])
    right = (delta @ S)[:, 0] * derivative(x)
    if mistake == "every tied entry":
        S = torch.stack([shares(row, outputs, mistake) for row in x])
    if mistake == "another entry":
        S = S.roll(1, 2)
    S = S * {"twice": 2, "nothing": 0}.get(mistake, 1)
    dx = (delta @ S)[:, 0] * derivative(x)
    if mistake:
        assume(not all(is_selection(s, row, outputs) for s, row in zip(S, x)))
        assume(any(len(tied_entries(row, output)) > 1 for row in x for output in outputs))
        difference, limit = dx - right, 0.5 * (delta.abs() * derivative(x).abs().amax()).amax()
        assume(bool(difference.abs().max() > limit))
        if mistake == "another entry":
            assume(operation in DISJOINT)  # elsewhere other shares may give the same gradient
        else:
            assume(bool(difference.sum(1).abs().max() > limit))
        # rounding of large terms hides the mistake
        assume(dtype != torch.bfloat16 or (before == "the inputs" and after == "linear" and operation in DISJOINT))
    description = f"{operation} of {before}, {after}, {dtype}: {choice} {mistake}"
    return TieCase(description, forward, {"x": x, "w": w}, {"x": dx})
