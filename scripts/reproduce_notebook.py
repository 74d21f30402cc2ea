r"""Reproduces the author's notebook, and extends it to all 90 × 8,000: python scripts/reproduce_notebook.py --help."""

import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt
from rich.console import Console
from rich.table import Table

from nnmath.experiments.report import table
from nnmath.runtime.cli import Parser, announce_loading, exit_on_error, usage_errors
from nnmath.runtime.errors import RunError
from nnmath.runtime.files import log_errors, run_folder

if TYPE_CHECKING:  # annotations are quoted: jsonargparse would import these to evaluate them all
    from torch import Tensor

    from nnmath.experiments.cross_validation import Scores
    from nnmath.experiments.haberman import Data


def reproduce(
    csv: str | None = None, epochs: PositiveInt = 8000, repeats: PositiveInt = 10, log_dir: str = "lightning_logs"
) -> None:
    r"""Prints published and reproduced figures, the optimum of the full sweep, and cross-validated scores.

    Args:
        csv: a copy of haberman.csv; by default it is downloaded
        epochs: epochs of the run of all 90 learning rates
        repeats: repetitions of the nine-fold cross-validation
        log_dir: folder for the run
    """
    announce_loading(
        "PyTorch", f"training at 90 learning rates for {epochs:,} epochs, then {repeats} cross-validations"
    )
    from nnmath.ensemble.stack import Interrupted
    from nnmath.experiments import cross_validation, haberman
    from nnmath.experiments.notebook import RATES, train_rates

    try:
        with usage_errors():
            data = haberman.load(csv)
    except OSError as error:
        raise RunError(f"{error}; pass a copy with --csv") from error
    run = run_folder(log_dir, "notebook")
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    start, record = time.perf_counter(), range(epochs + 1)
    try:
        errors = train_rates(data.train, RATES, epochs, record=record, validation=data.val, progress=True).val_cost
        assert errors is not None  # (epochs + 1, rates); there are validation rows
        seconds = time.perf_counter() - start
        console.print(*published_tables(errors, data))
        print(f"all {len(RATES)} rates × {epochs} epochs in one run: {seconds:.0f} s; {optimum(errors)}")
        log(run, errors)
        recipes = [cross_validation.NOTEBOOK_RECIPE, *cross_validation.article_recipes()]
        same_rows = cross_validation.same_split(data, recipes)
        console.print(scores_table("on the notebook's own 20 test rows, networks of ten seeds", same_rows))
        scores = cross_validation.cross_validate(data, recipes, repeats, progress=True)
    except Interrupted as interrupted:
        done = interrupted.trained.done
        raise RunError(f"interrupted after {done} epochs of a training; what was printed is valid") from interrupted
    console.print(scores_table(f"nine-fold cross-validation, {repeats} times", scores, majority=scores[0]))
    print(cross_validation.verdict(scores))
    print(f"view with: tensorboard --logdir {shlex.quote(log_dir)}")


def published_tables(errors: "Tensor", data: "Data") -> Iterator[Table]:
    r"""Published and reproduced figures of the sweep over η, of the epochs at one η and of the final network."""
    import mpmath

    from nnmath.experiments import notebook

    rows = []
    truths = notebook.one_epoch_to_50_digits(data, list(notebook.PUBLISHED_SWEEP))
    for (rate, published), truth in zip(notebook.PUBLISHED_SWEEP.items(), truths, strict=True):
        value = float(errors[1, notebook.RATES.index(rate)])
        digits = f"{notebook.same_digits(published, value)} of {len(published) - 2}"
        rows.append((f"{rate:.2f}", published, f"{value!r}", digits, f"{mpmath.nstr(truth, 20)}…"))
    caption = "digits: how many of the published ones are the same; the order of summation decides the last ones"
    headings = "η", "published", "reproduced", "digits", "to 50 digits"
    yield table(headings, rows, title="validation error after one epoch", caption=caption)

    costs = errors[:, notebook.RATES.index(notebook.EPOCHS_RATE)].tolist()
    by_epochs = [(t, published, costs[t], 8) for t, published in notebook.PUBLISHED_EPOCHS.items() if t < len(costs)]
    yield comparison_table(f"validation error at η = {notebook.EPOCHS_RATE}", "epochs", by_epochs)

    final = notebook.final_errors(data)
    by_split = [(name, value, final[name], len(value) - 2) for name, value in notebook.PUBLISHED_FINAL.items()]
    title = f"the final network: η = {notebook.FINAL_RATE}, {notebook.FINAL_EPOCHS} epochs"
    yield comparison_table(title, "error", by_split)


def comparison_table(title: str, heading: str, figures: Iterable[tuple[object, str, float, int]]) -> Table:
    r"""A table of figures, each a name, the published and the reproduced value, and the decimal places to compare."""
    rows = []
    for name, published, value, places in figures:
        same = round(value, places) == float(published)
        difference = f"off by {abs(value - float(published)):.1e}"
        rows.append((f"{name}", published, f"{value:.8f}", "same" if same else difference))
    return table((heading, "published", "reproduced", ""), rows, title=title)


def optimum(errors: "Tensor") -> str:
    r"""The least validation error of the full sweep, and the least after one epoch, as in the notebook."""
    from nnmath.experiments.notebook import RATES

    epochs, k = divmod(int(errors.argmin()), len(RATES))
    first = int(errors[1].argmin())
    return (
        f"least validation error {float(errors[epochs, k]):.6f} at η = {RATES[k]:.2f} after {epochs} epochs (where η "
        f"is large, rounding errors grow with the epochs: another number of threads may give another optimum); "
        f"after one epoch, as in the notebook, {float(errors[1, first]):.6f} at η = {RATES[first]:.2f}"
    )


def log(run: Path, errors: "Tensor") -> None:
    r"""Writes the heat map and the curves over η and over the epochs to TensorBoard."""
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

    from nnmath.experiments.notebook import EPOCHS_RATE, RATES
    from nnmath.figures.sweep import curve_over_rates, heat_map

    rates, costs, last = np.array(RATES), errors.numpy(), len(errors) - 1
    best = int(costs.argmin()) // len(rates)
    epochs = np.union1d(np.geomspace(1, last, 120).round().astype(int), [max(1, best)])
    curves = {f"{k} epochs": costs[k] for k in (1, 10, 100, 1000, last) if k <= last}
    with log_errors(run), SummaryWriter(str(run)) as writer:
        writer.add_figure("notebook/heat_map", heat_map(rates, epochs, costs[epochs], "validation error"))
        writer.add_figure("notebook/error_over_learning_rate", curve_over_rates(rates, curves, "validation error"))
        for k, value in enumerate(costs[1]):
            writer.add_scalar("notebook/error_over_100_eta_after_one_epoch", value, global_step=k)
        for t in epochs:
            writer.add_scalar("notebook/error_at_eta_0.1", costs[t, RATES.index(EPOCHS_RATE)], global_step=int(t))


def scores_table(title: str, scores: "list[Scores]", majority: "Scores | None" = None) -> Table:
    r"""Scores, mean ± standard deviation, and the gain over the majority class with its standard error."""
    rows = []
    for score in scores:
        row = [score.name, *(f"{values.mean():.4f} ± {values.std():.4f}" for values in (score.mse, score.accuracy))]
        if majority is not None and score is not majority:
            row.append("{:+.4f} ± {:.4f}".format(*score.gain(majority)))
        rows.append(row)
    headings = ["", "error 1/(2n) Σ (O − y)²", "accuracy", *([] if majority is None else ["gain"])]
    return table(headings, rows, title=title)


def main() -> None:
    parser = Parser("Reproduces the author's notebook, then extends it to all 90 learning rates × 8,000 epochs.")
    parser.add_function_arguments(reproduce, as_group=False)
    reproduce(**parser.parse_args())


if __name__ == "__main__":
    with exit_on_error():
        main()
