r"""Start, resume and finish a run in its folder.

    version_0/config.yaml       its options
    version_0/checkpoints/      last.ckpt and best.ckpt
    version_0/events.out...     what TensorBoard shows
    version_0/results.yaml      the loss and the metrics of the test rows; a run that has it is finished

Compared runs share a folder, version_0/manual and version_0/autograd; its config.yaml lists both backwards.
"""

import math
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed
import yaml
from filelock import FileLock, Timeout
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from nnmath.data.datamodule import DataModule
from nnmath.equations import forward, number_of_parameters
from nnmath.network import HalfMSELoss, Network, as_layers
from nnmath.runtime.cli import echo, usage_errors
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.files import log_errors, order_event_files, run_folder, write_atomic
from nnmath.training.callbacks import Checkpoint, EpochProgress, GracefulStop
from nnmath.training.checkpoint import AtomicCheckpointIO, load_matching, resume_errors
from nnmath.training.checkpoint_file import MAX_BYTES
from nnmath.training.metrics import significant
from nnmath.training.module import TrainingModule
from nnmath.training.options import TrainOptions
from nnmath.training.predictor import Predictor, load
from nnmath.training.tensorboard.curves import GradientDiscrepancy, GradientNorm, Trajectory
from nnmath.training.tensorboard.histograms import Histograms, PrecisionRecall
from nnmath.training.tensorboard.images import Images
from nnmath.training.tensorboard.overview import Overview

MAX_LAYERS = 1000


def starting_point(options: TrainOptions, folder: Path | None = None) -> Predictor | None:
    r"""The network that ``options.start_from`` names, with its preprocessing; of a resumed run, its checkpoint's."""
    if not options.start_from:
        return None
    checkpoints = sorted(folder.glob("**/last.ckpt")) if folder else []
    return load(checkpoints[0] if checkpoints else options.start_from)


def compare(
    options: TrainOptions, data: DataModule, folder: Path | None = None, start: Predictor | None = None
) -> None:
    r"""Train by each backward of ``options.compare``; the second run logs how far its parameters are from the first's.

    The arguments and exceptions are those of :func:`train`.
    """
    folder, trajectory = folder or new_folder(options), None
    for backward in options.compare:
        single = replace(options, backward=backward, compare=())
        trajectory, interrupted = train(single, data, folder / backward, trajectory, start)
        if interrupted and backward != options.compare[-1]:
            raise RunError(f"interrupted; resume with --resume {shlex.quote(str(folder))}")


def train(
    options: TrainOptions,
    data: DataModule,
    folder: Path | None = None,
    reference: Trajectory | None = None,
    start: Predictor | None = None,
) -> tuple[Trajectory, bool]:
    r"""Train and test a network, or resume its run if ``folder`` has a checkpoint; None creates a folder.

    ``reference`` is the trajectory of the run to compare with, ``start`` the network whose weights a new run begins
    with. Returns the trajectory of the parameters, and whether a
    stop was requested during the test.

    Raises:
        UsageError: the options or the checkpoint cannot be used.
        RunError: training failed, diverged or was interrupted.
    """
    L.seed_everything(options.seed, workers=True, verbose=False)
    module = build_module(options, data)
    if start:
        start_from(module.network, start.network)
    trajectory, signals = Trajectory(math.ceil(options.epochs / 200), reference), GracefulStop()
    best = Checkpoint("best", options.checkpoint_every, monitor="loss/val")
    last = Checkpoint("last", options.checkpoint_every)
    checkpoint, tested, path = None, False, folder and folder / "checkpoints" / "last.ckpt"
    if folder and path:
        with resume_errors(path):
            checkpoint = load_last(path, module, data, best, options.epochs)
            if checkpoint and (folder / "results.yaml").is_file():
                trajectory.load_state_dict(checkpoint["callbacks"]["Trajectory"])
                return trajectory, False
            # a process can be killed between the last line of the log, which is the test's, and the end of the run
            tested = any(b"test/loss" in events.read_bytes() for events in folder.glob("events.*"))
    trainer = build_trainer(options, trajectory, signals, [best, last])
    run = folder or new_folder(options, trainer.is_global_zero)
    best.dirpath = last.dirpath = str(run / "checkpoints")
    done = checkpoint["epoch"] + 1 if checkpoint else 0
    if done < options.epochs or not tested:
        purge = done + bool(done) if folder else None  # what was logged after the checkpoint is logged again
        trainer.logger = TensorBoardLogger(
            run.parent.parent, run.parent.name, version=run.name, default_hp_metric=False, purge_step=purge
        )
    hint = f"resume with --resume {shlex.quote(str(run))}"

    def is_resuming() -> bool:  # so that an error is the checkpoint's
        return checkpoint is not None and not signals.progressed

    restoring = resume_errors(path, is_resuming) if path else nullcontext()
    failures = report_failure(run, hint, is_resuming)
    handling = signals.handle_signals(trainer, f"interrupted; {hint} from the last checkpoint")
    with run_lock(run, trainer.is_global_zero), handling, restoring, failures:
        if trainer.is_global_zero:
            if not (run / "config.yaml").is_file():
                write_yaml(run / "config.yaml", options.as_dict())
            order_event_files(run)
            print_summary(data, options)
            if checkpoint:
                echo(f"resuming after epoch {done} of {options.epochs}")
        trainer.fit(module, data, ckpt_path=path if checkpoint else None, weights_only=True)
        signals.progressed = True
        check_finished(trainer, module, best, hint)
        results = test(trainer, module, data, best)
        if trainer.is_global_zero:
            write_yaml(run / "results.yaml", results)
            values = {name: significant(value) for name, value in results.items()}
            values |= {"training/difference": f"{trajectory.difference:.1e}"} if reference else {}
            echo(*(f"{name:<24} {value}" for name, value in values.items()))
            if options.hidden == "sigmoid" and not has_learned(module.network, data):
                spread = hidden_spread(module.network, data)
                if spread < 0.01:  # of values between 0 and 1
                    reason = f"its last hidden layer is almost the same for all rows (standard deviation {spread:.0e})"
                    echo(f"it has not learned: {reason}; try --hidden tanh")
            echo(f"run: {run}", f"view with: tensorboard --logdir {shlex.quote(options.log_dir)}")
    return trajectory, signals.requested


def load_last(path: Path, module: TrainingModule, data: DataModule, best: Checkpoint, epochs: int) -> Any:
    r"""The last checkpoint, or None. The best one is checked as well, because the test needs it."""
    if path.parent.is_symlink():
        raise UsageError(f"{path.parent} is a link to another folder, whose files would be overwritten")
    checkpoint = load_matching(path, module, data, epochs) if path.is_file() else None
    if checkpoint and checkpoint["callbacks"][best.state_key]["best_model_path"]:
        load_matching(path.with_name("best.ckpt"), module, data, epochs)
    return checkpoint


def check_finished(trainer: L.Trainer, module: TrainingModule, best: Checkpoint, hint: str) -> None:
    r"""Raise a RunError if training diverged or was interrupted."""
    done, loss = trainer.lr_scheduler_configs[0].scheduler.last_epoch, trainer.callback_metrics.get("loss/val")
    if loss is not None and not loss.isfinite():
        rate = f"{module.curves['training/learning_rate']:.3g}"
        kept = f"; {best.best_model_path} is from an earlier epoch" if best.best_model_path else ""
        raise RunError(f"after epoch {done} the loss is {loss} (η = {rate}): try a smaller learning_rate{kept}")
    if done != trainer.max_epochs:
        raise RunError(f"interrupted after epoch {done} of {trainer.max_epochs}; {hint}")


def test(trainer: L.Trainer, module: TrainingModule, data: DataModule, best: Checkpoint) -> dict[str, float]:
    r"""The loss and the metrics of the test rows, with the weights of the best checkpoint."""
    # with ckpt_path, Trainer.test would reset the callbacks to the best epoch as well
    if trainer.is_global_zero:
        load_matching(Path(best.best_model_path), module, data, trainer.max_epochs or 0)
        order_event_files(Path(str(best.dirpath)).parent)  # Lightning closes the log after training and opens another
    module.load_state_dict(trainer.strategy.broadcast(module.state_dict()))
    trainer.test(module, data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}


def build_module(options: TrainOptions, data: DataModule) -> TrainingModule:
    r"""The network, in the precision of the data; a UsageError if it or its checkpoint would be too large."""
    too_large = f"neurons={options.neurons} make a network that does not fit into the memory"
    with usage_errors(RuntimeError, MemoryError, TypeError, message=too_large), usage_errors():
        sizes = [len(data.features), *options.hidden_sizes, data.preprocessing.outputs]
        dtype = data.train.tensors[0].dtype
        size = 2 * number_of_parameters(sizes) * dtype.itemsize
        if len(sizes) > MAX_LAYERS or size > 0.9 * MAX_BYTES:
            limit = f"{MAX_LAYERS} layers, and {MAX_BYTES >> 20} MiB of parameters and momenta"
            raise ValueError(f"neurons must make at most {limit}, got {len(sizes)} layers, {size >> 20} MiB")
        if options.animate and 2 * number_of_parameters(sizes) > Trajectory.MAX_NUMBERS:
            raise ValueError(
                f"animate: a network of more than {Trajectory.MAX_NUMBERS // 2:,} parameters has no animation"
            )
        names = "hidden", "backward", "learning_rate", "momentum", "eta_min"
        values: dict[str, Any] = {name: getattr(options, name) for name in names}
        values |= {"task": data.preprocessing.task, "y_std": data.preprocessing.y_std}
        return TrainingModule(sizes, output=options.output_for(data), **values).to(dtype)


def start_from(network: Network, other: Network) -> None:
    r"""Copy the weights of another network; a UsageError if it is not of the same layers."""
    layers = [("-".join(map(str, n.sizes)), *(type(module).__name__ for module in n)) for n in (other, network)]
    if layers[0] != layers[1]:
        shown = [f"{sizes} with {', '.join(dict.fromkeys(modules[1::2]))}" for sizes, *modules in layers]
        raise UsageError(f"start_from: its network is {shown[0]}, this one is {shown[1]}: they have to be the same")
    network.load_state_dict(other.state_dict())


def build_trainer(
    options: TrainOptions, trajectory: Trajectory, signals: GracefulStop, checkpoints: list[Checkpoint]
) -> L.Trainer:
    r"""Lightning's Trainer with all callbacks, without a logger until there is a folder."""
    callbacks: list[Callback] = [signals, trajectory, GradientNorm(), GradientDiscrepancy(options.discrepancy_every)]
    callbacks += [Overview(options, shlex.join(["python", *sys.argv])), EpochProgress()]
    if options.pictures:
        k = math.ceil(options.epochs / options.pictures)
        files = (Path(name) if name else None for name in (options.animate, options.export_pictures))
        callbacks += [Images(k, trajectory, Path(options.log_dir, "article"), *files), PrecisionRecall(k, options.name)]
        callbacks.append(Histograms(math.ceil(options.epochs / (4 * options.pictures))))
    names = "accelerator", "devices", "num_nodes", "strategy", "precision"
    values: dict[str, Any] = {name: getattr(options, name) for name in names}
    values |= {"max_epochs": options.epochs, "callbacks": callbacks + checkpoints, "plugins": [AtomicCheckpointIO()]}
    values |= {"enable_model_summary": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    with usage_errors(MisconfigurationException, ValueError):
        return L.Trainer(**values, deterministic=True, log_every_n_steps=1, logger=False)


def new_folder(options: TrainOptions, is_rank_zero: bool = True) -> Path:
    r"""Create the folder of a run with its options, on rank 0; the other ranks write no files."""
    if not is_rank_zero:
        return Path(options.log_dir, options.name, "version")
    folder = run_folder(options.log_dir, options.name)
    with log_errors(folder, "fix that, then start a new run"):
        write_yaml(folder / "config.yaml", options.as_dict())
    return folder


def write_yaml(path: Path, values: dict[str, Any]) -> None:
    write_atomic(path, yaml.safe_dump(values, sort_keys=False).encode())


def print_summary(data: DataModule, options: TrainOptions) -> None:
    rows = f"{len(data.train)} training, {len(data.val)} validation, {len(data.test)} test rows"
    rows += " (the same)" * (data.split == "all")
    echo(f"{options.backward} backward: {rows}")


def has_learned(network: Network, data: DataModule) -> bool:
    r"""Whether the network's loss on the training rows is clearly below that of a constant, the mean of the target."""
    x, y = data.train.tensors
    with torch.no_grad():
        output = network(x.to(network.linears[0].weight)).to(y)
        return bool(HalfMSELoss()(output, y) < 0.9 * HalfMSELoss()(y.mean(0).expand_as(y), y))


def hidden_spread(network: Network, data: DataModule) -> float:
    r"""The largest standard deviation of a neuron of the last hidden layer over the training rows."""
    layers, activations = as_layers(network)
    h = forward(data.train.tensors[0].mT.to(layers[0].weight), layers, activations)[-2]
    return float(h.std(1).max())


@contextmanager
def run_lock(run: Path, is_rank_zero: bool) -> Iterator[None]:
    r"""On rank 0, lock the run folder and delete partial files left by a killed process."""
    lock = FileLock(run / ".lock", timeout=0)
    if is_rank_zero:
        try:
            lock.acquire()
        except Timeout:
            raise UsageError(f"{run} is being trained by another process") from None
        except (OSError, NotImplementedError):
            pass  # the file system has no locks: the run is trained without one
        for part in run.glob("**/*.part"):
            part.unlink()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def report_failure(run: Path, hint: str, is_resuming: Callable[[], bool]) -> Iterator[None]:
    r"""Turn what ends a run early into a RunError that says how to resume, unless resuming itself fails."""
    try:
        with log_errors(run, f"fix that, then {hint}"):
            yield
    except (RuntimeError, MemoryError, ValueError) as error:
        reason = (next(iter(str(error).splitlines()), "") or type(error).__name__)[:200]
        if torch.distributed.is_initialized():
            reason = f"a process has ended or lost the others ({reason})"
        elif is_resuming():
            raise
        raise RunError(f"{run}: {reason}; {hint} from the last checkpoint") from error
