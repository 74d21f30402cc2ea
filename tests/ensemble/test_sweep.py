import math
import pickle
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from helpers.runs import fit
from helpers.sweeps import sweep_kinds
from sklearn.metrics import accuracy_score

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import load, moons
from nnmath.data.options import NetworkOptions
from nnmath.ensemble import sweep as module
from nnmath.ensemble.stack import Interrupted, init_stack
from nnmath.ensemble.sweep import RESULT_COLUMNS, Grid, evaluate, summary, sweep
from nnmath.training.module import TrainingModule


def data(seed, batch_size=None):
    return DataModule(moons(samples=60, seed=seed), batch_size, seed=seed, dtype=torch.float64)


def test_a_row_for_each_network_and_number_of_epochs():
    grid = Grid([0.1, 1.0, 3.0], [0.0, 0.9], range(4, 7), [5, 20])
    rows, interrupted = sweep(grid, data)
    assert not interrupted
    assert len(grid) == 18
    assert list(rows.columns) == ["learning_rate", "momentum", "epochs", "seed", "train_loss", "val_loss", "diverged"]
    expected = list(product((0.1, 1.0, 3.0), (0.0, 0.9), (5, 20), (4, 5, 6)))
    assert list(rows.iloc[:, :4].itertuples(index=False, name=None)) == expected
    assert not rows.diverged.any()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_row_equals_lightning_run(tmp_path, schedule, batch_size):
    grid = Grid([0.3, 2.0], [0.5, 0.9], [3, 8], [10, 30], schedule, eta_min=0.1)
    rows, _ = sweep(grid, lambda seed: data(seed, batch_size))
    row = rows[(rows.learning_rate == 2.0) & (rows.momentum == 0.5) & (rows.seed == 8) & (rows.epochs == 10)].iloc[0]
    torch.manual_seed(8)
    run = TrainingModule(
        learning_rate=2.0, momentum=0.5, eta_min=0.1 if schedule == "cosine" else 2.0
    ).double()  # a cosine from η to η is constant
    with torch.no_grad():
        for linear, layer in zip(run.network.linears, init_stack((2, 4, 1), [8]), strict=True):
            linear.weight.copy_(layer.weight[0])
            linear.bias.copy_(layer.bias[0])
    trainer = fit(run, data(8, batch_size), tmp_path, max_epochs=10, precision="64-true")
    assert row.val_loss == pytest.approx(float(trainer.callback_metrics["loss/val"]), rel=1e-6)


def test_rows_do_not_depend_on_the_size_of_a_stack(monkeypatch):
    grid = Grid([0.1, 1.0], [0.9], range(5), [7])
    expected, _ = sweep(grid, data)
    real, sizes = module.train, []

    def train(layers, *args, **options):
        sizes.append(len(layers[0].weight))
        return real(layers, *args, **options)

    monkeypatch.setattr(module, "train", train)
    for networks, expected_sizes in ((4.9, [4, 4, 2]), (0.1, [1] * 10)):
        monkeypatch.setattr(module, "MAX_BYTES", int(networks * 36 * 2 * 8))  # on 36 rows of 2 features
        rows, _ = sweep(grid, data)
        pd.testing.assert_frame_equal(rows, expected, rtol=1e-12)
        assert sizes == expected_sizes
        sizes.clear()


@pytest.mark.parametrize(
    ("done", "diverged"),
    [
        (20, [[False, True, True, True], [True, False, True, True]]),
        (21, [[False, True, True, True], [False, False, True, True]]),
    ],
)
def test_a_network_has_diverged_if_a_cost_or_its_last_weights_are_not_finite(done, diverged):
    """The weights are those of the last epoch done."""
    nan = math.nan
    costs = torch.tensor([[0.1, nan, 0.1, nan], [0.1, 0.1, nan, nan]])
    val = torch.tensor([[0.1, 0.1, nan, nan], [0.1, 0.1, 0.1, nan]])
    trained = SimpleNamespace(epochs=[10, 20], done=done, train_cost=costs, val_cost=val)
    trained.diverged = torch.tensor([True, False, False, False])
    rows = module.table([(seed, 0.1, 0.9) for seed in range(4)], trained)
    assert rows.diverged.tolist() == [*diverged[0], *diverged[1]]
    assert rows.epochs.tolist() == [10] * 4 + [20] * 4
    assert rows.seed.tolist() == [*range(4), *range(4)]


def test_diverged_configurations_are_last_and_have_no_mean():
    network = NetworkOptions(hidden="identity", output="identity")
    rows, _ = sweep(Grid([0.1, 1e200], [0.0], [0, 1], [1, 50]), data, network)
    best = summary(rows)
    assert best.learning_rate.tolist()[:2] == [0.1, 0.1]
    assert rows.diverged[(rows.learning_rate == 1e200) & (rows.epochs == 50)].all()
    assert not rows.diverged[rows.learning_rate == 0.1].any()
    assert math.isnan(best.val_loss.iloc[-1])


def test_summary_is_mean_and_deviation_over_seeds():
    rows, _ = sweep(Grid([0.1, 3.0], [0.0], range(4), [10]), data)
    best = summary(rows)
    for row in best.itertuples():
        losses = rows.val_loss[rows.learning_rate == row.learning_rate]
        assert row.val_loss == pytest.approx(losses.mean())
        assert row.spread == pytest.approx(losses.std())
        assert row.seeds == 4
    assert best.val_loss.is_monotonic_increasing


class TestCtrlC:
    """Ctrl-C in the k-th stack, after 4 epochs or before there is any."""

    def interrupted_sweep(self, monkeypatch, grid, k, trained=True):
        real, calls = module.train, []

        def train(*args, **options):
            calls.append(options["epochs"])
            if len(calls) != k:
                return real(*args, **options)
            raise Interrupted(real(*args, **options | {"epochs": 4, "record": [4]})) if trained else KeyboardInterrupt

        monkeypatch.setattr(module, "train", train)
        return sweep(grid, data)

    @pytest.mark.parametrize("trained", [True, False])
    def test_keeps_finished_stacks(self, monkeypatch, trained):
        grid = Grid([0.1], [0.0], [0, 1], [10, 20, 30], "cosine")
        rows, interrupted = self.interrupted_sweep(monkeypatch, grid, 2, trained)
        assert interrupted
        assert rows.epochs.tolist() == [10, 10]  # a cosine over 20 epochs that ended after 4 is no result

    def test_keeps_epochs_of_first_stack(self, monkeypatch):
        rows, interrupted = self.interrupted_sweep(monkeypatch, Grid([0.1], [0.0], [0, 1], [10, 20]), 1)
        assert interrupted
        assert rows.epochs.tolist() == [4, 4]

    def test_raises_if_there_is_no_result(self, monkeypatch):
        with pytest.raises(KeyboardInterrupt):
            self.interrupted_sweep(monkeypatch, Grid([0.1], [0.0], [0, 1], [10, 20], "cosine"), 1)


def test_configuration_with_a_diverged_seed_comes_last():
    rows = pd.DataFrame(
        [(0.1, 0.0, 5, s, 0.2, 0.2, False) for s in (0, 1)] + [(1.0, 0.0, 5, s, 0.1, 0.1, s == 1) for s in (0, 1)],
        columns=RESULT_COLUMNS,
    )
    assert summary(rows).learning_rate.tolist() == [0.1, 1.0]


@pytest.mark.parametrize("batch_size", [None, 16])
def test_evaluate_trains_the_configuration_of_the_sweep(batch_size):
    """If the test rows are the validation rows, the test losses are the validation losses."""

    def data_without_test(seed):
        result = data(seed, batch_size)
        result.test = result.val
        return result

    grid = Grid([0.3, 2.0], [0.5, 0.9], [3, 8], [10, 30], "cosine")
    rows, _ = sweep(grid, data_without_test)
    one = replace(grid, learning_rates=[2.0], momenta=[0.9], epochs=[30])
    losses, accuracies = evaluate(one, data_without_test, NetworkOptions())
    expected = rows[(rows.learning_rate == 2.0) & (rows.momentum == 0.9) & (rows.epochs == 30)]
    assert losses.tolist() == pytest.approx(expected.val_loss.tolist(), rel=1e-9)
    assert 0.5 < float(accuracies.min()) <= float(accuracies.max()) <= 1


@pytest.mark.parametrize("name", ["moons", "iris"])
def test_accuracy_of_two_and_of_three_classes(name):
    def data(seed):
        return DataModule(load(name), seed=seed, dtype=torch.float64)

    grid = Grid([1.0], [0.9], [3, 4], [40])
    _, accuracies = evaluate(grid, data, NetworkOptions())
    layers = module.train_members(grid.members(), [40], grid, data, NetworkOptions()).layers
    for k, seed in enumerate((3, 4)):
        x, y = data(seed).test.tensors
        for weight, bias in layers:
            x = torch.sigmoid(x @ weight[k].mT + bias[k])
        classes = [part.argmax(1) if name == "iris" else part[:, 0].round() for part in (x, y)]
        assert float(accuracies[k]) == accuracy_score(*classes) > 0.7


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.soak)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside torch while it compiles
def test_several_processes_give_the_rows_of_one_to_rank_zero(tmp_path, compile):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3"]
    command += [Path(__file__).parents[1] / "helpers" / "sweeps.py", tmp_path, *["compile"] * compile]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    first, *others = (pickle.loads((tmp_path / str(rank)).read_bytes()) for rank in range(3))
    for kind, expected in sweep_kinds(compile).items():
        pd.testing.assert_frame_equal(first[kind], expected, rtol=1e-10, atol=0)
        assert [len(results[kind]) for results in others] == [0, 0]
