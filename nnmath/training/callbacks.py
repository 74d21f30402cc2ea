r"""What else is seen while training: gradient norms, the agreement of the two backwards, a bar over the epochs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar
from rich.progress import Progress, TaskID

from nnmath.runtime.progress import epochs_progress


class Checkpoint(ModelCheckpoint):
    r"""Lightning's ModelCheckpoint that looks at every k-th epoch, and at the last whatever its number.

    Without a monitor also at the one that a run was interrupted after; the best is then still what it would have been.
    Nothing is kept of a network whose loss is no finite number.

    Args:
        filename: of the checkpoint, without its ending; it is replaced by the next.
        every_n_epochs: k ≥ 1.
        monitor: the figure that has to fall for the checkpoint to be replaced; None replaces it every time.
    """

    def __init__(self, filename: str, every_n_epochs: int, monitor: str | None = None) -> None:
        super().__init__(
            filename=filename, monitor=monitor, every_n_epochs=every_n_epochs, enable_version_counter=False
        )

    @property
    def state_key(self) -> str:
        return self._generate_state_key(
            filename=self.filename, monitor=self.monitor
        )  # Lightning's has k, which changes

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not finite_loss(trainer):
            return
        interrupted = trainer.should_stop and self.monitor is None
        if interrupted or trainer.current_epoch + 1 == trainer.max_epochs:
            self._every_n_epochs = 1  # Lightning has no public way to say so
        for logger in trainer.loggers:
            logger.save()  # a run that goes on from here has its curves until here
        super().on_train_epoch_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return self.located(super().state_dict(), os.path.basename)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = str(self.dirpath)
        state = self.located(state_dict, lambda name: os.path.join(folder, name) if name else "")
        super().load_state_dict(state | {"dirpath": self.dirpath})
        self.current_score = state["current_score"]  # which Lightning forgets

    def located(self, state: dict[str, Any], where: Callable[[str], str]) -> dict[str, Any]:
        r"""The state with its files elsewhere: it has their names alone, so that a run's folder can be moved."""
        files = {name: where(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        models = {where(path): score for path, score in state["best_k_models"].items()}
        return state | files | {"best_k_models": models, "dirpath": ""}


class GracefulStop(Callback):
    r"""Ends a run after an epoch, so that the checkpoint is that of a whole one, or after a loss that is no number.

    In :meth:`handle_signals`, SIGINT (Ctrl-C) or SIGTERM ask for it; a second one is a KeyboardInterrupt. To be
    named before the checkpoints.
    """

    SIGNALS = signal.SIGINT, signal.SIGTERM

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def handle_signals(self, trainer: L.Trainer) -> Iterator[None]:
        r"""The signals are this callback's within, also before the first epoch and after the last."""
        # Lightning's own handler would end the process in the middle of an epoch, and without a word
        connector: Any = trainer._signal_connector  # which has no public way to do without it
        connector._sigterm_notifier_fn = lambda *_: None
        main = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, self.on_signal) for number in self.SIGNALS if main}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_signal(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        wanted = self.asked or not finite_loss(trainer)
        if trainer.strategy.reduce_boolean_decision(wanted, all=False):  # if one of several processes wants it
            trainer.should_stop = True


def finite_loss(trainer: L.Trainer) -> bool:
    r"""Whether the last validation loss, if there is any, is a finite number."""
    return bool(trainer.callback_metrics.get("loss/val", torch.zeros(())).isfinite())


class EpochProgress(ProgressBar):
    r"""A bar over the whole run with the validation's results behind it; nothing where stderr is no terminal.

    Lightning's own bars start anew with every epoch, and an epoch of full-batch descent is a single step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = sys.stderr.isatty()
        self.bar: Progress | None = None

    def disable(self) -> None:
        self.enabled = False  # Lightning asks for it in all processes but the first

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.enabled:
            self.bar = epochs_progress()
            self.bar.add_task("", total=trainer.max_epochs, completed=trainer.current_epoch)
            self.bar.start()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.bar:
            results = "  ".join(f"{name} {value:.3f}" for name, value in trainer.callback_metrics.items())
            done = trainer.current_epoch + 1
            self.bar.update(TaskID(0), completed=done, description=results.replace("metrics/", ""))

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.stop()

    def stop(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None
