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

from nnmath.runtime.hparams import hparams_summaries


def write_results(folder: Path, options: Mapping[str, Any], rows: pd.DataFrame) -> None:
    r"""Write config.yaml, results.csv and results.json, in which non-finite values are null."""
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(options), sort_keys=False))
    rows.to_csv(folder / "results.csv", index=False, lineterminator="\n")
    records = [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in rows.to_dict("records")
    ]
    (folder / "results.json").write_text(json.dumps(records, indent=1) + "\n")


def log_sweep(folder: Path, best: pd.DataFrame, options: Mapping[str, Any], figures: Mapping[str, Figure]) -> None:
    r"""Write a sweep to TensorBoard.

    The two best learning rates with their momenta are runs of their own, with curves over the epochs and a row in the
    HParams tab. The others are in the figures: TensorBoard selects 40 runs at most.

    Args:
        folder: of the sweep.
        best: the configurations, from :func:`~nnmath.ensemble.sweep.summary`.
        options: those of the sweep.
        figures: tag ↦ figure, logged beside the curves over the learning rate.
    """
    with SummaryWriter(str(folder)) as writer:
        for tag, figure in figures.items():
            writer.add_figure(tag, figure)
        for (momentum, epochs), part in best.groupby(["momentum", "epochs"]):
            tag = f"validation_loss_at_kth_learning_rate/momentum_{momentum:g}_epochs_{epochs}"
            for k, value in enumerate(part.sort_values("learning_rate").val_loss):
                writer.add_scalar(tag, value, global_step=k)
    for eta, momentum in best[["learning_rate", "momentum"]].drop_duplicates().head(2).itertuples(index=False):
        part = best[(best.learning_rate == eta) & (best.momentum == momentum)]
        curves = part.sort_values("epochs").set_index("epochs")[["val_loss", "spread", "train_loss", "diverged"]]
        curves.columns = ["loss/val", "loss/val_spread", "loss/train", "seeds_diverged"]
        values = {"learning_rate": eta, "momentum": momentum, "epochs": curves.index[-1]}
        with SummaryWriter(str(folder / f"learning_rate_{eta:g}_momentum_{momentum:g}")) as writer:
            for summary in hparams_summaries({**options, **values}):
                writer.file_writer.add_summary(summary)
            for tag, curve in curves.items():
                for epochs, value in curve.items():
                    writer.add_scalar(str(tag), value, global_step=epochs)
