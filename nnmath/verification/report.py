r"""The evidence for all equations as a table: in the terminal, as JSON and as Markdown."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from nnmath.verification.evidence import Evidence

HEADINGS = ["", "equation", "value", "gradient", "quotients", "symbols", "50 digits", ""]
CAPTION = (
    "relative differences: the value from torch's, the gradient from autograd's and from difference quotients; "
    "symbols: SymPy's derivative minus the gradient is 0; 50 digits: the error of float64"
)


def to_dict(row: Evidence) -> dict[str, Any]:
    r"""The evidence for an equation, for json.dumps."""
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


def to_table(rows: Sequence[Evidence]) -> Table:
    r"""The evidence as a table for the terminal."""
    table = Table(*HEADINGS, caption=CAPTION)
    for row in rows:
        *texts, verdict = map(Text, cells(row))
        verdict.stylize("green" if row.passed else "bold red")
        table.add_row(*texts, verdict)
    return table


def to_markdown(rows: Sequence[Evidence]) -> str:
    r"""The evidence as a table in Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Evidence) -> list[str]:
    r"""The evidence for an equation as human-readable text, one cell per column; empty where it does not apply."""
    autograd = None if row.autograd is None else max(entry.relative for entry in row.autograd.entries.values())
    differences = (row.value, autograd, row.finite_differences)
    return [
        row.equation.id,
        row.equation.formula,
        *("" if difference is None else f"{difference:.1e}" if difference else "exact" for difference in differences),
        {None: "", True: "proved", False: "DISPROVED"}[row.proof],
        "" if row.ulps is None else f"{row.ulps[0]:.1f} ulp",
        "right" if row.passed else "WRONG",
    ]
