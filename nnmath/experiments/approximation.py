r"""Universal approximation (U1): the error of a fit to one function against the number of hidden neurons."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.ensemble.stack import Trained, init_stack, train
from nnmath.equations import IDENTITY, SIGMOID, Layer, forward, staircase
from nnmath.experiments.report import Report, curves, table
from nnmath.figures.style import BLACK, BLUE, LINE_STYLES, SKY, VERMILION, new_axes

LOW, HIGH = -math.pi, math.pi
X = torch.linspace(LOW, HIGH, 513)  # where the errors are measured, shape (n,)
ACTIVATIONS = (SIGMOID, IDENTITY)
WIDTHS = (1, 2, 4, 8, 16, 32, 64)  # numbers of hidden neurons


def target_function(x: Tensor) -> Tensor:
    r"""The function to fit: f(x) = sin x + ½ sin(5x/2) from −π to π; any shape."""
    return x.sin() + (2.5 * x).sin() / 2


def run(
    widths: Sequence[int] = WIDTHS, seeds: Sequence[int] = range(16), epochs: int = 3000, learning_rate: float = 0.2
) -> tuple[Tensor, Tensor]:
    r"""More hidden neurons fit better, up to a limit set by gradient descent, not by what the network can represent.

    For each width N and seed, a network 1-N-1 is trained on 65 samples, with momentum 0.95 and cosine annealing from η.
    The staircase of the same width is not trained. Its fit is poor for small N, but its error falls with every neuron:
    at least like 1/N at each point, and nearly like 1/N² over the range.

    Returns:
        The root mean squared errors of the best, median and worst seed and of the staircase, shape (4, K) for K
        widths, and the best network's output at ``X``, shape (K, n).

    Source: article, "Can a neural network solve any problem?" (U1).

    >>> run(widths=(1, 4), seeds=range(3), epochs=20)[0].shape
    torch.Size([4, 2])
    """
    x = torch.linspace(LOW, HIGH, 65)[None]  # (1, 65)
    errors, outputs = [], []
    for width in widths:
        layers = fit(x, target_function(x), width, seeds, epochs, learning_rate).layers
        trained = rms(X[None], layers).nan_to_num(torch.inf)
        untrained = rms(X[None].double(), staircase(target_function, LOW, HIGH, width))
        errors.append(torch.stack([trained.min(), trained.median(), trained.max(), untrained]))
        outputs.append(forward(X[None], layers, ACTIVATIONS)[-1][trained.argmin(), 0])
    return torch.stack(errors, 1), torch.stack(outputs)


def fit(x: Tensor, target: Tensor, width: int, seeds: Sequence[int], epochs: int, eta: float = 0.2) -> Trained:
    r"""A stack of networks 1-N-1, one for each seed, trained on x and target (1, n) with momentum 0.95 and cosine."""
    options: dict[str, Any] = {"momentum": 0.95, "schedule": "cosine", "activations": ACTIVATIONS}
    stack = init_stack((1, width, 1), seeds)
    return train(stack, x, target, epochs=epochs, learning_rate=eta, **options)


def rms(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    r"""Root mean squared error of a network or of a stack: √(1/n Σ (O − f(x))²), shape (...)."""
    return (forward(x, layers, ACTIVATIONS)[-1][..., 0, :] - target_function(x[0])).square().mean(-1).sqrt()


def draw_errors(widths: Sequence[int], errors: Tensor) -> Figure:
    r"""Error against the number of hidden neurons: best, median and worst of the seeds, and the staircase's."""
    figure, axes = new_axes("hidden neurons N", "root mean squared error", "more neurons fit better, up to a limit")
    best, median, worst, untrained = errors
    axes.fill_between(widths, best, worst, color=SKY, alpha=0.4, linewidth=0)
    axes.loglog(widths, worst, color=SKY, label="trained, worst seed")
    axes.loglog(widths, median, color=BLUE, linestyle="--", marker="o", label="trained, median")
    axes.loglog(widths, best, color=BLUE, marker="v", label="trained, best seed")
    axes.loglog(widths, untrained, color=VERMILION, linestyle=":", marker="s", label="staircase, untrained")
    axes.set_xticks(widths, map(str, widths), minor=False)
    axes.set_xticks([], minor=True)
    axes.legend(loc="lower left")
    return figure


def draw_fits(widths: Sequence[int], errors: Tensor, outputs: Tensor) -> Figure:
    r"""The function, and the best network's output for the narrowest, the best and the widest width."""
    figure, axes = new_axes("x", "f(x)", "the best of the trained networks")
    axes.plot(X, target_function(X), color=BLACK, linewidth=3, alpha=0.4, label="f(x)")
    axes.set_prop_cycle(LINE_STYLES)
    for k in sorted({0, int(errors[0].argmin()), len(widths) - 1}):
        axes.plot(X, outputs[k], label=f"N = {widths[k]}")
    axes.legend(loc="upper left")
    return figure


def report() -> Report:
    r"""A table of the errors against the number of hidden neurons."""
    errors, outputs = run()
    rows = [(f"{n}", *(f"{error:.4f}" for error in column)) for n, column in zip(WIDTHS, errors.mT, strict=True)]
    names = "best", "median", "worst", "staircase"
    headings = "hidden neurons", *(f"{name} of the trained" for name in names[:3]), "staircase"
    title = "root mean squared error of sin x + ½ sin(5x/2) from −π to π"
    figures = {
        "approximation/error": draw_errors(WIDTHS, errors),
        "approximation/fits": draw_fits(WIDTHS, errors, outputs),
    }
    curve_names = "best_of_seeds", "median_of_seeds", "worst_of_seeds", "untrained_staircase"
    scalars = curves("approximation/error_over_neurons", curve_names, errors.mT, WIDTHS)
    return Report([title, table(headings, rows)], figures, scalars)
