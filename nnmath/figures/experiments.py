r"""The experiments' results: what :mod:`nnmath.experiments` returned in, a figure out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from nnmath.figures.style import BLACK, BLUE, ORANGE, SIZE, SKY, VERMILION, new_axes, styles

if TYPE_CHECKING:
    from torch import Tensor

    from nnmath.equations import Layer
    from nnmath.experiments.approximation import Approximation
    from nnmath.experiments.errata import Extrapolation
    from nnmath.experiments.learning_rate import LearningRates, TwoSides
    from nnmath.experiments.momentum import Momenta
    from nnmath.experiments.perceptron import BooleanFunctions
    from nnmath.experiments.saturation import Saturation, Slopes


def learning_rates(result: LearningRates) -> Figure:
    r"""Cost above the least against epochs, for each multiple of the critical learning rate."""
    figure, axes = new_axes(
        "epochs", "cost above the least, C − C$_\\mathrm{min}$", "descent at multiples of η = 2/λ$_\\mathrm{max}$"
    )
    for multiple, excess, style in zip(result.multiples.tolist(), result.excess.T, styles(), strict=False):
        axes.semilogy(excess, label=f"{multiple:g}", **style)
    axes.legend(loc="lower left")
    return figure


def two_sides(result: TwoSides) -> Figure:
    r"""Fig. 8: the cost over θ, and the steps that descent takes from P1 and from P2."""
    figure, axes = new_axes("θ", "cost C(θ)", "left of the minimum θ grows, right of it θ shrinks")
    axes.plot(result.theta, result.cost, color=BLACK)
    axes.axvline(result.minimum, color=BLACK, alpha=0.4, linestyle="--")
    for side, (name, colour, marker) in enumerate((("P1", BLUE, "o"), ("P2", VERMILION, "s"))):
        theta, cost = result.path[:, side], result.path_cost[:, side]
        slope, start = float(result.slope[side]), (float(theta[0]), float(cost[0]))
        axes.plot(theta, cost, color=colour, marker=marker, linestyle="", label=f"{name}: ∂C/∂θ = {slope:.2f}")
        axes.plot([start[0] - 0.4, start[0] + 0.4], [start[1] - 0.4 * slope, start[1] + 0.4 * slope], color=colour)
        axes.annotate(name, start, (10 - 34 * (1 - side), -5), textcoords="offset points")
    axes.legend(loc="upper center")
    return figure


def momenta(result: Momenta) -> Figure:
    r"""θ against steps on the left, and on the right the double well in which it rolls, turned on its side."""
    figure = Figure(figsize=SIZE, layout="constrained")
    paths, well = figure.subplots(1, 2, sharey=True, width_ratios=(5, 2))
    for momentum, path, style in zip(result.momenta.tolist(), result.path.T, styles(), strict=False):
        paths.plot(path, label=f"m = {momentum:g}", **style)
    paths.set(xlabel="steps", ylabel="θ", title="momentum over a hump")
    well.plot(result.cost, result.theta, color=BLACK)
    well.set(xlabel="cost C(θ)", title="double well")
    for axes in (paths, well):
        axes.axhline(result.barrier, color=BLACK, alpha=0.4, linestyle="--")
        axes.grid(alpha=0.3)
    paths.annotate(
        "hump", (1, result.barrier), (-2, 3), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right"
    )
    paths.legend(loc="upper right", ncols=2)
    return figure


def boolean_functions(result: BooleanFunctions, hidden: Layer) -> Figure:
    r"""The 16 functions over the unit square: 1 filled, 0 hollow, and the line along which a perceptron divides them.

    Args:
        result: the functions.
        hidden: the first layer of a network 2-2-1 for XOR, whose two lines are drawn dashed.
    """
    from nnmath.experiments.perceptron import CORNERS, NAMES

    figure = Figure(figsize=SIZE, layout="constrained")
    grid = figure.subplots(4, 4, sharex=True, sharey=True)
    for k, axes in enumerate(grid.flat):
        reachable = bool(result.reachable[k])
        colour = BLUE if reachable else VERMILION
        axes.set(xlim=(-0.6, 1.6), ylim=(-0.6, 1.6), xticks=(0, 1), yticks=(0, 1))
        axes.set_title(NAMES[k], fontsize=9, color=colour, fontweight="normal" if reachable else "bold")
        axes.scatter(
            *CORNERS, c=[colour if y else "white" for y in result.outputs[k]], edgecolors=colour, s=50, zorder=2
        )
        lines = [(result.weight[k], result.bias[k], "-")] if reachable else []
        if NAMES[k] == "XOR":
            lines = [(weight, bias, "--") for weight, bias in zip(*hidden, strict=True)]
        for (w1, w2), bias, style in lines:
            if w1 or w2:
                there = -bias / (w1**2 + w2**2)  # that many times w is the line's point next to the origin
                axes.axline((there * w1, there * w2), (there * w1 - w2, there * w2 + w1), color=BLACK, linestyle=style)
    figure.supxlabel("x₁", fontsize=10)
    figure.supylabel("x₂", fontsize=10)
    return figure


def approximation(result: Approximation) -> Figure:
    r"""Error against the number of hidden neurons: best, median and worst of the seeds, and the staircase's."""
    figure, axes = new_axes("hidden neurons N", "root mean squared error", "more neurons fit more, up to a point")
    axes.fill_between(result.widths, result.trained[:, 0], result.trained[:, -1], color=SKY, alpha=0.4, linewidth=0)
    middle = result.trained.median(1).values
    axes.loglog(result.widths, result.trained[:, -1], color=SKY, label="trained, worst seed")
    axes.loglog(result.widths, middle, color=BLUE, linestyle="--", marker="o", label="trained, median")
    axes.loglog(result.widths, result.trained[:, 0], color=BLUE, marker="v", label="trained, best seed")
    axes.loglog(
        result.widths, result.untrained, color=VERMILION, linestyle=":", marker="s", label="staircase, untrained"
    )
    axes.set_xticks(result.widths, map(str, result.widths), minor=False)
    axes.set_xticks([], minor=True)
    axes.legend(loc="lower left")
    return figure


def fits(result: Approximation) -> Figure:
    r"""The function, and what the best network of the narrowest, of the best and of the widest width makes of it."""
    figure, axes = new_axes("x", "f(x)", "the best of the trained networks")
    axes.plot(result.x, result.target, color=BLACK, linewidth=3, alpha=0.4, label="f(x)")
    best = int(result.trained[:, 0].argmin())
    for k, style in zip(sorted({0, best, len(result.widths) - 1}), styles(), strict=False):
        axes.plot(result.x, result.outputs[k], label=f"N = {result.widths[k]}", **style)
    axes.legend(loc="upper left")
    return figure


def slopes(result: Slopes) -> Figure:
    r"""Relative error of σ′(z) against z, from the rounded value and from the sum, in both types."""
    figure, axes = new_axes("z", "relative error of σ′(z)", "h (1 − h) loses what σ(z) σ(−z) keeps")
    for name, errors, style in (("h (1 − h)", result.of_value, "-"), ("σ(z) σ(−z)", result.of_sum, ":")):
        for (dtype, error), colour, width in zip(errors.items(), (ORANGE, BLUE), (3, 1.5), strict=True):
            label = f"{name}, {str(dtype).removeprefix('torch.')}"
            axes.semilogy(result.z, error.clamp(min=1e-17), color=colour, linestyle=style, linewidth=width, label=label)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.14))
    return figure


def saturation(result: Saturation) -> Figure:
    r"""Norm of the gradient and share of saturated outputs over the epochs, at each learning rate."""
    figure = Figure(figsize=SIZE, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for k, (eta, style) in enumerate(zip(result.rates, styles(), strict=False)):
        upper.semilogy(result.epochs, result.gradient_norm[:, k], label=f"η = {eta:g}", **style)
        lower.plot(result.epochs, 100 * result.outputs[:, k], **style)
    upper.set(ylabel="‖∂E/∂(w, b)‖₂", title="the notebook's network")
    lower.set(ylabel="outputs\nsaturated in %", xlabel="epochs")
    lower.set_xscale("symlog", linthresh=10)
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    upper.legend(loc="center")
    return figure


def beyond(result: Extrapolation) -> Figure:
    r"""What a network says on the range it was trained on, and beyond."""
    figure, axes = new_axes("x", "output", "a fit is not a law")
    axes.axvspan(0, 1, color=SKY, alpha=0.25, label="trained here")
    axes.plot(result.x, result.target, color=BLACK, linewidth=3, alpha=0.4, label="sin 2πx")
    axes.plot(result.x, result.output, color=VERMILION, linestyle="--", label="network 1-8-1")
    axes.legend(loc="upper left")
    return figure


def xor_costs(costs: Tensor) -> Figure:
    r"""Final cost of each network on XOR, in ascending order."""
    figure, axes = new_axes("networks 2-2-1, best first", "cost C after training", "XOR: not every start gets there")
    axes.axhline(1 / 16, color=BLACK, linestyle="--", label="¹⁄₁₆: two samples learnt, ½ for the others")
    axes.semilogy(range(1, len(costs) + 1), costs, color=BLUE, marker=".", linestyle="", label="a network")
    axes.legend(loc="center left")
    return figure
