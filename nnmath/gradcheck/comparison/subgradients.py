r"""At a kink, any value between the one-sided derivatives is right, for each entry on its own.

Each entry at a kink has a weight t: t = 0 takes the derivative from below, t = 1 the one from above. The gradient is
linear in the weights of each layer, and a product of the weights of consecutive layers.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.kinks import TINY, Moved
from nnmath.gradcheck.comparison.rounding import Noise, bound, gradients_of
from nnmath.gradcheck.graph.graph import Gradients

MAX_ENTRIES = 1024  # at a kink, or groups of them, that are moved one at a time
MIN_ENTRIES = 32
MAX_NUMBERS = 2_000_000  # in the gradients of all these moves, if there are more than MIN_ENTRIES moves
MAX_DESCENTS = 500  # steps of projected gradients, before the slower active-set method
MAX_FLIPPED, MAX_FLIPS = 64, 4  # with several layers: entries that are fitted again from the nearest corner; how often

Masks = Mapping[int, Tensor]  # call of a function with a kink ↦ a boolean mask of its entries


def find_subgradient(comparison: Comparison, measured: Noise) -> Gradients:
    r"""The wrong gradients that are right for other derivatives at the kinks: name ↦ the reference with those."""
    near = [d.abs() <= 4 * error for d, error in zip(measured.distances, measured.kinks, strict=True)]
    at_kink = {call: mask for call, mask in enumerate(near) if bool(mask.any())}
    names = [name for name in comparison.wrong if comparison.has_shape(name)]
    if not at_kink or not names:
        return {}

    def moves(above: Masks) -> dict[int, Tensor]:
        result = {}
        for call, mask in at_kink.items():
            side = torch.where(above[call], 1.0, -1.0) if call in above else -1.0
            result[call] = torch.where(mask, side * (8 * measured.kinks[call] + TINY), 0.0)
        return result

    def gradients(above: Masks) -> Gradients:
        return gradients_of(comparison.forward, comparison.graph.inputs, names, Moved(moves(above)))

    def fit(name: str, base: Gradients, sides: list[Gradients]) -> tuple[Tensor, Tensor | None]:
        r"""The best weights of the sides, and their gradient if it is the user's."""
        value, start = comparison.values[name], base[name]
        columns = torch.stack([(side[name] - start).flatten() for side in sides], dim=1)
        weights = torch.zeros_like(columns[0])
        if float((value - start).abs().max()) > comparison.bounds[name]:
            enough = bound(value, comparison.dtype(name)) / 10
            weights = bounded_least_squares(columns, (value - start).flatten(), enough)
        fitted = start + (columns @ weights).view_as(start)
        size = torch.stack([start.abs(), fitted.abs(), columns.abs().amax(1).view_as(fitted)])
        limit = bound(size, comparison.dtype(name), measured.gradients[name])
        return weights, fitted if float((value - fitted).abs().max()) <= limit else None

    comparison.kinks = [moves({}), moves(at_kink)]
    results, weights = {}, {}
    singles = [
        {call: (torch.arange(mask.numel(), device=mask.device) == index).view_as(mask)}
        for call, mask in at_kink.items()
        for index in mask.flatten().nonzero()[: MAX_ENTRIES + 1]
    ]
    equidistant = [  # rounding moves entries at the same distance from their kink together
        {call: mask & (measured.distances[call] == distance)}
        for call, mask in at_kink.items()
        for distance in measured.distances[call][mask].unique()
    ]
    numbers = sum(comparison.values[name].numel() for name in names)
    max_groups = min(MAX_ENTRIES, max(MIN_ENTRIES, MAX_NUMBERS // numbers))
    too_many = len(singles) > max_groups
    exact = {call: mask & (measured.distances[call] == 0) for call, mask in at_kink.items()}
    for corner in ({}, exact):  # a backward with ReLU′(0) = 1 takes it at all entries that are exactly 0
        start = gradients(corner)
        for groups in (
            [at_kink],
            [{call: mask} for call, mask in at_kink.items()],
            equidistant,
            random_groups(at_kink, max_groups) if too_many else singles,
        ):
            if len(groups) > max_groups:
                continue
            sides = [gradients(flip(corner, group)) for group in groups]
            for name in [name for name in names if name not in results]:
                weights[name], fitted = fit(name, start, sides)
                if fitted is not None:
                    results[name] = fitted
            if len(results) == len(names):
                return results
    remaining = [name for name in names if name not in results]
    if too_many or len(at_kink) == 1 or len(singles) > MAX_FLIPPED:
        return results
    is_exact = torch.tensor([any(bool((exact[call] & one).any()) for call, one in s.items()) for s in singles])
    for name in remaining:
        above = is_exact ^ (weights[name] > 0.5).cpu()
        for _ in range(MAX_FLIPS if name not in results else 0):
            start = gradients(union(singles, above))
            for other in remaining:  # one backward takes the same derivatives for all its gradients
                if float((comparison.values[other] - start[other]).abs().max()) <= comparison.bounds[other]:
                    results.setdefault(other, start[other])
            if name in results:
                break
            flipped = [gradients(union(singles, above ^ one)) for one in torch.eye(len(singles), dtype=torch.bool)]
            change, fitted = fit(name, start, flipped)
            if fitted is not None:
                results[name] = fitted
            if fitted is not None or not bool((change > 0.5).any()):
                break
            above = above ^ (change > 0.5).cpu()
    return results


def bounded_least_squares(columns: Tensor, target: Tensor, enough: float) -> Tensor:
    r"""Weights t in [0, 1] that minimise ‖columns t − target‖², or bring it to ``enough``².

    Accelerated projected gradients with restarts (Beck and Teboulle; O'Donoghue and Candès), then the active-set method
    of Stark and Parker (BVLS) from there. SciPy's BVLS cannot start from a given point and stops too early here.
    """
    weights = torch.full_like(columns[0], 0.5)
    size = float(columns.abs().max())
    if not 0 < size < math.inf:
        return weights
    columns, target = columns / size, target / size
    enough = max(enough / size, 1e-13 * float(target.norm()))
    weights = projected_gradients(columns, target, weights, enough)
    residual, free = target - columns @ weights, (weights > 0) & (weights < 1)
    for _ in range(10 * len(weights)):
        if float(residual.norm()) <= enough:
            break
        step = torch.zeros_like(weights)
        if bool(free.any()):
            step[free] = torch.linalg.lstsq(columns[:, free], residual[:, None], driver="gelsd").solution[:, 0]
        distance = torch.where(step > 0, 1 - weights, weights) / step.abs().clamp(min=1e-300)
        length = min(1.0, float(distance[free].min())) if bool(free.any()) else 1.0
        weights = (weights + length * step).clamp(0, 1)
        residual = target - columns @ weights
        if length < 1:
            free &= distance > length
            continue
        gradient = columns.T @ residual
        leaving = ~free & torch.where(weights > 0.5, gradient < 0, gradient > 0)
        if not bool(leaving.any()):
            break
        free[torch.where(leaving, gradient.abs(), -1.0).argmax()] = True
    return weights


def projected_gradients(columns: Tensor, target: Tensor, weights: Tensor, enough: float) -> Tensor:
    step = 1 / float(torch.linalg.matrix_norm(columns, 2)) ** 2
    extrapolated, momentum = weights, 1.0
    for _ in range(MAX_DESCENTS):
        candidate = (extrapolated + step * (columns.T @ (target - columns @ extrapolated))).clamp(0, 1)
        next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        if float(((extrapolated - candidate) * (candidate - weights)).sum()) > 0:
            extrapolated, momentum = candidate, 1.0
        else:
            extrapolated, momentum = candidate + (momentum - 1) / next_momentum * (candidate - weights), next_momentum
        weights = candidate
        if float((target - columns @ weights).norm()) <= enough:
            break
    return weights


def flip(corner: Masks, group: Masks) -> Masks:
    r"""The entries above their kinks if those of the group change sides."""
    return {**corner, **{call: corner[call] ^ mask if call in corner else mask for call, mask in group.items()}}


def union(groups: list[dict[int, Tensor]], chosen: Tensor) -> dict[int, Tensor]:
    r"""The union of the masks of the chosen groups."""
    masks: dict[int, Tensor] = {}
    for group, is_chosen in zip(groups, chosen.tolist(), strict=True):
        for call, mask in group.items() if is_chosen else ():
            masks[call] = masks[call] | mask if call in masks else mask
    return masks


def random_groups(at_kink: Masks, count: int) -> list[dict[int, Tensor]]:
    r"""Divides the entries into ``count`` groups at random."""
    generator = torch.Generator().manual_seed(0)
    group = {
        call: torch.randint(count, mask.shape, generator=generator).to(mask.device) for call, mask in at_kink.items()
    }
    return [{call: mask & (group[call] == i) for call, mask in at_kink.items()} for i in range(count)]
