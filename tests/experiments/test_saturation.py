import os

import pytest
import torch

from nnmath.experiments import haberman, notebook
from nnmath.experiments.saturation import run, slopes

CSV = os.environ.get("HABERMAN_CSV")


def test_the_sum_keeps_what_the_output_loses():
    z, errors = slopes()
    for name, eps in (("float32", 2.0**-23), ("float64", 2.0**-52)):
        from_output, from_sum = errors[f"h (1 − h), {name}"], errors[f"σ(z) σ(−z), {name}"]
        assert from_sum.max() < 2 * eps
        assert from_output[z == 0] < 2 * eps
        assert from_output[-1] == 1
        assert from_output[z == 10] > 100 * eps


@pytest.mark.parametrize(("dtype", "end"), [("float32", 17.0), ("float64", 37.0)])
def test_the_output_loses_all_digits(dtype, end):
    """From ln(2 / eps) on: 16.6 in float32, 36.7 in float64."""
    z, errors = slopes(end=40)
    lost = errors[f"h (1 − h), {dtype}"] == 1
    assert lost[z >= end].all()
    assert not lost[z < end - 0.5].any()


@pytest.fixture(scope="module")
def training():
    """epoch ↦ gradient norm, saturated outputs and cost, for both rates."""
    if not CSV:  # the data are not part of the project, and tests do not download
        pytest.skip("HABERMAN_CSV does not name a copy of haberman.csv")
    torch.set_num_threads(1)
    epochs, columns = run(haberman.load(CSV), epochs=1500)
    return {t: torch.stack([columns[name][k] for name in columns]) for k, t in enumerate(epochs)}


def test_at_the_notebooks_rate_the_output_saturates_and_the_gradient_vanishes(training):
    norm, saturated, _ = training[5][:, 1]
    assert saturated == 0
    assert norm == pytest.approx(40.0, rel=0.01)
    for t in training:
        norm, saturated, cost = training[t][:, 1]
        if t >= 6:
            assert saturated == 1
            assert norm < 2e-6
            assert cost == pytest.approx(70 / (2 * 266))  # 70 of the 266 rows died: the output is 1 for all
    assert training[1500][2, 1] == pytest.approx(training[6][2, 1].item(), rel=1e-9)


def test_at_a_small_rate_it_learns(training):
    for norm, saturated, _ in (columns[:, 0] for columns in training.values()):
        assert saturated == 0
        assert norm > 0.01
    assert training[1500][2, 0] < 0.09 < training[0][2, 0]


def test_the_intervals_are_one_training(training):
    record = [0, 100, 1500]
    trained = notebook.train_rates(haberman.load(CSV).train, [0.02], 1500, record=record)
    assert trained.train_cost[:, 0].tolist() == pytest.approx([training[t][2, 0].item() for t in record], rel=1e-9)
