from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnmath.data.datamodule import Batches, DataModule, fingerprint, split_rows
from nnmath.data.dataset import Dataset
from nnmath.data.datasets import load, xor


def regression(x, y):
    return Dataset(np.asarray(x, float), np.asarray(y, float), ("a",), "y", None)


def rows(loader):
    return torch.cat([torch.cat(batch, 1) for batch in loader])


class TestBatches:
    def test_each_epoch_has_each_row_once_in_a_new_order(self):
        batches = Batches(10, 4, seed=1)
        orders = []
        for epoch in range(3):
            batches.set_epoch(epoch)
            assert [len(batch) for batch in batches] == [4, 4, 2]
            orders.append(torch.cat(list(batches)).tolist())
        assert all(sorted(order) == list(range(10)) for order in orders)
        assert orders[0] != orders[1] != orders[2]
        assert torch.cat(list(Batches(10, 4, seed=1))).tolist() == orders[0]

    def test_order_depends_only_on_seed_and_epoch(self):
        first, second, other = (Batches(10, 4, seed=seed) for seed in (1, 1, 2))
        for batches in (first, second, other):
            batches.set_epoch(7)
        order = torch.cat(list(first))
        torch.manual_seed(99)
        assert torch.equal(order, torch.cat(list(second)))
        assert not torch.equal(order, torch.cat(list(other)))

    @pytest.mark.parametrize(("n", "size", "length"), [(10, 4, 3), (8, 4, 2), (3, 4, 1)])
    def test_length(self, n, size, length):
        assert len(Batches(n, size)) == len(list(Batches(n, size))) == length

    @pytest.mark.parametrize(("n", "size", "processes"), [(10, 4, 2), (9, 4, 3), (7, 7, 5), (5, 2, 2)])
    @pytest.mark.parametrize("seed", [None, 3])
    def test_processes_share_each_batch(self, n, size, processes, seed):
        def batches(rank, world_size):
            sampler = Batches(n, size, seed, rank, world_size)
            sampler.set_epoch(5)
            return list(sampler)

        for batch, *shares in zip(batches(0, 1), *(batches(rank, processes) for rank in range(processes))):
            assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


RARE_CLASS = Dataset(np.random.default_rng(0).normal(size=(200, 1)), np.arange(200) < 4, ("a",), "y", ("0", "1"))
OUTLIER = np.arange(50.0)[:, None]
OUTLIER[28] = 1e300  # a test row with seed 0


class TestDataModule:
    def test_features_are_standardised_by_the_training_rows_only(self):
        data = DataModule(load("breast_cancer"))
        x, _ = data.train.tensors
        torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
        torch.testing.assert_close(x.std(0, correction=0), torch.ones(2))
        assert abs(data.val.tensors[0].mean(0)).max() > 1e-3  # these rows were not used

    def test_target_of_a_regression_is_standardised(self):
        data = DataModule(regression(np.arange(50)[:, None], 100 + 7 * np.arange(50)))
        _, y = data.train.tensors
        assert y.mean().item() == pytest.approx(0, abs=1e-6)
        assert y.std(correction=0).item() == pytest.approx(1)
        assert y.std().item() * data.preprocessing.y_std == pytest.approx(
            np.array(data.preprocessing.x_std)[0] * 7, rel=0.05
        )

    def test_split_is_stratified_disjoint_and_complete(self):
        dataset = load("breast_cancer")
        data = DataModule(dataset, dtype=torch.float64)
        parts = [data.train, data.val, data.test]
        assert [len(part) for part in parts] == [341, 114, 114]
        for part in parts:
            assert part.tensors[1].mean().item() == pytest.approx(357 / 569, abs=0.01)
        x = torch.cat([part.tensors[0] for part in parts]).numpy() * np.array(data.preprocessing.x_std) + np.array(
            data.preprocessing.x_mean
        )
        np.testing.assert_allclose(np.sort(x, axis=0), np.sort(dataset.x, axis=0))

    def test_proportions_of_any_sum(self):
        data = DataModule(xor(samples=100), split=(7, 2, 1))
        assert [len(part) for part in (data.train, data.val, data.test)] == [70, 20, 10]

    def test_shapes_of_batches(self):
        data = DataModule(xor(samples=100), batch_size=32)
        assert [tuple(x.shape) for x, _ in data.train_dataloader()] == [(32, 2), (28, 2)]
        assert [tuple(y.shape) for _, y in data.val_dataloader()] == [(20, 1)]

    def test_order_of_batches_depends_on_the_seed(self):
        first, second, other = (DataModule(xor(samples=100), batch_size=32, seed=seed) for seed in (3, 3, 4))
        assert torch.equal(rows(first.train_dataloader()), rows(second.train_dataloader()))
        assert not torch.equal(rows(first.train_dataloader()), rows(other.train_dataloader()))

    @pytest.mark.parametrize("batch_size", [60, None])
    def test_a_single_batch_keeps_the_order_of_rows(self, batch_size):
        data = DataModule(xor(samples=100), batch_size)
        assert torch.equal(rows(data.train_dataloader()), torch.cat(data.train.tensors, 1))

    def test_dtype(self):
        assert DataModule(xor(), dtype=torch.float64).train.tensors[0].dtype == torch.float64

    @pytest.mark.parametrize("seed", range(5))
    def test_each_part_has_each_class(self, seed):
        data = DataModule(RARE_CLASS, split=(90, 5, 5), seed=seed)
        parts = [data.train, data.val, data.test]
        assert [len(part) for part in parts] == [180, 10, 10]
        assert all(0 < part.tensors[1].sum() < len(part) for part in parts)
        assert sum(int(part.tensors[1].sum()) for part in parts) == 4

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"dataset": xor(), "batch_size": 0}, "batch_size must lie in .* got batch_size=0"),
            ({"dataset": xor(), "split": (1, 1)}, r"split must be three positive proportions or all, got \(1, 1\)"),
            ({"dataset": xor(), "split": (1, 0, 1)}, "split must be three positive proportions"),
            ({"dataset": xor(), "split": (1, float("nan"), 1)}, "split must be three positive proportions"),
            ({"dataset": xor(samples=6), "split": (4, 1, 1)}, "6 rows cannot be split into"),
            ({"dataset": xor(samples=4)}, "class '0' has 2 rows: training, validation and test rows need one each"),
            ({"dataset": regression(OUTLIER[:12], range(12)), "split": (10, 1, 1)}, "1 validation row; a regression"),
            ({"dataset": regression([[0.1]] * 50, range(50))}, "column 'a' is constant over the training rows"),
            ({"dataset": regression(np.arange(50)[:, None] * 1e-320, range(50))}, "values too large or too small"),
            ({"dataset": regression(np.arange(50)[:, None] * 1e306, range(50))}, "column 'a' has values too large"),
            ({"dataset": regression(np.arange(50)[:, None], [0.1] * 50)}, "column 'y' is constant"),
            ({"dataset": regression(OUTLIER, range(50))}, "column 'a' has a value too far from the training rows"),
            ({"dataset": regression(np.arange(50)[:, None], OUTLIER[:, 0])}, "column 'y' has a value too far"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            DataModule(**arguments)


def test_refuses_data_of_another_run():
    earlier = DataModule(xor(50)).preprocessing
    assert DataModule(xor(80), preprocessing=earlier).preprocessing is earlier
    with pytest.raises(ValueError, match="the data have to be those of the earlier run, .*x1.*, got .*a"):
        DataModule(regression(np.arange(50)[:, None], range(50)), preprocessing=earlier)


def test_refuses_more_processes_than_rows_in_a_batch():
    data = DataModule(xor(50), batch_size=3)
    data.validate_world_size(3)
    with pytest.raises(ValueError, match="4 processes cannot share a batch of 3 rows: use fewer devices"):
        data.validate_world_size(4)


def test_a_regression_needs_two_rows_in_each_part():
    data = DataModule(regression(np.arange(10)[:, None], range(10)), split=(6, 2, 2))
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 2, 2]


def test_a_negative_zero_does_not_change_the_fingerprint():
    x, y = np.array([[0.0, 1.0]]), np.array([[0.0]])
    assert fingerprint(-x * 0, y) == fingerprint(x * 0, y)
    assert fingerprint(x, y) != fingerprint(x * 0, y)


def test_rows_are_on_the_device_of_the_trainer():
    data = DataModule(xor(100), batch_size=32)
    strategy = SimpleNamespace(root_device=torch.device("meta"))
    data.trainer = SimpleNamespace(strategy=strategy, global_rank=1, world_size=2)
    for loader, processes in ((data.train_dataloader(), 2), (data.val_dataloader(), 1), (data.test_dataloader(), 1)):
        assert {tensor.device.type for tensor in loader.dataset.tensors} == {"meta"}
        assert (loader.sampler.rank, loader.sampler.num_replicas) == (processes - 1, processes)
    assert {tensor.device.type for tensor in data.train.tensors} == {"cpu"}


def test_split_all_uses_all_rows_three_times():
    data = DataModule(xor(4, noise=0), split="all")
    for part in (data.train, data.val, data.test):
        x, y = part.tensors
        assert x.tolist() == [[-1, -1], [-1, 1], [1, -1], [1, 1]]  # standardised
        assert y.flatten().tolist() == [0, 1, 1, 0]


def test_fingerprints_are_of_the_rows_of_each_part_in_their_order():
    dataset = replace(xor(40, noise=0.1), classes=None)

    def fingerprints(dataset, **options):
        return list(DataModule(dataset, **options).fingerprints.values())

    same = fingerprints(dataset)
    assert len({*same}) == 3
    assert fingerprints(dataset, dtype=torch.float64) == same
    assert fingerprints(replace(dataset, x=dataset.x * (1 + 1e-15))) == same
    one, two = split_rows(dataset, (0.6, 0.2, 0.2), 0)[2][:2]
    x, y = dataset.x.copy(), dataset.y.copy()
    x[[one, two]] = x[[two, one]]
    y[one] = 1 - y[one]
    for changed in (replace(dataset, x=x), replace(dataset, y=y)):
        assert [a == b for a, b in zip(fingerprints(changed), same, strict=True)] == [True, True, False]
