r"""The result of a check: printed as a table, or as a dictionary for json.dumps."""

import io
import math
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nnmath.gradcheck.faults import Finding

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True)
class Entry:
    r"""One gradient beside its reference; nan where the shapes cannot be compared."""

    passed: bool
    exact: bool = False  # bitwise equal to the reference, rounded to the gradient's type
    shape_ok: bool = True
    max_abs: float = math.nan  # max |manual − reference|
    relative: float = math.nan  # max |manual − reference| / max |reference|
    tolerance: float = math.nan  # the largest ``relative`` that passes
    ulps: float = math.nan  # max |manual − reference| in units in the last place of max |reference|
    cosine: float = math.nan  # the cosine similarity of the two
    ratio: float = math.nan  # the constant c for which c · reference is closest to manual
    worst_index: tuple[int, ...] = ()  # where the difference is largest
    manual: float = math.nan  # the hand-written value there
    reference: float = math.nan  # autograd's value there
    note: str = ""  # why it passes though it differs from autograd's, or cannot be compared

    def to_dict(self) -> dict[str, Any]:
        r"""The entry for json.dumps; a number that is not finite becomes None."""
        items = asdict(self).items()
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in items}


@dataclass(frozen=True)
class TraceEntry:
    r"""A value that a hand-written backward computes."""

    file: str
    line: int
    target: str  # the variable to which it is assigned; empty if it is part of an expression
    code: str  # the expression
    equals: str  # a value h of the forward pass, or the gradient ∂E/∂h of one; empty if it is neither


@dataclass(frozen=True)
class Report:
    r"""The result of a check; ``print`` shows it as a table, :meth:`to_dict` is for programs.

    "exact" means equal in every bit after rounding the reference to the gradient's type; whether a right gradient is
    exact may depend on the processor. ``relative`` is the largest difference relative to the largest entry of the
    reference, ``ulps`` the same in units in the last place; by hand ≈ ``ratio`` · reference. "worst at" is the index of
    the largest difference, with both values there.
    """

    entries: dict[str, Entry]  # name ↦ the comparison of its gradient, in the order of the argument
    findings: list[Finding] = field(default_factory=list)  # what is wrong, the most certain first
    trace: list[TraceEntry] = field(default_factory=list)  # the values of a backward whose code was read, in order
    note: str = ""  # why the code of a backward could not be read

    @property
    def passed(self) -> bool:
        r"""Whether every gradient is right and there are no findings."""
        return not self.findings and all(entry.passed for entry in self.entries.values())

    def to_dict(self) -> dict[str, Any]:
        r"""The report for json.dumps."""
        return {
            "passed": self.passed,
            "entries": {name: entry.to_dict() for name, entry in self.entries.items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "trace": [asdict(entry) for entry in self.trace],
            "note": self.note,
        }

    def __str__(self) -> str:
        from rich.console import Console

        is_terminal = sys.stdout.isatty()
        width = None if is_terminal else 120
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=width, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich import box
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        wrong = sum(not entry.passed for entry in self.entries.values())
        verdict = "all right" if self.passed else f"{wrong} of {len(self.entries)} wrong" if wrong else "not right"
        yield Text(f"gradients: {verdict}", style="bold green" if self.passed else "bold red")
        table = Table(box=box.SIMPLE if console.is_terminal else box.ASCII2)
        table.add_column("gradient", no_wrap=True)
        table.add_column("")
        wide = ["ulps", "cosine"] if console.width >= 100 else []
        headings = ["relative", *wide, "ratio", "worst at", "by hand", "reference"]
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for name, entry in self.entries.items():
            outcome = "exact" if entry.exact else "right" if entry.passed else "WRONG"
            numbers = {
                "relative": f"{entry.relative:.1e}",
                "ulps": f"{entry.ulps:.3g}",
                "cosine": f"{entry.cosine:.6f}",
                "ratio": f"{entry.ratio:.6g}",
                "worst at": f"[{', '.join(map(str, entry.worst_index))}]",
                "by hand": f"{entry.manual:.6g}",
                "reference": f"{entry.reference:.6g}",
            }
            cells = ["" if numbers[heading] in ("nan", "[]") else numbers[heading] for heading in headings]
            style = "green" if entry.passed else "bold red"
            table.add_row(Text(name), Text(outcome, style=style), *map(Text, cells))
        yield table
        yield from (Text(f"{name}: {entry.note}") for name, entry in self.entries.items() if entry.note)
        if self.note:
            yield Text(self.note)
        for finding in self.findings:
            names = ", ".join(finding.names) or "the function"
            yield Text.assemble((finding.fault.value, "bold"), " in ", (names, "bold"))
            yield Padding(Text(finding.explanation), (0, 0, 0, 4), expand=False)
            yield Padding(Text(f"→ {finding.fix}", style="green"), (0, 0, 0, 4), expand=False)
