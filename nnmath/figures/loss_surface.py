r"""The trajectory of the parameters over the loss surface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.ensemble.loss_surface import LossSurface
from nnmath.figures.style import (
    BLACK,
    BLUE,
    NOT_FINITE,
    ORANGE,
    SMALL,
    VERMILION,
    at_epoch,
    fixed_margin_figure,
    format_ticks,
    message_figure,
    set_title,
    to_cpu,
)

DESCENT_GRID = 31
r"""Points along either side of the plane."""
VALLEY = LinearSegmentedColormap.from_list("valley", ["#FFFFFF", "#7DB8E0"])


def descent(path: Tensor, landscape: LossSurface, *, epoch: int | None = None) -> Figure:
    r"""The way through the space of all parameters, on the plane in which most of it lies, and a cut through that.

    The two directions are those of the singular values s of the path about its mean, θ_k − θ̄ = Σ u s v; a direction's
    share of the motion is s² / Σ s². The plane goes through the end of the path, and C is that of the parameters on the
    plane, all of them one stack of networks. The cut below is C along the first direction: at the end that is left of
    the minimum the slope ∂C/∂s = v · ∂C/∂θ is negative and θ grows, right of it the slope is positive and θ shrinks.

    Args:
        path: θ after each epoch that was kept, (K, P), in the layout of :func:`nnmath.ensemble.loss_surface.flatten`.
        landscape: C(θ) and ∂C/∂θ.
        epoch: for the title.

    Returns:
        P1, the minimum and P2 lie where :func:`nnmath.figures.loss_surface.locate_minimum` says. Without a motion or
        a cost that could be drawn, a figure that says so.

    Source: article, Fig. 8 (G2).
    """
    title = at_epoch("descent in weight space", epoch)
    path = to_cpu(path).double()
    if not bool(path.isfinite().all()):
        return message_figure(title, NOT_FINITE)
    if float((path - path[0]).abs().max()) <= 1e-9 * float(path.abs().max()):
        return message_figure(title, "nothing has moved yet")
    directions, share = principal_directions(path)
    way = (path - path[-1]) @ directions.mT  # (K, 2)

    def along(s: Tensor) -> Tensor:
        return path[-1] + s[:, None] * directions[0]  # (M, P)

    p1, minimum, p2 = locate_minimum(lambda s: landscape.cost(along(s)), way[:, 0])
    s = padded_range(torch.cat([way[:, 0], torch.tensor([p1, -p1 if p2 is None else p2])]), 201)
    t = padded_range(way[:, 1], DESCENT_GRID, at_least=0.3 * float(s[-1] - s[0]))
    u = torch.linspace(float(s[0]), float(s[-1]), DESCENT_GRID, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(u, t, indexing="xy")).flatten(1).mT @ directions + path[-1]  # (961, P)
    over_plane = landscape.cost(plane).reshape(DESCENT_GRID, DESCENT_GRID)
    cost = landscape.cost(along(s))
    if not bool(over_plane.isfinite().all() and cost.isfinite().all()):
        return message_figure(title, "the cost is no finite number here")

    figure = fixed_margin_figure(left=0.2, right=0.96, bottom=0.13, hspace=0.3)
    plan, cut = figure.subplots(2, 1, sharex=True, height_ratios=(11, 9))
    set_title(plan, title)
    plan.set(ylabel=f"direction 2\n{float(share[1]):.1%} of the motion", ylim=(float(t[0]), float(t[-1])))
    format_ticks(plan, 4)
    format_ticks(cut, 5)
    cut.set(xlabel=f"direction 1, {float(share[0]):.1%} of the motion", ylabel="cost C")
    cut.set_xlim(float(s[0]), float(s[-1]))
    low, high = float(over_plane.min()), float(over_plane.max())
    surface = u.numpy(), t.numpy(), over_plane.numpy()
    levels = low + (high - low) * np.linspace(0, 1, 13) ** 2  # at equal distances in a quadratic bowl
    if high > low:
        plan.contourf(*surface, levels, cmap=VALLEY)
        plan.contour(*surface, levels, colors=BLACK, linewidths=0.5, alpha=0.5)
    plan.axhline(0, color=BLACK, linestyle="--", linewidth=0.8)
    plan.plot(*way.mT.numpy(), color=BLACK, linewidth=1.5)
    plan.plot(*way[0].tolist(), "o", color=BLUE, markersize=8, label="start", markeredgecolor="white")
    plan.plot(*way[-1].tolist(), "*", color=ORANGE, markersize=14, label="now", markeredgecolor=BLACK)
    plan.legend(loc="upper right", ncols=2, fontsize=SMALL)
    cut.plot(s.numpy(), cost.numpy(), color=BLACK)
    cut.grid(alpha=0.3)
    cut.set_ylim(cut.get_ylim())  # the tangents do not change it
    small: dict[str, Any] = {"size": SMALL, "pad": 3, "y": 1}
    if minimum is None or p2 is None:
        cut.set_title("no minimum to the right", loc="right", color=VERMILION, **small)
    else:
        cut.axvline(minimum, color=BLACK, linestyle="--", linewidth=0.8)
    places = torch.tensor([p1] if p2 is None else [p1, p2], dtype=torch.float64)
    costs, slopes = landscape.cost(along(places)), landscape.gradient(along(places)) @ directions[0]  # v · ∂C/∂θ
    looks = ("P1", BLUE, "o", "left"), ("P2", VERMILION, "s", "right")
    half = 0.1 * float(s[-1] - s[0])
    for place, c, slope, (name, colour, marker, loc) in zip(
        places.tolist(), costs.tolist(), slopes.tolist(), looks, strict=False
    ):
        cut.plot(place, c, marker, color=colour, markersize=7)
        cut.plot([place - half, place + half], [c - half * slope, c + half * slope], color=colour, linewidth=2)
        goes = "grows" if slope < 0 else "shrinks" if slope > 0 else "stays"
        text = f"{name}: slope {slope:.2g}, θ {goes}".replace("-", "−")
        cut.set_title(text, loc=loc, color=colour, **small)
    return figure


def padded_range(values: Tensor, points: int, at_least: float = 0.0) -> Tensor:
    r"""Points evenly over the range of the values and a little beyond."""
    low, high = float(values.min()), float(values.max())
    more = max(0.08 * (high - low), (at_least - (high - low)) / 2)
    return torch.linspace(low - more, high + more, points, dtype=torch.float64)


def principal_directions(path: Tensor) -> tuple[Tensor, Tensor]:
    r"""The two directions in which a path moves most, (2, P), from its beginning to its end, and their shares (2,)."""
    _, s, directions = torch.linalg.svd(path - path.mean(0), full_matrices=False)
    directions = directions[:2]
    backwards = (path[-1] - path[0]) @ directions.mT < 0
    return torch.where(backwards[:, None], -directions, directions), (s**2 / (s**2).sum())[:2]


def locate_minimum(cost: Callable[[Tensor], Tensor], way: Tensor) -> tuple[float, float | None, float | None]:
    r"""P1, the minimum and P2 along a line.

    Args:
        cost: C at places along it.
        way: where the path was, shape (K,), its end at 0.

    Returns:
        P1 is where the path began, or as far left as it ever was from its end if it came back to where it began. P2 is
        right of the minimum, where C is that of P1 again, or else as far from the minimum as P1. If C, as far as eight
        times the way, does not rise again by a hundredth of its fall from P1, there is neither a minimum nor P2.
    """
    reach = float(way.abs().max())
    p1 = float(way[0]) if float(way[0]) < -1e-3 * reach else -reach
    for times in (1, 2, 4, 8):
        s = torch.linspace(p1, times * -p1, 101, dtype=torch.float64)
        height = cost(s).nan_to_num(torch.inf)
        lowest = int(height.argmin())
        fall, rise = (float(end - height[lowest]) for end in (height[0], height[-1]))
        if fall > 0 and rise > 0.01 * fall:
            right = torch.linspace(float(s[lowest]), 2 * float(s[lowest]) - p1, 101, dtype=torch.float64)
            as_high = (cost(right) >= height[0]).nonzero()
            return p1, float(s[lowest]), float(right[as_high[0, 0]] if len(as_high) else right[-1])
    return p1, None, None
