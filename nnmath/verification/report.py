r"""The evidence for all equations as a table: in the terminal, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from nnmath.verification.catalogue import CATALOGUE
from nnmath.verification.evidence import Evidence

HEADINGS = ["", "equation", "value", "gradient", "quotients", "symbols", "50 digits", ""]
CAPTION = (
    "relative differences: the value from torch's, the gradient from autograd's and from difference quotients; "
    "symbols: SymPy's derivative minus the gradient is 0; 50 digits: the error of float64"
)


@dataclass(frozen=True)
class CatalogueReport:
    r"""The result of checking equations; ``rich`` prints it as a table."""

    rows: Sequence[Evidence]

    @property
    def passed(self) -> bool:
        r"""Whether every equation passed."""
        return all(row.passed for row in self.rows)

    def to_list(self) -> list[dict[str, Any]]:
        r"""The rows for json.dumps."""
        return [to_dict(row) for row in self.rows]

    def to_markdown(self) -> str:
        r"""The table in Markdown."""
        lines = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def __rich__(self) -> Table:
        table = Table(*HEADINGS, caption=CAPTION)
        for row in self.rows:
            *texts, verdict = map(Text, cells(row))
            verdict.stylize("green" if row.passed else "bold red")
            table.add_row(*texts, verdict)
        return table


def check_catalogue() -> CatalogueReport:
    r"""Check every equation of the article."""
    return CatalogueReport([Evidence(equation) for equation in CATALOGUE])


def cells(row: Evidence) -> list[str]:
    r"""The evidence for an equation as human-readable text, a cell per column; empty where it does not apply."""
    autograd = None if row.autograd is None else max(entry.relative for entry in row.autograd.entries.values())
    return [
        row.equation.id,
        row.equation.formula,
        format_difference(row.value),
        format_difference(autograd),
        format_difference(row.finite_differences),
        {None: "", True: "proved", False: "DISPROVED"}[row.proof],
        "" if row.ulps is None else f"{row.ulps[0]:.1f} ulp",
        "right" if row.passed else "WRONG",
    ]


def format_difference(relative: float | None) -> str:
    r"""A relative difference as human-readable text: "exact" if it is 0, empty if there is none."""
    return "" if relative is None else f"{relative:.1e}" if relative else "exact"


def to_dict(row: Evidence) -> dict[str, Any]:
    r"""The evidence for an equation for json.dumps."""
    return {
        "id": row.equation.id,
        "formula": row.equation.formula,
        "passed": row.passed,
        "value": row.value,
        "gradients": None if row.autograd is None else row.autograd.to_dict(),
        "quotients": row.finite_differences,
        "proved": row.proof,
        "ulps": None if row.ulps is None else {"by_hand": row.ulps[0], "by_torch": row.ulps[1]},
    }
