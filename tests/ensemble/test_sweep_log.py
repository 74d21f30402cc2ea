"""The files of a sweep, and its curves in TensorBoard."""

import json
import math

import pandas as pd
import pytest
import yaml
from helpers.runs import scalars
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from nnmath.ensemble.sweep_log import log_sweep, write_results

COLUMNS = ["learning_rate", "momentum", "epochs", "val_loss", "spread", "train_loss", "diverged"]
BEST = pd.DataFrame(
    [
        (1.0, 0.9, 20, 0.1, 0.01, 0.05, 0),
        (0.1, 0.9, 20, 0.2, 0.02, 0.15, 0),
        (1.0, 0.9, 5, 0.3, 0.03, 0.25, 1),
        (0.1, 0.0, 20, 0.35, 0.03, 0.3, 0),
        (0.1, 0.9, 5, 0.4, 0.04, 0.35, 0),
        (0.1, 0.0, 5, 0.5, 0.05, 0.45, 0),
    ],
    columns=COLUMNS,
)


def test_results_as_csv_and_json(tmp_path):
    rows = pd.DataFrame({"val_loss": [0.5, math.nan, math.inf], "epochs": [5, 5, 20]})
    write_results(tmp_path, {"seeds": 3, "learning_rate": [0.1, 1.0], "epochs": [5, 20]}, rows)
    assert list(yaml.safe_load((tmp_path / "config.yaml").read_text())) == ["seeds", "learning_rate", "epochs"]
    records = [{"val_loss": value, "epochs": epochs} for value, epochs in ((0.5, 5), (None, 5), (None, 20))]
    assert json.loads((tmp_path / "results.json").read_text()) == records
    assert pd.read_csv(tmp_path / "results.csv").epochs.tolist() == [5, 5, 20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    log_sweep(folder, BEST, {"hidden": "tanh", "seeds": 3}, {"a/figure": Figure(figsize=(1, 1))})
    return folder


def test_the_two_best_have_runs_of_their_own(folder):
    runs = {path.name for path in folder.iterdir() if path.is_dir()}
    assert runs == {"learning_rate_1_momentum_0.9", "learning_rate_0.1_momentum_0.9"}
    curves = scalars(folder / "learning_rate_1_momentum_0.9")
    assert {"loss/val", "loss/val_spread", "loss/train", "seeds_diverged"} <= curves.keys()
    assert curves["loss/val"] == [(5, pytest.approx(0.3)), (20, pytest.approx(0.1))]
    assert curves["loss/val_spread"] == [(5, pytest.approx(0.03)), (20, pytest.approx(0.01))]
    assert curves["loss/train"] == [(5, pytest.approx(0.25)), (20, pytest.approx(0.05))]
    assert curves["seeds_diverged"] == [(5, 1), (20, 0)]


def test_their_hyperparameters(folder):
    events = EventAccumulator(str(folder / "learning_rate_0.1_momentum_0.9"))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert [values[name].number_value for name in ("learning_rate", "momentum", "epochs")] == [0.1, 0.9, 20]
    assert values["hidden"].string_value == "tanh"


def test_curves_over_the_learning_rate(folder):
    tags = scalars(folder)
    assert set(tags) == {
        f"validation_loss_at_kth_learning_rate/momentum_{momentum}_epochs_{epochs}"
        for momentum in ("0", "0.9")
        for epochs in (5, 20)
    }
    curve = tags["validation_loss_at_kth_learning_rate/momentum_0.9_epochs_20"]
    assert curve == [(0, pytest.approx(0.2)), (1, pytest.approx(0.1))]
    events = EventAccumulator(str(folder))
    events.Reload()
    assert events.Tags()["images"] == ["a/figure"]
