r"""The trajectory of the parameters on the loss surface."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.ensemble.loss_surface import LossSurface
from nnmath.figures import style
from nnmath.figures.style import BLACK, BLUE, NOT_FINITE, ORANGE, SMALL, VERMILION

GRID = 31  # points along each side of the plane
VALLEY = LinearSegmentedColormap.from_list("valley", ["#FFFFFF", "#7DB8E0"])


def descent(path: Tensor, surface: LossSurface, *, epoch: int | None = None) -> Figure:
    r"""The trajectory on the plane that contains most of its motion, and the cost along the first direction.

    The principal directions v are the right singular vectors of θ_k − θ̄ with the largest singular values s; a
    direction's share of the motion is s² / Σ s². The plane goes through the end of the trajectory, and the networks at
    its grid points are one stack. Below it, C along the first direction: at P1, left of the minimum, the slope
    ∂C/∂s = v · ∂C/∂θ is negative and θ grows; at P2, right of the minimum, it is positive and θ shrinks. If there is
    nothing to draw, the figure says why.

    Args:
        path: θ of each recorded epoch, (K, P), in the layout of :func:`nnmath.ensemble.loss_surface.flatten`.
        surface: C(θ) and ∂C/∂θ.
        epoch: for the title.

    Source: article, Fig. 8 (G2).
    """
    title = style.at_epoch("descent in weight space", epoch)
    path = style.to_cpu(path).double()
    if not bool(path.isfinite().all()):
        return style.message_figure(title, NOT_FINITE)
    if float((path - path[0]).abs().max()) <= 1e-9 * float(path.abs().max()):
        return style.message_figure(title, "the parameters have not moved yet")
    directions, share = principal_directions(path)
    xy = (path - path[-1]) @ directions.mT  # (K, 2)

    def on_line(s: Tensor) -> Tensor:
        return path[-1] + s[:, None] * directions[0]  # (M, P)

    p1, minimum, p2 = locate_minimum(lambda s: surface.cost(on_line(s)), xy[:, 0])
    s = padded_range(torch.cat([xy[:, 0], torch.tensor([p1, -p1 if p2 is None else p2])]), 201)
    x = torch.linspace(float(s[0]), float(s[-1]), GRID, dtype=torch.float64)
    y = padded_range(xy[:, 1], GRID, min_length=0.3 * float(s[-1] - s[0]))
    plane = torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1).mT @ directions + path[-1]  # (961, P)
    plane_cost, line_cost = surface.cost(plane).reshape(GRID, GRID), surface.cost(on_line(s))
    if not bool(plane_cost.isfinite().all() and line_cost.isfinite().all()):
        return style.message_figure(title, "the cost is not finite here")

    figure = style.fixed_margin_figure(left=0.2, right=0.96, bottom=0.13, hspace=0.3)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(11, 9))
    upper.set_title(title, y=1)
    style.format_ticks(upper, 4)
    style.format_ticks(lower, 5)
    upper.set(ylabel=f"direction 2\n{float(share[1]):.1%} of the motion", ylim=(float(y[0]), float(y[-1])))
    lower.set(xlabel=f"direction 1, {float(share[0]):.1%} of the motion", ylabel="cost C")
    low, high = float(plane_cost.min()), float(plane_cost.max())
    levels = low + (high - low) * np.linspace(0, 1, 13) ** 2  # at equal distances in a quadratic bowl
    if high > low:
        upper.contourf(x, y, plane_cost, levels, cmap=VALLEY)
        upper.contour(x, y, plane_cost, levels, colors=BLACK, linewidths=0.5, alpha=0.5)
    upper.axhline(0, color=BLACK, linestyle="--", linewidth=0.8)
    upper.plot(*xy.mT, color=BLACK, linewidth=1.5)
    upper.plot(*xy[0], "o", color=BLUE, markersize=8, label="start", markeredgecolor="white")
    upper.plot(*xy[-1], "*", color=ORANGE, markersize=14, label="now", markeredgecolor=BLACK)
    upper.legend(loc="upper right", ncols=2, fontsize=SMALL)
    lower.plot(s, line_cost, color=BLACK)
    lower.grid(alpha=0.3)
    lower.set(xlim=(float(s[0]), float(s[-1])), ylim=lower.get_ylim())  # not extended by the tangents
    label_style: dict[str, Any] = {"size": SMALL, "pad": 3, "y": 1}
    points = torch.tensor([p1] if p2 is None else [p1, p2], dtype=torch.float64)
    if minimum is None:
        lower.set_title("no minimum to the right", loc="right", color=VERMILION, **label_style)
    else:
        lower.axvline(minimum, color=BLACK, linestyle="--", linewidth=0.8)
    costs, slopes = surface.cost(on_line(points)), surface.gradient(on_line(points)) @ directions[0]  # v · ∂C/∂θ
    values = zip(points.tolist(), costs.tolist(), slopes.tolist(), strict=True)
    looks = ("P1", BLUE, "o", "left"), ("P2", VERMILION, "s", "right")
    half = 0.1 * float(s[-1] - s[0])
    for (point, cost, slope), (name, colour, marker, loc) in zip(values, looks, strict=False):
        lower.plot(point, cost, marker, color=colour, markersize=7)
        lower.plot([point - half, point + half], [cost - half * slope, cost + half * slope], color=colour, linewidth=2)
        change = "grows" if slope < 0 else "shrinks" if slope > 0 else "stays"
        text = f"{name}: slope {slope:.2g}, θ {change}".replace("-", "−")
        lower.set_title(text, loc=loc, color=colour, **label_style)
    return figure


def padded_range(values: Tensor, points: int, min_length: float = 0.0) -> Tensor:
    r"""Evenly spaced points over the range of the values, extended by 8 % or to ``min_length`` if that is longer."""
    low, high = float(values.min()), float(values.max())
    padding = max(0.08 * (high - low), (min_length - (high - low)) / 2)
    return torch.linspace(low - padding, high + padding, points, dtype=torch.float64)


def principal_directions(path: Tensor) -> tuple[Tensor, Tensor]:
    r"""The two directions with most of a path's motion, from its start to its end, (2, P), and their shares, (2,)."""
    _, s, directions = torch.linalg.svd(path - path.mean(0), full_matrices=False)
    directions = directions[:2]
    backwards = (path[-1] - path[0]) @ directions.mT < 0
    return torch.where(backwards[:, None], -directions, directions), (s**2 / (s**2).sum())[:2]


def locate_minimum(cost: Callable[[Tensor], Tensor], path: Tensor) -> tuple[float, float | None, float | None]:
    r"""P1, the minimum and P2 on a line, given C at points of the line and a path on it, shape (K,), that ends at 0.

    P1 is the start of the path, or minus its largest distance from the end if it starts at or right of the end. P2 is
    the point right of the minimum where C equals C(P1), or else as far from the minimum as P1. Both the minimum and P2
    are None if C, up to eight times the length of the path, does not rise again by a hundredth of its fall.
    """
    reach = float(path.abs().max())
    p1 = float(path[0]) if float(path[0]) < -1e-3 * reach else -reach
    for factor in (1, 2, 4, 8):
        s = torch.linspace(p1, factor * -p1, 101, dtype=torch.float64)
        height = cost(s).nan_to_num(torch.inf)
        lowest = int(height.argmin())
        fall, rise = (float(end - height[lowest]) for end in (height[0], height[-1]))
        if fall > 0 and rise > 0.01 * fall:
            right = torch.linspace(float(s[lowest]), 2 * float(s[lowest]) - p1, 101, dtype=torch.float64)
            as_high = (cost(right) >= height[0]).nonzero()
            return p1, float(s[lowest]), float(right[as_high[0, 0]] if len(as_high) else right[-1])
    return p1, None, None
