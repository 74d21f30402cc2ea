import os

import pytest
import torch

from nnmath.experiments import haberman, notebook
from nnmath.experiments.saturation import saturation, slopes

CSV = os.environ.get("HABERMAN_CSV")


def test_the_sum_keeps_what_the_value_loses():
    result = slopes()
    for dtype in (torch.float32, torch.float64):
        eps = torch.finfo(dtype).eps
        assert result.of_sum[dtype].max() < 2 * eps
        assert result.of_value[dtype][result.z == 0] < 2 * eps
        assert result.of_value[dtype][-1] == 1
        assert result.of_value[dtype][result.z == 10] > 100 * eps


@pytest.mark.parametrize(("dtype", "z"), [(torch.float32, 17.0), (torch.float64, 37.0)])
def test_of_the_value_nothing_is_left(dtype, z):
    """From ln(2 / eps) on: 16.6 in float32, 36.7 in float64."""
    result = slopes(end=40)
    gone = result.of_value[dtype] == 1
    assert gone[result.z >= z].all()
    assert not gone[result.z < z - 0.5].any()


@pytest.fixture(scope="module")
def result():
    if not CSV:
        pytest.skip("the data are not in the project: HABERMAN_CSV names a copy of haberman.csv")
    torch.set_num_threads(1)
    return saturation(haberman.read(CSV), rates=(0.02, 0.45), epochs=1500)


def test_at_the_notebooks_rate_the_output_saturates_and_the_gradient_vanishes(result):
    at = {t: k for k, t in enumerate(result.epochs)}
    assert result.outputs[at[5], 1] == 0
    assert (result.outputs[at[6] :, 1] == 1).all()
    assert result.gradient_norm[at[5], 1] == pytest.approx(40.0, rel=0.01)
    assert (result.gradient_norm[at[6] :, 1] < 2e-6).all()
    assert result.cost[at[6], 1] == pytest.approx(70 / (2 * 266))  # 70 of the 266 rows died: it says 1 for all
    assert result.cost[-1, 1] == pytest.approx(result.cost[at[6], 1].item(), rel=1e-9)


def test_at_a_small_rate_it_learns(result):
    assert (result.outputs[:, 0] == 0).all()
    assert (result.hidden[:, 0] == 0).all()
    assert (result.gradient_norm[:, 0] > 0.01).all()
    assert result.cost[-1, 0] < 0.09 < result.cost[0, 0]


def test_the_stretches_of_epochs_are_one_training(result):
    whole = notebook.train_rates(haberman.read(CSV).train, [0.02], 1500, record=[0, 100, 1500])
    there = [result.cost[result.epochs.index(t), 0].item() for t in (0, 100, 1500)]
    assert whole.train_cost[:, 0].tolist() == pytest.approx(there, rel=1e-9)
