"""Runs that are interrupted, killed, moved and resumed, by real signals and, where it matters, real processes."""

import contextlib
import errno
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from helpers.runs import SCRIPT, checkpoint, epochs_done, scalars, start, train, train_here, wait_for
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnmath.data.datamodule import DataModule, split_rows
from nnmath.data.datasets import moons
from nnmath.data.tables import read_csv
from nnmath.network import HalfMSELoss, Network
from nnmath.runtime.errors import UsageError
from nnmath.training.callbacks import GracefulStop
from nnmath.training.module import TrainingModule
from nnmath.training.options import TrainOptions
from nnmath.training.run import build_module
from nnmath.training.tensorboard.curves import GradientNorm

QUICK = ["--dataset", "moons", "--samples", 60, "--epochs", 40, "--batch_size", 16]
QUICK += ["--pictures", 2, "--precision", "64-true"]
RUN = Path("lightning_logs", "moons", "version_0")
HINT = f"resume with --resume {RUN}"
CANNOT_RESUME = f"cannot resume from {RUN}/checkpoints/last.ckpt: {{}}; start a new run"


def snapshot(run):
    """What a run leaves, to the bit: checkpoints, curves without wall times, results, steps of the pictures."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0}).Reload()
    return {
        "files": sorted(path.name for path in (run / "checkpoints").iterdir()),
        **{name: comparable(checkpoint(run, name)) for name in ("best", "last")},
        "results": (run / "results.yaml").read_text(),
        "curves": scalars(run),
        "pictures": {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]},
    }


def comparable(value):
    """A checkpoint that == compares bit by bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: comparable(part) for key, part in value.items()}
    return [comparable(part) for part in value] if isinstance(value, (list, tuple)) else (type(value), repr(value))


def assert_same(one, two):
    assert one.keys() == two.keys()
    for part in one:
        assert one[part] == two[part], part


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run without interruption."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = train_here(folder, *QUICK)
    assert process.returncode == 0, process.stderr
    return folder / RUN


@pytest.fixture
def run(uninterrupted, tmp_path):
    """A copy of it that looks as if it was killed before its end."""
    shutil.copytree(uninterrupted, tmp_path / RUN)
    (tmp_path / RUN / "results.yaml").unlink()
    return tmp_path / RUN


def test_tests_the_best_network(uninterrupted):
    network, data = Network().double(), DataModule(moons(60), split=(0.6, 0.2, 0.2), dtype=torch.float64)
    x, y = data.test.tensors
    losses = {}
    for name in ("best", "last"):
        weights = checkpoint(uninterrupted, name)["state_dict"]
        network.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
        losses[name] = HalfMSELoss()(network(x), y).item()
    assert losses["best"] != pytest.approx(losses["last"], rel=1e-3)
    results = yaml.safe_load((uninterrupted / "results.yaml").read_text())
    assert results["test/loss"] == pytest.approx(losses["best"], rel=1e-6)


def resume(folder, run="last"):
    process = train_here(folder, "--resume", run)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process


@pytest.fixture
def signalled(monkeypatch):
    """Makes this process send itself a signal in an epoch, or when a method is called."""

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


def newest_events(run):
    return max(run.glob("events.*"))


KILLS = {
    "before the first checkpoint": lambda run: shutil.rmtree(run / "checkpoints"),
    "between best.ckpt and last.ckpt": lambda run: (run / "checkpoints" / "last.ckpt").unlink(),
    "between the last checkpoint and the test": lambda run: newest_events(run).unlink(),
    "after the test": lambda run: (run / "checkpoints" / "best.ckpt.part").write_text("half"),
}


class TestResumes:
    @pytest.mark.parametrize("moment", KILLS)
    def test_after_it_was_killed(self, run, uninterrupted, tmp_path, monkeypatch, moment):
        """Partial files are deleted, and a folder for temporary files is not needed."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        KILLS[moment](run)
        resume(tmp_path)
        assert_same(snapshot(run), snapshot(uninterrupted))

    def test_by_a_clock_that_was_set_back(self, uninterrupted, tmp_path, signalled):
        signalled(signal.SIGINT, 17)
        train_here(tmp_path, *QUICK)
        for path in (tmp_path / RUN).glob("events.*"):
            *parts, seconds, host = path.name.split(".", 4)
            path.rename(path.with_name(".".join([*parts, str(int(seconds) + 86400), host])))
        resume(tmp_path)
        assert_same(snapshot(tmp_path / RUN), snapshot(uninterrupted))

    @pytest.mark.parametrize("epochs", [[4], [27, 33, 36]], ids=str)
    def test_in_another_folder(self, uninterrupted, tmp_path, signalled, epochs):
        """The run was interrupted, moved, and is resumed from another working directory."""
        options = QUICK
        for epoch in epochs:
            signalled(signal.SIGINT, epoch)
            process = train_here(tmp_path, *options)
            assert process.returncode == 1
            assert process.stderr == f"train.py: error: interrupted after epoch {epoch} of 40; {HINT}\n"
            assert epochs_done(tmp_path / RUN) == epoch
            options = ["--resume", "last"]
        moved = tmp_path / "elsewhere" / "moons" / "a run"
        shutil.move(tmp_path / RUN, moved)
        (tmp_path / "here").mkdir()
        process = resume(tmp_path / "here", moved)
        assert f"\nresuming after epoch {epochs[-1]} of 40\n" in process.stdout
        assert f"run: {moved}\nview with: tensorboard --logdir {tmp_path}/elsewhere\n" in process.stdout
        assert_same(snapshot(moved), snapshot(uninterrupted))
        assert not any((tmp_path / "here").iterdir())

    def test_replaces_links_instead_of_writing_through_them(self, run, tmp_path):
        (tmp_path / "mine").write_text("mine")
        (run / "results.yaml.part").symlink_to(tmp_path / "mine")
        resume(tmp_path)
        assert (tmp_path / "mine").read_text() == "mine"
        assert not (run / "results.yaml").is_symlink()

    def test_the_newest_run_with_last(self, run, tmp_path):
        for k, age in ((1, 300), (2, 100), (3, 200)):
            folder = tmp_path / "lightning_logs" / f"data{k}" / "version_7"
            shutil.copytree(run, folder)
            for file in folder.rglob("*"):
                os.utime(file, (time.time() - age, time.time() - age))
        shutil.rmtree(run)
        sweep = tmp_path / "lightning_logs" / "sweep_moons" / "version_0"
        sweep.mkdir(parents=True)
        for name in ("config.yaml", "results.csv"):
            (sweep / name).write_text("")
        assert "run: lightning_logs/data2/version_7\n" in resume(tmp_path).stdout
        (tmp_path / "lightning_logs").rename(tmp_path / "logs")
        message = refused(tmp_path, "last", "--log-dir", "logs")
        assert message == "logs/data2/version_7 is finished: all of its 40 epochs are done"


def refused(folder, *options):
    """The message of a run that is not resumed, and leaves all files as they were."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    process = train_here(folder, "--resume", *options)
    assert process.returncode == 2
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    (message,) = re.findall("train.py: error: (.*)\n", process.stderr)
    assert process.stderr == f"train.py: error: {message}\n"
    return message


class TestRefusesToResume:
    def test_a_finished_run_or_other_data(self, run, tmp_path):
        config = run / "config.yaml"
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"noise": 0.2}))
        reason = "its training rows are not the run's, or the data file has changed"
        assert refused(tmp_path, RUN) == CANNOT_RESUME.format(reason)
        (run / "results.yaml").write_text("")
        assert refused(tmp_path, RUN) == f"{RUN} is finished: all of its 40 epochs are done"

    @pytest.mark.parametrize("part", ["training", "validation", "test"])
    def test_rows_that_have_changed(self, tmp_path, part):
        """Exchanging two values of a column in one part changes no mean and no deviation."""
        rng = np.random.default_rng(0)
        table = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "y": rng.integers(0, 2, 60)})
        table.to_csv(tmp_path / "rows.csv", index=False)
        options = ["--dataset", "rows.csv", "--target", "y", "--epochs", "20", "--pictures", "0"]
        assert train_here(tmp_path, *options).returncode == 0
        (tmp_path / "lightning_logs" / "rows" / "version_0" / "results.yaml").unlink()
        parts = split_rows(read_csv(str(tmp_path / "rows.csv"), None, "y"), (0.6, 0.2, 0.2), 0)
        one, two = parts[("training", "validation", "test").index(part)][:2]
        table.loc[[one, two], "a"] = table.loc[[two, one], "a"].to_numpy()
        table.to_csv(tmp_path / "rows.csv", index=False)
        assert f"its {part} rows are not the run's, or the data file has changed" in refused(tmp_path, "last")

    def test_a_damaged_checkpoint(self, run, tmp_path):
        path = run / "checkpoints" / "last.ckpt"
        path.write_bytes(path.read_bytes()[:3000])
        assert re.fullmatch(CANNOT_RESUME.format(".*"), refused(tmp_path, RUN))

    def test_a_run_that_is_still_being_trained(self, run, tmp_path):
        with FileLock(run / ".lock"):
            assert refused(tmp_path, "last") == f"{RUN} is being trained by another process"

    def test_a_lock_that_is_a_link(self, run, tmp_path):
        (tmp_path / "victim").write_text("precious")
        (run / ".lock").unlink(missing_ok=True)
        (run / ".lock").symlink_to(tmp_path / "victim")
        train_here(tmp_path, "--resume", "last")
        assert (tmp_path / "victim").read_text() == "precious"

    def test_a_link_to_other_checkpoints(self, run, tmp_path):
        (run / "checkpoints").rename(tmp_path / "other")
        (run / "checkpoints").symlink_to(tmp_path / "other")
        message = refused(tmp_path, "last")
        assert message == f"{RUN}/checkpoints is a link to another folder, whose files would be overwritten"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda text: "", "it has no options"),
            (lambda text: "- 1\n", "it has no options"),
            (lambda text: text + "config: /etc/passwd\n", "unknown option 'config'"),
            (lambda text: text + "resume: elsewhere\n", "unknown option 'resume'"),
            (lambda text: text + '"x\\n y": 1\n', r"unknown option 'x\\n y'"),
            (lambda text: text + "compare: ../..\n", "a list is missing"),
            (lambda text: text + "compare: [manual, ..]\n", "not among choices"),
            (lambda text: text + "compare: [manual, manual]\n", "config.yaml: compare needs manual and autograd"),
            (lambda text: text.replace("epochs: 40", "epochs: -1"), 'option "epochs": must be above 0, got -1'),
            (lambda text: text.replace("eta_min: 0.0", "eta_min: 9.0"), "config.yaml: eta_min must not exceed"),
            (lambda text: "epochs: !!python/object/apply:os.mkdir [x]\n", "could not determine a constructor"),
            (lambda text: "epochs: \x00", "unacceptable character #x0000"),
            (lambda text: b"epochs: \xe9", "'utf-8' codec can't decode"),
            (lambda text: "a: " + "[" * 11 + "]" * 11, "it has an alias .* or is nested too deeply"),
            (lambda text: "[" * 70_000, "it has more than 65536 bytes"),
            (lambda text: text + "a: &a [1, 1]\nb: [*a, *a]\n", "it has an alias .* or is nested too deeply"),
        ],
    )
    def test_options_that_are_not_those_of_a_run(self, run, tmp_path, change, message):
        config = run / "config.yaml"
        changed = change(config.read_text())
        config.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        assert re.search(message, refused(tmp_path, RUN))


def test_compared_runs_are_resumed_together(tmp_path, signalled):
    options = [*QUICK, "--compare", "autograd", "manual"]
    for name in ("uninterrupted", "killed"):
        (tmp_path / name).mkdir()
    assert train_here(tmp_path / "uninterrupted", *options).returncode == 0
    signalled(signal.SIGTERM, epoch=12)
    process = train_here(tmp_path / "killed", *options)
    assert process.returncode == 1
    assert process.stderr == f"train.py: error: interrupted after epoch 12 of 40; {HINT}/manual\n"
    process = resume(tmp_path / "killed" / RUN / "manual", ".")
    assert "autograd backward" not in process.stdout
    for backward in ("autograd", "manual"):
        assert_same(*(snapshot(tmp_path / name / RUN / backward) for name in ("uninterrupted", "killed")))
    curve = scalars(tmp_path / "killed" / RUN / "manual")["training/difference"]
    assert [step for step, _ in curve] == list(range(41))
    assert refused(tmp_path / "killed", RUN / "autograd") == f"{RUN} is finished: all of its 40 epochs are done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
class TestASignal:
    @pytest.mark.parametrize(
        "when", [(DataModule, "setup"), (TrainingModule, "configure_optimizers"), (DataModule, "train_dataloader")]
    )
    def test_before_the_first_epoch(self, tmp_path, signalled, number, when):
        signalled(number, when=when)
        process = train_here(tmp_path, *QUICK)
        assert process.returncode == 1
        assert process.stderr == f"train.py: error: interrupted after epoch 1 of 40; {HINT}\n"
        assert epochs_done(tmp_path / RUN) == 1

    def test_during_the_test(self, uninterrupted, tmp_path, signalled, number):
        signalled(number, when=(TrainingModule, "test_step"))
        process = train_here(tmp_path, *QUICK)
        assert process.returncode == 0, process.stderr
        assert_same(snapshot(tmp_path / RUN), snapshot(uninterrupted))

    def test_during_the_test_of_the_first_of_two_runs(self, tmp_path, signalled, number):
        signalled(number, when=(TrainingModule, "test_step"))
        process = train_here(tmp_path, *QUICK, "--compare", "manual", "autograd")
        assert process.returncode == 1
        assert process.stderr == f"train.py: error: interrupted; {HINT}\n"
        assert [path.name for path in (tmp_path / RUN).iterdir() if path.is_dir()] == ["manual"]
        assert (tmp_path / RUN / "manual" / "results.yaml").exists()

    def test_a_second_one_ends_the_run_at_once(self, tmp_path, number):
        """Both come while TensorBoard's writer gets an event; an exception there would end its thread."""
        last = RUN / "checkpoints" / "last.ckpt"
        code = f"""
import os, queue, runpy, sys

put = queue.Queue._put

def interrupted_put(self, item):
    put(self, item)
    if os.path.exists({str(last)!r}):
        queue.Queue._put = put
        for _ in range(2):
            os.kill(os.getpid(), {number:d})

queue.Queue._put = interrupted_put
sys.argv[:] = {[str(SCRIPT), *map(str, QUICK)]}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=40, check=False
        )
        assert process.returncode == 1
        assert process.stderr == f"train.py: error: interrupted; {HINT} from the last checkpoint\n"
        assert epochs_done(tmp_path / RUN) == 10

    def test_at_the_start(self, tmp_path, number):
        process = start(tmp_path, *QUICK)
        time.sleep(1)  # PyTorch is being imported
        process.send_signal(number)
        process.send_signal(number)
        _, errors = process.communicate(timeout=5)
        assert process.returncode == 1
        assert errors == "train.py: error: interrupted\n"

    def test_to_another_process_ends_it_with_a_checkpoint(self, tmp_path, number):
        process = start(tmp_path, "--epochs", 100_000, "--dataset", "moons", "--pictures", 0, "--checkpoint_every", 50)
        wait_for(tmp_path / RUN / "checkpoints" / "last.ckpt")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        done = epochs_done(tmp_path / RUN)
        assert errors == f"train.py: error: interrupted after epoch {done} of 100000; {HINT}\n"
        assert [step for step, _ in scalars(tmp_path / RUN)["loss/val"]] == list(range(1, done + 1))


@contextlib.contextmanager
def files_up_to(size):
    """Writing beyond this size fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# it fails at the options, at the first events, or in the middle
@pytest.mark.parametrize(("size", "remedy"), [(100, "start a new run"), (3_000, HINT), (80_000, HINT)])
def test_a_full_disk_is_reported_and_nothing_is_lost(uninterrupted, tmp_path, size, remedy, capfd):
    (tmp_path / "lightning_logs" / "article").mkdir(parents=True)  # of an earlier run
    (tmp_path / "lightning_logs" / "article" / "events.of.before").touch()
    with files_up_to(size):
        process = train_here(tmp_path, *QUICK)
    assert process.returncode == 1
    message = f"log_dir: cannot write to {RUN}: File too large; fix that, then {remedy}"
    assert process.stderr == f"train.py: error: {message}\n"
    assert capfd.readouterr().err == ""
    if remedy == HINT:
        resume(tmp_path)
        assert_same(snapshot(tmp_path / RUN), snapshot(uninterrupted))


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
def test_a_killed_run_is_resumed_to_the_same_end(tmp_path, options, kills):
    """It is killed at random moments; $TMPDIR is on another file system if there is one."""
    options = ["--dataset", "moons", "--epochs", 100 if kills == 1 else 1000, "--pictures", 4, *options]
    assert train_here(tmp_path, *options, "--log_dir", "uninterrupted").returncode == 0
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
            if (run / "results.yaml").exists():  # it was killed after its end
                assert_same(snapshot(run), snapshot(tmp_path / "uninterrupted" / "moons" / "version_0"))
                shutil.rmtree(run)
                command = [*options, "--log_dir", "killed"]
                continue
            assert process.returncode == -signal.SIGKILL
            checkpoints = {path.stem: checkpoint(run, path.stem) for path in run.glob("checkpoints/*.ckpt")}
            done.append(checkpoints["last"]["epoch"] + 1 if "last" in checkpoints else 0)
            command = ["--resume", "killed/moons/version_0"]
            scalars(run)
        assert not any(Path(folder).glob("*"))
    resumed = train(tmp_path, *command)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert_same(snapshot(run), snapshot(tmp_path / "uninterrupted" / "moons" / "version_0"))


def wait_for_more(run):
    """Waits until something is logged."""
    sizes, deadline = set(), time.monotonic() + 60
    while len(sizes) < 2 and time.monotonic() < deadline:
        sizes.add(sum(path.stat().st_size for path in run.glob("events.*")))
        time.sleep(0.01)


def test_file_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", mock.Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    process = train_here(tmp_path, "--dataset", "moons", "--epochs", 2, "--pictures", 0)
    assert process.returncode == 0, process.stderr


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_signals_at_any_moment_end_a_run_in_one_line(uninterrupted, tmp_path):
    """200 pairs, 1 to 20 ms apart, from the start of the script to its end; each run can then be resumed."""
    rng = random.Random(0)
    outcomes = Counter()
    for k in range(200):
        folder = tmp_path / str(k)
        folder.mkdir()
        process = start(folder, *QUICK)
        time.sleep(rng.uniform(0.5, 8))
        for number in (rng.choice(GracefulStop.SIGNALS), rng.choice(GracefulStop.SIGNALS)):
            process.send_signal(number)
            time.sleep(rng.uniform(0.001, 0.02))
        _, errors = process.communicate(timeout=5)
        finished = (folder / RUN / "results.yaml").exists()  # while Python shuts down, a signal has its default action
        assert finished or errors or not (folder / "lightning_logs").exists(), k  # before the script's first line
        assert process.returncode in ((0, 1, -2, -15) if finished else (1, -2, -15)), (k, process.returncode, errors)
        assert re.fullmatch(r"(train\.py: error: interrupted[^\n]*\n)?", errors), (k, errors)
        outcomes[re.sub(r"\d+|version\S*", "", errors)] += 1
        if (folder / RUN).exists() and not finished:
            resume(folder)
        if (folder / RUN).exists():
            assert_same(snapshot(folder / RUN), snapshot(uninterrupted))
        shutil.rmtree(folder)
    print(outcomes)
    assert len(outcomes) >= 3  # at the start, during the run, after it


def test_a_network_of_too_many_layers():
    """Not from the command line, where jsonargparse takes ten seconds to check a thousand numbers."""
    message = "must make at most 1000 layers, and 1024 MiB of parameters and momenta, got 1002 layers"
    with pytest.raises(UsageError, match=message):
        build_module(TrainOptions(neurons=[1] * 1000), DataModule(moons(60)))
