r"""A training run in its folder: started, gone on with, ended.

    version_0/config.yaml       its options
    version_0/checkpoints/      last.ckpt and best.ckpt
    version_0/events.out...     what TensorBoard shows
    version_0/results.yaml      the loss and the metrics of the test rows; a run that has it is finished

Two runs that are compared lie in one folder, version_0/manual and version_0/autograd; its config.yaml has both.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from nnmath.data.datamodule import DataModule
from nnmath.equations import number_of_parameters
from nnmath.runtime.cli import echo, one_line, usage_errors
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.files import log_errors, run_folder, write_atomic
from nnmath.training import checkpoint as checkpoints
from nnmath.training.callbacks import Checkpoint, EpochProgress, GracefulStop
from nnmath.training.module import TrainingModule, epochs_done
from nnmath.training.tensorboard.curves import GradientDiscrepancy, GradientNorm, Trajectory
from nnmath.training.tensorboard.histograms import Histograms, PrecisionRecall
from nnmath.training.tensorboard.images import Images
from nnmath.training.tensorboard.overview import Overview

CONFIG, RESULTS, LAST = Path("config.yaml"), Path("results.yaml"), Path("checkpoints", "last.ckpt")


def train(
    options: Mapping[str, Any],
    data: DataModule,
    folder: Path | None = None,
    reference: Trajectory | None = None,
) -> tuple[Path, Trajectory]:
    r"""Trains and tests; what goes wrong is one line, and an exit code.

    Args:
        options: those of scripts/train.py; where ``compare`` has any, this is the run by ``backward`` of the two.
        data: the samples.
        folder: of the run, or of the two, to go on with; None makes a new one.
        reference: the way of the run that this one is compared with.

    Returns:
        The folder, and the way that the parameters took.
    """
    too_large = f"neurons={options['neurons']} make a network that does not fit into the memory"
    with (
        usage_errors(RuntimeError, MemoryError, TypeError, message=too_large),
        usage_errors(),
    ):  # RuntimeError is torch's word for it
        module = module_of(options, data).to(data.train.tensors[0].dtype)  # Lightning does so after it has read weights
    member = options["backward"] if options["compare"] else ""
    logs = folder.parent.parent if folder else Path(options["log_dir"])
    way = Trajectory(-(-options["epochs"] // 200), reference)
    last = checkpoint_of(folder / member, options, module, data) if folder else None
    if folder and last and (folder / member / RESULTS).is_file():
        way.load_state_dict(last["callbacks"]["Trajectory"])
        return folder, way
    purge = None if folder is None else 0 if last is None else last["epoch"] + 2  # that is logged once more
    k, signals = options["checkpoint_every"], GracefulStop()
    savers = best, _ = Checkpoint("best", k, monitor="loss/val"), Checkpoint("last", k)
    trainer = trainer_of(options, [signals, *callbacks_of(options, way, logs / "article"), *savers])
    folder = folder or new_folder(options, trainer)
    run = folder / member
    for saver in savers:
        saver.dirpath = str(run / LAST.parent)
    if not (last and last["epoch"] + 1 == options["epochs"] and tested(run)):
        trainer.logger = TensorBoardLogger(
            run.parent.parent, run.parent.name, version=run.name, default_hp_metric=False, purge_step=purge
        )
    goes_on = f"--resume {shlex.quote(str(folder))} goes on"
    with undisturbed(folder, trainer), signals.handle_signals(trainer), endings(run, goes_on):
        if trainer.is_global_zero:
            if not (run / CONFIG).is_file():
                write_atomic(run / CONFIG, text(alone(options)))
            introduce(module, data, options)
            if last:
                echo(f"goes on after epoch {last['epoch'] + 1} of {options['epochs']}")
        with interruptible():
            trainer.fit(module, data, ckpt_path=run / LAST if last else None, weights_only=True)
        stop_if_unfinished(trainer, module, best, goes_on)
        results = test(trainer, module, data, best)
        if trainer.is_global_zero:
            write_atomic(run / RESULTS, text(results))
            shown = {name: f"{value:.4f}" for name, value in results.items()}
            shown |= {"training/difference": f"{way.difference:.1e}"} if reference else {}
            echo(*(f"{name:<24} {value}" for name, value in shown.items()))
            echo(f"run: {run}", f"look at it: tensorboard --logdir {shlex.quote(str(logs))}")
        if signals.asked and options["compare"] and not reference:
            raise RunError(f"interrupted; {goes_on}")
    return folder, way


def test(trainer: L.Trainer, module: TrainingModule, data: DataModule, best: Checkpoint) -> dict[str, float]:
    r"""The loss and the metrics of the test rows by the best network."""
    # with ckpt_path, Trainer.test would set the callbacks back to the best epoch, too
    weights = checkpoints.read(best.best_model_path)["state_dict"] if trainer.is_global_zero else {}
    module.load_state_dict(trainer.strategy.broadcast(weights))
    with interruptible():
        trainer.test(module, data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}


def checkpoint_of(
    run: Path, options: Mapping[str, Any], module: TrainingModule, data: DataModule
) -> dict[str, Any] | None:
    r"""The last checkpoint, once it is seen that it is this run's; None if there is none yet."""
    if (run / LAST).parent.is_symlink():
        raise UsageError(f"{(run / LAST).parent} is a link to another folder, whose files would be overwritten")
    if not (run / LAST).is_file():
        return None
    dtype, updates = data.train.tensors[0].dtype, len(data.batches())
    with usage_errors():
        wanted = checkpoints.Wanted(module.hparams, data.state_dict(), dtype, options["epochs"], updates)
        checkpoint = checkpoints.read_both(run / LAST, wanted)
    if options["compare"] and "Trajectory" not in checkpoint["callbacks"]:
        raise UsageError(f"{run / LAST} does not remember the way of the parameters: start the run anew")
    return checkpoint


def tested(run: Path) -> bool:
    r"""Whether the test was logged; a run may have been killed after that, and before it was finished."""
    return any(b"test/loss" in events.read_bytes() for events in run.glob("events.*"))


def stop_if_unfinished(trainer: L.Trainer, module: TrainingModule, best: Checkpoint, goes_on: str) -> None:
    r"""A run that did not come to its last epoch, or lost its numbers: a line, and exit code 1."""
    done, epochs, loss = epochs_done(trainer), trainer.max_epochs or 0, trainer.callback_metrics.get("loss/val")
    if loss is not None and not loss.isfinite():
        rate = f"{module.curves['training/learning_rate']:.3g}"
        kept = f"; {best.best_model_path} is from before" if best.best_model_path else ""
        raise RunError(f"after epoch {done} the loss is {loss} (η = {rate}): try a smaller learning_rate{kept}")
    if done < epochs:
        raise RunError(f"interrupted after epoch {done} of {epochs}; {goes_on}")


def trainer_of(options: Mapping[str, Any], callbacks: list[Callback]) -> L.Trainer:
    r"""Lightning's Trainer, without a logger until there is a folder."""
    with usage_errors(MisconfigurationException), usage_errors():
        return L.Trainer(
            accelerator=options["accelerator"],
            devices=options["devices"],
            num_nodes=options["num_nodes"],
            strategy=options["strategy"],
            precision=options["precision"],
            max_epochs=options["epochs"],
            logger=False,
            callbacks=callbacks,
            plugins=[checkpoints.WholeFiles()],
            deterministic=True,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )


def module_of(options: Mapping[str, Any], data: DataModule) -> TrainingModule:
    r"""The network and how it learns.

    Raises:
        ValueError: an option is out of range, or a checkpoint would be larger than what is read.
        RuntimeError, TypeError: there is not enough memory, or there are no such numbers.
    """
    neurons = options["neurons"]
    sizes = [len(data.features), *([neurons] if isinstance(neurons, int) else neurons), 1]
    with_momenta = 2 * number_of_parameters(sizes) * data.train.tensors[0].element_size()
    if len(sizes) > 1000 or with_momenta > 0.9 * checkpoints.LARGEST:
        most = f"1,000 layers, and {checkpoints.LARGEST >> 20} MiB of parameters and momenta"
        raise ValueError(f"neurons must make at most {most}, got {len(sizes)} layers, {with_momenta >> 20} MiB")
    return TrainingModule(
        sizes,
        options["hidden"],
        options["output"],
        options["backward"],
        options["learning_rate"],
        options["momentum"],
        options["eta_min"],
        task="regression" if data.classes is None else "binary",
        y_std=data.y_std,
    )


def callbacks_of(options: Mapping[str, Any], way: Trajectory, article: Path) -> list[Callback]:
    r"""What is seen while training."""
    epochs, pictures = options["epochs"], options["pictures"]
    callbacks: list[Callback] = [GradientNorm(), GradientDiscrepancy(options["agreement_every"])]
    if pictures or options["compare"]:
        callbacks.append(way)
    callbacks.append(Overview(alone(options), shlex.join(["python", *sys.argv])))
    if pictures:
        k = -(-epochs // pictures)
        callbacks += [Images(k, way, article), PrecisionRecall(k), Histograms(-(-epochs // (4 * pictures)))]
    return [*callbacks, EpochProgress()]


def new_folder(options: Mapping[str, Any], trainer: L.Trainer) -> Path:
    r"""A new folder with the options in it; of several processes the first one makes it, and writes into it alone."""
    name = Path(options["dataset"]).stem
    if not trainer.is_global_zero:
        return Path(options["log_dir"], name, "version")
    folder = run_folder(options["log_dir"], name)
    with endings(folder, "start anew"):
        write_atomic(folder / CONFIG, text(options if options["compare"] else alone(options)))
    return folder


def alone(options: Mapping[str, Any]) -> dict[str, Any]:
    r"""The options of a run that is compared with none."""
    return {name: value for name, value in options.items() if name != "compare"}


def text(values: Mapping[str, Any]) -> bytes:
    r"""YAML."""
    return yaml.safe_dump(dict(values), sort_keys=False).encode()


def introduce(module: TrainingModule, data: DataModule, options: Mapping[str, Any]) -> None:
    r"""Prints what is trained on what."""
    sizes = "-".join(map(str, module.network.sizes))
    echo(f"{sizes}: {module.network.number_of_parameters} parameters, {options['backward']} backward")
    parts = f"{len(data.train)} training, {len(data.val)} validation, {len(data.test)} test rows"
    one = f", 1 is {one_line(data.classes[1])}" if data.classes else ""
    echo(f"{Path(options['dataset']).stem}: {parts}{one}")


@contextmanager
def undisturbed(folder: Path, trainer: L.Trainer) -> Iterator[None]:
    r"""Nobody else goes on with the run meanwhile; what a killed process has left of unwritten files goes."""
    if not trainer.is_global_zero:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{folder} is being trained by another process") from None
    except OSError:
        pass  # a file system that cannot lock
    try:
        for part in folder.glob("**/*.part"):
            part.unlink()
        yield
    finally:
        os.close(descriptor)


@contextmanager
def interruptible() -> Iterator[None]:
    r"""Lightning makes an exit without a word of Ctrl-C."""
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None


@contextmanager
def endings(run: Path, goes_on: str) -> Iterator[None]:
    r"""Every way in which a run may end before its time, in one line."""
    try:
        with log_errors(run, f"once it can be, {goes_on}"):
            yield
    except KeyboardInterrupt:
        raise RunError(f"interrupted; {goes_on} from the last checkpoint") from None
    except (RuntimeError, MemoryError, ValueError) as error:
        reason = (next(iter(str(error).splitlines()), "") or type(error).__name__)[:200]
        if torch.distributed.is_initialized():
            reason = f"one of the processes has ended, or they lost each other ({reason})"
        raise RunError(f"{run}: {reason}; {goes_on} from the last checkpoint") from error
