"""One run by several processes: they share each batch, and what comes out is what one process gives."""

import os
import re
import signal
import subprocess
import time

import pytest
import torch
import yaml
from helpers.runs import checkpoint, epochs_done, scalars, start, train, train_here, train_on, wait_for

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons

EXACT = ["--epochs", 200, "--precision", "64-true", "--pictures", 1]


@pytest.mark.parametrize(
    ("machines", "options"),
    [
        (2, ["--backward", "autograd"]),  # 341 rows in one batch
        (2, ["--backward", "manual", "--batch_size", 170]),  # the last of three batches has one row
        pytest.param(2, ["--backward", "manual"], marks=pytest.mark.soak),
        pytest.param(3, ["--backward", "manual", "--batch_size", 34], marks=pytest.mark.soak),
        pytest.param(3, ["--backward", "autograd", "--batch_size", 34], marks=pytest.mark.soak),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_several_give_what_one_gives(tmp_path, machines, options):
    folders = tmp_path / "one", tmp_path / "several"
    for folder in folders:
        folder.mkdir()
    alone = train_here(folders[0], *EXACT, *options)
    assert alone.returncode == 0, alone.stderr
    assert train_on(machines, folders[1], *EXACT, *options) == ([0] * machines, [""] * machines)
    one, several = (folder / "lightning_logs" / "breast_cancer" / "version_0" for folder in folders)
    for name in ("last", "best"):
        a, b = checkpoint(one, name), checkpoint(several, name)
        assert a["epoch"] == b["epoch"]
        assert a["global_step"] == b["global_step"]
        for tensors in (a["state_dict"], b["state_dict"]):
            assert all(tensor.dtype == torch.float64 for tensor in tensors.values())
        torch.testing.assert_close(b["state_dict"], a["state_dict"], rtol=0, atol=1e-12)
        momenta = (each["optimizer_states"][0]["state"] for each in (b, a))
        torch.testing.assert_close(*momenta, rtol=0, atol=1e-12)
    curves, others = scalars(one), scalars(several)
    assert curves.keys() == others.keys()
    for name in curves:
        assert [step for step, _ in curves[name]] == [step for step, _ in others[name]]
        if name != "training/gradient_discrepancy":  # of the first one's rows; it is rounding
            expected = pytest.approx([value for _, value in curves[name]], rel=1e-6)  # float32 in the log
            assert [value for _, value in others[name]] == expected, name
    results = [yaml.safe_load((run / "results.yaml").read_text()) for run in (one, several)]
    assert results[1] == pytest.approx(results[0], rel=1e-6)  # torchmetrics adds in float32
    assert [path.name for path in several.parent.iterdir()] == ["version_0"]


def test_more_than_a_batch_has_rows_are_refused(tmp_path):
    process = train_here(tmp_path, "--dataset", "moons", "--samples", 15, "--devices", 10)
    assert process.returncode == 2
    assert process.stderr == "train.py: error: 10 processes cannot share a batch of 9 rows: use fewer devices\n"
    assert not any(tmp_path.iterdir())
    data = DataModule(moons(100), batch_size=5)
    data.validate_world_size(5)
    with pytest.raises(ValueError, match="6 processes cannot share a batch of 5 rows"):
        data.validate_world_size(6)


def children(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(child) for child in out.split()]


def alive(pid):
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return status.strip() not in ("", "Z", "Zl")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.soak) for number in (signal.SIGINT, 15, "all"))]
)
def test_if_one_is_ended_all_end_and_the_run_goes_on(tmp_path, number):
    """By Ctrl-C, which goes to all of them; by a signal to the first; by one that kills the second, or the first."""
    options = ["--dataset", "moons", "--samples", 101, "--epochs", 600, "--pictures", 0, "--precision", "64-true"]
    for attempt in range(4):  # Lightning kills the first process if it looks, every 5 s, before that ends by itself
        folder = tmp_path / str(attempt)
        folder.mkdir()
        environment = os.environ | {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # without a network, torch warns of the host's name
        command = [*options, "--devices", 2, "--strategy", "ddp"]
        process = start(folder, *command, env=environment, start_new_session=True)
        run = folder / "lightning_logs" / "moons" / "version_0"
        wait_for(run / "checkpoints" / "last.ckpt")
        (second,) = [child for child in children(process.pid) if alive(child)]
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(second if number == signal.SIGKILL else process.pid, signal.SIGKILL if number == "all" else number)
        _, errors = process.communicate(timeout=60)
        if process.returncode == 1 or number == "all":
            break
    deadline = time.monotonic() + 20
    while alive(second) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(second)
    done = epochs_done(run)
    assert 10 <= done < 600
    if number == "all":
        assert process.returncode == -signal.SIGKILL
        assert errors == ""
    else:
        assert process.returncode == 1
        lost = "lightning_logs/moons/version_0: a process has ended or lost the others .*"
        reason = lost if number == signal.SIGKILL else f"interrupted after epoch {done} of 600"
        assert re.fullmatch(
            f"train.py: error: {reason}; resume with --resume lightning_logs/moons/version_0.*\n", errors
        )
    if number != signal.SIGKILL:
        assert train(folder, "--resume", "last").returncode == 0
        assert train_here(folder, *options, "--log_dir", "one").returncode == 0
        one = folder / "one" / "moons" / "version_0"
        torch.testing.assert_close(checkpoint(run)["state_dict"], checkpoint(one)["state_dict"], rtol=0, atol=1e-12)
