r"""What TensorBoard shows of a run besides its curves: pictures, histograms, the graph, hyperparameters, tables.

Each is a Lightning callback. The step is the number of finished epochs; 0 is the network before training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    pass


def writers(trainer: L.Trainer) -> Iterator[SummaryWriter]:
    r"""TensorBoard's writers; none in all processes but the first."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                yield logger.experiment


def is_due(trainer: L.Trainer, every_n_epochs: int) -> bool:
    r"""Whether the epoch that ends is one in k, or the last."""
    done = trainer.current_epoch + 1
    return done % every_n_epochs == 0 or done == trainer.max_epochs


def data_of(trainer: L.Trainer) -> Any:
    r"""The trainer's :class:`nnmath.data.datamodule.DataModule`."""
    at_run_time: Any = trainer  # when Lightning gives it the attribute, which it does not declare
    return at_run_time.datamodule


# --- tables ----------------------------------------------------------------------------------------------------------
