import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts import run_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = Path(__file__).parents[2] / "scripts" / "experiments.py"
CSV = os.environ.get("HABERMAN_CSV")
FITS = ("best_of_seeds", "median_of_seeds", "worst_of_seeds", "untrained_staircase")
IMAGES = {
    *("learning_rate/cost", "learning_rate/two_sides", "momentum/path", "perceptron/boolean_functions"),
    *("approximation/error", "approximation/fits", "saturation/slopes", "errata/beyond_the_data", "errata/xor_costs"),
}
SCALARS = {
    *(
        f"learning_rate/cost_above_least_over_steps/{multiple}"
        for multiple in ("0.002", "0.02", "0.5", "0.99", "1", "1.01")
    ),
    *(f"momentum/theta_over_steps/{m}" for m in ("0", "0.5", "0.8", "0.85", "0.9", "0.95")),
    *(f"approximation/error_over_neurons/{name}" for name in FITS),
    *("perceptron/how_many_compute_it", "errata/xor_cost", "errata/holds"),
}
NOTEBOOK_SCALARS = {
    *(f"saturation/{name}/{eta}" for name in ("gradient_norm", "saturated_outputs", "cost") for eta in ("0.02", "0.45"))
}


def without_network(folder):
    """The environment of a script that can neither reach the network nor find a previous download."""
    nowhere = "http://127.0.0.1:9"  # nothing listens on this port
    return {"http_proxy": nowhere, "https_proxy": nowhere, "SCIKIT_LEARN_DATA": str(folder / "sklearn")}


def run(folder, *options):
    return run_here(SCRIPT, folder, *options, **without_network(folder))


def run_in_subprocess(folder, *arguments):
    """Python in a process of its own, on one thread: with a test per core, a second thread slows stacks down."""
    environment = os.environ | without_network(folder) | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, env=environment)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All experiments, with data if HABERMAN_CSV names them: the process, its event file and its folder."""
    folder = tmp_path_factory.mktemp("all")
    process = run_in_subprocess(folder, SCRIPT, "--log_dir", "runs", *(["--csv", CSV] if CSV else []))
    assert process.returncode == 0, process.stderr
    events = EventAccumulator(str(folder / "runs" / "experiments" / "version_0"), size_guidance={"scalars": 0})
    events.Reload()
    return process, events, folder


def test_prints_a_heading_and_the_numbers_of_each_experiment(results):
    process, _, folder = results
    headings = [line.split()[0] for line in process.stdout.splitlines() if line[0].isalpha() and line[-5:] == "─────"]
    assert headings == ["learning_rate", "momentum", "perceptron", "approximation", "saturation", "errata"]
    assert "critical learning rate η = 2/λ_max = 0.5175" in process.stdout
    assert "2197 perceptrons compute 14 of the 16 Boolean functions of two inputs, but not XOR" in process.stdout
    assert "not refuted" not in process.stdout
    assert process.stdout.count("│ wrong ") == (8 if CSV else 6)
    assert process.stdout.endswith("view with: tensorboard --logdir runs\n")
    assert sorted(path.name for path in folder.iterdir() if path.name != "sklearn") == ["runs"]


def test_logs_figures_and_curves(results):
    _, events, _ = results
    assert set(events.Tags()["images"]) == IMAGES | ({"saturation/network"} if CSV else set())
    assert set(events.Tags()["scalars"]) == SCALARS | (NOTEBOOK_SCALARS if CSV else set())
    for tag in events.Tags()["images"]:
        (image,) = events.Images(tag)
        assert (image.width, image.height) == (350, 280)
    assert len(events.Scalars("learning_rate/cost_above_least_over_steps/1.01")) == 101
    assert len(events.Scalars("momentum/theta_over_steps/0.9")) == 301
    assert [event.step for event in events.Scalars("approximation/error_over_neurons/best_of_seeds")] == [
        1,
        2,
        4,
        8,
        16,
        32,
        64,
    ]
    assert [event.value for event in events.Scalars("errata/holds")] == [1.0] * (8 if CSV else 6)


def test_logged_values_show_the_claims(results):
    _, events, _ = results
    curves = [[event.value for event in events.Scalars(f"approximation/error_over_neurons/{name}")] for name in FITS]
    for best, median, worst, _ in zip(*curves):
        assert best <= median <= worst
    (*_, best), median, _, (*_, staircase) = curves
    assert median[0] > 2 * median[1] > 3 * median[3]
    assert 0.9 * median[3] < median[6] < 1.2 * median[3]  # no gain from 8 to 64 neurons
    assert staircase < best / 10
    if CSV:
        norm = {event.step: event.value for event in events.Scalars("saturation/gradient_norm/0.45")}
        assert norm[5] > 30
        assert max(norm[6], norm[6000]) < 2e-6


def test_skips_what_needs_the_data_if_the_download_fails(tmp_path, monkeypatch, capsys):
    for name, value in without_network(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert runpy.run_path(str(SCRIPT))["load"](None, required=False) is None
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "saturation and errata need it for is skipped; pass a copy with --csv" in err


def test_fails_if_the_download_fails_for_a_requested_experiment(tmp_path):
    process = run(tmp_path, "--only", "saturation", "momentum")
    assert process.returncode == 2
    assert "haberman.csv cannot be downloaded" in process.stderr
    assert "--csv" in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "lightning_logs").exists()


def test_only_some_in_a_new_run_folder(tmp_path):
    logged = tmp_path / "lightning_logs" / "experiments"
    (logged / "version_0").mkdir(parents=True)
    process = run(tmp_path, "--only", "perceptron", "momentum")
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "barrier at 0.101" in process.stdout
    assert process.stdout.index("momentum ─") < process.stdout.index("perceptron ─")
    assert "learning_rate" not in process.stdout
    assert [len(list((logged / f"version_{k}").iterdir())) for k in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "everything"), "everything"),
        (("--only",), "only"),
        (("--csv", "nowhere.csv"), "nowhere.csv cannot be read: No such file or directory"),
        (("--csv", str(SCRIPT)), "is not the notebook's haberman.csv of 306 rows"),
        (("--fyle", "x"), "fyle"),
    ],
)
def test_bad_options_are_one_line(tmp_path, options, message):
    process = run(tmp_path, *options)
    assert process.returncode == 2
    assert message in process.stderr
    assert process.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_bad_options_are_reported_before_torch_is_loaded(tmp_path):
    program = (
        "import runpy, sys; sys.argv = ['experiments.py', '--only', 'x']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "finally: print(*({'torch', 'matplotlib', 'tensorboard'} & set(sys.modules)))"
    )
    process = run_in_subprocess(tmp_path, "-c", program)
    assert process.returncode == 2
    assert process.stdout == "\n"


def test_reports_a_folder_that_cannot_be_written_to_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    process = run(tmp_path, "--only", "momentum", "--log_dir", "file")
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert "file" in process.stderr
