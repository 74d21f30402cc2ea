r"""A gradient at kinks is right for any choice of the derivative at each of them, between the one-sided ones.

Each entry at a kink has a share: 0 takes the derivative from below, 1 the one from above. The gradient is linear in the
shares of one layer, and a product of those of several that lie on one path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.kinks import TINY, Moved
from nnmath.gradcheck.comparison.rounding import Noise, bound, gradients_of
from nnmath.gradcheck.graph.graph import Gradients

if TYPE_CHECKING:
    from nnmath.gradcheck.comparison.comparison import Comparison

SINGLY = 1024
r"""Up to so many entries at a kink, or groups of them, are moved one by one, in small gradients."""
NUMBERS = 2_000_000
r"""Up to so many numbers are kept for that, at least those of 32 entries."""
TURNED, TURNS = 64, 4
r"""Shares of up to so many entries are found again, about the corner next to the last ones: their products need it."""

Above = Mapping[int, Tensor]
r"""call ↦ which of its entries take the derivative from above"""


def find_subgradient(comparison: Comparison, measured: Noise) -> Gradients:
    r"""Gradients that are right for another derivative at a kink: name ↦ the reference with that derivative."""
    near = [d.abs() <= 4 * moved for d, moved in zip(measured.distances, measured.kinks, strict=True)]
    doubtful = {call: entries for call, entries in enumerate(near) if bool(entries.any())}
    names = [name for name in comparison.wrong if comparison.has_shape(name)]
    if not doubtful or not names:
        return {}

    def moves(above: Above) -> dict[int, Tensor]:
        found = {}
        for call, entries in doubtful.items():
            side = torch.where(above[call], 1.0, -1.0) if call in above else -1.0
            found[call] = torch.where(entries, side * (8 * measured.kinks[call] + TINY), 0.0)
        return found

    def gradients(above: Above) -> Gradients:
        return gradients_of(comparison.forward, comparison.graph.inputs, names, Moved(moves(above)))

    def mixed(name: str, base: Gradients, sides: list[Gradients]) -> tuple[Tensor, Tensor | None]:
        r"""The best shares of the sides, and the gradient that they give if it is the user's."""
        value, start = comparison.values[name], base[name]
        paths = torch.stack([(side[name] - start).flatten() for side in sides], dim=1)
        shares = in_unit_box(paths, (value - start).flatten())
        mixture = start + (paths @ shares).view_as(start)
        size = torch.stack([start.abs(), mixture.abs(), paths.abs().amax(1).view_as(mixture)])
        limit = bound(size, comparison.dtype(name), measured.gradients[name])
        return shares, mixture if float((value - mixture).abs().max()) <= limit else None

    comparison.kinks = [moves({}), moves(doubtful)]
    below, found = gradients({}), {}
    calls = [{call: entries} for call, entries in doubtful.items()]
    single, corners = singly(doubtful), {}
    most = min(SINGLY, max(32, NUMBERS // max(1, sum(comparison.values[name].numel() for name in names))))
    many = len(single) > most
    for choices in (
        [doubtful],
        calls,
        alike(doubtful, measured.distances),
        at_random(doubtful, most) if many else single,
    ):
        if len(choices) > most:
            continue
        sides = [gradients(choice) for choice in choices]
        for name in [name for name in names if name not in found]:
            corners[name], mixture = mixed(name, below, sides)
            if mixture is not None:
                found[name] = mixture
        if len(found) == len(names):
            return found
    left = [name for name in names if name not in found]
    if many:
        return found | each_its_own(comparison, left, doubtful, measured.kinks, gradients)
    if len(doubtful) > 1:
        for name in left:
            corner = corners[name] > 0.5
            for _ in range(TURNS if len(single) <= TURNED else 0):
                turned = [gradients(merged(single, corner ^ one)) for one in torch.eye(len(single), dtype=torch.bool)]
                shares, mixture = mixed(name, gradients(merged(single, corner)), turned)
                if mixture is not None:
                    found[name] = mixture
                if mixture is not None or not bool((shares > 0.5).any()):
                    break
                corner = corner ^ (shares > 0.5)
    return found


def merged(single: list[dict[int, Tensor]], chosen: Tensor) -> dict[int, Tensor]:
    r"""The chosen entries together."""
    above: dict[int, Tensor] = {}
    for entry, taken in zip(single, chosen.tolist(), strict=True):
        for call, which in entry.items() if taken else ():
            above[call] = above[call] | which if call in above else which
    return above


def each_its_own(
    comparison: Comparison,
    names: list[str],
    doubtful: Mapping[int, Tensor],
    rounding: list[Tensor],
    gradients: Callable[[Above], Gradients],
) -> Gradients:
    r"""Gradients that are right if rounding decides at random on which side of its kink each of many entries is.

    Entries that are exactly at a kink are all on one side, or all on the other, or between the two.
    """
    generator = torch.Generator().manual_seed(0)

    def tossed(call: int, exact: bool) -> Tensor:
        coins = torch.rand(doubtful[call].shape, generator=generator) < 0.5
        return torch.where(rounding[call] > 0, coins.to(rounding[call].device), exact)

    draws = [
        [gradients({call: tossed(call, exact) for call in doubtful}) for _ in range(16)] for exact in (False, True)
    ]
    found = {}
    for name in names:
        both = [torch.stack([draw[name] for draw in side]) for side in draws]
        middles = torch.stack([side.mean(0) for side in both])
        spreads = 3 * torch.stack([(side - side.mean(0)).abs().amax(0) for side in both])
        value, slack = comparison.values[name], bound(torch.cat(both), comparison.dtype(name))
        low, high = (middles - spreads).amin(0) - slack, (middles + spreads).amax(0) + slack
        if bool(((low <= value) & (value <= high)).all()):
            found[name] = value
    return found


def alike(doubtful: Mapping[int, Tensor], distances: list[Tensor]) -> list[dict[int, Tensor]]:
    r"""Those together that are equally far from their kink: rounding treats them alike."""
    return [
        {call: entries & (distances[call] == distance)}
        for call, entries in doubtful.items()
        for distance in distances[call][entries].unique()
    ]


def singly(doubtful: Mapping[int, Tensor]) -> list[dict[int, Tensor]]:
    r"""Each entry for itself."""
    found = []
    for call, entries in doubtful.items():
        for index in entries.flatten().nonzero().flatten()[: SINGLY + 1]:
            one = torch.zeros_like(entries).flatten()
            one[index] = True
            found.append({call: one.view_as(entries)})
    return found


def at_random(doubtful: Mapping[int, Tensor], groups: int) -> list[dict[int, Tensor]]:
    r"""So many groups of entries that are too many to look at one by one."""
    generator = torch.Generator().manual_seed(0)
    group = {
        call: torch.randint(groups, entries.shape, generator=generator).to(entries.device)
        for call, entries in doubtful.items()
    }
    return [{call: entries & (group[call] == i) for call, entries in doubtful.items()} for i in range(groups)]


def in_unit_box(paths: Tensor, target: Tensor) -> Tensor:
    r"""Shares t in [0, 1] that minimise ‖paths t − target‖²; ½ where there is nothing to choose."""
    from scipy.optimize import lsq_linear  # here, for only gradients at a kink need it

    size = float(paths.abs().max())
    if not 0 < size < math.inf or not bool(target.isfinite().all()):
        return torch.full_like(paths[0], 0.5)
    paths, target = paths / size, target / size  # squares of small numbers would underflow
    solution = lsq_linear(paths.cpu().numpy(), target.cpu().numpy(), bounds=(0, 1), method="bvls", tol=1e-15)
    return torch.from_numpy(solution.x).to(paths)
