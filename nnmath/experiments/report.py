r"""What an experiment prints and logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Report:
    r"""The output of an experiment."""

    lines: list[str | Table]  # printed in this order
    figures: dict[str, Figure]  # tag ↦ figure, logged as an image
    curves: dict[str, Iterable[tuple[int, float | Tensor]]]  # tag ↦ (step, value) pairs, logged as scalars

    def log(self, writer: SummaryWriter) -> None:
        r"""Writes the figures and the curves to TensorBoard."""
        for tag, figure in self.figures.items():
            writer.add_figure(tag, figure)
        for tag, curve in self.curves.items():
            for step, value in curve:
                writer.add_scalar(tag, float(value), step)


def curves(tag: str, names: Iterable[str], values: Tensor, steps: Sequence[int] | None = None) -> dict[str, Any]:
    r"""The columns of values, shape (K, M), as M curves tag/name over K steps, by default 0, 1, 2, …"""
    steps = range(len(values)) if steps is None else steps
    return {f"{tag}/{name}": zip(steps, column, strict=True) for name, column in zip(names, values.mT, strict=True)}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], **options: Any) -> Table:
    r"""A table of text; the options are those of :class:`rich.table.Table`."""
    result = Table(*headings, **options)
    for row in rows:
        result.add_row(*row)
    return result
