"""Preprocessing: fitted to the training rows, the same for later rows."""

import numpy as np
import pytest
import torch

from nnmath.data.datamodule import DataModule
from nnmath.data.dataset import Dataset
from nnmath.data.preprocessing import Preprocessing

LEVELS = ("blue", "green", "red")
X = np.array([[1, 0], [2, 2], [np.nan, 2], [5, np.nan]])
MIXED = Dataset(
    X, np.array([0.0, 1, 2, 1]), ("size", "colour"), "kind", ("a", "b", "c"), (None, LEVELS), fill_missing=True
)


def test_categories_are_one_hot_and_missing_values_filled_by_the_training_rows():
    p = Preprocessing.fit(MIXED, np.arange(3))
    assert p.inputs == ("size", "colour=blue", "colour=red")
    assert (p.levels, p.fill, p.outputs, p.task) == ((None, ("blue", "red")), (1.5, 1.0), 3, "multiclass")
    raw = np.array([[1, 1, 0], [2, 0, 1], [1.5, 0, 1]])
    np.testing.assert_allclose(p.encode(p.recode(MIXED)[:3]), (raw - raw.mean(0)) / raw.std(0))
    np.testing.assert_allclose(p.encode(p.recode(MIXED))[3], (np.array([5, 0, 1]) - raw.mean(0)) / raw.std(0))
    assert p.encode_target(MIXED.y).tolist() == np.eye(3)[[0, 1, 2, 1]].tolist()


def test_a_missing_value_that_nothing_replaces_has_no_input():
    p = Preprocessing.fit(
        Dataset(X[:2], np.zeros(2), ("size", "colour"), "kind", ("a", "b"), (None, LEVELS)), np.arange(2)
    )
    encoded = p.encode(np.array([[np.nan, 0.0], [1.0, np.nan]]))
    assert np.isnan(encoded).tolist() == [[True, False, False], [False, True, True]]


def test_an_unseen_level_is_refused_by_name():
    p = Preprocessing.fit(MIXED, np.arange(3))
    green = Dataset(np.array([[1.0, 1.0]]), np.zeros(1), MIXED.features, "kind", MIXED.classes, (None, LEVELS))
    with pytest.raises(
        ValueError,
        match="column 'colour' has 'green', in no training row; known are 'blue', 'red': leave the column or",
    ):
        p.recode(green)


def test_a_state_is_restored_and_compared():
    p = Preprocessing.fit(MIXED, np.arange(3))
    state = p.state_dict()
    assert Preprocessing.from_state_dict(state) == p
    assert p.matches(state)
    close = {**state, "x_mean": [value * (1 + 1e-12) for value in state["x_mean"]]}
    assert p.matches(close)
    for name, value in (("y_std", 1.001), ("target", "sort"), ("levels", [None, None]), ("x_mean", [1.0])):
        assert not p.matches({**state, name: value}), name
    assert not p.matches({})


@pytest.mark.parametrize("scale", [1, 1e-12, 1e12])
def test_a_column_that_is_constant_but_for_rounding(scale):
    x = np.full((60, 1), 14.62) * scale
    x[::2] = np.nextafter(x[::2], np.inf)
    data = Dataset(x, np.arange(60.0), ("a",), "y", None)
    with pytest.raises(ValueError, match="column 'a' is constant over the training rows but for rounding"):
        DataModule(data)
    by_default = DataModule(Dataset(x, np.arange(60.0), ("a",), "y", None, by_default=True))
    assert by_default.preprocessing.x_std == (1.0,)


def test_columns_of_very_different_scale_are_not_constant():
    x = np.linspace(1, 1 + 1e-9, 60)[:, None]
    assert DataModule(Dataset(x, np.arange(60.0), ("a",), "y", None)).preprocessing.x_std[0] > 0


def test_the_data_module_has_one_hot_targets():
    data = DataModule(
        Dataset(np.random.default_rng(0).normal(size=(60, 2)), np.arange(60.0) % 3, ("a", "b"), "y", ("u", "v", "w"))
    )
    _, y = data.train.tensors
    assert y.shape == (36, 3)
    assert torch.equal(y.sum(1), torch.ones(36))


def dataset(x, y, classes=None, levels=None):
    return Dataset(np.array(x, dtype=float), np.array(y, dtype=float), ("a",), "y", classes, levels or (None,))


def test_target_of_a_regression_is_standardised():
    p = Preprocessing.fit(dataset([[1], [2], [6]], [10, 20, 60]), np.arange(3))
    y = np.array([10.0, 20, 60])
    assert (p.outputs, p.task, p.inputs) == (1, "regression", ("a",))
    np.testing.assert_allclose(p.encode_target(y)[:, 0], (y - 30) / y.std())


def test_target_of_two_classes_is_0_or_1():
    p = Preprocessing.fit(dataset([[1], [2], [6]], [0, 1, 1], ("no", "yes")), np.arange(3))
    assert (p.outputs, p.task) == (1, "binary")
    assert p.encode_target(np.array([0.0, 1, 1])).tolist() == [[0], [1], [1]]


def test_a_column_without_a_value_in_the_training_rows_is_refused():
    with pytest.raises(ValueError, match="column 'a' has no value in the training rows"):
        Preprocessing.fit(dataset([[np.nan], [np.nan], [6]], [0, 1, 1], ("no", "yes")), np.arange(2))


@pytest.mark.parametrize("scale", [1e306, 1e-320])
def test_values_that_are_too_large_or_too_small_are_refused(scale):
    with pytest.raises(ValueError, match="column 'a' has values too large or too small to be standardised"):
        Preprocessing.fit(dataset(np.arange(50)[:, None] * scale, np.arange(50)), np.arange(50))


@pytest.mark.parametrize(
    ("levels", "other", "message"),
    [
        ((None,), (("low", "high"),), "column 'a' holds a category, but numbers in training"),
        ((("low", "high"),), (None,), "column 'a' holds numbers, but a category in training"),
    ],
)
def test_numbers_and_categories_are_not_exchanged(levels, other, message):
    x, y, classes = [[0], [1], [1]], [0, 1, 1], ("no", "yes")
    p = Preprocessing.fit(dataset(x, y, classes, levels), np.arange(3))
    assert p.recode(dataset(x, y, classes, levels)).tolist() == x
    with pytest.raises(ValueError, match=message):
        p.recode(dataset(x, y, classes, other))
