import math
import os
from pathlib import Path
from urllib.error import URLError

import mpmath
import numpy as np
import pytest
import sklearn.datasets
import torch

from nnmath.experiments import notebook
from nnmath.experiments.haberman import SHA256, Split, load

HABERMAN = os.environ.get("HABERMAN_CSV")
with_data = pytest.mark.skipif(not HABERMAN, reason="HABERMAN_CSV does not name a copy of Haberman's survival data")


def test_initial_layers_are_those_of_numpys_legacy_generator():
    np.random.seed(1)
    drawn = [np.round(np.random.uniform(size=size), 1) for size in ((3, 5), (1, 5), (5, 1), (1, 1))]
    (w_i, b_i), (w_o, b_o) = notebook.initial_layers()
    for tensor, array in zip((w_i.T, b_i[None], w_o.T, b_o[None]), drawn, strict=True):
        assert np.array_equal(tensor.numpy(), array)


def train_in_numpy(data, rate, epochs, record):
    """The notebook's procedure, an independent implementation: rows, NumPy, a loop."""
    layers = notebook.initial_layers()
    (w_i, b_i), (w_o, b_o) = [(weight.numpy().T.copy(), bias.numpy()[None].copy()) for weight, bias in layers]
    (x, y), (x_val, y_val) = ((part.x.numpy().T, part.y.numpy().T) for part in (data.train, data.val))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    errors = {}
    for t in range(epochs + 1):
        if t in record:
            output = sigmoid(sigmoid(x_val @ w_i + b_i) @ w_o + b_o)
            errors[t] = float(np.sum((output - y_val) ** 2) / (2 * len(y_val)))
        h = sigmoid(x @ w_i + b_i)
        output = sigmoid(h @ w_o + b_o)
        delta_o = (output - y) * output * (1 - output)
        delta_i = delta_o @ w_o.T * h * (1 - h)
        w_o, b_o = w_o - rate * h.T @ delta_o, b_o - rate * delta_o.sum(0, keepdims=True)
        w_i, b_i = w_i - rate * x.T @ delta_i, b_i - rate * delta_i.sum(0, keepdims=True)
    return errors


@pytest.fixture(scope="module")
def data():
    return load(HABERMAN)


@with_data
class TestPublished:
    def test_the_data(self, data):
        assert [part.x.shape for part in data] == [(3, 266), (3, 20), (3, 20)]
        assert data.all_rows.x.max(1).values.tolist() == [1, 1, 1]
        assert data.all_rows.y.sum() == 225
        assert data.test.y.sum() == 15

    def test_the_sweep_to_the_last_digits_that_float64_has(self, data):
        """16 or 17 digits are printed; the order of summation decides the last ones."""
        costs = notebook.train_rates(data.train, notebook.RATES, 1, validation=data.val).val_cost[0]
        truths = notebook.one_epoch_to_50_digits(data, list(notebook.PUBLISHED_SWEEP))
        for (rate, printed), truth in zip(notebook.PUBLISHED_SWEEP.items(), truths, strict=True):
            value, unit = float(costs[notebook.RATES.index(rate)]), math.ulp(float(printed))
            assert abs(value - float(printed)) <= 5 * unit
            assert abs(float((mpmath.mpf(value) - truth) / unit)) <= 5
            assert abs(float((mpmath.mpf(printed) - truth) / unit)) <= 3  # the published ones are hardly closer
            assert round(value, 15) == pytest.approx(round(float(printed), 15), abs=1.1e-15)

    def test_the_epochs_to_every_printed_digit_until_5000(self, data):
        record = list(notebook.PUBLISHED_EPOCHS)
        trained = notebook.train_rates(data.train, [0.1], 8000, record=record, validation=data.val)
        costs = trained.val_cost[:, 0].tolist()
        for (epochs, printed), value in zip(notebook.PUBLISHED_EPOCHS.items(), costs, strict=True):
            if epochs <= 5000:
                assert round(value, 8) == float(printed), epochs
            else:
                assert value == pytest.approx(float(printed), abs=1e-5)

    def test_the_final_network(self, data):
        errors = notebook.final_errors(data)
        for name, printed in notebook.PUBLISHED_FINAL.items():
            assert round(errors[name], len(printed) - 2) == float(printed)

    def test_unpublished_rates_and_epochs(self, data):
        """To 1e-9 where the procedure is that stable: at some rates, reversed rows change NumPy's own result more."""
        record, rates = [1, 4, 37, 150, 300], notebook.RATES[1::3]
        costs = notebook.train_rates(data.train, rates, 300, record=record, validation=data.val).val_cost.numpy()
        reversed_rows = data._replace(train=Split(data.train.x.flip(1), data.train.y.flip(1)))
        forward_order, reverse_order = (
            np.array([list(train_in_numpy(rows, rate, 300, record).values()) for rate in rates]).T
            for rows in (data, reversed_rows)
        )
        stable = abs(reverse_order - forward_order) <= 1e-10 * forward_order
        assert stable[:3].all()
        assert stable.mean(1).min() > 0.7
        assert (abs(costs - forward_order) <= 1e-9 * forward_order)[stable].all()

    @pytest.mark.parametrize("changed", ["30,64,1,2\n", "", "a,b\n"])
    def test_refuses_another_file(self, tmp_path, data, changed):
        lines = Path(HABERMAN).read_text().splitlines(keepends=True)
        (tmp_path / "other.csv").write_text("".join([changed, *lines[1:]]))
        with pytest.raises(ValueError, match="other.csv is not the notebook's haberman.csv of 306 rows"):
            load(tmp_path / "other.csv")

    def test_line_endings_do_not_matter(self, tmp_path, data):
        (tmp_path / "crlf.csv").write_bytes(Path(HABERMAN).read_bytes().replace(b"\n", b"\r\n"))
        assert all(torch.equal(a.x, b.x) for a, b in zip(load(tmp_path / "crlf.csv"), data, strict=True))


def test_refuses_a_missing_file():
    with pytest.raises(ValueError, match=r"nowhere.csv cannot be read: No such file"):
        load("nowhere.csv")


def test_the_download_checks_the_sha256(monkeypatch):
    arguments = {}

    def fetch(url, **options):
        arguments.update(options, url=url)
        raise URLError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_file", fetch)
    with pytest.raises(OSError, match=r"haberman.csv cannot be downloaded \(no network\)"):
        load()
    assert arguments["url"].endswith("/jbrownlee/Datasets/master/haberman.csv")
    assert arguments["sha256"] == SHA256
