r"""Base class of the callbacks."""

from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor


class TensorBoardCallback(Callback):
    r"""Calls :meth:`record` before the first epoch, after every ``every_n_epochs``-th one and after the last one."""

    def __init__(self, every_n_epochs: int) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:  # otherwise already logged before resuming
            self.record(trainer, pl_module, epoch=0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.is_due(trainer):
            self.record(trainer, pl_module, trainer.current_epoch + 1)

    def is_due(self, trainer: L.Trainer) -> bool:
        r"""Whether to record after the current epoch."""
        epoch = trainer.current_epoch + 1
        return epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs

    def record(self, trainer: Any, module: Any, epoch: int) -> None:  # Any: L.Trainer does not declare its datamodule
        r"""Logs the module after ``epoch`` epochs."""

    @staticmethod
    def writers(trainer: L.Trainer) -> Iterator[Any]:
        r"""The ``SummaryWriter`` of each TensorBoard logger, on rank 0 only."""
        loggers = trainer.loggers if trainer.is_global_zero else []
        return (logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger))


def log_scalars(trainer: L.Trainer, values: Mapping[str, float | Tensor], epoch: int) -> None:
    r"""Logs scalars to all loggers, with the number of finished epochs as the step.

    TensorBoard gets them in one event while the run's file is open: each event wakes the thread that writes.
    """
    numbers = {name: float(value) for name, value in values.items()}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero and logger.experiment.file_writer:
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()])
            logger.experiment.file_writer.add_summary(summary, epoch)
        else:
            logger.log_metrics(numbers, epoch)
