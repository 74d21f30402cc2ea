"""Runs that are interrupted, killed, moved, and gone on with: by real processes and signals where these matter."""

import contextlib
import fcntl
import os
import random
import re
import resource
import shutil
import signal
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from helpers.memory import memory
from helpers.runs import checkpoint, epochs_done, scalars, start, train, train_here, wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons
from nnmath.network import HalfMSELoss, Network
from nnmath.training.checkpoint import read
from nnmath.training.module import TrainingModule
from nnmath.training.tensorboard.curves import GradientNorm

BOMB = "a: &a [1, 1, 1, 1]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopq")
)
QUICK = [
    "--dataset",
    "moons",
    "--samples",
    60,
    "--epochs",
    40,
    "--batch_size",
    16,
    "--pictures",
    2,
    "--precision",
    "64-true",
]
RUN = Path("lightning_logs", "moons", "version_0")


def ended(run):
    """What a run leaves, to the bit: checkpoints, curves (without wall times), results, and the pictures' steps."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0}).Reload()
    return {
        "files": sorted(path.name for path in (run / "checkpoints").iterdir()),
        **{name: plain(checkpoint(run, name)) for name in ("best", "last")},
        "results": (run / "results.yaml").read_text(),
        "curves": scalars(run),
        "pictures": {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]},
    }


def plain(value):
    """A checkpoint without tensors, every bit of them in it."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else (type(value), repr(value))


def same(one, two):
    assert one.keys() == two.keys()
    for part in one:
        assert one[part] == two[part], part


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    process = train_here(folder, *QUICK)
    assert process.returncode == 0, process.stderr
    return folder / RUN


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it, to be made into one that was killed."""
    shutil.copytree(whole, tmp_path / RUN)
    (tmp_path / RUN / "results.yaml").unlink()
    return tmp_path / RUN


def test_the_test_rows_are_for_the_best_network(whole):
    network, data = Network().double(), DataModule(moons(60), split=(0.6, 0.2, 0.2), dtype=torch.float64)
    x, y = data.test.tensors
    losses = {}
    for name in ("best", "last"):
        weights = checkpoint(whole, name)["state_dict"]
        network.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
        losses[name] = HalfMSELoss()(network(x), y).item()
    assert losses["best"] != pytest.approx(losses["last"], rel=1e-3)
    assert yaml.safe_load((whole / "results.yaml").read_text())["test/loss"] == pytest.approx(losses["best"], rel=1e-6)


def goes_on(folder, run="last"):
    process = train_here(folder, "--resume", run)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process


@pytest.fixture
def signalled(monkeypatch):
    """Makes this process send itself a signal: while an epoch is trained, or as soon as something else is done."""

    def at(number, epoch=None, backward="manual", when=(GradientNorm, "on_train_batch_start"), times=1):
        done = getattr(*when, None)

        def send(self, *args, **more):
            if epoch is None or (args[0].current_epoch + 1 == epoch and args[1].network.backward == backward):
                monkeypatch.setattr(*when, done)
                for _ in range(times):
                    os.kill(os.getpid(), number)
            return done(self, *args, **more)

        monkeypatch.setattr(*when, send)

    return at


class TestGoesOn:
    def test_before_the_first_checkpoint(self, run, whole, tmp_path, monkeypatch):
        """Nor does it need a folder for temporary files."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        shutil.rmtree(run / "checkpoints")
        goes_on(tmp_path)
        same(ended(run), ended(whole))

    def test_between_the_first_best_and_the_first_last_checkpoint(self, run, whole, tmp_path):
        (run / "checkpoints" / "last.ckpt").unlink()
        goes_on(tmp_path)
        same(ended(run), ended(whole))

    def test_after_the_test(self, run, whole, tmp_path):
        """What a killed process has left half-written goes."""
        (run / "checkpoints" / "best.ckpt.part").write_text("half")
        goes_on(tmp_path)
        same(ended(run), ended(whole))

    def test_after_the_last_checkpoint(self, run, whole, tmp_path):
        """There was no test yet."""
        newest = max(run.glob("events.*"), key=lambda path: int(path.name.split(".")[-1]))
        newest.unlink()
        assert "test/loss" not in scalars(run)
        goes_on(tmp_path)
        same(ended(run), ended(whole))

    @pytest.mark.parametrize("epochs", [[4], [27, 33, 36]], ids=str)
    def test_in_another_folder(self, whole, tmp_path, signalled, epochs):
        """It was interrupted, once or several times, moved, and is named by a path from elsewhere."""
        options = QUICK
        for epoch in epochs:
            signalled(signal.SIGINT, epoch)
            process = train_here(tmp_path, *options)
            assert process.returncode == 1
            assert process.stderr == f"train.py: error: interrupted after epoch {epoch} of 40; --resume {RUN} goes on\n"
            assert epochs_done(tmp_path / RUN) == epoch
            options = ["--resume", "last"]
            time.sleep(1)  # event files are in the order of their seconds, and a new process takes longer to start
        moved = tmp_path / "elsewhere" / "moons" / "a run"
        shutil.move(tmp_path / RUN, moved)
        (tmp_path / "here").mkdir()
        process = goes_on(tmp_path / "here", moved)
        assert f"\ngoes on after epoch {epochs[-1]} of 40\n" in process.stdout
        assert f"run: {moved}\nlook at it: tensorboard --logdir {tmp_path}/elsewhere\n" in process.stdout
        same(ended(moved), ended(whole))
        assert not any((tmp_path / "here").iterdir())

    def test_and_nothing_else(self, run, tmp_path):
        """Not a run that is finished, not with other data."""
        config = yaml.safe_load((run / "config.yaml").read_text())
        for changed in ({"seed": 1}, {"noise": 0.2}, {"samples": 61}):
            (run / "config.yaml").write_text(yaml.safe_dump(config | changed))
            process = train_here(tmp_path, "--resume", RUN)
            assert process.returncode == 2
            assert process.stderr == (
                f"train.py: error: {RUN}/checkpoints/last.ckpt is no checkpoint to go on with: it is of other data, or "
                "the file of the data has changed; start the run anew\n"
            )
        (run / "results.yaml").write_text("")
        process = train_here(tmp_path, "--resume", RUN)
        assert process.returncode == 2
        assert process.stderr == f"train.py: error: {RUN} is finished: all of its 40 epochs are done\n"

    def test_unless_it_is_still_being_trained(self, run, tmp_path):
        before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
        folder = os.open(run, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        process = train_here(tmp_path, "--resume", "last")
        os.close(folder)
        assert process.returncode == 2
        assert process.stderr == f"train.py: error: {RUN} is being trained by another process\n"
        assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before

    def test_without_writing_where_a_link_leads(self, run, tmp_path):
        (tmp_path / "mine").write_text("mine")
        (run / "results.yaml.part").symlink_to(tmp_path / "mine")
        goes_on(tmp_path)
        assert (tmp_path / "mine").read_text() == "mine"
        assert not (run / "results.yaml").is_symlink()
        (run / "results.yaml").unlink()
        (run / "checkpoints").rename(tmp_path / "other")
        (run / "checkpoints").symlink_to(tmp_path / "other")
        process = train_here(tmp_path, "--resume", "last")
        assert process.returncode == 2
        assert process.stderr == (
            f"train.py: error: {RUN}/checkpoints is a link to another folder, whose files would be overwritten\n"
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda text: "", "it has no options"),
            (lambda text: "- 1\n", "it has no options"),
            (lambda text: text + "config: /etc/passwd\n", "it has an option 'config', which it should not have"),
            (lambda text: text + "resume: elsewhere\n", "it has an option 'resume', which it should not have"),
            (lambda text: text + '"x\\n y": 1\n', r"it has an option 'x\\n y', which it should not have"),
            (lambda text: text + "compare: ../..\n", "one is no list"),
            (lambda text: text + "compare: [manual, ..]\n", "not among choices"),
            (lambda text: text + "compare: [manual, manual]\n", "compare must be manual and autograd, got"),
            (lambda text: text.replace("epochs: 40", "epochs: -1"), 'option "epochs": Not of type PositiveInt: -1'),
            (
                lambda text: "epochs: !!python/object/apply:os.mkdir [x]\n",
                "could not determine a constructor for the tag",
            ),
            (lambda text: "epochs: \x00", "unacceptable character #x0000"),
            (lambda text: b"epochs: \xe9", "'utf-8' codec can't decode"),
            (lambda text: "a: " + "[" * 11 + "]" * 11, "it has an alias .*, or too many lists in lists"),
            (lambda text: "[" * 70_000, "it has more than 65536 bytes"),
            (lambda text: BOMB, "it has an alias .*, or too many lists in lists"),
        ],
    )
    def test_by_options_that_somebody_else_wrote_only_if_they_are_such(self, run, tmp_path, change, message):
        config = run / "config.yaml"
        changed = change(config.read_text())
        config.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        start = time.monotonic()
        with memory(1 << 29):
            process = train_here(tmp_path, "--resume", RUN)
        assert time.monotonic() - start < 5
        assert process.returncode == 2
        assert re.fullmatch(f"train.py: error: .*{message}.*\n", process.stderr)
        assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before

    def test_last_is_the_newest_run(self, run, tmp_path):
        for k, age in ((1, 300), (2, 100), (3, 200)):
            folder = tmp_path / "lightning_logs" / f"data{k}" / "version_7"
            shutil.copytree(run, folder)
            for file in folder.rglob("*"):
                os.utime(file, (time.time() - age, time.time() - age))
        shutil.rmtree(run)
        (tmp_path / "lightning_logs" / "sweep_moons" / "version_0").mkdir(parents=True)
        for name in ("config.yaml", "results.csv"):
            (tmp_path / "lightning_logs" / "sweep_moons" / "version_0" / name).write_text("")
        assert "run: lightning_logs/data2/version_7\n" in goes_on(tmp_path).stdout
        (tmp_path / "lightning_logs").rename(tmp_path / "logs")
        process = train_here(tmp_path, "--resume", "last", "--log-dir", "logs")
        assert process.stderr == ("train.py: error: logs/data2/version_7 is finished: all of its 40 epochs are done\n")


def test_a_pair_goes_on_together(tmp_path, signalled):
    options = [*QUICK, "--compare", "autograd", "manual"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert train_here(tmp_path / "whole", *options).returncode == 0
    signalled(signal.SIGTERM, epoch=12)
    process = train_here(tmp_path / "killed", *options)
    assert process.returncode == 1
    assert process.stderr == f"train.py: error: interrupted after epoch 12 of 40; --resume {RUN} goes on\n"
    process = goes_on(tmp_path / "killed" / RUN / "manual", ".")
    assert "autograd backward" not in process.stdout
    for member in ("autograd", "manual"):
        same(*(ended(tmp_path / name / RUN / member) for name in ("whole", "killed")))
    curve = scalars(tmp_path / "killed" / RUN / "manual")["training/difference"]
    assert [step for step, _ in curve] == list(range(41))
    again = train_here(tmp_path / "killed", "--resume", RUN / "autograd")
    assert again.stderr == f"train.py: error: {RUN} is finished: all of its 40 epochs are done\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
class TestASignal:
    """At other moments than within an epoch."""

    @pytest.mark.parametrize(
        "when", [(DataModule, "setup"), (TrainingModule, "configure_optimizers"), (DataModule, "train_dataloader")]
    )
    def test_before_the_first_epoch(self, tmp_path, signalled, number, when):
        signalled(number, when=when)
        process = train_here(tmp_path, *QUICK)
        assert process.returncode == 1
        assert process.stderr == f"train.py: error: interrupted after epoch 1 of 40; --resume {RUN} goes on\n"
        assert epochs_done(tmp_path / RUN) == 1

    def test_in_the_test(self, whole, tmp_path, signalled, number):
        signalled(number, when=(TrainingModule, "test_step"))
        process = train_here(tmp_path, *QUICK)
        assert process.returncode == 0, process.stderr
        same(ended(tmp_path / RUN), ended(whole))

    def test_in_the_test_of_the_first_of_two(self, tmp_path, signalled, number):
        signalled(number, when=(TrainingModule, "test_step"))
        process = train_here(tmp_path, *QUICK, "--compare", "manual", "autograd")
        assert process.returncode == 1
        assert process.stderr == f"train.py: error: interrupted; --resume {RUN} goes on\n"
        assert [path.name for path in (tmp_path / RUN).iterdir() if path.is_dir()] == ["manual"]
        assert (tmp_path / RUN / "manual" / "results.yaml").exists()

    def test_the_second_ends_a_run_at_once(self, whole, tmp_path, signalled, number):
        signalled(number, epoch=15, times=2)
        process = train_here(tmp_path, *QUICK)
        assert process.returncode == 1
        assert process.stderr == f"train.py: error: interrupted; --resume {RUN} goes on from the last checkpoint\n"
        assert epochs_done(tmp_path / RUN) == 10


@contextlib.contextmanager
def files_up_to(size):
    """What writes beyond it is told that the file is too large, as it is told that a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("size", "more"),
    [
        (100, "start anew"),  # not even for the options
        (3_000, f"--resume {RUN} goes on"),  # not for the first events
        (80_000, f"--resume {RUN} goes on"),  # in the middle
    ],
)
def test_a_full_disk_is_told_and_nothing_is_lost(whole, tmp_path, size, more, capfd):
    (tmp_path / "lightning_logs" / "article").mkdir(parents=True)  # written before, by another run
    (tmp_path / "lightning_logs" / "article" / "events.of.before").touch()
    with files_up_to(size):
        process = train_here(tmp_path, *QUICK)
    assert process.returncode == 1
    assert process.stderr == (
        f"train.py: error: log_dir: nothing can be written to {RUN}: File too large; once it can be, {more}\n"
    )
    assert capfd.readouterr().err == ""
    if "--resume" in more:
        goes_on(tmp_path)
        same(ended(tmp_path / RUN), ended(whole))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_checkpoint_and_says_how_to_go_on(tmp_path, number):
    process = start(tmp_path, "--epochs", 100_000, "--dataset", "moons", "--pictures", 0, "--checkpoint_every", 50)
    wait_for(tmp_path / RUN / "checkpoints" / "last.ckpt")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    done = epochs_done(tmp_path / RUN)
    assert errors == f"train.py: error: interrupted after epoch {done} of 100000; --resume {RUN} goes on\n"
    assert [step for step, _ in scalars(tmp_path / RUN)["loss/val"]] == list(range(1, done + 1))


@pytest.mark.parametrize(
    ("options", "kills"),
    [
        (["--batch_size", 64], 1),
        *(
            pytest.param([*batches, "--backward", backward], 13, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])
            for batches in ([], ["--batch_size", 50, "--precision", "64-true", "--checkpoint_every", 1])
            for backward in ("manual", "autograd")
        ),
    ],
)
def test_a_run_that_is_killed_goes_on_to_the_same_end(tmp_path, options, kills):
    """At moments drawn at random; $TMPDIR is on another file system, where there is one."""
    options = ["--dataset", "moons", "--epochs", 100 if kills == 1 else 1000, "--pictures", 4, *options]
    assert train_here(tmp_path, *options, "--log_dir", "whole").returncode == 0
    run, draw = tmp_path / "killed" / "moons" / "version_0", random.Random(0)
    elsewhere = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    done, command = [], [*options, "--log_dir", "killed"]
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        environment = os.environ | {"TMPDIR": folder}
        while len(done) < kills:
            process = start(tmp_path, *command, env=environment)
            if kills == 1:
                wait_for(run / "checkpoints" / "last.ckpt")
            else:
                wait_for_more(run)
                time.sleep(draw.uniform(0, 3))
            process.kill()
            process.communicate()
            if (run / "results.yaml").exists():  # it was at its end
                same(ended(run), ended(tmp_path / "whole" / "moons" / "version_0"))
                shutil.rmtree(run)
                command = [*options, "--log_dir", "killed"]
                continue
            assert process.returncode == -signal.SIGKILL
            done.append(read(run / "checkpoints" / "last.ckpt")["epoch"] + 1 if checkpoints_of(run) else 0)
            command = ["--resume", "killed/moons/version_0"]
            scalars(run)
        assert not any(Path(folder).glob("*"))
    print("killed after epochs", done)
    resumed = train(tmp_path, *command)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr == ""
    same(ended(run), ended(tmp_path / "whole" / "moons" / "version_0"))


def wait_for_more(run):
    """Until something is logged."""
    size, deadline = None, time.monotonic() + 60
    while time.monotonic() < deadline:
        last, size = size, sum(path.stat().st_size for path in run.glob("events.*"))
        if last is not None and size != last:
            return
        time.sleep(0.01)


def checkpoints_of(run):
    """Those there are; each can be read."""
    names = {path.name for path in run.glob("checkpoints/*.ckpt")}
    for name in names:
        read(run / "checkpoints" / name)
    return "last.ckpt" in names
