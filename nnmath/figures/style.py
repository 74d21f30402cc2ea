r"""Colours, sizes, axes and text formatting of the figures.

The figures are created without pyplot, which would keep them in memory, in the size of the images in TensorBoard. The
colours are those of M. Okabe and K. Ito, which colour-blind readers can distinguish; line styles and markers repeat the
distinction.
"""

import re
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

Array = NDArray[np.floating[Any]]
Samples = tuple[Tensor, Tensor]  # x (in, n) and y (1, n)

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
LINE_STYLES = cycler(  # for axes.set_prop_cycle: a colour and a line style per curve
    color=[BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK], linestyle=["-", "--", "-.", ":", "-", "--", "-."]
)
PALE = LinearSegmentedColormap.from_list("pale", ["#F0A878", "#FFFFFF", "#7DB8E0"])  # light vermilion to light blue
SMALL = 9  # font size in points; the smallest that is readable
SIZE = 5.0, 4.0  # inches
DPI = 70  # dots per inch
NOT_FINITE = "a parameter is not finite"


def new_figure(**options: Any) -> Figure:
    r"""An empty figure of the size at which TensorBoard shows images: 350 × 280 pixels."""
    return Figure(figsize=SIZE, dpi=DPI, **options)


def new_axes(xlabel: str, ylabel: str, title: str = "") -> tuple[Figure, Axes]:
    r"""A figure with one pair of axes."""
    figure = new_figure(layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    return figure, axes


def fixed_margin_figure(
    left: float = 0.14, bottom: float = 0.14, right: float = 0.97, top: float = 0.91, **options: Any
) -> Figure:
    r"""A figure with fixed margins: matplotlib's layout engine is too slow for figures drawn every few epochs.

    Give its titles a fixed height too: ``set_title(..., y=1)``. Otherwise matplotlib lays out all labels once more.
    """
    figure = new_figure()
    figure.subplots_adjust(left, bottom, right, top, **options)
    return figure


def format_ticks(axes: Axes, max_ticks: int) -> None:
    r"""Sets few and short tick labels on both axes, without an offset or a power of ten in the corner."""
    axes.locator_params(nbins=max_ticks)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda number, _: format_number(number))


def format_number(number: float) -> str:
    r"""A number with at most four significant digits.

    >>> format_number(0.25), format_number(-1.2345e6), format_number(2e-7)
    ('0.25', '−1.234e6', '2e−7')
    """
    digits, _, exponent = f"{number:.4g}".partition("e")
    return (digits + (f"e{int(exponent)}" if exponent else "")).replace("-", "−")


def blank_canvas(title: str, x: float = SIZE[0] / 2) -> tuple[Figure, Axes]:
    r"""A figure with invisible axes in inches, (0, 0) at the lower left, and a title centred at ``x``."""
    figure = new_figure()
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    axes.set_axis_off()
    axes.text(x, SIZE[1] - 0.2, title, size=12, ha="center", va="center")
    return figure, axes


def message_figure(title: str, text: str) -> Figure:
    r"""A figure that says why there is nothing to draw."""
    figure, axes = blank_canvas(title)
    axes.text(SIZE[0] / 2, SIZE[1] / 2, text, size=12, ha="center", va="center")
    return figure


def at_epoch(title: str, epoch: int | None) -> str:
    r"""The title, followed by the epoch if there is one."""
    return title if epoch is None else f"{title}, epoch {epoch:,}"


def truncate(name: str, max_characters: int) -> str:
    r"""Shortens a name, and escapes the dollar signs, between which matplotlib would expect a formula.

    >>> truncate("mean fractal dimension", 12), truncate("p$x_$", 12)
    ('mean fracta…', 'p\\$x_\\$')
    """
    short = name if len(name) <= max_characters else name[: max_characters - 1] + "…"
    return re.sub(r"\\?\$", r"\\$", short)


def subscript(number: int) -> str:
    r"""A number as a subscript.

    >>> subscript(1234567890)
    '₁₂₃₄₅₆₇₈₉₀'
    """
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def to_cpu(tensor: Tensor) -> Tensor:
    r"""The tensor detached, on the CPU, in float32 or float64, which NumPy supports."""
    return tensor.detach().to("cpu", torch.float64 if tensor.dtype == torch.float64 else torch.float32)


def layers_to_cpu(layers: Sequence[Layer]) -> list[Layer]:
    r"""The layers with ``to_cpu`` applied to each parameter."""
    return [Layer(to_cpu(weight), to_cpu(bias)) for weight, bias in layers]


def all_finite(layers: Sequence[Layer]) -> bool:
    r"""Whether all parameters are finite."""
    return all(bool(parameter.isfinite().all()) for layer in layers for parameter in layer)
