r"""Callbacks that control a run: checkpoints, a graceful stop, a progress bar over the epochs."""

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from nnmath.runtime.cli import exit_at_once
from nnmath.runtime.progress import epochs_bar


class Checkpoint(ModelCheckpoint):
    r"""Lightning's ModelCheckpoint at every k-th epoch and the last one, unless the loss is not finite.

    A checkpoint replaces the previous one, with a monitor only if its value has fallen. Without a monitor, one is also
    written when the run is interrupted. The state has file names without their folder, so that a run can be moved.
    """

    def __init__(self, filename: str, every_n_epochs: int, monitor: str | None = None) -> None:
        options: dict[str, Any] = {"monitor": monitor, "every_n_epochs": every_n_epochs}
        super().__init__(filename=filename, **options, enable_version_counter=False)

    @property
    def state_key(self) -> str:  # Lightning's has k, with which a resumed run need not agree
        return self._generate_state_key(filename=self.filename, monitor=self.monitor)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not finite_loss(trainer):
            return
        interrupted = trainer.should_stop and self.monitor is None
        if interrupted or trainer.current_epoch + 1 == trainer.max_epochs:
            self._every_n_epochs = 1  # Lightning has no public way to save at this epoch as well
        for logger in trainer.loggers:
            logger.save()  # flush, so that a resumed run keeps its curves
        super().on_train_epoch_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"best_model_path": os.path.basename(self.best_model_path), "best_model_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        name, score = os.path.basename(state_dict["best_model_path"]), state_dict["best_model_score"]
        if not name:
            return
        self.best_model_path = os.path.join(str(self.dirpath), name)
        if self.monitor:
            if not math.isfinite(score):
                raise ValueError(f"invalid score of the best checkpoint: {score}")
            self.kth_best_model_path, self.best_k_models = self.best_model_path, {self.best_model_path: score}
            self.best_model_score = self.kth_value = score


class GracefulStop(Callback):
    r"""Ends a run at the end of an epoch, on SIGINT (Ctrl-C) or SIGTERM or when the loss is not finite.

    Within :meth:`handle_signals`, a first signal requests the stop and a second one ends the process. Put this callback
    before the checkpoints, which read ``trainer.should_stop``. ``progressed``: a whole epoch is done.
    """

    SIGNALS = signal.SIGINT, signal.SIGTERM

    def __init__(self) -> None:
        self.requested = self.progressed = self.started = False

    @contextmanager
    def handle_signals(self, trainer: L.Trainer, message: str = "interrupted") -> Iterator[None]:
        r"""Handle the signals, also before the first epoch and after the last one; a second one prints the message."""
        self.message = message
        # Lightning's own SIGTERM handler would end the process silently in the middle of an epoch
        connector: Any = trainer._signal_connector  # there is no public way to disable it
        connector._sigterm_notifier_fn = lambda *_: None
        is_main_thread = threading.current_thread() is threading.main_thread()
        previous = {number: signal.signal(number, self.on_signal) for number in self.SIGNALS if is_main_thread}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_signal(self, number: int, frame: Any) -> None:
        if self.requested:
            exit_at_once(self.message)  # an exception could arise anywhere, even while TensorBoard's files are closed
        self.requested = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.progressed, self.started = self.started, True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        stop = self.requested or not finite_loss(trainer)
        if trainer.strategy.reduce_boolean_decision(stop, all=False):  # any process can request it
            trainer.should_stop = True


def finite_loss(trainer: L.Trainer) -> bool:
    r"""Whether the latest validation loss is finite; True before there is one."""
    return bool(trainer.callback_metrics.get("loss/val", torch.zeros(())).isfinite())


class EpochProgress(Callback):
    r"""One bar over all epochs, with the validation results, on a terminal. Lightning's bars restart every epoch."""

    def __init__(self) -> None:
        self.bar = ExitStack()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.update = self.bar.enter_context(epochs_bar(trainer.max_epochs or 0, shown=trainer.is_global_zero))
        self.update(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        results = "  ".join(f"{name} {value:.3f}" for name, value in trainer.callback_metrics.items())
        self.update(trainer.current_epoch + 1, results.replace("metrics/", ""))

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.bar.close()

    on_exception = on_train_end
