r"""What the figures have in common: colours, size, a pair of axes.

They are made without pyplot, so that none stays behind, and stay readable at a width of 400 pixels. The colours are
those of M. Okabe and K. Ito, which the colour-blind tell apart; line styles and markers say the same once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73"),
    *("#0072B2", "#D55E00", "#CC79A7"),
)
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
SIZE = 5.0, 4.0
r"""Inches, at 100 dots each."""


def drawing(xlabel: str, ylabel: str, title: str = "") -> tuple[Figure, Axes]:
    r"""A figure with one pair of axes."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    return figure, axes


def styles() -> Iterator[dict[str, Any]]:
    r"""Colours and line styles, one pair for each curve."""
    yield from ({"color": c, "linestyle": s} for c, s in zip(COLOURS, cycle(("-", "--", "-.", ":")), strict=False))
