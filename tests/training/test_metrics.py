"""Every metric equals scikit-learn's in float64: ties, outliers, units, one class in a part."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnmath.training.metrics import Scores

seeds = st.integers(0, 2**32 - 1)


def scores(task, output, target, **options):
    metric = Scores(task, **options)
    for part in torch.arange(len(output)).split(7):  # several batches
        metric.update(torch.as_tensor(output)[part], torch.as_tensor(target)[part])
    return {name: float(value) for name, value in metric.compute().items()}


@given(seeds, st.integers(2, 60), st.floats(-12, 12), st.sampled_from([0, 1e6, 1e12]), st.booleans())
def test_regression(seed, n, exponent, outlier, constant):
    """Outputs and targets are standardised, so that R² does not depend on the unit."""
    rng = np.random.default_rng(seed)
    unit, y = 10**exponent, rng.standard_normal(n)
    y[0] += outlier
    y = np.full(n, 0.25) if constant else y
    output = y + rng.choice([0, 0.1, 3]) * rng.standard_normal(n)
    found = scores("regression", output[:, None], y[:, None], y_std=unit)
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(y, output), rel=1e-9, abs=1e-9)
    expected = sklearn.metrics.mean_absolute_error(y, output) * unit
    assert found["mean_absolute_error"] == pytest.approx(expected, rel=1e-9)


@given(seeds, st.integers(2, 60), st.sampled_from([1, 2, 10, 10**6]), st.floats(-12, 12))
def test_two_classes(seed, n, levels, exponent):
    """With few levels of the outputs there are many ties; large and small outputs keep their order."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    output = np.round(rng.standard_normal(n) * levels) * 10**exponent
    found = scores("binary", output[:, None], y[:, None].astype(float))
    predicted = (output > 0.5).astype(int)
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(y, predicted), abs=1e-9)
    assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(y, predicted, zero_division=0), abs=1e-9)
    if len(set(y)) == 2:
        assert found["auroc"] == pytest.approx(sklearn.metrics.roc_auc_score(y, output), abs=1e-9)
    else:
        assert np.isnan(found["auroc"])


@given(seeds, st.integers(3, 60), st.integers(3, 8), st.sampled_from([1, 5, 10**6]))
def test_more_classes(seed, n, k, levels):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    output = np.round(rng.standard_normal((n, k)) * levels)
    found = scores("multiclass", output, np.eye(k)[y])
    predicted = output.argmax(1)
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(y, predicted), abs=1e-9)
    expected = sklearn.metrics.f1_score(y, predicted, average="macro", zero_division=0)
    assert found["f1"] == pytest.approx(expected, abs=1e-9)
    if len(set(y)) == k:
        assert found["auroc"] == pytest.approx(sklearn.metrics.roc_auc_score(np.eye(k)[y], output), abs=1e-9)


def test_refuses_an_unknown_task():
    with pytest.raises(ValueError, match="task must be one of regression, binary, multiclass, got 'ranking'"):
        Scores("ranking")
