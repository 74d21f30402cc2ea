r"""The results of a sweep as CSV, JSON and TensorBoard curves."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams


def write_results(folder: Path, options: Mapping[str, Any], rows: pd.DataFrame) -> None:
    r"""Write config.yaml, results.csv and results.json, in which non-finite values are null."""
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(options), sort_keys=False))
    rows.to_csv(folder / "results.csv", index=False, lineterminator="\n")
    records = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in rows.to_dict("records")
    ]
    (folder / "results.json").write_text(json.dumps(records, indent=1) + "\n")


def log_sweep(folder: Path, best: pd.DataFrame, schedule: str, figures: Mapping[str, Figure]) -> None:
    r"""Write a sweep to TensorBoard.

    Args:
        folder: of the sweep. Each learning rate and momentum gets its own run in it, with curves over the epochs and an
            entry in the HParams tab. TensorBoard selects 40 runs at most, so numbers of epochs share one.
        best: the configurations, from :func:`~nnmath.ensemble.sweep.summary`.
        schedule: "constant" or "cosine".
        figures: tag ↦ figure, logged beside the curves over the learning rate.
    """
    with SummaryWriter(str(folder)) as writer:
        for tag, figure in figures.items():
            writer.add_figure(tag, figure)
        for (momentum, epochs), part in best.groupby(["momentum", "epochs"]):
            tag = f"validation_loss_over_learning_rate/momentum_{momentum:g}_epochs_{epochs}"
            for k, value in enumerate(part.sort_values("learning_rate").val_loss):  # the step is the rate's index
                writer.add_scalar(tag, value, global_step=k)
    for (eta, momentum), part in best.groupby(["learning_rate", "momentum"]):
        curves = part.sort_values("epochs").set_index("epochs")[["val_loss", "spread", "train_loss", "diverged"]]
        curves.columns = ["loss/val", "loss/val_spread", "loss/train", "diverged"]
        metrics = {"best/loss": float(part.val_loss.iloc[0]), "best/epochs": float(part.epochs.iloc[0])}
        options = {"learning_rate": float(eta), "momentum": float(momentum), "schedule": schedule}
        with SummaryWriter(str(folder / f"learning_rate_{eta:g}_momentum_{momentum:g}")) as writer:
            for summary in hparams(options, dict.fromkeys([*curves, *metrics], 0.0))[1:]:
                writer.file_writer.add_summary(summary)  # without that of the experiment, the columns are united
            for tag, curve in curves.items():
                for epochs, value in curve.items():
                    writer.add_scalar(str(tag), value, global_step=epochs)
            for tag, value in metrics.items():
                writer.add_scalar(tag, value)
