r"""Shows the article's other claims, and its errata, by experiments: python scripts/experiments.py --help."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nnmath.runtime.cli import Parser, exit_on_error, usage_errors
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.files import log_errors, run_folder

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

    from nnmath.experiments.haberman import Data

NAMES = ("learning_rate", "momentum", "perceptron", "approximation", "saturation", "errata")
OF_THE_NOTEBOOK = ("saturation", "errata")
r"""Those that have a part which needs the notebook's data."""


def main() -> None:
    parser = Parser("Shows the article's other claims, and its errata, by experiments.")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"which of {', '.join(NAMES)}")
    parser.add_argument("--csv", type=str, help="a copy of haberman.csv; it is downloaded if not given")
    parser.add_argument("--log_dir", type=str, default="lightning_logs", help="folder for the run")
    options = parser.parse_args()
    names = [name for name in NAMES if name in (options.only or NAMES)]
    data = read(options.csv, required=bool(options.only)) if {*names} & {*OF_THE_NOTEBOOK} else None

    import torch
    from rich.console import Console
    from torch.utils.tensorboard import SummaryWriter

    torch.set_num_threads(1)  # the experiments are small: two threads would wait for each other most of the time
    run = run_folder(options.log_dir, "experiments")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    try:
        with log_errors(run), SummaryWriter(str(run)) as writer:
            for name in names:
                console.rule(name, align="left")
                console.print(*globals()[name](writer, data), sep="\n")
    except KeyboardInterrupt:
        raise RunError("interrupted") from None
    print(f"look at it: tensorboard --logdir {shlex.quote(options.log_dir)}")


def read(csv: str | None, required: bool) -> Data | None:
    r"""The notebook's data, from the user's copy or by download; None, and one line, if they cannot be had."""
    from nnmath.experiments import haberman

    with usage_errors():
        try:
            with warnings.catch_warnings(action="ignore"):  # of a second attempt
                return haberman.read(csv if csv is not None else haberman.download())
        except OSError as error:
            why = f"haberman.csv cannot be downloaded ({getattr(error, 'reason', None) or error})"
    if required:
        raise UsageError(f"{why}: name a copy of yours with --csv")
    left_out = f"what {' and '.join(OF_THE_NOTEBOOK)} need it for is left out"
    print(f"{why}: {left_out}; name a copy of yours with --csv".replace("\n", " "), file=sys.stderr)
    return None


# --- one function for each: what there is to print --------------------------------------------------------------------


def learning_rate(writer: SummaryWriter, data: Data | None) -> list[Any]:
    r"""G2 and G3."""
    from nnmath.experiments.learning_rate import descent_from_both_sides, learning_rates
    from nnmath.figures import experiments as figures

    rates, sides = learning_rates(), descent_from_both_sides()
    writer.add_figure("learning_rate/cost", figures.learning_rates(rates))
    writer.add_figure("learning_rate/two_sides", figures.two_sides(sides))
    rows = []
    for multiple, excess, factor in zip(rates.multiples.tolist(), rates.excess.T, rates.factor.tolist(), strict=True):
        curve(writer, f"learning_rate/cost_above_least/{multiple:g}", excess)
        fate = "neither" if abs(factor - 1) < 1e-9 else "converges" if factor < 1 else "diverges"
        rows.append((f"{multiple:g}", f"{multiple * rates.critical:.4f}", f"{excess[-1]:.2g}", f"{factor:.4f}", fate))
    headings = "multiple", "η", f"C − C_min after {len(rates.excess) - 1} epochs", "in the long run times, an epoch", ""
    ends = [
        f"{name}: ∂C/∂θ = {slope:.2f}, θ goes from {path[0]:g} to {path[-1]:.2f}"
        for name, slope, path in zip(("P1", "P2"), sides.slope.tolist(), sides.path.T.tolist(), strict=True)
    ]
    critical = f"critical learning rate η = 2/λ_max = {rates.critical:.4f}; C − C_min at first {rates.excess[0, 0]:.2g}"
    return [critical, table(headings, rows), f"the minimum is at θ = {sides.minimum:g}; {'; '.join(ends)}"]


def momentum(writer: SummaryWriter, data: Data | None) -> list[Any]:
    r"""G4."""
    from nnmath.experiments.momentum import momenta
    from nnmath.figures import experiments as figures

    result = momenta()
    writer.add_figure("momentum/path", figures.momenta(result))
    rows = []
    for m, path, crossed in zip(result.momenta.tolist(), result.path.T, result.crossed.tolist(), strict=True):
        curve(writer, f"momentum/theta/{m:g}", path)
        rows.append((f"{m:g}", f"{path[-1]:.3f}", "the deep well" if crossed else "the shallow well"))
    wells = f"shallow well at θ = {result.shallow:.3f}, hump at {result.barrier:.3f}, deep well at {result.deep:.3f}"
    return [wells, table(("m", f"θ after {len(result.path) - 1} steps", "is in"), rows)]


def perceptron(writer: SummaryWriter, data: Data | None) -> list[Any]:
    r"""P2."""
    from nnmath.experiments.perceptron import CORNERS, NAMES, boolean_functions, network, xor_layers
    from nnmath.figures import experiments as figures

    result, layers = boolean_functions(), xor_layers()
    writer.add_figure("perceptron/boolean_functions", figures.boolean_functions(result, layers[0]))
    curve(writer, "perceptron/how_many_compute_it", result.count)
    missing = [name for name, reachable in zip(NAMES, result.reachable, strict=True) if not reachable]
    proved = [name for name, contradictory in zip(NAMES, result.contradictory, strict=True) if contradictory]
    return [
        f"{result.tried} perceptrons compute {int(result.reachable.sum())} of the 16 Boolean functions of two inputs, "
        f"but not {' and '.join(missing)}",
        f"no perceptron does, for their four inequalities contradict each other: {' and '.join(proved)}",
        f"XOR of 00, 01, 10, 11 by a network 2-2-1 of perceptrons: {network(CORNERS, layers).int().flatten().tolist()}",
    ]


def approximation(writer: SummaryWriter, data: Data | None) -> list[Any]:
    r"""U1."""
    from nnmath.experiments.approximation import approximation
    from nnmath.figures import experiments as figures

    result = approximation()
    writer.add_figure("approximation/error", figures.approximation(result))
    writer.add_figure("approximation/fits", figures.fits(result))
    columns = {
        "best": result.trained[:, 0],
        "median": result.trained.median(1).values,
        "worst": result.trained[:, -1],
        "staircase": result.untrained,
    }
    for name, errors in columns.items():
        curve(writer, f"approximation/error/{name}", errors, result.widths)
    rows = [(str(n), *(f"{errors[k]:.4f}" for errors in columns.values())) for k, n in enumerate(result.widths)]
    headings = "hidden neurons", *(f"{name}{'' if name == 'staircase' else ' of the trained'}" for name in columns)
    return ["root mean squared error of sin x + ½ sin(5x/2) from −π to π", table(headings, rows)]


def saturation(writer: SummaryWriter, data: Data | None) -> list[Any]:
    r"""A1 and B1."""
    from nnmath.experiments.saturation import saturation, slopes
    from nnmath.figures import experiments as figures

    result = slopes()
    writer.add_figure("saturation/slopes", figures.slopes(result))
    columns = [errors[dtype] for dtype in result.of_value for errors in (result.of_value, result.of_sum)]
    ways = [f"{way}, {str(dtype)[6:]}" for dtype in result.of_value for way in ("h (1 − h)", "σ(z) σ(−z)")]
    rows = [(f"{result.z[k]:g}", *(f"{column[k]:.0e}" for column in columns)) for k in range(10, len(result.z), 10)]
    told: list[Any] = ["relative error of σ′(z)", table(("z", *ways), rows)]
    if data is not None:
        network = saturation(data)
        writer.add_figure("saturation/network", figures.saturation(network))
        curves = {"gradient_norm": network.gradient_norm, "saturated_outputs": network.outputs, "cost": network.cost}
        for name, values in curves.items():
            for eta, value in zip(network.rates, values.T, strict=True):
                curve(writer, f"saturation/{name}/{eta:g}", value, network.epochs)
        rows = [
            (str(t), *(f"{value:.3g}" for values in curves.values() for value in values[k].tolist()))
            for k, t in enumerate(network.epochs)
            if t < 10 or t in (10, 100, 1000, network.epochs[-1])
        ]
        headings = [f"{name.replace('_', ' ')}, η = {eta:g}" for name in curves for eta in network.rates]
        told += ["the notebook's network", table(("epoch", *headings), rows)]
    return told


def errata(writer: SummaryWriter, data: Data | None) -> list[Any]:
    r"""The errata."""
    from nnmath.experiments.errata import errata
    from nnmath.figures import experiments as figures

    result = errata(data)
    writer.add_figure("errata/beyond_the_data", figures.beyond(result.beyond))
    writer.add_figure("errata/xor_costs", figures.xor_costs(result.xor))
    curve(writer, "errata/xor_cost", result.xor)
    curve(writer, "errata/holds", [row.holds for row in result.rows], [row.number for row in result.rows])
    rows = [(str(row.number), row.claim, row.shown, "wrong" if row.holds else "not refuted") for row in result.rows]
    return [table(("", "claim", "computed", "the claim is"), rows, lines=True)]


def curve(writer: SummaryWriter, tag: str, values: Tensor | Sequence[float], at: Sequence[int] | None = None) -> None:
    r"""Writes a curve as scalars, at the steps 0, 1, 2, ... or at those given."""
    for step, value in zip(range(len(values)) if at is None else at, values, strict=True):
        writer.add_scalar(tag, float(value), step)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], lines: bool = False) -> Table:
    r"""Rows of text for a person."""
    from rich.table import Table

    result = Table(*headings, show_lines=lines)
    for row in rows:
        result.add_row(*row)
    return result


if __name__ == "__main__":
    with exit_on_error():
        main()
