"""A run is resumed from its own checkpoints only; any other file is refused in one line and runs no code."""

import copy
import errno
import io
import os
import pickle
import pickletools
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
import torch
from helpers.errors import assert_one_line_about
from helpers.memory import memory
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmath.data.datamodule import DataModule
from nnmath.runtime.errors import RunError, UsageError
from nnmath.training import run as runs
from nnmath.training.callbacks import GracefulStop
from nnmath.training.checkpoint import AtomicCheckpointIO, load_matching, resume_errors
from nnmath.training.options import TrainOptions

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
OPTIONS = TrainOptions(dataset="xor", samples=50, batch_size=16, epochs=4, pictures=0, checkpoint_every=1)
DELETED = object()
nan = float("nan")


def load_data(options):
    dtype = torch.float64 if options.precision == "64-true" else torch.float32
    return DataModule(options.load(options.seed), options.batch_size, options.split, options.seed, dtype)


def module_and_data(options=OPTIONS):
    data = load_data(options)
    return runs.build_module(options, data), data


def interrupted_run(folder, **changes):
    """The options and the folder of a run of four epochs that was interrupted after two."""

    def stop_after_two(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == 1

    options = replace(OPTIONS, log_dir=str(folder), **changes)
    with (
        mock.patch.object(GracefulStop, "on_train_epoch_end", stop_after_two),
        pytest.raises(RunError, match="interrupted after epoch 2 of 4; resume with --resume"),
    ):
        runs.train(options, load_data(options))
    return options, folder / "xor" / "version_0"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return interrupted_run(tmp_path_factory.mktemp("original"))


@pytest.fixture
def path(original, tmp_path):
    """The last checkpoint of a copy of the interrupted run."""
    shutil.copytree(original[1], tmp_path / "run")
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


def resume(path, **changes):
    """Resumes the run of a checkpoint with other options."""
    options = replace(OPTIONS, **changes)
    return runs.train(options, load_data(options), path.parent.parent)


def assert_refused(path, message, **changes):
    with pytest.raises(UsageError, match=message) as refusal:
        resume(path, **changes)
    reason = str(refusal.value).removeprefix("cannot resume from ")
    assert_one_line_about(path, reason)
    assert not (path.parent.parent / "results.yaml").exists()


def edit(checkpoint, place, value):
    """Replaces or deletes the value at a place, as "optimizer_states/0/param_groups" or as a sequence of keys."""
    if isinstance(place, str):
        place = [int(key) if key.isdigit() else key.replace("|", "/") for key in place.split("/")]
    *keys, name = place
    for key in keys:
        checkpoint = checkpoint[key]
    if value is DELETED:
        del checkpoint[name]
    else:
        checkpoint[name] = value


def edit_file(path, changes):
    checkpoint = torch.load(path, weights_only=True)
    for place, value in changes.items():
        edit(checkpoint, place, value)
    torch.save(checkpoint, path)


@pytest.mark.parametrize("changes", [{}, {"momentum": 0.0}, {"precision": "64-true"}, {"precision": "bf16-mixed"}])
def test_resumes_its_own_run(tmp_path, changes):
    options, folder = interrupted_run(tmp_path, **changes)
    runs.train(options, load_data(options), folder)
    for name in ("last.ckpt", "best.ckpt"):
        module, data = module_and_data(options)
        checkpoint = load_matching(folder / "checkpoints" / name, module, data, epochs=4)
        torch.testing.assert_close(module.state_dict(), checkpoint["state_dict"], rtol=0, atol=0)
    assert (folder / "results.yaml").exists()
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:50],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\0" * len(content),
        lambda content: content.replace(b"\x80\x02}", b"\x80\x02]", 1),
        lambda content: pickle.dumps({"epoch": 1}),
    ],
)
def test_refuses_damaged_files(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    assert_refused(path, "cannot resume from .*(Error|Invalid argument).*; start a new run")


def test_refuses_large_files_and_other_kinds_of_files(path, tmp_path):
    with path.open("r+b") as file:
        file.truncate(2 << 30)  # sparse: it takes no room
    assert_refused(path, "it has 2048 MiB, more than 1024")
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match=f"cannot resume from {file}: it is not a regular file; start a new run"):
            load_matching(file, *module_and_data(), epochs=4)


def test_refuses_files_that_cannot_be_read(path):
    denied = mock.patch.object(torch, "load", side_effect=PermissionError(errno.EACCES, "Permission denied"))
    with denied, pytest.raises(UsageError, match="cannot resume from .*: .*Permission denied"):
        load_matching(path, *module_and_data(), epochs=4)


def test_the_best_checkpoint_has_to_be_there_and_valid(path):
    best = path.with_name("best.ckpt")
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(UsageError, match="cannot resume from .*best.ckpt: "):
        resume(path)
    best.unlink()
    with pytest.raises(UsageError, match="cannot resume from .*best.ckpt: .*No such file"):
        resume(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neurons": 3}, r"its sizes is \[2, 4, 1\], the run's is \[2, 3, 1\]"),
        ({"learning_rate": 0.1}, "its learning_rate is 0.3, the run's is 0.1"),
        ({"momentum": 0.5}, "its momentum is 0.9, the run's is 0.5"),
        ({"eta_min": 0.01}, "its eta_min is 0.0, the run's is 0.01"),
        ({"hidden": "tanh"}, "its hidden is 'sigmoid', the run's is 'tanh'"),
        ({"backward": "autograd"}, "its backward is 'manual', the run's is 'autograd'"),
        ({"epochs": 5}, "its schedule has T_max = 4, the run's 5"),
        ({"epochs": 1}, "it is of epoch 2 of 1"),
        ({"precision": "64-true"}, "its weights are torch.float32, the run's are torch.float64"),
        ({"batch_size": 10}, "its number of batches is not the run's"),
        ({"seed": 1}, "its training rows are not the run's, or the data file has changed"),
        ({"noise": 0.2}, "its training rows are not the run's"),
        ({"samples": 51}, "its training rows are not the run's"),
    ],
    ids=str,
)
def test_refuses_the_checkpoint_of_another_run(path, changes, message):
    assert_refused(path, message, **changes)


BEST = "Checkpoint{'filename': 'best', 'monitor': 'loss|val'}"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("state_dict", DELETED, "KeyError: 'state_dict'"),
        ("state_dict/network.2.bias", DELETED, 'Missing key.* "network.2.bias"'),
        ("state_dict/more", torch.zeros(1), 'Unexpected key.* "more"'),
        ("state_dict/network.0.weight", torch.zeros(4, 3), "size mismatch for network.0.weight"),
        ("state_dict/network.0.weight", torch.zeros(4, 2).double(), "its weights are torch.float64, the run's are"),
        ("state_dict/network.2.bias", torch.tensor([nan]), "its network.2.bias has non-finite values"),
        ("hyper_parameters/task", DELETED, "KeyError: 'task'"),
        ("hyper_parameters/y_std", 1.001, "its y_std is 1.001, the run's is 1.0"),
        ("optimizer_states", [], "ValueError"),
        ("optimizer_states/0/param_groups/0/lr", 0.3, "its optimizer has lr = 0.3, the run's 0.15"),
        ("optimizer_states/0/param_groups/0/maximize", True, "its optimizer has maximize = True, the run's False"),
        ("optimizer_states/0/param_groups/0/momentum", 0.5, "its optimizer has momentum = 0.5, the run's 0.9"),
        ("optimizer_states/0/param_groups/0/params", [0], "ValueError"),
        ("optimizer_states/0/state/0", DELETED, "a momentum is missing"),
        ("optimizer_states/0/state/0/momentum_buffer", torch.ones(3), "a momentum is invalid"),
        ("optimizer_states/0/state/0/momentum_buffer", torch.full((4, 2), nan), "a momentum is invalid"),
        ("lr_schedulers", [], "ValueError"),
        ("lr_schedulers/0/last_epoch", 3, "its schedule has last_epoch = 3, the run's 2"),
        ("lr_schedulers/0/base_lrs", [9.0], r"its schedule has base_lrs = \[9.0\], the run's \[0.3\]"),
        ("epoch", 2, "its schedule has last_epoch = 2, the run's 3"),
        ("epoch", "1", "TypeError"),
        ("epoch", -1, "it is of epoch 0 of 4"),
        ("global_step", 6, "its number of batches is not the run's"),
        ("DataModule/fingerprints", DELETED, "an earlier version of nnmath has written it"),
        ("DataModule/fingerprints/validation", "0", "its validation rows are not the run's"),
        ("DataModule/x_mean", [0.0], "it is of other data"),
        ("DataModule/y_mean", 1e-6, "it is of other data"),
        ("callbacks", {}, "KeyError"),
        ("callbacks/Trajectory/every_n_epochs", 0, "its trajectory is invalid"),
        ("callbacks/Trajectory/epochs", [0, 1, 2.0], "its trajectory is invalid"),
        ("callbacks/Trajectory/points", torch.zeros(3, 16), "its trajectory is invalid"),
        ("callbacks/Trajectory/points", None, "AttributeError"),
        (f"callbacks/{BEST}/best_model_score", None, "TypeError"),
        (f"callbacks/{BEST}/best_model_score", torch.tensor(nan), "invalid score of the best checkpoint: nan"),
        ("loops", {}, "KeyError: 'fit_loop'"),
        ("loops/fit_loop/epoch_progress", 7, "TypeError"),
        ("loops/fit_loop/epoch_progress/current/processed", "2", "TypeError"),
        ("pytorch-lightning_version", "no version", "InvalidVersion"),
    ],
)
def test_refuses_other_content(path, place, value, message):
    edit_file(path, {place: value})
    assert_refused(path, message)


def test_sums_of_the_data_differ_between_processors(path):
    x_std = torch.load(path, weights_only=True)["DataModule"]["x_std"][0]
    edit_file(path, {"DataModule/x_std/0": x_std * (1 + 1e-12), "hyper_parameters/y_std": 1 + 1e-12})
    resume(path)


def test_touches_no_file_elsewhere(path, tmp_path):
    """A file that the checkpoint names is neither read nor replaced nor deleted outside the folder of the run."""
    (tmp_path / "best.ckpt").write_text("mine")
    best = {"best_model_path": str(tmp_path / "best.ckpt"), "best_model_score": torch.tensor(0.0)}
    edit_file(path, {f"callbacks/{BEST}/{name}": value for name, value in best.items()})
    resume(path)
    assert (tmp_path / "best.ckpt").read_text() == "mine"


class Call:
    """Unpickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_executes_no_code_even_if_the_environment_asks_for_it(path, tmp_path):
    edit_file(path, {"hyper_parameters/task": Call(os.system, f"touch {tmp_path / 'executed'}")})
    program = (
        "import sys, torch; from pathlib import Path; from nnmath.training.checkpoint import *\n"
        "path, executed = map(Path, sys.argv[1:])\n"
        "try: load_matching(path, None, None, 4)\n"
        "except UsageError as error: print(executed.exists())\n"
        "torch.load(path)\n"  # without weights_only, this file does execute code here
        "print(executed.exists())"
    )
    environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    command = [sys.executable, "-c", program, path, tmp_path / "executed"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert process.stdout.splitlines() == ["False", "True"]


# --- mutated files ---------------------------------------------------------------------------------------------------

deep = []
for _ in range(500):
    deep = [deep]
VALUES = [DELETED, None, -1, 0, 1, True, 2**70, 1.5, nan, float("inf"), "", "x\ny", "/etc/passwd", b"x", (), (1, (2,))]
VALUES += [[], {}, {1: 2}, [[]], {"state_dict": 7}, deep, 1j, {1, 2}, torch.float64, torch.Size([3]), torch.zeros(())]
VALUES += [torch.zeros(9999), torch.zeros(2, 2).double(), torch.ones(4, 2), torch.full((4, 2), nan)]
VALUES += [torch.ones(4, 2, requires_grad=True), torch.eye(3).to_sparse(), torch.nn.Parameter(torch.ones(1))]
TOUCH = b"cposix\nsystem\nX\x0e\0\0\0touch executed\x85R"
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
OPCODES += [TOUCH, b"\x85R", b"ccollections\nOrderedDict\n)R", b"r\xff\xff\xff\x7f", b"h\0", b"h\1"]


class Content(bytes):
    """Bytes that a failing test does not print."""

    def __repr__(self):
        return f"{len(self)} bytes"


def places(part, keys=()):
    """The keys of everything in a checkpoint."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield (*keys, name)
        yield from places(value, (*keys, name))


@st.composite
def mutations(draw, content):
    """A checkpoint with other bytes, with another pickle or with other values."""
    kind = draw(st.sampled_from(["bytes", "pickle", "values", "values"]))
    if kind == "bytes":
        for _ in range(draw(st.integers(1, 4))):
            start, length = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 1, 1, 8, 1000]))
            content = content[:start] + draw(st.binary(max_size=4)) + content[start + length :]
        return Content(content)
    buffer = io.BytesIO()
    if kind == "values":
        checkpoint = torch.load(io.BytesIO(content), weights_only=True)
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            place = draw(st.sampled_from(list(places(checkpoint))))
            value = draw(st.sampled_from(VALUES))
            edit(checkpoint, place, value if value is DELETED else copy.deepcopy(value))
        torch.save(checkpoint, buffer)
        return Content(buffer.getvalue())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    positions = [position for *_, position in pickletools.genops(parts["data.pkl"])] + [len(parts["data.pkl"])]
    tokens = [parts["data.pkl"][start:end] for start, end in pairwise(positions)]
    for _ in range(draw(st.integers(1, 3))):
        i, j = (draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
        new = draw(st.sampled_from([[], [tokens[j]], [tokens[i], tokens[j]], [draw(st.sampled_from(OPCODES))]]))
        tokens[i : i + draw(st.sampled_from([0, 1, 1, 5]))] = new
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, part in (parts | {"data.pkl": b"".join(tokens)}).items():
        if name not in ("version", ".data/serialization_id"):
            writer.write_record(name, part, len(part))
    writer.write_end_of_file()
    return Content(buffer.getvalue())


@pytest.mark.parametrize("examples", [100, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])])
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_any_file_is_resumed_or_refused_in_one_line(original, tmp_path, monkeypatch, capfd, examples):
    monkeypatch.chdir(tmp_path)
    options, folder = original
    outcomes = {"resumed": 0, "refused": 0, "failed": 0, "slowest": 0.0}

    @settings(max_examples=examples)
    @given(mutations((folder / "checkpoints" / "last.ckpt").read_bytes()))
    def check(content):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "run")
        (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(content)
        start = time.monotonic()
        message, outcome = "", "resumed"
        try:
            runs.train(options, load_data(options), Path("run"))
        except (UsageError, RunError) as error:
            message, outcome = str(error), "refused" if isinstance(error, UsageError) else "failed"
        assert re.fullmatch("|(cannot resume from run/checkpoints/|interrupted after|run: ).{,400}", message)
        assert Path("run", "results.yaml").exists() == (outcome == "resumed")
        assert not Path("executed").exists()
        outcomes[outcome] += 1
        outcomes["slowest"] = max(outcomes["slowest"], time.monotonic() - start)

    with memory(1 << 30):
        check()
    assert min(outcomes["resumed"], outcomes["refused"]) > examples / 50
    assert outcomes["failed"] < examples / 20
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    with capfd.disabled():
        print(outcomes)


def test_files_are_written_atomically_and_without_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    path, checkpoint_io = tmp_path / "new" / "last.ckpt", AtomicCheckpointIO()
    checkpoint_io.save_checkpoint({"a": 1}, path)
    assert checkpoint_io.load_checkpoint(path) == {"a": 1}
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch.object(Path, "replace", side_effect=full), pytest.raises(OSError, match="No space left"):
        checkpoint_io.save_checkpoint({"a": 2}, path)
    assert checkpoint_io.load_checkpoint(path) == {"a": 1}
    (path.parent / "last.ckpt.part").symlink_to(tmp_path / "elsewhere")
    checkpoint_io.save_checkpoint({"a": 3}, path)
    assert checkpoint_io.load_checkpoint(path) == {"a": 3}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert not (tmp_path / "elsewhere").exists()


def test_errors_after_resuming_are_not_the_checkpoints():
    with pytest.raises(UsageError, match="cannot resume from last.ckpt: KeyError"), resume_errors(Path("last.ckpt")):
        raise KeyError
    with pytest.raises(KeyError), resume_errors(Path("last.ckpt"), lambda: False):
        raise KeyError
