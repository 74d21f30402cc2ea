import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep.py"
QUICK = ["--dataset", "moons", "--samples", "60", "--seeds", "2"]
QUICK += ["--learning_rate", "[0.1,1]", "--momentum", "[0,0.9]", "--epochs", "[3,10]"]


ONE = [sys.executable, SCRIPT]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", SCRIPT]
ENVIRONMENT = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}


def sweep(folder, *options, by=ONE):
    return subprocess.run(
        [*by, *map(str, options)], cwd=folder, capture_output=True, text=True, timeout=120, env=ENVIRONMENT
    )


@contextmanager
def started(folder, *options, by):
    """A sweep that goes on, its bar having passed epoch 20, and the terminal that the bar is on."""
    terminal, stderr = pty.openpty()
    command = [*by, *options]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True, env=ENVIRONMENT
    ) as run:
        os.close(stderr)
        shown = b""
        while not re.search(rb"epoch ([2-9]\d|\d{3,})/", shown):
            shown += os.read(terminal, 10_000)
        try:
            yield run, terminal
        finally:
            run.terminate()  # unless it has ended, as it should
    os.close(terminal)


def ended(process, terminal):
    """What it then said: stdout, and the lines of ours on the terminal."""
    shown = b""
    with suppress(OSError):  # there is nobody left to write to it
        while part := os.read(terminal, 10_000):
            shown += part
    assert b'sweep.py", line' not in shown  # no traceback of ours
    out, _ = process.communicate(timeout=60)
    return out, re.findall(r"sweep.py: error: .*?(?=\r)", shown.decode())


def events(folder):
    """What TensorBoard has of a run: run ↦ tag ↦ values, and images as they are encoded."""
    found = {}
    for path in sorted(folder.glob("**/events*")):
        accumulator = EventAccumulator(str(path), size_guidance={"images": 0, "scalars": 0})
        accumulator.Reload()
        tags = accumulator.Tags()
        found[path.parent.relative_to(folder)] = [
            {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags["scalars"]},
            {tag: [event.encoded_image_string for event in accumulator.Images(tag)] for tag in tags["images"]},
        ]
    return found


def workers(process):
    """The processes that torchrun has started, in their order: rank ↦ process id."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {
        int(re.search(r"\0RANK=(\d)", Path(f"/proc/{child}/environ").read_text())[1]): int(child) for child in children
    }
    assert len(ranks) == 2
    return ranks


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    process = sweep(folder, *QUICK)
    assert process.returncode == 0, process.stderr
    return folder, process


def test_prints_the_best_with_its_spread(swept):
    _, process = swept
    assert process.stderr == ""
    assert process.stdout.startswith("2-4-1 on moons: 8 networks, up to 10 epochs\n")
    best = re.search(
        r"best: η = (\S+), momentum (\S+), (\d+) epochs; on the test rows: loss \S+ ± \S+, acc", process.stdout
    )
    rows = pd.read_csv(swept[0] / "lightning_logs/sweep_moons/version_0/results.csv")
    means = rows.groupby(["learning_rate", "momentum", "epochs"]).val_loss.mean()
    assert tuple(map(float, best.groups())) == pytest.approx(means.idxmin())


def test_the_files_hold_every_network(swept):
    run = swept[0] / "lightning_logs/sweep_moons/version_0"
    rows = pd.read_csv(run / "results.csv")
    assert len(rows) == 2 * 2 * 2 * 2
    assert json.loads((run / "results.json").read_text()) == rows.to_dict("records")
    assert yaml.safe_load((run / "config.yaml").read_text())["learning_rate"] == [0.1, 1.0]


def test_another_run_of_two_processes_gives_the_same_bytes(swept, tmp_path):
    folder, alone = swept
    process = sweep(tmp_path, *QUICK, by=TWO)
    assert process.returncode == 0, process.stderr
    assert process.stdout == alone.stdout
    assert [path.name for path in (tmp_path / "lightning_logs/sweep_moons").iterdir()] == ["version_0"]
    run = "lightning_logs/sweep_moons/version_0"
    for name in ("results.csv", "results.json", "config.yaml"):
        assert (tmp_path / run / name).read_bytes() == (folder / run / name).read_bytes()
    assert events(tmp_path / run) == events(folder / run)


def test_tensorboard_has_figures_curves_and_a_run_for_each_configuration(swept):
    run = swept[0] / "lightning_logs/sweep_moons/version_0"
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    images = {f"{group}/momentum_{m}" for m in ("0", "0.9") for group in ("validation_loss", CURVE)}
    assert set(events.Tags()["images"]) == images
    assert all(events.Images(tag)[0].width == 500 for tag in images)
    rows = pd.read_csv(run / "results.csv")
    rows = rows[(rows.momentum == 0.9) & (rows.epochs == 10)]
    curve = events.Scalars(f"{CURVE}/momentum_0.9_epochs_10")
    assert [event.step for event in curve] == [0, 1]
    assert [event.value for event in curve] == pytest.approx(rows.groupby("learning_rate").val_loss.mean().tolist())
    configurations = [path.name for path in run.iterdir() if path.is_dir()]
    assert sorted(configurations) == [f"learning_rate_{eta}_momentum_{m}" for eta in ("0.1", "1") for m in ("0", "0.9")]
    one = EventAccumulator(str(run / "learning_rate_1_momentum_0.9"))
    one.Reload()
    assert [event.step for event in one.Scalars("loss/val")] == [3, 10]
    assert one.Scalars("loss/val")[-1].value == pytest.approx(curve[1].value)
    assert set(one.PluginTagToContent("hparams")) >= {"_hparams_/experiment", "_hparams_/session_start_info"}


CURVE = "validation_loss_over_learning_rate"


ENDLESS = [*QUICK[:-1], "[20,100000000]"]


@pytest.mark.parametrize(
    ("by", "whom"),
    [(ONE, None), (TWO, 1), pytest.param(TWO, None, marks=pytest.mark.soak)],  # torchrun passes it on to both
    ids=["one process", "one of two processes", "torchrun"],
)
def test_ctrl_c_reports_what_there_is(tmp_path, by, whom):
    with started(tmp_path, *ENDLESS, by=by) as (process, terminal):
        os.kill(process.pid if whom is None else workers(process)[whom], signal.SIGINT)
        out, (error,) = ended(process, terminal)
    assert process.returncode == 1
    rows = pd.read_csv(tmp_path / "lightning_logs/sweep_moons/version_0/results.csv")
    last = rows.epochs.max()
    assert error == f"sweep.py: error: interrupted: the results are those of 8 networks, until epoch {last}"
    assert out.startswith("2-4-1 on moons: 8 networks")
    assert out.count("validation loss") == 1
    assert rows.epochs.min() == 20 < last
    assert len(rows) == 2 * 8
    assert rows.train_loss.notna().all()


@pytest.mark.soak
@pytest.mark.parametrize("victim", [0, 1, None])
def test_if_one_process_is_killed_all_end(tmp_path, victim):
    with started(tmp_path, *ENDLESS, by=TWO) as (process, terminal):
        ranks = workers(process)
        os.kill(process.pid if victim is None else ranks[victim], signal.SIGTERM if victim is None else signal.SIGKILL)
        begun = time.monotonic()
        out, errors = ended(process, terminal)
    assert time.monotonic() - begun < 10
    assert process.returncode == 1
    assert "validation loss" not in out
    assert errors in ([], ["sweep.py: error: another process has ended"])  # torchrun may be quicker
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [("--dataset xor --samples 5", "samples"), pytest.param("--epochs [0]", "epochs", marks=pytest.mark.soak)],
)
def test_of_several_processes_one_says_what_is_wrong(tmp_path, options, message):
    process = sweep(tmp_path, *options.split(), by=TWO)
    (line,) = re.findall("^sweep.py: error: .*", process.stderr, re.MULTILINE)
    assert message in line
    assert re.findall(r"exitcode +: (-?\d+)", process.stderr) == ["2", "2"]
    assert not any(tmp_path.iterdir())


def test_ctrl_c_before_there_is_anything(tmp_path):
    command = [sys.executable, SCRIPT, "--dataset", "moons", "--schedule", "cosine", "--epochs", "100000000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("2-4-1 on moons: 160 networks")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == "sweep.py: error: interrupted before there was anything more to keep\n"


def test_if_all_diverge_there_is_no_best(tmp_path):
    options = ["--hidden", "identity", "--output", "identity", "--learning_rate", "[1e8,1e9]", "--momentum", "0.9"]
    process = sweep(tmp_path, *QUICK[:6], *options, "--epochs", 100)
    assert process.returncode == 0
    assert process.stderr == ""
    assert "2 of 2 configurations diverged, the smallest η at 1e+08\nevery configuration diverged" in process.stdout
    assert "best:" not in process.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--learning_rate []", "learning_rate must be a list of different values, at least one"),
        ("--learning_rate [0.1,0.1]", "learning_rate must be a list of different values"),
        ("--learning_rate [0.1,0.1000000001]", "learning_rate must be a list of different values"),
        ("--learning_rate 1e39", "learning_rate must stay below 1e30"),
        ("--learning_rate [-1]", 'option "learning_rate": '),
        ("--momentum [1]", 'option "momentum": '),
        ("--epochs [0]", 'option "epochs": '),
        ("--seeds 0", 'option "seeds": '),
        ("--schedule step", 'option "schedule": '),
        ("--schedule cosine --eta_min 0.5", "eta_min must not exceed a learning rate"),
        ("--dataset mnist", "dataset must be one of"),
        ("--epoch [3]", "unrecognized arguments: --epoch"),
    ],
)
def test_bad_options_are_one_line(tmp_path, options, message):
    process = sweep(tmp_path, *options.split())
    assert process.returncode == 2
    assert re.fullmatch(f"sweep.py: error: .*{re.escape(message)}.*\n", process.stderr)
    assert not any(tmp_path.iterdir())


def test_a_log_dir_that_is_a_file(tmp_path):
    (tmp_path / "logs").write_text("mine")
    process = sweep(tmp_path, *QUICK, "--log_dir", "logs")
    assert process.returncode == 1
    assert re.fullmatch("sweep.py: error: log_dir: nothing can be written to logs/.*\n", process.stderr)
