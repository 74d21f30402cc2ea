r"""Momentum past a local minimum: it carries θ over the barrier of a double well that stops plain descent (G4)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.equations import gradient_step, momentum_update
from nnmath.experiments.report import Report, curves, table
from nnmath.figures.style import BLACK, LINE_STYLES, new_figure

MOMENTA = (0.0, 0.5, 0.8, 0.85, 0.9, 0.95)
DEEP, BARRIER, SHALLOW = sorted(np.roots([1, 0, -1, 0.1]).real.tolist())  # where the slope of the double well is 0


def double_well(theta: Tensor) -> Tensor:
    r"""C(θ) = θ⁴/4 − θ²/2 + θ/10, which has a deep minimum on the left and a shallow one on the right; any shape."""
    return theta**4 / 4 - theta**2 / 2 + theta / 10


def double_well_slope(theta: Tensor) -> Tensor:
    r"""Its derivative: ∂C/∂θ = θ³ − θ + 1/10; any shape."""
    return theta**3 - theta + 0.1


def run(momenta: Sequence[float] = MOMENTA, start: float = 2.0, steps: int = 300) -> Tensor:
    r"""Descent from the right: with enough momentum θ passes the shallow minimum and ends in the deep one.

    The claim is only that momentum helps here. How much is needed depends on the start and on η = 0.02, and momentum
    can also carry θ out of a deep minimum.

    Returns:
        θ after each step for each of the M momenta, shape (steps + 1, M).

    Source: article, "On a side note" (G4).

    >>> run(momenta=(0.0, 0.9))[-1] < BARRIER
    tensor([False,  True])
    """
    m = torch.tensor(momenta, dtype=torch.float64)
    path = [torch.full_like(m, start)]
    velocity = torch.zeros_like(m)
    for _ in range(steps):
        velocity = momentum_update(velocity, double_well_slope(path[-1]), m)
        path.append(gradient_step(path[-1], velocity, learning_rate=0.02))
    return torch.stack(path)


def draw(path: Tensor) -> Figure:
    r"""θ against steps for each of ``MOMENTA``, and beside it the double well, turned by 90°."""
    figure = new_figure(layout="constrained")
    paths, well = figure.subplots(1, 2, sharey=True, width_ratios=(5, 2))
    paths.set_prop_cycle(LINE_STYLES)
    paths.plot(path, label=[f"m = {momentum:g}" for momentum in MOMENTA])
    paths.set(xlabel="steps", ylabel="θ", title="momentum over a barrier")
    theta = torch.linspace(-1.6, 2.1, 101, dtype=torch.float64)
    well.plot(double_well(theta), theta, color=BLACK)
    well.set(xlabel="cost C(θ)", title="double well")
    for axes in (paths, well):
        axes.axhline(BARRIER, color=BLACK, alpha=0.4, linestyle="--")
        axes.grid(alpha=0.3)
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    paths.annotate("barrier", (1, BARRIER), (-2, 3), **place)
    paths.legend(loc="upper right", ncols=2)
    return figure


def report() -> Report:
    r"""A table of where each descent ends."""
    path = run()
    names = [f"{momentum:g}" for momentum in MOMENTA]
    rows = [
        (name, f"{end:.3f}", "the deep well" if end < BARRIER else "the shallow well")
        for name, end in zip(names, path[-1], strict=True)
    ]
    wells = f"shallow well at θ = {SHALLOW:.3f}, barrier at {BARRIER:.3f}, deep well at {DEEP:.3f}"
    ends = table(("m", f"θ after {len(path) - 1} steps", "ends in"), rows)
    return Report([wells, ends], {"momentum/path": draw(path)}, curves("momentum/theta_over_steps", names, path))
