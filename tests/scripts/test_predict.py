"""scripts/predict.py and nnmath.training.load: a trained network that can be used."""

import io
import json
import subprocess
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from helpers.runs import train_here
from helpers.scripts import run_here
from sklearn.datasets import load_iris

from nnmath.training import load
from nnmath.training.module import TrainingModule

SCRIPT = Path(__file__).parents[2] / "scripts" / "predict.py"
IRIS = "lightning_logs/iris/version_0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs on iris, and on houses: a category, a missing value that is filled, a price."""
    folder = tmp_path_factory.mktemp("predict")
    iris = load_iris(as_frame=True)
    iris.data.assign(species=iris.target_names[iris.target]).to_csv(folder / "iris.csv", index=False)
    rng = np.random.default_rng(0)
    houses = pd.DataFrame({"area": rng.uniform(50, 200, 80), "district": rng.choice(["north", "south"], 80)})
    houses["price"] = 3000 * houses.area + 50_000 * (houses.district == "north")
    houses.loc[3, "area"] = np.nan
    houses.to_csv(folder / "houses.csv", index=False)
    options = ["--epochs", 200, "--pictures", 0]
    for run in (["iris"], ["houses.csv", "--target", "price", "--missing", "mean", "--hidden", "tanh"]):
        process = train_here(folder, "--dataset", *run, *options)
        assert process.returncode == 0, process.stderr
    return folder


def predict(folder, *options):
    process = run_here(SCRIPT, folder, *options)
    return process, pd.read_csv(io.StringIO(process.stdout)) if process.returncode == 0 else None


def test_the_file_the_object_and_the_program_agree_to_the_last_bit(folder):
    process, table = predict(folder, IRIS, "iris.csv")
    probabilities = table.filter(like="probability").to_numpy(np.float32)
    model = load(folder / IRIS)
    assert np.array_equal(model.predict_proba(table), probabilities)
    assert run_here(SCRIPT, folder, IRIS, "--export", "iris.pt2").returncode == 0
    program = (
        "import json, sys, torch; extra = {'columns.json': ''};"
        "module = torch.export.load('iris.pt2', extra_files=extra).module();"
        "x = torch.tensor(json.load(sys.stdin), dtype=torch.float64);"
        "print(json.dumps([module(x).tolist(), json.loads(extra['columns.json']), 'nnmath' in sys.modules]))"
    )
    features = table.iloc[:, :4].to_numpy().tolist()
    command = [sys.executable, "-c", program]
    process = subprocess.run(
        command, cwd=folder, input=json.dumps(features), capture_output=True, text=True, timeout=100
    )
    exported, names, has_nnmath = json.loads(process.stdout)
    assert np.array_equal(np.array(exported, np.float32), probabilities)
    assert names["classes"] == list(model.classes)
    assert not has_nnmath
    assert (model.predict(table) == table.prediction).all()
    assert (table.prediction == table.filter(like="probability").to_numpy().argmax(1).astype(object)).sum() == 0


def test_the_metrics_are_those_of_scikit_learn(folder):
    process, table = predict(folder, IRIS, "iris.csv")
    accuracy = sklearn.metrics.accuracy_score(table.species, table.prediction)
    assert f"accuracy                 {accuracy:.4f}\n" in process.stderr
    f1 = sklearn.metrics.f1_score(table.species, table.prediction, average="macro")
    assert f"f1                       {f1:.4f}\n" in process.stderr
    process, table = predict(folder, "lightning_logs/houses/version_0", "houses.csv")
    error = sklearn.metrics.mean_absolute_error(table.price, table.prediction)
    assert f"mean_absolute_error      {error:.4f}\n" in process.stderr or f"{error:.4g}" in process.stderr
    assert sklearn.metrics.r2_score(table.price, table.prediction) > 0.9


def test_rows_without_the_target_in_another_order(folder):
    iris = pd.read_csv(folder / "iris.csv").iloc[::-1, [3, 0, 2, 1]]
    iris.to_csv(folder / "reversed.csv", index=False, sep=";")
    process, table = predict(folder, IRIS, "reversed.csv")
    assert process.stderr == ""
    assert (table.prediction.to_numpy()[::-1] == predict(folder, IRIS, "iris.csv")[1].prediction).all()


def test_a_row_with_a_missing_value_has_no_prediction_unless_it_is_filled(folder):
    (folder / "gaps.csv").write_text('area,district,note\n100,north,"two\nlines"\nNA,south,\n120,?,x\n')
    _, filled = predict(folder, "lightning_logs/houses/version_0", "gaps.csv")
    assert filled.prediction.notna().all()
    assert filled.note[0] == "two\nlines"
    gaps = pd.read_csv(folder / "iris.csv").head(3)
    gaps.iloc[1, 2] = np.nan
    gaps.to_csv(folder / "gaps.csv", index=False)
    process, table = predict(folder, IRIS, "gaps.csv")
    assert table.prediction.isna().tolist() == [False, True, False]
    assert "1 of 3 rows have missing values and no prediction" in process.stderr
    assert load(folder / IRIS).predict(gaps)[1] is None


def test_arrays_tensors_and_lists(folder):
    model = load(folder / IRIS)
    table = pd.read_csv(folder / "iris.csv").iloc[:, :4]
    expected = model.predict_proba(table)
    for rows in (table.to_numpy(), torch.tensor(table.to_numpy()), table.to_numpy().tolist()):
        assert np.array_equal(model.predict_proba(rows), expected)
    houses = load(folder / "lightning_logs/houses/version_0")
    north, south = houses.predict([[100, "north"], [100, "south"]])
    assert 20_000 < north - south < 80_000


def test_lightning_predicts_loaders_of_x_and_of_x_and_y(folder):
    module = TrainingModule.load_from_checkpoint(folder / IRIS / "checkpoints" / "best.ckpt")
    x = torch.randn(5, 4)
    batches = [torch.utils.data.TensorDataset(x), torch.utils.data.TensorDataset(x, torch.zeros(5, 3)), x]
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    for rows in batches:
        loader = torch.utils.data.DataLoader(rows, batch_size=5)
        (output,) = trainer.predict(module, loader)
        assert torch.equal(output, module(x))


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        (["nowhere", "iris.csv"], "", "nowhere/checkpoints/best.ckpt does not exist: has the run been trained"),
        ([IRIS], "", "give a CSV file to predict, or --export FILE.pt2"),
        (
            [IRIS, "new.csv"],
            "Sepal length (cm)\n1\n",
            "no column 'sepal length (cm)'; did you mean 'Sepal length (cm)'?",
        ),
        (
            ["lightning_logs/houses/version_0", "new.csv"],
            "area,district\n1,west\n",
            "line 2: column 'district' holds 'west', but no",
        ),
        (
            ["lightning_logs/houses/version_0", "new.csv"],
            "area,district\n1,north\nbig,north\n",
            "line 3: column 'area' holds 'big'",
        ),
        (
            ["lightning_logs/houses/version_0", "new.csv", "--out", "no/x.csv"],
            "area,district\n1,north\n",
            "No such file",
        ),
    ],
)
def test_what_cannot_be_predicted_is_one_line(folder, options, content, message):
    (folder / "new.csv").write_text(content)
    process, _ = predict(folder, *options)
    assert process.returncode == 2
    assert message in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pd.DataFrame({"area": [1.0]}), "rows has no column 'district'; its columns are area"),
        ([[1.0]], r"rows must be a table of 2 columns, area, district, got shape \(1, 1\)"),
        ([[1.0, "west"]], "row 0 of column 'district' is 'west', expected one of north, south"),
        ([["big", "north"]], "row 0 of column 'area' is 'big', expected a finite number"),
    ],
)
def test_bad_rows(folder, rows, message):
    with pytest.raises(ValueError, match=message):
        load(folder / "lightning_logs/houses/version_0").predict(rows)


def test_two_classes(folder):
    process = train_here(
        folder, "--dataset", "xor", "--noise", 0.05, "--epochs", 500, "--learning_rate", 1, "--pictures", 0
    )
    assert process.returncode == 0, process.stderr
    model = load(folder / "lightning_logs/xor/version_0")
    corners = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert model.predict(corners).tolist() == ["0", "1", "1", "0"]
    probabilities = model.predict_proba(corners)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities.argmax(1) == [0, 1, 1, 0]).all()


def test_a_run_that_starts_from_another(folder):
    """It starts with the weights of the other's best epoch, whose data are scaled in the same way."""
    options = ["--dataset", "iris", "--epochs", 1, "--learning_rate", 1e-9, "--pictures", 0, "--log_dir", "second"]
    process = train_here(folder, *options, "--start_from", IRIS)
    assert process.returncode == 0, process.stderr
    first, second = (load(folder / run) for run in (IRIS, "second/iris/version_0"))
    assert first.preprocessing == second.preprocessing
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    for other, message in (
        (["--dataset", "wine"], "the data have to be those of the earlier run, sepal length"),
        (
            ["--dataset", "iris", "--neurons", 5],
            "start_from: its network is 4-4-3 with Sigmoid, this one is 4-5-3 with",
        ),
    ):
        process = train_here(folder, *other, "--start_from", IRIS)
        assert process.returncode == 2
        assert message in process.stderr


def test_lightning_is_not_imported(folder):
    code = "import runpy, sys; sys.modules['lightning'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    command = [sys.executable, "-c", code, SCRIPT, IRIS, "iris.csv"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "accuracy" in process.stderr  # the file has the target
