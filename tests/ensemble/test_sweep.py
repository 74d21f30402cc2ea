import math
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.runs import fit
from helpers.sweeps import results

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons
from nnmath.ensemble import sweep as module
from nnmath.ensemble.stack import Interrupted, init_stack
from nnmath.ensemble.sweep import Architecture, Grid, retrain, summary, sweep
from nnmath.equations import SIGMOID, error, forward
from nnmath.training.module import TrainingModule


def data(seed, batch_size=None):
    return DataModule(moons(samples=60, seed=seed), batch_size, seed=seed, dtype=torch.float64)


def test_a_row_for_each_network_and_number_of_epochs():
    grid = Grid([0.1, 1.0, 3.0], [0.0, 0.9], range(4, 7), [5, 20])
    rows, interrupted = sweep(grid, data)
    assert not interrupted
    assert len(grid) == 18
    assert list(rows.columns) == ["learning_rate", "momentum", "epochs", "seed", "train_loss", "val_loss", "diverged"]
    expected = [(eta, m, t, s) for eta in (0.1, 1.0, 3.0) for m in (0.0, 0.9) for t in (5, 20) for s in (4, 5, 6)]
    assert list(rows.iloc[:, :4].itertuples(index=False, name=None)) == expected
    assert not rows.diverged.any()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_each_row_is_the_run_of_train_py(tmp_path, schedule, batch_size):
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


def test_however_many_seeds_share_a_stack(monkeypatch):
    grid = Grid([0.1, 1.0], [0.9], range(5), [7])
    together, _ = sweep(grid, data)
    monkeypatch.setattr(module, "MAX_BYTES", 2 * 36 * 8 * 2 * 2)  # two seeds' samples: 36 rows, 2 features, 2 networks
    apart, _ = sweep(grid, data)
    pd.testing.assert_frame_equal(together, apart, rtol=1e-12)


def test_what_diverges_is_last_and_out_of_the_mean():
    shape = Architecture(hidden="identity", output="identity")
    rows, _ = sweep(Grid([0.1, 1e200], [0.0], [0, 1], [1, 50]), data, shape)
    best = summary(rows)
    assert best.learning_rate.tolist()[:2] == [0.1, 0.1]
    assert rows.diverged[(rows.learning_rate == 1e200) & (rows.epochs == 50)].all()
    assert not rows.diverged[rows.learning_rate == 0.1].any()
    assert math.isnan(best.val_loss.iloc[-1])


def test_the_summary_is_mean_and_deviation_over_the_seeds():
    rows, _ = sweep(Grid([0.1, 3.0], [0.0], range(4), [10]), data)
    best = summary(rows)
    for row in best.itertuples():
        losses = rows.val_loss[rows.learning_rate == row.learning_rate]
        assert row.val_loss == pytest.approx(losses.mean())
        assert row.spread == pytest.approx(losses.std())
        assert row.seeds == 4
    assert best.val_loss.is_monotonic_increasing


class TestCtrlC:
    """At the k-th training of a stack, after 4 epochs or before them."""

    def swept(self, monkeypatch, grid, k, trained=True):
        real, calls = module.train, []

        def train(*args, **options):
            calls.append(options["epochs"])
            if len(calls) < k:
                return real(*args, **options)
            raise Interrupted(real(*args, **options | {"epochs": 4, "record": [4]})) if trained else KeyboardInterrupt

        monkeypatch.setattr(module, "train", train)
        return sweep(grid, data)

    @pytest.mark.parametrize("trained", [True, False])
    def test_keeps_the_stacks_that_are_finished(self, monkeypatch, trained):
        grid = Grid([0.1], [0.0], [0, 1], [10, 20], "cosine")
        rows, interrupted = self.swept(monkeypatch, grid, 2, trained)
        assert interrupted
        assert rows.epochs.tolist() == [10, 10]  # none of a half wave of 20 that ended after 4

    def test_keeps_the_epochs_of_the_only_stack(self, monkeypatch):
        rows, interrupted = self.swept(monkeypatch, Grid([0.1], [0.0], [0, 1], [10, 20]), 1)
        assert interrupted
        assert rows.epochs.tolist() == [4, 4]

    def test_with_nothing_to_keep_it_goes_on(self, monkeypatch):
        with pytest.raises(KeyboardInterrupt):
            self.swept(monkeypatch, Grid([0.1], [0.0], [0, 1], [10, 20], "cosine"), 1)


def test_a_configuration_of_which_a_seed_diverged_is_behind_the_others():
    rows = pd.DataFrame(
        [(0.1, 0.0, 5, s, 0.2, 0.2, False) for s in (0, 1)] + [(1.0, 0.0, 5, s, 0.1, 0.1, s == 1) for s in (0, 1)],
        columns=["learning_rate", "momentum", "epochs", "seed", "train_loss", "val_loss", "diverged"],
    )
    assert summary(rows).learning_rate.tolist() == [0.1, 1.0]


def test_the_networks_of_a_configuration_are_trained_anew():
    grid = Grid([0.3, 2.0], [0.5, 0.9], [3, 8], [10, 30], "cosine")
    found = retrain(grid, 2.0, 0.9, 30, data, Architecture())
    rows, _ = sweep(grid, data)
    for seed, layers in zip(grid.seeds, found, strict=True):
        x, y = (tensor.mT for tensor in data(seed).val.tensors)
        output = forward(x, layers, (SIGMOID, SIGMOID))[-1]
        row = rows[(rows.learning_rate == 2.0) & (rows.momentum == 0.9) & (rows.seed == seed) & (rows.epochs == 30)]
        assert float(error(output, y)) == pytest.approx(row.val_loss.item(), rel=1e-9)


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.soak)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_processes_give_the_bits_of_one_with_as_many_threads(tmp_path, compile):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3"]
    command += [Path(__file__).parents[1] / "helpers" / "sweeps.py", tmp_path, *["compile"] * compile]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    torch.set_num_threads(3)
    expected = results(compile=compile)
    for rank in range(3):
        assert pickle.loads((tmp_path / str(rank)).read_bytes()) == expected
