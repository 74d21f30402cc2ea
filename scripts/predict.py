r"""Predict with a trained network, or export it: python scripts/predict.py --help."""

import csv
import io
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from nnmath.runtime.cli import Parser, echo, exit_on_error, usage_errors
from nnmath.runtime.errors import UsageError
from nnmath.runtime.files import newest_run

if TYPE_CHECKING:
    from nnmath.data.csv_files import CsvFile
    from nnmath.training.predictor import Predictor


def parse() -> Any:
    parser = Parser("Predicts with a trained network: the rows of a CSV file with the predictions beside them.")
    parser.add_argument("run", help="folder of the run, or last for the newest")
    parser.add_argument("file", nargs="?", help="a CSV file with the features' columns")
    parser.add_argument("--out", type=str, help="file for the predictions; stdout by default")
    parser.add_argument("--export", type=str, help="write a torch.export program: raw features in, prediction out")
    parser.add_argument("--log_dir", type=str, default="lightning_logs", help="folder of the runs, for last")
    values = parser.parse_args()
    if not (values.file or values.export):
        raise UsageError("give a CSV file to predict, or --export FILE.pt2")
    return values


def predict(model: "Predictor", path: str, out: IO[str]) -> None:
    r"""Write the rows of a file with the predictions, and the metrics to stderr if the file has the target."""
    import torch

    from nnmath.data.columns import as_known_feature, read_columns
    from nnmath.data.csv_files import read_rows

    p = model.preprocessing
    file = read_rows(path, p.features)
    columns = read_columns(file, p.features)
    x = np.stack([as_known_feature(c, levels) for c, levels in zip(columns, p.levels, strict=True)], axis=1)
    scores = model(torch.from_numpy(x)).numpy()
    predictions = model.choose(scores)
    added = {"prediction": [format_cell(value) for value in predictions]}
    for k, name in enumerate(p.classes or ()):
        added[f"probability {name}"] = [format_cell(value) for value in scores[:, k]]
    write_rows(file, added, out)
    without = int(np.isnan(scores.reshape(len(scores), -1)).any(1).sum())
    if without:
        print(f"{without} of {len(scores)} rows have missing values and no prediction", file=sys.stderr)
    if p.target in file.header:
        report(model, file, scores)


def write_rows(file: "CsvFile", added: dict[str, list[str]], out: IO[str]) -> None:
    r"""Write the cells of a file with further columns."""
    header = [*file.header]
    while header and not header[-1]:
        header.pop()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*header, *(name if name not in header else f"{name} by nnmath" for name in added)])
    rows = csv.reader(io.StringIO(file.content.decode(), newline=""), delimiter=file.separator, skipinitialspace=True)
    for row, cells in zip(rows, zip(*added.values(), strict=True), strict=True):
        writer.writerow([*row[: len(header)], *[""] * (len(header) - len(row)), *cells])


def format_cell(value: Any) -> str:
    r"""The shortest text that is read as the same number; empty for a missing prediction."""
    return "" if value is None or value != value else str(value)


def report(model: "Predictor", file: "CsvFile", scores: Any) -> None:
    r"""Print the metrics of the rows that have a target and a prediction to stderr."""
    import torch

    from nnmath.data.columns import level_indices, read_columns
    from nnmath.data.csv_files import shorten
    from nnmath.training.metrics import Scores, significant

    p = model.preprocessing
    (target,) = read_columns(file, [p.target])
    if p.classes is None or target.is_numeric:
        y = target.values
        if p.classes is not None:
            y = np.array([p.classes.index(f"{v:.15g}") if f"{v:.15g}" in p.classes else np.nan for v in target.values])
    else:
        y = level_indices(target, p.classes)
    unknown = np.isnan(y) & ~target.missing
    if unknown.any():
        line, text = target.first(unknown)
        expected = f"one of {shorten(list(p.classes))}" if p.classes else "a number"
        raise file.error(line, f"column {shorten(p.target)} holds {shorten(text)}, expected {expected}")
    known = ~np.isnan(y) & ~np.isnan(scores.reshape(len(scores), -1)).any(1)
    if not known.any():
        return
    metrics = Scores(p.task)
    if p.task == "multiclass":
        metrics.update(torch.from_numpy(scores[known]), torch.eye(p.outputs)[torch.from_numpy(y[known]).long()])
    else:
        outputs = scores[known] if p.classes is None else scores[known, 1]
        metrics.update(torch.from_numpy(outputs)[:, None], torch.from_numpy(y[known])[:, None])
    for name, value in metrics.compute().items():
        print(f"{name:<24} {significant(float(value))}", file=sys.stderr)


def main() -> None:
    values = parse()
    with usage_errors(OSError):
        folder = newest_run(values.log_dir) if values.run == "last" else Path(values.run)

    from nnmath.training import load

    model = load(folder)
    with usage_errors(OSError), usage_errors():
        if values.export:
            model.export(values.export)
            echo(f"program: {values.export}")
        if values.file:
            text = io.StringIO()
            predict(model, values.file, text)
            if values.out:
                Path(values.out).write_text(text.getvalue(), encoding="utf-8")
            else:
                echo(text.getvalue().removesuffix("\n"))


if __name__ == "__main__":
    with exit_on_error():
        main()
