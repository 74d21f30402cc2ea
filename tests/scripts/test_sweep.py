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
from helpers.scripts import run_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep.py"
QUICK = ["--dataset", "moons", "--samples", "60", "--seeds", "2"]
QUICK += ["--learning_rate", "[0.1,1]", "--momentum", "[0,0.9]", "--epochs", "[3,10]"]
ENDLESS = [*QUICK[:-1], "[20,100000000]"]
RUN = Path("lightning_logs", "sweep_moons", "version_0")

PYTHON = [sys.executable, SCRIPT]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", SCRIPT]
ENVIRONMENT = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}


def sweep(folder, *options, by=PYTHON):
    command = [*by, *map(str, options)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)


@contextmanager
def running_sweep(folder, *options, by):
    """A sweep whose progress bar has passed epoch 20, and the terminal that shows the bar."""
    terminal, stderr = pty.openpty()
    command = [*by, *options]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True, env=ENVIRONMENT
    ) as process:
        os.close(stderr)
        shown = b""
        while not re.search(rb"epoch ([2-9]\d|\d{3,})/", shown):
            shown += os.read(terminal, 10_000)
        try:
            yield process, terminal
        finally:
            process.terminate()
    os.close(terminal)


def last_output(process, terminal):
    """Its stdout, and the error lines of the script on the terminal, once it has ended."""
    shown = b""
    with suppress(OSError):  # raised when the last process closes the terminal
        while part := os.read(terminal, 10_000):
            shown += part
    assert b'sweep.py", line' not in shown  # no traceback of the script
    out, _ = process.communicate(timeout=60)
    return out, re.findall(r"sweep.py: error: .*?(?=\r)", shown.decode())


def events(folder):
    """Run ↦ the scalars and the encoded images in its event files."""
    results = {}
    for path in sorted(folder.glob("**/events*")):
        accumulator = EventAccumulator(str(path), size_guidance={"images": 0, "scalars": 0})
        accumulator.Reload()
        tags = accumulator.Tags()
        results[path.parent.relative_to(folder)] = [
            {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags["scalars"]},
            {tag: [event.encoded_image_string for event in accumulator.Images(tag)] for tag in tags["images"]},
        ]
    return results


def workers(process):
    """Rank ↦ process id of the processes that torchrun has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    environments = {int(child): Path(f"/proc/{child}/environ").read_text() for child in children}
    return {int(re.search(r"\0RANK=(\d)", text)[1]): child for child, text in environments.items()}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    process = sweep(folder, *QUICK)
    assert process.returncode == 0, process.stderr
    return folder / RUN, process


def test_says_what_it_will_do_before_it_imports_torch(tmp_path):
    (tmp_path / "torch.py").write_text("import sys\nsys.exit('importing torch')")
    command, environment = [*PYTHON, *QUICK, "--schedule", "cosine"], ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment)
    assert process.stderr == "importing torch\n"
    assert process.stdout == "2-4-1 on moons: 16 networks, up to 10 epochs\n"


def test_prints_the_best_with_its_spread(quick):
    run, process = quick
    assert process.stderr == ""
    assert process.stdout.startswith("2-4-1 on moons: 8 networks, up to 10 epochs\n")
    pattern = r"best: η = (\S+), momentum (\S+), (\d+) epochs; on the test rows: loss \S+ ± \S+, accuracy \S+ ± "
    rows = pd.read_csv(run / "results.csv")
    means = rows.groupby(["learning_rate", "momentum", "epochs"]).val_loss.mean()
    assert tuple(map(float, re.search(pattern, process.stdout).groups())) == pytest.approx(means.idxmin())


def test_files_hold_every_network(quick):
    run, _ = quick
    rows = pd.read_csv(run / "results.csv")
    assert len(rows) == 2 * 2 * 2 * 2
    assert json.loads((run / "results.json").read_text()) == rows.to_dict("records")
    assert yaml.safe_load((run / "config.yaml").read_text())["learning_rate"] == [0.1, 1.0]


def test_two_processes_give_the_results_of_one(quick, tmp_path):
    """The rows in the same order and equal within rounding; so short a sweep rounds alike, so the text is equal too."""
    run, single = quick
    process = sweep(tmp_path, *QUICK, by=TORCHRUN)
    assert process.returncode == 0, process.stderr
    assert process.stdout == single.stdout
    assert [path.name for path in (tmp_path / RUN).parent.iterdir()] == ["version_0"]
    rows, expected = (pd.read_csv(folder / "results.csv") for folder in (tmp_path / RUN, run))
    pd.testing.assert_frame_equal(rows, expected, rtol=1e-5, atol=0)
    assert (tmp_path / RUN / "config.yaml").read_bytes() == (run / "config.yaml").read_bytes()
    assert events(tmp_path / RUN).keys() == events(run).keys()


def test_tensorboard_has_figures_curves_and_runs_of_the_two_best_rates_and_momenta(quick):
    run, _ = quick
    logged = events(run)
    scalars, images = logged[Path()]
    groups = ("validation_loss", "validation_loss_over_learning_rate")
    assert images.keys() == {f"{group}/momentum_{m}" for m in ("0", "0.9") for group in groups}
    for (image,) in images.values():
        assert int.from_bytes(image[16:20]) == 350  # width in the PNG header
    means = pd.read_csv(run / "results.csv").groupby(["momentum", "epochs", "learning_rate"]).val_loss.mean()
    curve = scalars["validation_loss_at_kth_learning_rate/momentum_0.9_epochs_10"]
    assert [step for step, _ in curve] == [0, 1]
    assert [value for _, value in curve] == pytest.approx(means[0.9, 10].tolist())
    ranked = means.groupby(["learning_rate", "momentum"]).min().sort_values().index[:2]
    assert logged.keys() == {Path(), *(Path(f"learning_rate_{eta:g}_momentum_{m:g}") for eta, m in ranked)}
    eta, momentum = ranked[0]
    folder = f"learning_rate_{eta:g}_momentum_{momentum:g}"
    losses = logged[Path(folder)][0]["loss/val"]
    assert [step for step, _ in losses] == [3, 10]
    assert [value for _, value in losses] == pytest.approx([means[momentum, t, eta] for t in (3, 10)])
    accumulator = EventAccumulator(str(run / folder))
    accumulator.Reload()
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    shown = [values[name].number_value for name in ("learning_rate", "momentum", "epochs")]
    assert shown == [eta, momentum, 10]
    assert values["neurons"].string_value == "4"
    assert "_hparams_/session_end_info" in accumulator.PluginTagToContent("hparams")


def test_ctrl_c_reports_the_epochs_done(tmp_path):
    with running_sweep(tmp_path, *ENDLESS, by=PYTHON) as (process, terminal):
        process.send_signal(signal.SIGINT)
        out, errors = last_output(process, terminal)
    assert process.returncode == 1
    rows = pd.read_csv(tmp_path / RUN / "results.csv")
    last = rows.epochs.max()
    assert errors == [f"sweep.py: error: interrupted: the results cover 8 networks, up to epoch {last}"]
    assert out.startswith("2-4-1 on moons: 8 networks")
    assert out.count("validation loss") == 1
    assert rows.epochs.min() == 20 < last
    assert len(rows) == 2 * 8
    assert rows.train_loss.notna().all()


@pytest.mark.parametrize(
    ("receiver", "number", "messages"),
    [
        ("torchrun", signal.SIGINT, [["interrupted"]]),  # which passes it on to both
        pytest.param("torchrun", signal.SIGTERM, [[]], marks=pytest.mark.soak),
        pytest.param(0, signal.SIGKILL, [[]], marks=pytest.mark.soak),
        pytest.param(1, signal.SIGKILL, [[], ["another process has ended"]], marks=pytest.mark.soak),
    ],
)
def test_if_one_process_ends_all_end(tmp_path, receiver, number, messages):
    with running_sweep(tmp_path, *ENDLESS, by=TORCHRUN) as (process, terminal):
        ranks = workers(process)
        assert len(ranks) == 2
        os.kill(process.pid if receiver == "torchrun" else ranks[receiver], number)
        start = time.monotonic()
        out, errors = last_output(process, terminal)
    assert time.monotonic() - start < 15
    assert process.returncode == 1
    assert "validation loss" not in out
    assert errors in [[f"sweep.py: error: {message}" for message in lines] for lines in messages]
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())


@pytest.mark.parametrize("options", ["--dataset xor --samples 5", pytest.param("--epochs [0]", marks=pytest.mark.soak)])
def test_one_of_several_processes_prints_the_error(tmp_path, options):
    process = sweep(tmp_path, *options.split(), by=TORCHRUN)
    assert process.returncode == 1
    assert len(re.findall("^sweep.py: error: .*", process.stderr, re.MULTILINE)) == 1
    assert re.search(r"rank +: 0 .*\n +exitcode +: 2 ", process.stderr)
    assert not any(tmp_path.iterdir())


def test_ctrl_c_before_any_result(tmp_path):
    command = [*PYTHON, "--dataset", "moons", "--schedule", "cosine", "--epochs", "100000000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("2-4-1 on moons: 160 networks")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == "sweep.py: error: interrupted\n"


def test_if_all_diverge_there_is_no_best(tmp_path):
    options = ["--hidden", "identity", "--output", "identity", "--learning_rate", "[1e8,1e9]", "--momentum", "0.9"]
    process = run_here(SCRIPT, tmp_path, *QUICK[:6], *options, "--epochs", 100)
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
        ("--momentum -0.1", 'option "momentum": '),
        ("--seed -1", 'option "seed": '),
        ("--seed 4294967290", "seed + seeds must be at most 2³²"),
        ("--schedule step", 'option "schedule": '),
        ("--schedule cosine --eta_min 0.5", "eta_min must not exceed a learning rate"),
        ("--dataset mnist", "dataset must be one of"),
        ("--epoch [3]", "unrecognized arguments: --epoch"),
    ],
)
def test_bad_options_are_one_line(tmp_path, options, message):
    process = run_here(SCRIPT, tmp_path, *options.split())
    assert process.returncode == 2
    assert re.fullmatch(f"sweep.py: error: .*{re.escape(message)}.*\n", process.stderr)
    assert not any(tmp_path.iterdir())


def test_log_dir_that_is_a_file(tmp_path):
    (tmp_path / "logs").write_text("a file")
    process = run_here(SCRIPT, tmp_path, *QUICK, "--log_dir", "logs")
    assert process.returncode == 1
    assert re.fullmatch("sweep.py: error: log_dir: cannot write to logs/.*\n", process.stderr)
