r"""Reproduces the author's notebook, and does what it could not afford: python scripts/reproduce_notebook.py --help."""

from __future__ import annotations

import math
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt

from nnmath.runtime.cli import Parser, exit_on_error
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.files import log_errors, run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from nnmath.ensemble.stack import Trained
    from nnmath.experiments.haberman import Data


def reproduce(
    csv: str | None = None, epochs: PositiveInt = 8000, repeats: PositiveInt = 10, log_dir: str = "lightning_logs"
) -> None:
    r"""Published against reproduced; then all 90 rates × 8,000 epochs; then what the article's advice gives.

    Args:
        csv: a copy of haberman.csv; it is downloaded if not given
        epochs: epochs of the run of all 90 learning rates
        repeats: repetitions of the nine-fold cross-validation
        log_dir: folder for the run
    """
    csv, data = read(csv)
    from rich.console import Console

    from nnmath.ensemble.stack import Interrupted
    from nnmath.experiments.cross_validation import NOTEBOOKS, article_recipes, cross_validated, same_split
    from nnmath.experiments.notebook import EPOCHS_RATE, RATES, final_errors, train_rates

    run = run_folder(log_dir, "notebook")
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    begun = time.perf_counter()
    try:
        every = train_rates(data.train, RATES, epochs, range(epochs + 1), validation=data.val, progress=True)
        taken = time.perf_counter() - begun
        console.print(sweep_table(every, data, csv), epochs_table(every, RATES.index(EPOCHS_RATE)))
        console.print(final_table(final_errors(data)))
        print(f"all {len(RATES)} rates × {epochs} epochs in one run: {taken:.0f} s; {optimum(every)}")
        log(run, every)
        recipes = [NOTEBOOKS, *article_recipes()]
        here = same_split(data, recipes)
        console.print(scores_table("on the notebook's own 20 test rows, networks of ten seeds", here))
        found = cross_validated(data, recipes, repeats, progress=True)
    except Interrupted as interrupted:
        raise RunError(
            f"interrupted after {interrupted.trained.done} epochs of a training; what was printed stands"
        ) from interrupted
    console.print(scores_table(f"nine-fold cross-validation, {repeats} times", found, found[0]))
    print(verdict(found))
    print(f"look at it: tensorboard --logdir {shlex.quote(log_dir)}")


def read(csv: str | None) -> tuple[str, Data]:
    r"""The file and its data, the user's copy or by download; one line if they cannot be had."""
    from nnmath.experiments.haberman import download
    from nnmath.experiments.haberman import read as read_csv

    try:
        csv = csv if csv is not None else str(download())
        return csv, read_csv(csv)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise RunError(f"haberman.csv cannot be downloaded ({reason}): name a copy of yours with --csv") from error


def sweep_table(every: Trained, data: Data, csv: str) -> Table:
    r"""The sweep over the learning rates, one epoch each; in its author's order of summation and to 50 digits, too."""
    from rich.table import Table

    from nnmath.experiments.notebook import PUBLISHED_SWEEP, RATES, in_its_authors_order, one_epoch_to_50_digits

    table = Table(
        "η",
        "published",
        "reproduced",
        "digits",
        "author's order",
        "to 50 digits",
        title="validation error after one epoch",
        caption="digits: how many of the published ones are the same; in which order sums are added decides the last: "
        "author's order has each sum as the notebook has it, in NumPy",
    )
    theirs = in_its_authors_order(csv)
    truths = one_epoch_to_50_digits(data, list(PUBLISHED_SWEEP))
    for k, ((rate, published), truth) in enumerate(zip(PUBLISHED_SWEEP.items(), truths, strict=True)):
        value = float(cost(every)[1, RATES.index(rate)])
        of_them = f"{same_digits(repr(value), published)} of {len(published) - 2}"
        in_order = ("same" if theirs[k] == published else theirs[k]) if theirs else "other kernels"
        table.add_row(f"{rate:.2f}", published, repr(value), of_them, in_order, f"{digits(truth, 20)}…")
    return table


def digits(number: Any, n: int) -> str:
    r"""A number of mpmath, cut after so many digits."""
    import mpmath

    with mpmath.workdps(50):
        return str(mpmath.nstr(number, n))


def same_digits(a: str, b: str) -> int:
    r"""How many digits behind the point two numbers of the interval (0, 1) have in common, once they are rounded to it.

    >>> same_digits("0.14255298550365708", "0.1425529855036571"), same_digits("0.125", "0.126")
    (16, 2)
    """
    places = max(len(a), len(b)) - 2
    for n in range(places, 0, -1):
        if round(float(a), n) == round(float(b), n):
            return min(n, len(b) - 2)
    return 0


def epochs_table(every: Trained, k: int) -> Table:
    r"""The 22 numbers of epochs, at the one learning rate of theirs."""
    from rich.table import Table

    from nnmath.experiments.notebook import PUBLISHED_EPOCHS

    table = Table("epochs", "published", "reproduced", "", title="validation error at η = 0.1")
    for epochs, published in PUBLISHED_EPOCHS.items():
        if epochs <= every.done:
            value = float(cost(every)[epochs, k])
            same = round(value, 8) == float(published)
            table.add_row(f"{epochs}", published, f"{value:.8f}", "same" if same else off(value, published))
    return table


def final_table(final: dict[str, float]) -> Table:
    r"""The network that the notebook ends with."""
    from rich.table import Table

    from nnmath.experiments.notebook import FINAL_EPOCHS, FINAL_RATE, PUBLISHED_FINAL

    table = Table(
        "error", "published", "reproduced", "", title=f"the final network: η = {FINAL_RATE}, {FINAL_EPOCHS} epochs"
    )
    for name, published in PUBLISHED_FINAL.items():
        same = round(final[name], len(published) - 2) == float(published)
        table.add_row(name, published, f"{final[name]:.8f}", "same" if same else off(final[name], published))
    return table


def off(value: float, published: str) -> str:
    r"""By how much two numbers differ, for a person."""
    return f"off by {abs(value - float(published)):.1e}"


def cost(every: Trained) -> Any:
    r"""The validation errors, shape (epochs + 1, rates)."""
    assert every.val_cost is not None  # the validation rows were given
    return every.val_cost


def optimum(every: Trained) -> str:
    r"""Where the least validation error of the whole grid is, and where the notebook looked."""
    from nnmath.experiments.notebook import RATES

    costs = cost(every)
    epochs, k = divmod(int(costs.argmin()), len(RATES))
    first = int(costs[1].argmin())
    return (
        f"least validation error {float(costs[epochs, k]):.6f} at η = {RATES[k]:.2f} after {epochs} epochs (rounding "
        f"grows with the epochs where η is large: on another number of threads it may be another); "
        f"after one epoch, where the notebook looked, {float(costs[1, first]):.6f} at η = {RATES[first]:.2f}"
    )


def log(run: Path, every: Trained) -> None:
    r"""Writes the heat map and the curve over η to TensorBoard."""
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

    from nnmath.experiments.notebook import RATES
    from nnmath.figures.sweep import curve_over_rates, heat_map

    rates, costs = np.array(RATES), cost(every).numpy()
    best = costs.argmin() // len(rates)
    epochs = np.union1d(np.geomspace(1, every.done, 120).round().astype(int), max(1, best))
    chosen = [k for k in (1, 10, 100, 1000, every.done) if k <= every.done]
    label = "validation error"
    with log_errors(run), SummaryWriter(str(run)) as writer:
        writer.add_figure("notebook/heat_map", heat_map(rates, epochs, costs[epochs], label))
        curves = {f"{k} epochs": costs[k] for k in dict.fromkeys(chosen)}
        writer.add_figure("notebook/error_over_learning_rate", curve_over_rates(rates, curves, label))
        for k, value in enumerate(costs[1]):  # the step is 100 η
            writer.add_scalar("notebook/error_over_100_eta_after_one_epoch", value, global_step=k)
        for t in epochs:
            writer.add_scalar("notebook/error_at_eta_0.1", costs[t, 10], global_step=int(t))


def scores_table(title: str, found: list[Any], majority: Any = None) -> Table:
    r"""Scores, mean ± standard deviation, and the gain over the majority class with its standard error."""
    from rich.table import Table

    table = Table("", "error 1/(2n) Σ (O − y)²", "accuracy", *(["gain"] if majority else []), title=title)
    for each in found:
        cells = [f"{values.mean():.4f} ± {values.std():.4f}" for values in (each.mse, each.accuracy)]
        if majority:
            gain, uncertain = each.gain(majority)
            cells.append(f"{gain:+.4f} ± {uncertain:.4f}" if each is not majority else "")
        table.add_row(each.name, *cells)
    return table


def verdict(found: list[Any]) -> str:
    r"""Whether anything beats the majority class, in plain words."""
    majority, prior, *recipes = found
    best = max(recipes, key=lambda each: float(each.accuracy.mean()))
    gain, uncertain = best.gain(majority)
    sure = gain > 2 * uncertain and math.isfinite(uncertain)
    told = f"the most accurate, {best.name}, gains {gain:+.2%} over the majority class, standard error {uncertain:.2%}"
    error = min(recipes, key=lambda each: float(each.mse.mean()))
    also = f"the least error, {error.name}, is {float(error.mse.mean()):.4f} against {float(prior.mse.mean()):.4f}"
    return (
        f"{told}: {'that is more than chance' if sure else 'nothing here beats it beyond chance'}\n"
        f"{also} for who knows the share of survivors alone"
    )


def main() -> None:
    parser = Parser("Reproduces the author's notebook, then does what it could not afford.")
    parser.add_function_arguments(reproduce, as_group=False)
    options = parser.parse_args()
    try:
        reproduce(**options)
    except KeyboardInterrupt:
        raise RunError("interrupted") from None


if __name__ == "__main__":
    with exit_on_error():
        main()
