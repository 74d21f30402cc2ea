r"""A run's checkpoint, last.ckpt or best.ckpt, read as what a stranger may have made: nothing in it is run or believed.

Before torch sees the file, its list of contents and its pickle are gone through: a file of a few bytes could else take
any amount of memory or time. Afterwards each part that Lightning restores a run from is compared with the others.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import stat
import struct
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from json import dumps
from pathlib import Path
from pickle import Unpickler
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from nnmath.runtime.files import write_atomic

LARGEST = 1 << 30  # bytes of a checkpoint
LARGEST_PICKLE = 4 << 20  # bytes of what is not numbers in it
TUPLES = 20_000  # hash() of a deeper one may overflow the C stack
OPCODES = re.compile(
    r"PROTO|STOP|MARK|NONE|NEW(TRUE|FALSE)|BININT[12]?|LONG1|BINFLOAT|BINUNICODE|EMPTY_(LIST|DICT|TUPLE)|APPENDS?|"
    r"SETITEMS?|TUPLE[123]?|(LONG_)?BIN(PUT|GET)|GLOBAL|REDUCE|BUILD|BINPERSID"
)
GLOBALS = frozenset(
    ("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "torch DoubleStorage")
)
HYPERPARAMETERS = {
    **dict.fromkeys(("hidden", "output", "backward", "task"), str),
    **dict.fromkeys(("learning_rate", "momentum", "eta_min", "y_std"), float),
    "sizes": list,
}
SGD: dict[str, Any] = {"dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False, "differentiable": False}
SGD |= {"foreach": None, "fused": None}
SAVER = {"best_k_models", "best_model_path", "best_model_score", "current_score", "dirpath", "kth_best_model_path"}
SAVER |= {"kth_value", "last_model_path", "monitor"}
SAVERS = {"Checkpoint{'filename': 'best', 'monitor': 'loss/val'}", "Checkpoint{'filename': 'last', 'monitor': None}"}


class WholeFiles(TorchCheckpointIO):
    r"""How Lightning writes checkpoints: whole or not at all, whenever the process is killed.

    Lightning's own way is by $TMPDIR, and from there to another file system a file is copied bit by bit.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomic(Path(path), content.getvalue())


@dataclass(frozen=True)
class Wanted:
    r"""The run that a checkpoint is for."""

    hyper_parameters: Mapping[str, Any]
    scale: Mapping[str, Any]
    r"""state of the :class:`nnmath.data.datamodule.DataModule`"""
    dtype: torch.dtype
    epochs: int
    r"""of the whole run"""
    updates: int
    r"""in each of them"""


def read_both(last: Path, wanted: Wanted | None = None) -> dict[str, Any]:
    r"""A run's last.ckpt, and its best.ckpt looked at too if there is one; see :func:`read`."""
    checkpoint = read(last, wanted)
    if any(state.get("best_model_path") == "best.ckpt" for state in checkpoint["callbacks"].values()):
        read(last.with_name("best.ckpt"), wanted)
    return checkpoint


def read(path: str | Path, wanted: Wanted | None = None) -> dict[str, Any]:
    r"""A checkpoint that Lightning wrote of a :class:`nnmath.training.module.TrainingModule`, at the end of an epoch.

    Args:
        path: the file, at most 1 GiB.
        wanted: the run that it is for; None takes that of any.

    Raises:
        ValueError: the file cannot be read, is damaged, holds what no such checkpoint holds, or is of another run.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Wrong("it is no regular file")
        with path.open("rb") as file:
            examine_zip(file)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        examine(checkpoint)
        if wanted:
            compare(checkpoint, wanted)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever zipfile, torch or a comparison stumbles over, the file is the reason
        what = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"[:100]
        what = " ".join(what.split())
        raise ValueError(f"{path} is no checkpoint to go on with: {what}; start the run anew") from error
    return checkpoint


class Wrong(Exception):
    r"""What is wrong with a checkpoint."""


def must(holds: object, otherwise: str) -> None:
    r"""Refuse what does not hold."""
    if not holds:
        raise Wrong(otherwise)


def examine_zip(file: IO[bytes]) -> None:
    r"""Refuse an archive that is not of the form torch.save writes, before anything is unpacked.

    What zipfile and torch's own reader could take differently is refused: so both see the same members.
    """
    size = file.seek(0, 2)
    must(size, "it is empty")
    must(size <= LARGEST, f"it has {size >> 20} MiB, and no more than {LARGEST >> 20} are read")
    must(size > 98, "it is cut off")
    file.seek(-98, 2)
    end = struct.unpack("<4sQ2H2L4Q4sLQL4s4H2LH", file.read())
    must(
        (end[0], end[10], end[14]) == (b"PK\6\6", b"PK\6\7", b"PK\5\6"), "it is cut off, or torch.save did not write it"
    )
    count, directory, start = end[7:10]
    rest = (44, *end[2:4], 0, 0, count, count, directory, start, b"PK\6\7", 0, size - 98, 1)
    rest += (b"PK\5\6", 0, 0, count, count, directory, start, 0)
    must(end[1:] == rest and start + directory + 98 == size, "it is damaged, or torch.save did not write it")
    must(directory <= LARGEST_PICKLE, "it has too many parts")
    with ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename.partition("/")[2] for member in members]
        folders = {member.filename.partition("/")[0] for member in members}
        must(len(folders) == 1, "its parts are in several folders")
        allowed = r"data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
        must(len(set(names)) == len(names), "it has two parts of the same name")
        for name, member in zip(names, members, strict=True):
            must(re.fullmatch(allowed, name, re.ASCII), f"it has a part {name[:40]!r}")
            must(member.compress_type == ZIP_STORED and member.file_size == member.compress_size, "it is compressed")
        must("data.pkl" in names, "it has no part 'data.pkl'")
        must(sum(member.file_size for member in members) <= size, "its parts are larger than the file")
        pickle = members[names.index("data.pkl")]
        must(pickle.file_size <= LARGEST_PICKLE, f"its data.pkl has more than {LARGEST_PICKLE >> 20} MiB")
        broken = archive.testzip()
        must(not broken, f"it is damaged: {broken!r} is not what was written")
        sizes = {name: member.file_size for name, member in zip(names, members, strict=True)}
        examine_pickle(archive.read(pickle), sizes)


def examine_pickle(pickle: bytes, sizes: Mapping[str, int]) -> None:
    r"""Refuse a pickle that has more than numbers, texts, lists, dictionaries and tensors in it.

    Args:
        pickle: is taken apart, then read with :class:`Outline`.
        sizes: the archive's other parts and their bytes.
    """
    tuples, shared, last = 0, set(), ""
    for opcode, argument, position in pickletools.genops(pickle):
        must(
            opcode.name != "GLOBAL" or argument in GLOBALS, f"it asks for {str(argument)[:60]!r}, which is not allowed"
        )
        must(
            OPCODES.fullmatch(opcode.name) and (opcode.name != "PROTO" or position == 0), f"{opcode.name} in its pickle"
        )
        if opcode.name.endswith("BINPUT"):
            must(int(argument or 0) < len(pickle), "its pickle wants too much memory")
            shared |= {argument} if last.startswith("TUPLE") else set()
        else:
            last = opcode.name
        # each further use of a tuple in a tuple could double the time that hash() takes
        must(not opcode.name.endswith("BINGET") or argument not in shared, "a tuple is used twice in its pickle")
        tuples += opcode.name.startswith("TUPLE")
    must(tuples <= TUPLES, f"it has more than {TUPLES // 4} tensors")
    Outline(pickle, sizes).load()


class Outline(Unpickler):
    r"""Reads a pickle without its tensors, and refuses what torch would have to be careful with.

    Args:
        pickle: its bytes.
        sizes: the archive's other parts and their bytes.
    """

    def __init__(self, pickle: bytes, sizes: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(pickle))
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        stand_ins = {
            "OrderedDict": self.empty,
            "_rebuild_tensor_v2": self.tensor,
            "FloatStorage": 4,
            "DoubleStorage": 8,
        }
        return stand_ins[name]

    def empty(self) -> OrderedDict[Any, Any]:
        return OrderedDict()

    def persistent_load(self, pid: Any) -> int:
        kind, width, key, _, length = pid
        right = (kind, type(width), type(key), type(length)) == ("storage", int, str, int)
        must(right and self.sizes.get(f"data/{key}") == length * width, "a tensor of it is not of the size it says")
        return int(length)

    def tensor(self, storage: int, offset: int, size: Any, stride: Any, requires_grad: bool, hooks: Any) -> None:
        must({*map(type, (storage, offset, *size, *stride))} == {int}, "a tensor of it has no size")
        must(offset == 0 and math.prod(size) == storage and len(size) <= 2, "a tensor of it is not of the size it says")
        must(type(requires_grad) is bool and hooks == {}, "a tensor of it has hooks")


def examine(checkpoint: Any) -> None:
    r"""Refuse a checkpoint whose parts are not those that Lightning restores a run from, or do not fit each other."""
    must(type(checkpoint) is dict, "it is not a dictionary")
    kinds = {
        "epoch": int,
        "global_step": int,
        "pytorch-lightning_version": str,
        "state_dict": OrderedDict,
        "loops": dict,
    }
    kinds |= {"callbacks": dict, "optimizer_states": list, "lr_schedulers": list, "hyper_parameters": dict}
    kinds |= {"DataModule": dict}
    for name, kind in kinds.items():
        must(name in checkpoint, f"it has no {name!r}")
        must(type(checkpoint[name]) is kind, f"its {name!r} is no {kind.__name__}")
    version = checkpoint["pytorch-lightning_version"]
    must(re.fullmatch(r"2\.\d{1,4}\.\d{1,4}([.\w]{0,8})", version, re.ASCII), "it is of another version of Lightning")
    values = checkpoint["hyper_parameters"]
    must(values.keys() == HYPERPARAMETERS.keys(), f"its hyperparameters are not {', '.join(HYPERPARAMETERS)}")
    for name, kind in HYPERPARAMETERS.items():
        finite = kind is not float or (type(values[name]) is float and math.isfinite(values[name]))
        must(type(values[name]) is kind and finite, f"its {name} is no {kind.__name__}")
    examine_weights(checkpoint["state_dict"], checkpoint["optimizer_states"], values)
    examine_progress(checkpoint, values)
    examine_callbacks(checkpoint["callbacks"], list(checkpoint["state_dict"].values()))


def examine_weights(weights: Any, optimizers: Any, values: Mapping[str, Any]) -> None:
    r"""Refuse weights and momenta that are not those of a network of these sizes."""
    sizes = values["sizes"]
    must(len(sizes) >= 2 and all(type(size) is int and size > 0 for size in sizes), "its sizes are none")
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        shapes |= {f"network.{2 * i}.weight": (n_out, n_in), f"network.{2 * i}.bias": (n_out,)}
    must(list(weights) == list(shapes), "its weights are not those of its sizes")
    metadata = vars(weights).get("_metadata", {})
    must(vars(weights).keys() <= {"_metadata"} and type(metadata) in (dict, OrderedDict), "its weights are no weights")
    must(
        all(type(key) is str and entry == {"version": 1} for key, entry in metadata.items()),
        "its weights are of another version of torch",
    )
    dtype = getattr(next(iter(weights.values())), "dtype", None)
    for name, shape in shapes.items():
        examine_tensor(name, weights[name], shape, dtype)
    must(len(optimizers) == 1 and type(optimizers[0]) is dict, "it has not one optimizer")
    must(optimizers[0].keys() == {"state", "param_groups"}, "its optimizer is not SGD")
    state, groups = optimizers[0]["state"], optimizers[0]["param_groups"]
    must(
        type(state) is dict and type(groups) is list and len(groups) == 1 and type(groups[0]) is dict,
        "its optimizer is not SGD",
    )
    group = dict(groups[0])
    must(group.pop("params", None) == [*range(len(shapes))], "its optimizer is of other parameters")
    must(group.pop("momentum", None) == values["momentum"], "its optimizer's momentum is another than its own")
    for name in ("lr", "initial_lr"):
        rate = group.pop(name, None)
        must(
            type(rate) is float and 0 <= rate <= 1.001 * values["learning_rate"],
            f"its optimizer's {name} is {rate!s:.40}",
        )
    must(group == SGD, "its optimizer is not plain SGD")
    must(list(state) in ([], [*range(len(shapes))]), "its momenta are not those of its weights")
    for (name, shape), momentum in zip(shapes.items(), state.values(), strict=False):
        must(type(momentum) is dict and list(momentum) == ["momentum_buffer"], f"the momentum of {name} is missing")
        if momentum["momentum_buffer"] is not None:
            examine_tensor(f"the momentum of {name}", momentum["momentum_buffer"], shape, dtype)


def examine_tensor(name: str, tensor: Any, shape: tuple[int, ...], dtype: Any) -> None:
    r"""Refuse what is not a tensor of this shape and type, or not finite."""
    must(type(tensor) is Tensor, f"{name} is no tensor")
    must(tensor.shape == shape, f"{name} has shape {tuple(tensor.shape)}, not {shape}")
    must(tensor.dtype == dtype, f"{name} is of {tensor.dtype}, others of {dtype}")
    must(tensor.isfinite().all(), f"{name} has numbers that are not finite")


def examine_progress(checkpoint: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    r"""Refuse counts of epochs and updates that do not fit each other, and a learning rate's schedule that does not."""
    done, steps = checkpoint["epoch"] + 1, checkpoint["global_step"]
    must(0 < done <= steps < 1 << 62 and steps % done == 0, f"{steps} updates in {done} epochs cannot be")
    schedulers = checkpoint["lr_schedulers"]
    must(len(schedulers) == 1 and type(schedulers[0]) is dict, "it has not one schedule")
    schedule = schedulers[0]
    known = {"T_max": int, "eta_min": float, "last_epoch": int, "_step_count": int, "base_lrs": list, "_last_lr": list}
    flags = {"_get_lr_called_within_step", "_is_initial", "verbose"}
    must(known.keys() <= schedule.keys() <= known.keys() | flags, "its schedule is no cosine")
    must(all(type(schedule[name]) is known.get(name, bool) for name in schedule), "its schedule is no cosine")
    right = (schedule["eta_min"], schedule["base_lrs"]) == (values["eta_min"], [values["learning_rate"]])
    right = right and schedule["_last_lr"] == [checkpoint["optimizer_states"][0]["param_groups"][0]["lr"]]
    must(right, "its schedule has other learning rates than its hyperparameters")
    must(schedule["last_epoch"] == done <= schedule["T_max"], f"its schedule is not that after {done} epochs")
    fit = checkpoint["loops"].get("fit_loop")
    must(type(fit) is dict, "its 'loops' are not Lightning's")
    wanted = progress(done, steps)
    for name, counts in fit.items():
        like = wanted.pop(name, {})
        same = counts == like and dumps(counts, sort_keys=True) == dumps(like, sort_keys=True)  # 1 is not True, nor 1.0
        must(same, f"its {name!s:.60} is not that after {done} epochs and {steps} updates")
    must(not wanted, f"its 'loops' lack {', '.join(wanted)}")


def progress(done: int, steps: int) -> dict[str, Any]:
    r"""What Lightning has counted after so many epochs of equally many batches, at the moment of the checkpoint."""

    def counts(current: int, total: int, *stages: str) -> dict[str, Any]:
        return {"current": dict.fromkeys(stages, current), "total": dict.fromkeys(stages, total)}

    few, more, all_ = (
        ("ready", "completed"),
        ("ready", "started", "completed"),
        ("ready", "started", "processed", "completed"),
    )
    batches = steps // done
    epochs = counts(done, done, *all_)
    for count in epochs.values():
        count["completed"] -= 1  # the epoch ends after its checkpoint
    optimizer = {"step": counts(batches, steps, *few), "zero_grad": counts(batches, steps, *more)}
    return {
        "epoch_progress": epochs,
        "epoch_loop.batch_progress": counts(batches, steps, *all_) | {"is_last_batch": True},
        "epoch_loop.scheduler_progress": counts(1, done, *few),
        "epoch_loop.automatic_optimization.optim_progress": {"optimizer": optimizer},
        "epoch_loop.manual_optimization.optim_step_progress": counts(0, 0, *few),
        "epoch_loop.val_loop.batch_progress": counts(1, 1, *all_) | {"is_last_batch": True},
        "epoch_loop.state_dict": {"_batches_that_stepped": steps},
    }


def examine_callbacks(callbacks: Mapping[Any, Any], weights: list[Tensor]) -> None:
    r"""Refuse what Lightning's ModelCheckpoint cannot go on with, and files elsewhere: it may read and delete them."""
    must(SAVERS <= callbacks.keys() <= SAVERS | {"Trajectory"}, "its 'callbacks' are not Lightning's")
    for key, state in callbacks.items():
        if key == "Trajectory":
            examine_way(state, weights)
            continue
        must(type(state) is dict and state.keys() == SAVER, "its 'callbacks' are not Lightning's")
        models, best = state["best_k_models"], state["kth_best_model_path"]
        right = type(models) is dict and type(best) is str
        must(right and list(models) == [best] * bool(best), "its 'callbacks' are not Lightning's")
        for path in (best, state["best_model_path"], state["last_model_path"]):
            must(path in ("", "best.ckpt", "last.ckpt"), f"it names a file outside its folder, {path!s:.80}")
        scores = [state[name] for name in ("best_model_score", "current_score", "kth_value")]
        for score in (*models.values(), *(score for score in scores if best or score is not None)):
            number = type(score) is Tensor and score.shape == () and not score.isnan()
            must(number, "the loss of the best checkpoint is no number")


def examine_way(state: Any, weights: list[Tensor]) -> None:
    r"""Refuse what :class:`nnmath.training.tensorboard.curves.Trajectory` cannot go on with."""
    must(type(state) is dict and state.keys() == {"every_n_epochs", "epochs", "points"}, "its way is none")
    every, epochs, points = state["every_n_epochs"], state["epochs"], state["points"]
    must(type(every) is int and every > 0 and type(epochs) is list, "its way is none")
    must(all(type(epoch) is int for epoch in epochs), "its way is none")
    if points is not None or epochs:
        parameters = sum(weight.numel() for weight in weights)
        examine_tensor("its way", points, (len(epochs), parameters), weights[0].dtype)


def compare(checkpoint: Mapping[str, Any], wanted: Wanted) -> None:
    r"""Refuse the checkpoint of another run; y_std may differ as sums do between processors."""
    found = checkpoint["hyper_parameters"]
    for name, value in wanted.hyper_parameters.items():
        same = math.isclose(found[name], value, rel_tol=1e-9) if name == "y_std" else found[name] == value
        must(same, f"its {name} is {found[name]!r}, the run's is {value!r}")
    dtype = next(iter(checkpoint["state_dict"].values())).dtype
    must(dtype == wanted.dtype, f"its weights are {dtype}, the run's are {wanted.dtype}")
    epochs = checkpoint["lr_schedulers"][0]["T_max"]
    must(epochs == wanted.epochs, f"it is of a run of {epochs} epochs, not {wanted.epochs}")
    same = same_scale(checkpoint["DataModule"], wanted.scale)
    same = same and checkpoint["global_step"] == (checkpoint["epoch"] + 1) * wanted.updates
    must(same, "it is of other data, or the file of the data has changed")


def same_scale(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    r"""Whether means and standard deviations are the same, as far as sums are between processors."""

    def numbers(scale: Mapping[str, Any]) -> list[Any]:
        return [number for value in scale.values() for number in (value if type(value) is list else [value])]

    pairs = list(zip(numbers(found), numbers(wanted), strict=False))
    return (
        found.keys() == wanted.keys()
        and len(numbers(found)) == len(numbers(wanted))
        and all(type(a) is float and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-300) for a, b in pairs)
    )
