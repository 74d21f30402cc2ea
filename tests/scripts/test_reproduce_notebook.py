import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts import run_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCRIPT = Path(__file__).parents[2] / "scripts" / "reproduce_notebook.py"
HABERMAN = os.environ.get("HABERMAN_CSV")


@pytest.mark.skipif(not HABERMAN, reason="HABERMAN_CSV does not name a copy of Haberman's survival data")
def test_published_against_reproduced(tmp_path):
    command = [sys.executable, SCRIPT, "--csv", HABERMAN, "--epochs", "200", "--repeats", "1"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # a quarter faster with a test per core
    process = subprocess.run(command, cwd=tmp_path, env=one_thread, capture_output=True, text=True, timeout=200)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    out = process.stdout
    digits = re.findall(r"│ (\d+) of (\d+) +│ 0\.\d+… +│", out)
    assert len(digits) == 10
    assert all(int(same) >= 15 for same, _ in digits)
    assert len(re.findall(r"│ (?:1|2|3|5|6|100|200) +│ 0\.\d+ +│ 0\.\d+ +│ same +│", out)) == 7
    assert re.search(r"│ validation │ 0.15 +│ 0.1500\d+ +│ same", out)
    assert re.search(r"│ test +│ 0.125 +│ 0.1250\d+ +│ same", out)
    assert "0.105879 at η = 0.46" in out
    assert "majority class: all survive" in out
    assert "the most accurate, " in out
    events = EventAccumulator(str(tmp_path / "lightning_logs/notebook/version_0"), size_guidance={"scalars": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {"notebook/heat_map", "notebook/error_over_learning_rate"}
    sweep = events.Scalars("notebook/error_over_100_eta_after_one_epoch")
    assert [event.step for event in sweep] == list(range(90))
    assert sweep[4].value == pytest.approx(0.14060875)


def test_a_failed_download_names_the_option(tmp_path):
    nowhere = "http://127.0.0.1:9"  # nothing listens on the port that discards
    environment = {"http_proxy": nowhere, "https_proxy": nowhere, "SCIKIT_LEARN_DATA": str(tmp_path / "data")}
    process = run_here(SCRIPT, tmp_path, **environment, no_proxy="")
    assert process.returncode == 1
    message = r"haberman.csv cannot be downloaded \(.*\); pass a copy with --csv"
    assert re.fullmatch(f"reproduce_notebook.py: error: {message}\n", process.stderr), process.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--csv nowhere.csv", "nowhere.csv cannot be read: No such file or directory"),
        ("--csv other.csv", "other.csv is not the notebook's haberman.csv of 306 rows: the SHA-256 differs"),
        ("--epochs 0", 'option "epochs": .*'),
    ],
)
def test_bad_options_are_one_line(tmp_path, options, message):
    (tmp_path / "other.csv").write_text("1,2,3,1\n")
    process = run_here(SCRIPT, tmp_path, *options.split())
    assert process.returncode == 2
    assert re.fullmatch(f"reproduce_notebook.py: error: .*{message}\n", process.stderr), process.stderr
