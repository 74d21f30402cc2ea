r"""What the figures have in common: colours, size, a pair of axes.

They are made without pyplot, so that none stays behind, and stay readable at a width of 400 pixels. The colours are
those of M. Okabe and K. Ito, which the colour-blind tell apart; line styles and markers say the same once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from nnmath.equations import Layer

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#0072B2", "#D55E00", "#CC79A7"),
)
LINE_STYLES = cycler(  # for axes.set_prop_cycle: a colour and a line style per curve
    color=[BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK], linestyle=["-", "--", "-.", ":", "-", "--", "-."]
)
PALE = LinearSegmentedColormap.from_list("pale", ["#F0A878", "#FFFFFF", "#7DB8E0"])
r"""From a light vermilion through white to a light blue, for markers of the full colours to stand out on."""
SMALL = 9
r"""Points; the smallest that can be read once the figure is 400 pixels wide."""
SIZE = 5.0, 4.0
r"""Inches, at 100 dots each."""


def new_axes(xlabel: str, ylabel: str, title: str = "") -> tuple[Figure, Axes]:
    r"""A figure with one pair of axes."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    return figure, axes


def fixed_margin_figure(
    left: float = 0.14, bottom: float = 0.14, right: float = 0.97, top: float = 0.91, **options: Any
) -> Figure:
    r"""A figure whose axes keep these margins: what is drawn every few epochs cannot wait for matplotlib's layout."""
    figure = Figure(figsize=SIZE)
    figure.subplots_adjust(left, bottom, right, top, **options)
    return figure


def set_title(axes: Axes, title: str) -> None:
    r"""A title whose height is given: to look for one, matplotlib would lay out all labels once more."""
    axes.set_title(title, y=1)


def format_ticks(axes: Axes, most: int) -> None:
    r"""Few numbers of few digits on both axes, as small as may be; and none of matplotlib's factors in a corner."""
    axes.locator_params(nbins=most)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda number, _: compact(number))


def compact(number: float) -> str:
    r"""A number in four digits and few characters.

    >>> compact(0.25), compact(-1.2345e6), compact(2e-7)
    ('0.25', '−1.234e6', '2e−7')
    """
    digits, _, exponent = f"{number:.4g}".partition("e")
    return (digits + (f"e{int(exponent)}" if exponent else "")).replace("-", "−")


def blank_canvas(title: str) -> tuple[Figure, Axes]:
    r"""An empty sheet to draw on in inches, from (0, 0) on the lower left."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    axes.set_axis_off()
    axes.text(SIZE[0] / 2, SIZE[1] - 0.2, title, size=12, ha="center", va="center")
    return figure, axes


def message_figure(title: str, text: str) -> Figure:
    r"""A figure that says why there is nothing to draw."""
    figure, axes = blank_canvas(title)
    axes.text(SIZE[0] / 2, SIZE[1] / 2, text, size=12, ha="center", va="center")
    return figure


def at_epoch(title: str, epoch: int | None) -> str:
    r"""The title with the epoch behind it, if there is one."""
    return title if epoch is None else f"{title}, epoch {epoch:,}"


def truncate(name: str, most: int) -> str:
    r"""A name of at most that many characters.

    >>> truncate("mean fractal dimension", 12)
    'mean fracta…'
    """
    return name if len(name) <= most else name[: most - 1] + "…"


def subscript(number: int) -> str:
    r"""A number as a subscript.

    >>> f"h{subscript(12)}"
    'h₁₂'
    """
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))


def to_cpu(tensor: Tensor) -> Tensor:
    r"""The numbers of a tensor, apart from autograd, on the CPU and in a type that NumPy knows."""
    return tensor.detach().to("cpu", torch.float64 if tensor.dtype == torch.float64 else torch.float32)


def plain_layers(layers: Sequence[Layer]) -> list[Layer]:
    r"""The same of layers."""
    return [Layer(to_cpu(weight), to_cpu(bias)) for weight, bias in layers]


Samples = tuple[Tensor, Tensor]
r"""x (in, n) and y (1, n)"""


Array = NDArray[np.floating[Any]]


Surface = tuple[Array, Array, Tensor]
r"""places (K,) and (L,) on two axes, and a value for each pair of them, (L, K)"""


NOT_FINITE = "a parameter is no finite number any more"


def finite(layers: Sequence[Layer]) -> bool:
    r"""Whether all parameters are finite numbers."""
    return all(bool(parameter.isfinite().all()) for layer in layers for parameter in layer)
