import math
from unittest import mock

import pytest
import torch
from helpers.runs import fit, scalars
from helpers.tolerances import assert_close
from lightning.pytorch.utilities.model_summary import summarize
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score, roc_auc_score

from nnmath.data.datamodule import DataModule
from nnmath.data.dataset import Dataset
from nnmath.data.datasets import load, moons, xor
from nnmath.equations import SIGMOID, Layer, cosine_annealing, forward, half_mse, training_step, zero_velocities
from nnmath.network import HalfMSELoss
from nnmath.training.module import TrainingModule


def layers_of(module):
    return [Layer(linear.weight.detach().clone(), linear.bias.detach().clone()) for linear in module.network.linears]


def test_lightning_counts_17_parameters():
    assert summarize(TrainingModule()).total_parameters == TrainingModule().network.number_of_parameters == 17


@pytest.mark.parametrize("backward", ["manual", "autograd"])
@pytest.mark.parametrize("batch_size", [None, 32])
def test_equals_a_hand_written_loop(tmp_path, batch_size, backward):
    epochs = 60
    data = DataModule(xor(samples=100), batch_size, seed=5, dtype=torch.float64)
    module = TrainingModule(backward=backward, learning_rate=0.5, momentum=0.8, eta_min=0.01)
    layers = [Layer(*(tensor.double() for tensor in layer)) for layer in layers_of(module)]
    velocities = zero_velocities(layers)
    fit(module, data, tmp_path, max_epochs=epochs, precision="64-true")

    loader, losses = data.train_dataloader(), []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        rate, total = cosine_annealing(epoch, epochs, 0.5, 0.01), 0.0
        for x, y in ((x.mT, y.mT) for x, y in loader):
            total += half_mse(forward(x, layers, (SIGMOID, SIGMOID))[-1], y).item() * x.shape[-1]
            layers, velocities = training_step(x, y, layers, velocities, (SIGMOID, SIGMOID), rate, 0.8)
        losses.append(total / 60)

    for by_hand, trained in zip(layers, layers_of(module), strict=True):
        assert_close(trained.weight, by_hand.weight)
        assert_close(trained.bias, by_hand.bias)
    logged = [value for _, value in scalars(tmp_path)["loss/train"]]
    assert logged == pytest.approx(losses, rel=1e-6)  # event files hold float32


def test_the_mean_of_the_losses_of_two_processes_is_that_of_all_rows(monkeypatch):
    """Of 8 rows, one process has 3 and the other 5."""
    module, x, y = TrainingModule(), torch.rand(8, 2), torch.rand(8, 1)
    module.trainer = mock.Mock(world_size=2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda n: n.fill_(8.0))
    losses = [module.training_step((x[rows], y[rows]), 0) for rows in (slice(3), slice(3, 8))]
    assert sum(losses).item() / 2 == pytest.approx(module.loss(module(x), y).item())


def test_logs_every_curve_at_every_epoch(tmp_path):
    trainer = fit(TrainingModule(), DataModule(moons()), tmp_path, max_epochs=12)
    curves = scalars(tmp_path)
    names = {"loss/train", "loss/val", "metrics/accuracy", "metrics/auroc", "metrics/f1", "training/learning_rate"}
    assert set(curves) == names
    for name in names:
        assert [step for step, _ in curves[name]] == list(range(1, 13))
    rates = [value for _, value in curves["training/learning_rate"]]
    assert rates == pytest.approx([cosine_annealing(t, 12, 0.3) for t in range(12)], rel=1e-6)
    for name in names - {"loss/train", "training/learning_rate"}:
        assert trainer.callback_metrics[name].item() == pytest.approx(curves[name][-1][1])


@pytest.mark.parametrize("output", ["sigmoid", "identity", "tanh", "relu"])
def test_metrics_equal_scikit_learns_for_every_output_activation(tmp_path, output):
    """torchmetrics treats outputs outside [0, 1] as logits, with the threshold at 0 instead of 1/2."""
    data = DataModule(moons())
    module = TrainingModule(output=output, learning_rate=0.1)
    fit(module, data, tmp_path, max_epochs=100)
    x, y = data.val.tensors
    predicted = module(x).detach()
    assert ((predicted > 0) & (predicted < 1)).all() == (output == "sigmoid")
    logged = {name: curve[-1][1] for name, curve in scalars(tmp_path).items()}
    assert logged["loss/val"] == pytest.approx(((predicted - y) ** 2).mean().item() / 2)
    assert logged["metrics/accuracy"] == pytest.approx(accuracy_score(y, predicted > 0.5))
    assert logged["metrics/f1"] == pytest.approx(f1_score(y, predicted > 0.5))
    assert logged["metrics/auroc"] == pytest.approx(roc_auc_score(y, predicted))


def test_regression_metrics_are_in_the_units_of_the_data(tmp_path):
    x = torch.linspace(-2, 2, 100, dtype=torch.float64)[:, None].numpy()
    data = DataModule(Dataset(x, 500 + 30 * x[:, 0] ** 3, ("x",), "y", None))
    module = TrainingModule(
        (1, 4, 1), output="identity", task="regression", y_std=data.preprocessing.y_std, learning_rate=0.1
    )
    trainer = fit(module, data, tmp_path, max_epochs=100)
    trainer.test(module, data, verbose=False)
    test = {name: value.item() for name, value in trainer.callback_metrics.items()}
    rows, target = data.test.tensors
    predicted, actual = (
        data.preprocessing.y_mean + data.preprocessing.y_std * part for part in (module(rows).detach(), target)
    )
    assert test["test/r2"] == pytest.approx(r2_score(actual, predicted), abs=1e-6)
    assert test["test/mean_absolute_error"] == pytest.approx(mean_absolute_error(actual, predicted), rel=1e-4)
    assert test["test/loss"] == pytest.approx(
        (((predicted - actual) / data.preprocessing.y_std) ** 2).mean().item() / 2, rel=1e-4
    )
    assert test["test/r2"] > 0.5


def test_the_seed_determines_every_bit(tmp_path):
    def run(seed, name):
        torch.manual_seed(seed)
        module = TrainingModule()
        fit(module, DataModule(moons(seed=seed), batch_size=64, seed=seed), tmp_path / name, max_epochs=8)
        return module.state_dict(), scalars(tmp_path / name)

    (weights, curves), (same_weights, same_curves), (_, other_curves) = run(1, "a"), run(1, "b"), run(2, "c")
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)
    assert curves == same_curves
    assert curves["loss/val"] != other_curves["loss/val"]


def test_the_schedule_can_count_steps(tmp_path):
    module = TrainingModule()
    trainer = fit(module, DataModule(moons(), batch_size=100), tmp_path, max_steps=30, max_epochs=-1)
    assert trainer.lr_scheduler_configs[0].interval == "step"
    assert trainer.lr_scheduler_configs[0].scheduler.T_max == 30
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_shorter_limit_is_the_length_of_the_schedule(tmp_path):
    trainer = fit(TrainingModule(), DataModule(moons()), tmp_path, max_steps=1000, max_epochs=5)
    assert trainer.lr_scheduler_configs[0].scheduler.T_max == 5


def test_the_logged_loss_sums_over_the_outputs(tmp_path):
    module, data = TrainingModule((2, 4, 3), task="regression"), DataModule(moons())
    for part in (data.train, data.val):
        part.tensors = part.tensors[0], torch.rand(len(part), 3)
    fit(module, data, tmp_path, max_epochs=2)
    x, y = data.val.tensors
    assert scalars(tmp_path)["loss/val"][-1][1] == pytest.approx(HalfMSELoss()(module(x), y).item())


def test_a_checkpoint_has_the_scale_of_the_features(tmp_path):
    data = DataModule(load("breast_cancer"))
    trainer = fit(TrainingModule(), data, tmp_path, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    scale = torch.load(tmp_path / "a.ckpt", weights_only=True)["DataModule"]
    x = (load("breast_cancer").x - scale["x_mean"]) / scale["x_std"]
    seen = torch.cat([part.tensors[0] for part in (data.train, data.val, data.test)]).double()
    torch.testing.assert_close(torch.tensor(x).sort(0).values, seen.sort(0).values, rtol=1e-5, atol=1e-6)
    assert (scale["y_mean"], scale["y_std"]) == (0, 1)


def test_refuses_a_run_without_an_end(tmp_path):
    with pytest.raises(ValueError, match="the cosine needs an end: give the Trainer max_epochs or max_steps"):
        fit(TrainingModule(), DataModule(moons()), tmp_path, max_epochs=-1)


def test_no_steps(tmp_path):
    """Lightning then trains nothing, and the schedule is that of the epochs."""
    trainer = fit(TrainingModule(), DataModule(moons()), tmp_path, max_steps=0, max_epochs=3)
    assert trainer.global_step == 0


def test_logs_a_nan_loss(tmp_path):
    module = TrainingModule(output="identity", hidden="identity", learning_rate=1e30)
    fit(module, DataModule(moons()), tmp_path, max_epochs=5)
    assert math.isnan(scalars(tmp_path)["loss/train"][-1][1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must lie in"),
        ({"learning_rate": float("nan")}, "learning_rate must lie in .*nan"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got momentum=1.0"),
        ({"eta_min": 0.5}, r"eta_min must lie in \[0, 0.3\], got eta_min=0.5"),
        ({"task": "ranking"}, "task must be one of regression, binary, multiclass, got 'ranking'"),
        ({"sizes": (2,)}, "sizes must be"),
        ({"backward": "both"}, "backward must be"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingModule(**arguments)


def test_predicts_for_x_alone_and_for_a_batch_of_x_and_y():
    module, x = TrainingModule(), torch.rand(5, 2)
    for batch in (x, (x, torch.rand(5, 1))):
        torch.testing.assert_close(module.predict_step(batch, 0), module.network(x))
