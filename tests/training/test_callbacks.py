import io
import os
import signal
import sys
from unittest import mock

import lightning as L
import pytest
import torch
from helpers.runs import fit, scalars
from rich.console import Console
from torch.nn.utils import get_total_norm, parameters_to_vector

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons
from nnmath.equations import ACTIVATIONS
from nnmath.network import HalfMSELoss, Network, gradients
from nnmath.runtime import progress
from nnmath.training.callbacks import Checkpoint, EpochProgress, GracefulStop
from nnmath.training.module import TrainingModule
from nnmath.training.tensorboard.curves import GradientDiscrepancy, GradientNorm, Trajectory, gradient_discrepancy


def test_gradient_norm_of_each_layer(tmp_path):
    data = DataModule(moons())
    module = TrainingModule((2, 4, 3, 1))
    x, y = data.train.tensors
    HalfMSELoss()(module.network(x), y).backward()
    expected = [get_total_norm([layer.weight.grad, layer.bias.grad]).item() for layer in module.network.linears]
    fit(module, data, tmp_path, max_epochs=3, callbacks=[GradientNorm()])
    curves = [scalars(tmp_path)[f"training/gradient_norm/layer{i}"] for i in (1, 2, 3)]
    assert [curve[0] for curve in curves] == [(1, pytest.approx(norm)) for norm in expected]
    assert [step for step, _ in curves[0]] == [1, 2, 3]


class TestGradientDiscrepancy:
    @pytest.mark.parametrize("backward", ["manual", "autograd"])
    def test_is_logged_every_k_epochs_and_is_small(self, tmp_path, backward):
        data = DataModule(moons(), batch_size=50)
        fit(TrainingModule(backward=backward), data, tmp_path, max_epochs=7, callbacks=[GradientDiscrepancy(3)])
        curve = scalars(tmp_path)["training/gradient_discrepancy"]
        assert [step for step, _ in curve] == [1, 4, 7]
        assert all(0 <= value < 1e-9 for _, value in curve)

    def test_sees_a_wrong_derivative(self, monkeypatch):
        batch = torch.randn(8, 2), torch.rand(8, 1)
        wrong = ACTIVATIONS["sigmoid"]._replace(derivative_from_output=lambda h: h * (1 - h) * 1.001)
        assert gradient_discrepancy(Network(), batch) < 1e-9
        monkeypatch.setitem(ACTIVATIONS, "sigmoid", wrong)
        assert gradient_discrepancy(Network(), batch) == pytest.approx(1.001**2 - 1, rel=1e-6)  # a factor a layer

    def test_changes_nothing_in_the_network(self):
        network = Network(backward="autograd")
        before = [parameter.detach().clone() for parameter in network.parameters()]
        gradient_discrepancy(network, (torch.randn(8, 2), torch.rand(8, 1)))
        assert all(map(torch.equal, before, network.parameters()))
        assert all(parameter.grad is None for parameter in network.parameters())
        assert network.backward == "autograd"

    def test_is_zero_for_zero_gradients(self):
        network = Network(hidden="relu", output="relu")
        with torch.no_grad():
            network[2].bias.fill_(-1e6)  # a dead output: every gradient is 0
        batch = torch.randn(8, 2), torch.rand(8, 1)
        assert all((gradient == 0).all() for gradient in gradients(network, batch, "autograd"))
        assert gradient_discrepancy(network, batch) == 0


class TestTrajectory:
    def test_records_every_kth_epoch_and_the_last(self, tmp_path):
        path, module = Trajectory(3), TrainingModule()
        start = parameters_to_vector(module.network.parameters()).detach().clone()
        fit(module, DataModule(moons()), tmp_path, max_epochs=7, callbacks=[path])
        assert path.epochs == [0, 3, 6, 7]
        assert torch.equal(path.points[0], start)
        assert torch.equal(path.points[-1], parameters_to_vector(module.network.parameters()))

    def test_logs_its_difference_from_a_reference(self, tmp_path):
        first, second = Trajectory(2), Trajectory(2)
        for path, backward in ((first, "manual"), (second, "autograd")):
            torch.manual_seed(0)
            path.reference = first if path is second else None
            module = TrainingModule(backward=backward)
            fit(module, DataModule(moons()), tmp_path / backward, max_epochs=4, callbacks=[path])
        curve = scalars(tmp_path / "autograd")["training/difference"]
        assert [step for step, _ in curve] == [0, 2, 4]
        assert curve[0][1] == 0
        for (_, value), one, two in zip(curve, first.points, second.points, strict=True):
            assert value == pytest.approx(float((one - two).abs().max() / one.abs().max()), rel=1e-5)
        assert second.difference < 1e-6
        assert "training/difference" not in scalars(tmp_path / "manual")

    def test_is_thinned_at_its_maximum_size(self, tmp_path):
        path = Trajectory()
        path.MAX_NUMBERS = 17 * 4
        fit(TrainingModule(), DataModule(moons()), tmp_path, max_epochs=9, callbacks=[path])
        assert path.epochs == [0, 4, 8, 9]
        path.MAX_NUMBERS = 17
        path.epochs, path.points = [], []
        fit(TrainingModule(), DataModule(moons()), tmp_path, max_epochs=3, callbacks=[path])
        assert path.points == []


class TestGracefulStop:
    @pytest.mark.parametrize("number", GracefulStop.SIGNALS)
    def test_a_signal_ends_the_run_after_the_epoch_with_a_checkpoint(self, tmp_path, number):
        class Signal(L.Callback):
            def on_train_batch_start(self, trainer, *_):
                if trainer.current_epoch == 2:
                    os.kill(os.getpid(), number)

        before = [signal.getsignal(number) for number in GracefulStop.SIGNALS]
        options = {"callbacks": [GracefulStop(), Signal(), Checkpoint("last", 100)], "enable_checkpointing": True}
        trainer = fit(TrainingModule(), DataModule(moons()), tmp_path, max_epochs=10, **options)
        assert trainer.current_epoch == 3
        last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["lr_schedulers"][0]["last_epoch"] == 3
        assert [signal.getsignal(number) for number in GracefulStop.SIGNALS] == before

    def test_a_non_finite_loss_ends_the_run_and_leaves_the_checkpoints_unchanged(self, tmp_path):
        module = TrainingModule(hidden="identity", output="identity", learning_rate=100)
        options = {"callbacks": [GracefulStop(), Checkpoint("last", 1), Checkpoint("best", 1, "loss/val")]}
        trainer = fit(module, DataModule(moons()), tmp_path, max_epochs=1000, enable_checkpointing=True, **options)
        assert 2 < trainer.current_epoch < 1000
        assert not trainer.callback_metrics["loss/val"].isfinite()
        for name, done in (("last", trainer.current_epoch - 1), ("best", 1)):
            kept = torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)
            assert kept["lr_schedulers"][0]["last_epoch"] == done
            assert all(value.isfinite().all() for value in kept["state_dict"].values())


class TestEpochProgress:
    def fit(self, folder):
        fit(TrainingModule(), DataModule(moons()), folder, max_epochs=4, callbacks=[EpochProgress()])

    def terminal(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        console = Console(file=terminal, force_terminal=True, width=120)
        monkeypatch.setattr(progress, "Console", lambda stderr: console)
        return terminal

    def test_shows_where_a_run_is_resumed(self, monkeypatch):
        terminal = self.terminal(monkeypatch)
        bar = EpochProgress()
        bar.on_train_start(mock.Mock(max_epochs=9, is_global_zero=True, current_epoch=7), None)
        bar.on_train_end()
        assert "epoch 7/9" in terminal.getvalue()

    def test_shows_epochs_and_results(self, tmp_path, monkeypatch):
        terminal = self.terminal(monkeypatch)
        self.fit(tmp_path)
        assert all(text in terminal.getvalue() for text in ("epoch 4/4", "val 0.", "accuracy 0."))

    def test_prints_nothing_without_a_terminal(self, tmp_path, capfd):
        self.fit(tmp_path)
        out, err = capfd.readouterr()
        assert "epoch" not in out + err
