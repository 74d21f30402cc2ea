r"""Checkpoints of a run, last.ckpt and best.ckpt, and whether the run can be resumed from them.

A checkpoint has to be of the same network, length, schedule and rows as the run. Any failure to resume is
reported in one line.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from nnmath.data.datamodule import DataModule
from nnmath.equations import cosine_annealing
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.files import write_atomic
from nnmath.training.checkpoint_file import MAX_MESSAGE_CHARACTERS, InvalidCheckpoint, ensure, read_checkpoint
from nnmath.training.module import TrainingModule


class AtomicCheckpointIO(TorchCheckpointIO):
    r"""Writes checkpoints atomically; Lightning would write to $TMPDIR and copy to another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomic(Path(path), content.getvalue())


@contextmanager
def resume_errors(path: Path, applies: Callable[[], bool] = lambda: True) -> Iterator[None]:
    r"""Turn every exception but UsageError and RunError into a UsageError about ``path``, where it applies."""
    try:
        yield
    except (UsageError, RunError):
        raise
    except Exception as error:  # an invalid checkpoint can fail anywhere in torch and Lightning
        if not applies():
            raise
        explained = isinstance(error, (InvalidCheckpoint, OSError))
        reason = str(error) if explained else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:MAX_MESSAGE_CHARACTERS]
        raise UsageError(f"cannot resume from {path}: {reason}; start a new run") from error


def load_matching(path: Path, module: TrainingModule, data: DataModule, epochs: int) -> dict[str, Any]:
    r"""Load a checkpoint, which has to be of this module, data and number of epochs; its weights go into the module.

    Raises:
        UsageError: the file cannot be read, or is not a checkpoint of this run.
    """
    with resume_errors(path):
        checkpoint = read_checkpoint(path)
        for name, value in module.hparams.items():
            saved = checkpoint["hyper_parameters"][name]
            same = math.isclose(saved, value, rel_tol=1e-9) if name == "y_std" else saved == value
            ensure(same, f"its {name} is {saved!r:.60}, the run's is {value!r}")
        check_optimizer(checkpoint, module, epochs)
        state = dict(checkpoint["DataModule"])
        ensure("fingerprints" in state, "an earlier version of nnmath has written it")
        fingerprints = state.pop("fingerprints")
        for part, value in data.fingerprints.items():
            ensure(fingerprints[part] == value, f"its {part} rows are not the run's, or the data file has changed")
        ensure(data.preprocessing.matches(state), "it is of other data, or the data file has changed")
        same = checkpoint["global_step"] == (checkpoint["epoch"] + 1) * len(data.batches())
        ensure(same, "its number of batches is not the run's")
        module.load_state_dict(checkpoint["state_dict"], strict=True)
        dtype = data.train.tensors[0].dtype
        for name, weight in checkpoint["state_dict"].items():
            ensure(weight.dtype == dtype, f"its weights are {weight.dtype}, the run's are {dtype}")
            ensure(weight.isfinite().all(), f"its {name} has non-finite values")
        if trajectory := checkpoint["callbacks"].get("Trajectory"):
            every, recorded, points = (trajectory[name] for name in ("every_n_epochs", "epochs", "points"))
            shape = len(recorded), module.network.number_of_parameters
            valid = every > 0 and all(type(epoch) is int for epoch in recorded)
            ensure(valid and (points.shape == shape if recorded else points is None), "its trajectory is invalid")
    return checkpoint


def check_optimizer(checkpoint: Mapping[str, Any], module: TrainingModule, epochs: int) -> None:
    r"""Compare the optimizer and the schedule of a checkpoint with those of the run at the same epoch."""
    done, eta, eta_min = checkpoint["epoch"] + 1, module.hparams["learning_rate"], module.hparams["eta_min"]
    [schedule], [state] = checkpoint["lr_schedulers"], checkpoint["optimizer_states"]
    ensure(0 < done <= epochs, f"it is of epoch {done} of {epochs}")
    for name, value in {"T_max": epochs, "last_epoch": done, "base_lrs": [eta], "eta_min": eta_min}.items():
        ensure(schedule[name] == value, f"its schedule has {name} = {schedule[name]!r:.60}, the run's {value!r}")
    optimizer, _ = module.build_optimizer(epochs)
    options = dict(optimizer.param_groups[0], lr=cosine_annealing(done, epochs, eta, eta_min))
    optimizer.load_state_dict(state)
    for name, value in options.items():
        saved = optimizer.param_groups[0][name]
        same = math.isclose(saved, value, rel_tol=0, abs_tol=1e-6 * eta) if name == "lr" else saved == value
        ensure(same, f"its optimizer has {name} = {saved!r:.60}, the run's {value!r}")
    for parameter in module.network.parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer")
        ensure((momentum is None) == (options["momentum"] == 0), "a momentum is missing")
        if momentum is not None:
            ensure(momentum.shape == parameter.shape and momentum.isfinite().all(), "a momentum is invalid")
