import copy
import errno
import io
import os
import pickle
import pickletools
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import OrderedDict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
import torch
from helpers.errors import assert_one_line_about
from helpers.memory import memory
from helpers.runs import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import xor
from nnmath.training.callbacks import Checkpoint
from nnmath.training.checkpoint import Wanted, WholeFiles, read, read_both
from nnmath.training.module import TrainingModule
from nnmath.training.tensorboard.curves import Trajectory

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # of a resumed run


class Keep(Callback):
    """Puts the checkpoints after two epochs aside."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            for name in ("best.ckpt", "last.ckpt"):
                (self.folder / f"kept-{name}").write_bytes((self.folder / "checkpoints" / name).read_bytes())


def train(folder, **options):
    """Four epochs, as the training script configures them."""
    callbacks = [Checkpoint("best", 1, monitor="loss/val"), Checkpoint("last", 1), *options.pop("callbacks", [])]
    callbacks.append(Trajectory())
    module, data = TrainingModule(momentum=options.pop("momentum", 0.9)), DataModule(xor(samples=50), batch_size=16)
    return fit(module, data, folder, max_epochs=4, enable_checkpointing=True, callbacks=callbacks, **options)


def its(trainer):
    """What its checkpoints are for."""
    module, data = trainer.lightning_module, trainer.datamodule
    dtype = next(module.parameters()).dtype
    return Wanted(module.hparams, data.state_dict(), dtype, trainer.max_epochs, len(data.batches()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(folder, callbacks=[Keep(folder)])
    return folder


@pytest.fixture
def last(run):
    """A checkpoint after two of four epochs."""
    return run / "kept-last.ckpt"


def members(path):
    """The parts of a checkpoint by their names, without the archive's."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def packed(parts):
    """The bytes of a checkpoint of these parts, packed as torch does, with the right sums."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, part in parts.items():
        if name not in ("version", ".data/serialization_id"):
            writer.write_record(name, part, len(part))
    writer.write_end_of_file()
    return buffer.getvalue()


def write(path, parts):
    path.write_bytes(packed(parts))
    return path


def refused(path, message, wanted=None):
    with pytest.raises(ValueError, match=message) as refusal:
        read(path, wanted)
    assert_one_line_about(path, refusal.value)
    assert len(str(refusal.value)) < len(str(path)) + 250


def edited(checkpoint, place, value):
    """The checkpoint with another value at a place, as "optimizer_states/0/param_groups"; it is changed itself."""
    if isinstance(place, str):
        place = [int(step) if step.isdigit() else step.replace("|", "/") for step in place.split("/")]
    *way, name = place
    part = checkpoint
    for step in way:
        part = part[step]
    if value is DELETED:
        del part[name]
    else:
        part[name] = value
    return checkpoint


DELETED = object()
nan = float("nan")
doubled = {}
for _ in range(60):  # to walk through it takes 2⁶⁰ steps
    doubled = {"a": doubled, "b": doubled}
BEST = "Checkpoint{'filename': 'best', 'monitor': 'loss|val'}"


SCALE = DataModule(xor(samples=50)).state_dict()


def own_run(hyper_parameters):
    """The run that the checkpoints here are of."""
    return Wanted(hyper_parameters, SCALE, torch.float32, epochs=4, updates=2)


class TestRead:
    @pytest.mark.parametrize("options", [{}, {"momentum": 0.0}, {"precision": "64-true"}, {"precision": "bf16-mixed"}])
    def test_gives_what_was_written(self, tmp_path, options):
        trainer = train(tmp_path, **options)
        for name in ("best.ckpt", "last.ckpt"):
            path = tmp_path / "checkpoints" / name
            found, wanted = read(path, its(trainer)), torch.load(path, weights_only=True)
            for part in ("state_dict", "optimizer_states"):
                torch.testing.assert_close(found[part], wanted[part], rtol=0, atol=0)
            assert {name: found[name] for name in found if name not in TENSORS} == {
                name: wanted[name] for name in wanted if name not in TENSORS
            }
        assert found["epoch"] == 3

    def test_a_run_that_went_on(self, run, last):
        assert read(last)["epoch"] == 1
        assert read(run / "kept-best.ckpt")["epoch"] <= 1
        assert train(run, ckpt_path=last).current_epoch == 4
        assert read(run / "checkpoints" / "last.ckpt")["epoch"] == 3

    def test_refuses_what_is_no_readable_file(self, last, tmp_path):
        refused(tmp_path / "missing.ckpt", "missing.ckpt cannot be read: No such file or directory")
        refused(tmp_path, "is no checkpoint to go on with: it is no regular file; start the run anew")
        os.mkfifo(tmp_path / "pipe.ckpt")
        refused(tmp_path / "pipe.ckpt", "it is no regular file")
        path = tmp_path / "last.ckpt"
        content = last.read_bytes()
        for broken, message in (
            (b"", "it is empty"),
            (content[:50], "it is cut off"),
            (content[:-1], "it is cut off, or torch.save did not write it"),
            (content[: len(content) // 2], "it is cut off, or torch.save did not write it"),
            (content[:3000] + content[4000:], "it is damaged, or torch.save did not write it"),
            (b"\0" * len(content), "torch.save did not write it"),
            (content[:-10] + b"\0" + content[-9:], "it is damaged, or torch.save did not write it"),
            (b"x" + content, "it is damaged, or torch.save did not write it"),
            (content.replace(b"hyper_parameters", b"hyper_paramEters"), "it is damaged: '.*/data.pkl' is not what was"),
            (content.replace(b"\x80\x02}", b"\x80\x02]", 1), "is not what was written"),
        ):
            path.write_bytes(broken)
            refused(path, message)
        with path.open("wb") as file:
            file.truncate(2 << 30)  # holes: it takes no room
        refused(path, "it has 2048 MiB, and no more than 1024 are read")

    def test_refuses_what_it_may_not_read(self, last, tmp_path):
        path = tmp_path / "last.ckpt"
        path.write_bytes(last.read_bytes())
        path.chmod(0)
        root = os.geteuid() == 0  # who may read everything
        if root:
            os.seteuid(65534)
        try:
            refused(path, "cannot be read: Permission denied")
        finally:
            if root:
                os.seteuid(0)

    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            ("state_dict", DELETED, "it has no 'state_dict'"),
            ("callbacks/Trajectory", {}, "its way is none"),
            ("callbacks/Trajectory/every_n_epochs", 0, "its way is none"),
            ("callbacks/Trajectory/epochs", [0, 1, 2.0], "its way is none"),
            ("callbacks/Trajectory/points", torch.zeros(3, 16), r"its way has shape \(3, 16\), not \(3, 17\)"),
            ("callbacks/Trajectory/points", None, "its way is no tensor"),
            ("state_dict", {}, "its 'state_dict' is no OrderedDict"),
            ("state_dict/network.2.bias", DELETED, "its weights are not those of its sizes"),
            ("state_dict/more", torch.zeros(1), "its weights are not those of its sizes"),
            ("state_dict/network.0.weight", torch.zeros(4, 3), r"network.0.weight has shape \(4, 3\), not \(4, 2\)"),
            (
                "state_dict/network.0.weight",
                torch.zeros(4, 2).double(),
                "network.0.bias is of torch.float32, others of",
            ),
            ("state_dict/network.2.bias", torch.tensor([nan]), "network.2.bias has numbers that are not finite"),
            ("state_dict/network.2.bias", [0.0], "network.2.bias is no tensor"),
            ("state_dict/network.0.weight", torch.zeros(1).expand(4, 2), "a tensor of it is not of the size it says"),
            ("state_dict/network.0.weight", torch.zeros(4, 2).half(), "asks for 'torch HalfStorage', which is not all"),
            ("hyper_parameters", DELETED, "it has no 'hyper_parameters'"),
            ("callbacks", {}, "its 'callbacks' are not Lightning's"),
            (f"callbacks/{BEST}", DELETED, "its 'callbacks' are not Lightning's"),
            ("hyper_parameters/sizes", [2, 5, 1], r"network.0.weight has shape \(4, 2\), not \(5, 2\)"),
            ("hyper_parameters/sizes", [2, 0, 1], "its sizes are none"),
            ("hyper_parameters/sizes", [2, True, 1], "its sizes are none"),
            ("hyper_parameters/sizes", [10**9, 10**9, 1], r"has shape \(4, 2\), not \(1000000000, 1000000000\)"),
            ("hyper_parameters/learning_rate", nan, "its learning_rate is no float"),
            ("hyper_parameters/hidden", 3, "its hidden is no str"),
            ("hyper_parameters/task", DELETED, "its hyperparameters are not "),
            ("optimizer_states", [], "it has not one optimizer"),
            ("optimizer_states/0/param_groups/0/lr", nan, "its optimizer's lr is nan"),
            ("optimizer_states/0/param_groups/0/lr", "fast", "its optimizer's lr is fast"),
            ("optimizer_states/0/param_groups/0/maximize", True, "its optimizer is not plain SGD"),
            ("optimizer_states/0/param_groups/0/momentum", 0.5, "its optimizer's momentum is another than its own"),
            ("optimizer_states/0/param_groups/0/params", [0], "its optimizer is of other parameters"),
            ("optimizer_states/0/state/0", DELETED, "its momenta are not those of its weights"),
            ("optimizer_states/0/state/0", {}, "the momentum of network.0.weight is missing"),
            (
                "optimizer_states/0/state/0/momentum_buffer",
                torch.ones(3),
                r"momentum of .* has shape \(3,\), not \(4, 2",
            ),
            ("lr_schedulers", [], "it has not one schedule"),
            ("lr_schedulers/0/last_epoch", 3, "its schedule is not that after 2 epochs"),
            ("lr_schedulers/0/T_max", 1, "its schedule is not that after 2 epochs"),
            ("lr_schedulers/0/T_max", "4", "its schedule is no cosine"),
            ("lr_schedulers/0/step", 1, "its schedule is no cosine"),
            ("lr_schedulers/0/base_lrs", [9.0], "its schedule has other learning rates than its hyperparameters"),
            ("epoch", 2, "updates in 3 epochs cannot be"),
            ("epoch", "1", "its 'epoch' is no int"),
            ("epoch", -1, "updates in 0 epochs cannot be"),
            ("global_step", DELETED, "it has no 'global_step'"),
            ("global_step", 6, "its .* is not that after 2 epochs and 6 updates"),
            ("loops/fit_loop/epoch_progress", DELETED, "its 'loops' lack epoch_progress"),
            (
                "loops/fit_loop/epoch_progress/total/processed",
                2.0,
                "its epoch_progress is not that after 2 epochs and 4",
            ),
            ("loops/fit_loop/epoch_loop.state_dict", {"x": 1}, "its epoch_loop.state_dict is not that after 2 epochs"),
            ("loops/fit_loop/epoch_progress", doubled, "its epoch_progress is not that after 2 epochs and 4 updates"),
            ("loops/fit_loop", 7, "its 'loops' are not Lightning's"),
            ("callbacks/mine", 7, "its 'callbacks' are not Lightning's"),
            (f"callbacks/{BEST}/best_model_path", "/etc/passwd", "it names a file outside its folder, /etc/passwd"),
            (f"callbacks/{BEST}/kth_best_model_path", "/etc/passwd", "its 'callbacks' are not Lightning's"),
            (f"callbacks/{BEST}/best_model_score", DELETED, "its 'callbacks' are not Lightning's"),
            (f"callbacks/{BEST}/best_model_score", None, "the loss of the best checkpoint is no number"),
            (f"callbacks/{BEST}/kth_value", torch.tensor(nan), "the loss of the best checkpoint is no number"),
            ("pytorch-lightning_version", "1.4.0", "it is of another version of Lightning"),
        ],
    )
    def test_refuses_another_structure(self, last, tmp_path, place, value, message):
        path = tmp_path / "last.ckpt"
        torch.save(edited(torch.load(last, weights_only=True), place, value), path)
        refused(path, message)

    def test_refuses_a_bare_state_dict_and_other_things(self, last, tmp_path):
        path = tmp_path / "last.ckpt"
        for thing, message in (
            (torch.load(last, weights_only=True)["state_dict"], "it is not a dictionary"),
            (dict(torch.load(last, weights_only=True)["state_dict"]), "it has no 'epoch'"),
            ([], "it is not a dictionary"),
            (torch.nn.Linear(2, 4), "it asks for 'torch.nn.modules.linear Linear', which is not allowed"),
            ({"epoch": Path("a")}, "it asks for 'pathlib.* PosixPath', which is not allowed"),
        ):
            torch.save(thing, path)
            refused(path, message)
        torch.save(torch.load(last, weights_only=True), path, _use_new_zipfile_serialization=False)
        refused(path, "torch.save did not write it")
        path.write_bytes(pickle.dumps({"epoch": 1}))
        refused(path, "it is cut off")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("sizes", [2, 3, 1]), ("learning_rate", 0.1), ("hidden", "tanh"), ("y_std", 1.001), ("backward", "autograd")],
    )
    def test_refuses_that_of_another_module(self, last, name, value):
        own = read(last)["hyper_parameters"]
        assert read(last, own_run(own | {"y_std": 1 + 1e-12}))["epoch"] == 1
        refused(last, re.escape(f"its {name} is {own[name]!r}, the run's is {value!r}"), own_run(own | {name: value}))

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            ({"epochs": 5}, "it is of a run of 4 epochs, not 5"),
            ({"dtype": torch.float64}, "its weights are torch.float32, the run's are torch.float64"),
            ({"updates": 3}, "it is of other data, or the file of the data has changed"),
            ({"scale": {}}, "it is of other data"),
            ({"scale": SCALE | {"x_mean": [0.0]}}, "it is of other data"),
            ({"scale": SCALE | {"y_mean": 1e-6}}, "it is of other data"),
        ],
    )
    def test_refuses_that_of_another_run(self, last, other, message):
        wanted = own_run(read(last)["hyper_parameters"])
        assert read(last, wanted)["epoch"] == 1
        refused(last, message, replace(wanted, **other))

    def test_looks_at_the_best_as_well_if_there_is_one(self, run, last, tmp_path):
        shutil.copy(last, tmp_path / "last.ckpt")
        with pytest.raises(ValueError, match="best.ckpt cannot be read: No such file"):
            read_both(tmp_path / "last.ckpt")
        shutil.copy(run / "kept-best.ckpt", tmp_path / "best.ckpt")
        assert read_both(tmp_path / "last.ckpt")["epoch"] == 1


TENSORS = ("state_dict", "optimizer_states", "callbacks")


class Run:
    """What unpickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TestHostile:
    """Files that are made to do harm."""

    def test_runs_nothing_whatever_the_environment_says(self, last, tmp_path):
        path = tmp_path / "last.ckpt"
        checkpoint = torch.load(last, weights_only=True)
        checkpoint["hyper_parameters"]["task"] = Run(os.system, f"touch {tmp_path / 'executed'}")
        torch.save(checkpoint, path)
        program = (
            "import sys, torch; from pathlib import Path; from nnmath.training.checkpoint import read\n"
            "path = Path(sys.argv[1])\n"
            "try: read(path)\n"
            "except ValueError as error: print(error)\n"
            "print(path.with_name('executed').exists())\n"
            "torch.load(path)\n"  # the file is what it is meant to be
            "print(path.with_name('executed').exists())"
        )
        environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        command = [sys.executable, "-c", program, path]
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        refusal, before, after = process.stdout.splitlines()
        assert "it asks for 'posix system', which is not allowed; start the run anew" in refusal
        assert (before, after) == ("False", "True")

    @pytest.mark.parametrize(
        ("pickle", "message"),
        [
            (b"cposix\nsystem\nX\4\0\0\0true\x85R.", "it asks for 'posix system'"),
            (b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "it asks for 'builtins bytearray'"),
            (b"c_codecs\nencode\n.", "it asks for '_codecs encode'"),
            (b"ctorch\nTensor\n.", "it asks for 'torch Tensor'"),
            (b"X\4\0\0\0trueX\4\0\0\0true\x93.", "STACK_GLOBAL in its pickle"),
            (b"}" + b")" + b"\x85" * 300_000 + b"Ns.", "it has more than 5000 tensors"),
            (
                b"})q\1" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(1, 40)) + b"Ns.",
                "UnpicklingError|used twice",
            ),
            (
                b"})\x85q\1" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(1, 40)) + b"Ns.",
                "a tuple is used twice",
            ),
            (b"})\x85\x80\2q\1h\1h\1\x86Ns.", "PROTO in its pickle"),
            (b"]r\xff\xff\xff\x7f.", "its pickle wants too much memory"),
            (b"ccollections\nOrderedDict\n]\x85R.", "TypeError"),
            (b"X\xff\xff\xff\x7f.", "ValueError"),
            (b"", "ValueError"),
            (b"]" * 5_000_000 + b".", "its data.pkl has more than 4 MiB"),
            (b"." * 100, "it is not a dictionary|UnpicklingError|IndexError"),
        ],
        ids=range(15),
    )
    def test_a_pickle_that_takes_code_memory_or_time(self, tmp_path, pickle, message):
        start = time.monotonic()
        with memory(1 << 30):
            refused(write(tmp_path / "last.ckpt", {"data.pkl": b"\x80\2" + pickle}), message)
        assert time.monotonic() - start < 5

    @pytest.mark.parametrize("length", [-1, 0, 7, 9, 1 << 40])
    def test_a_tensor_of_another_size_than_its_bytes(self, last, tmp_path, length):
        parts = members(last)
        declared = pickle.dumps(length, 2)[2:-1]
        assert parts["data.pkl"].count(b"K\x08t") > 0
        parts["data.pkl"] = parts["data.pkl"].replace(b"K\x08t", declared + b"t", 1)
        parts["data.pkl"] = parts["data.pkl"].replace(b"QK\x00K\x04K\x02\x86", b"QK\x00K\x01" + declared + b"\x86", 1)
        refused(write(tmp_path / "last.ckpt", parts), "a tensor of it is not of the size it says")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"X\x07\0\0\0storage", b"X\x06\0\0\0module"),
            (b"X\x01\0\0\x000q\x0c", b"K\0q\x0c"),
            (b"K\x08t", b"G\x40\x20\0\0\0\0\0\0t"),
            (b"QK\x00K\x04K\x02\x86", b"QK\x01K\x04K\x02\x86"),
        ],
        ids=["module", "key", "float", "offset"],
    )
    def test_a_storage_that_is_none(self, last, tmp_path, old, new):
        parts = members(last)
        assert old in parts["data.pkl"]
        parts["data.pkl"] = parts["data.pkl"].replace(old, new, 1)
        refused(write(tmp_path / "last.ckpt", parts), "a tensor of it is not of the size it says")

    def test_an_archive_that_unpacks_to_more_than_it_is(self, last, tmp_path):
        path = tmp_path / "last.ckpt"
        for kind, message in ((zipfile.ZIP_DEFLATED, "it is compressed"), (zipfile.ZIP_STORED, "it has a part")):
            with zipfile.ZipFile(path, "w", kind) as archive:
                for name, part in members(last).items():
                    archive.writestr(f"archive/{name}", part)
                archive.writestr("archive/data/99" if kind == zipfile.ZIP_DEFLATED else "archive/x", b"\0" * 50_000_000)
            as_torch_ends(path)
            with memory(256 << 20):
                refused(path, message)

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["a/data.pkl", "a/data.pkl"], "it has two parts of the same name"),
            (["a/data.pkl", "b/data/0"], "its parts are in several folders"),
            (["a/data.pkl", "a/DATA/0"], "it has a part 'DATA/0'"),
            (["a/data.pkl", "a/constants.pkl"], "it has a part 'constants.pkl'"),
            (["a/data/0"], "it has no part 'data.pkl'"),
            ([f"a/{i:060000}" for i in range(100)], "it has too many parts"),
        ],
        ids=range(6),
    )
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_an_archive_of_other_parts(self, tmp_path, names, message):
        path = tmp_path / "last.ckpt"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        as_torch_ends(path)
        refused(path, message)


def as_torch_ends(path):
    """Gives an archive the three records at its end that torch.save writes."""
    content = path.read_bytes()
    *_, count, size, start, _ = struct.unpack("<4s4H2LH", content[-22:])
    count = count if count < 0xFFFF else 0
    directory = content[start : start + size]
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 798, 45, 0, 0, count, count, size, start)
    end += struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    end += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, start, 0)
    path.write_bytes(content[:start] + directory + end)


def places(part, way=()):
    """The ways to all that lies in a checkpoint."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield (*way, name)
        yield from places(value, (*way, name))


def at(part, way):
    for step in way:
        part = part[step]
    return part


deep = []
for _ in range(500):
    deep = [deep]
STRUCTURES = [
    DELETED,
    None,
    -1,
    0,
    1,
    True,
    2**70,
    1.5,
    nan,
    float("inf"),
    "",
    "x\ny",
    "/etc/passwd",
    b"x",
    (),
    (1, (2,)),
]
STRUCTURES += [
    [],
    {},
    OrderedDict(a=1),
    {1: 2},
    [[]],
    {"state_dict": 7},
    deep,
    1j,
    {1, 2},
    torch.float64,
    torch.Size([3]),
]
STRUCTURES += [
    torch.zeros(()),
    torch.full((4, 2), nan),
    torch.zeros(9999),
    torch.zeros(2, 2).double(),
    torch.ones(4, 2),
]
STRUCTURES += [torch.ones(4, 2, requires_grad=True), torch.eye(3).to_sparse(), torch.nn.Parameter(torch.ones(1))]
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
OPCODES += [
    b"cos\nsystem\n",
    b"X\4\0\0\0true",
    b"\x85R",
    b"ccollections\nOrderedDict\n)R",
    b"r\xff\xff\xff\x7f",
    b"h\0",
    b"h\1",
]


class Content(bytes):
    """Bytes that are not printed when they make a test fail: the file is still there."""

    def __repr__(self):
        return f"{len(self)} bytes"


@st.composite
def mutations(draw, last):
    """The bytes of a checkpoint after what a person, a program, a broken disk or an attacker could have done to it."""
    kind = draw(st.sampled_from(["bytes", "parts", "pickle", "structure", "structure", "structure"]))
    if kind == "bytes":
        content = last.read_bytes()
        for _ in range(draw(st.integers(1, 4))):
            start, length = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 1, 1, 8, 1000]))
            content = content[:start] + draw(st.binary(max_size=4) | st.just(b"")) + content[start + length :]
        return content
    if kind == "structure":
        checkpoint = torch.load(last, weights_only=True)
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            way, other = (draw(st.sampled_from(list(places(checkpoint)))) for _ in range(2))
            value = draw(st.sampled_from([*STRUCTURES, at(checkpoint, other)]))
            edited(checkpoint, way, value if value is DELETED else copy.deepcopy(value))
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        return buffer.getvalue()
    parts = members(last)
    if kind == "parts":
        one, two = (draw(st.sampled_from(sorted(parts))) for _ in range(2))
        parts[one] = draw(st.sampled_from([parts[two], parts[one][:-1], parts[one] * 2, b"", b"big"]))
        parts[draw(st.sampled_from([one, "data/99", "data/x", "code/a.py", "constants.pkl"]))] = parts[two]
        if draw(st.booleans()):
            del parts[one]
    else:
        pickle = parts["data.pkl"]
        tokens = [position for *_, position in pickletools.genops(pickle)] + [len(pickle)]
        tokens = [pickle[start:end] for start, end in pairwise(tokens)]
        for _ in range(draw(st.integers(1, 3))):
            i, j = (draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
            new = draw(
                st.sampled_from([[], [tokens[j]], [tokens[i], tokens[j]], [draw(st.sampled_from(OPCODES))], [b""]])
            )
            tokens[i : i + draw(st.sampled_from([0, 1, 1, 5]))] = new
        parts["data.pkl"] = b"".join(tokens)
    return packed(parts)


@pytest.mark.parametrize("examples", [200, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
@pytest.mark.filterwarnings("ignore:The dirpath has changed", "ignore:Be aware that when using `ckpt_path`")
def test_any_file_is_read_and_gone_on_with_or_refused_in_one_line(run, last, tmp_path, monkeypatch, examples):
    monkeypatch.chdir(tmp_path)
    path, outcomes = run / "mutated.ckpt", {"read": 0, "refused": 0, "slowest": 0.0}

    @settings(max_examples=examples)
    @given(mutations(last).map(Content))
    def check(content):
        path.write_bytes(content)
        start = time.monotonic()
        try:
            read(path)
        except ValueError as error:
            assert_one_line_about(path, error)
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            trainer = train(run, ckpt_path=path)
            assert trainer.current_epoch == 4
            assert all(weight.isfinite().all() for weight in trainer.lightning_module.parameters())
        outcomes["slowest"] = max(outcomes["slowest"], time.monotonic() - start)

    with memory(1 << 30):
        check()
    assert min(outcomes["read"], outcomes["refused"]) > examples / 50
    assert not list(tmp_path.iterdir())
    print(outcomes)


def test_are_written_whole_beside_the_old_one_and_not_by_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    path = tmp_path / "new" / "last.ckpt"
    WholeFiles().save_checkpoint({"a": 1}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch.object(Path, "replace", side_effect=full), pytest.raises(OSError, match="No space left"):
        WholeFiles().save_checkpoint({"a": 2}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}
    (path.parent / "last.ckpt.part").symlink_to(tmp_path / "elsewhere")
    WholeFiles().save_checkpoint({"a": 3}, path)
    assert torch.load(path, weights_only=True) == {"a": 3}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert not (tmp_path / "elsewhere").exists()
