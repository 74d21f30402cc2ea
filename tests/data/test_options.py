"""The options that scripts share: their defaults, and what they say about a data set."""

from dataclasses import dataclass

import numpy as np
import pytest

from nnmath.data.dataset import Dataset
from nnmath.data.options import DataOptions, Momentum, NetworkOptions, Seed


def dataset(classes=None, levels=()):
    return Dataset(np.zeros((4, 2)), np.zeros(4), ("a", "b"), "y", classes, levels)


def test_defaults():
    options = DataOptions()
    assert (options.dataset, options.samples, options.noise, options.split) == (
        "breast_cancer",
        400,
        0.1,
        (0.6, 0.2, 0.2),
    )
    assert (options.missing, options.batch_size, options.features, options.target) == ("refuse", None, None, "")
    assert DataOptions("xor", samples=7, noise=0.0).load(seed=3).x.tolist()[:4] == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("kind", "inside", "outside"), [(Seed, [0, 2**32 - 1], [-1, 2**32]), (Momentum, [0, 0.999], [-0.1, 1])]
)
def test_ranges(kind, inside, outside):
    assert [kind(value) for value in inside] == inside
    for value in outside:
        with pytest.raises(ValueError, match="does not conform"):
            kind(value)


@pytest.mark.parametrize(
    ("neurons", "classes", "levels", "sizes"),
    [
        (4, ("no", "yes"), (), [2, 4, 1]),
        ([8, 3], ("a", "b", "c"), (None, ("blue", "green", "red")), [4, 8, 3, 3]),
        ([], None, (), [2, 1]),
    ],
)
def test_sizes_of_the_layers(neurons, classes, levels, sizes):
    assert NetworkOptions(neurons).sizes(dataset(classes, levels)) == sizes


def test_activation_of_the_last_layer():
    binary, regression = dataset(("no", "yes")), dataset()
    assert NetworkOptions().output_for(binary) == "sigmoid"
    assert NetworkOptions(output="tanh").output_for(binary) == "tanh"
    assert NetworkOptions().output_for(regression) == "identity"
    assert NetworkOptions(output="identity").output_for(regression) == "identity"
    with pytest.raises(ValueError, match="target 'y' is a number, which sigmoid cannot give: use --output identity"):
        NetworkOptions(output="sigmoid").output_for(regression)


def test_hyperparameters_are_the_options_that_have_an_effect():
    assert {"samples", "noise"} < DataOptions("moons").hyperparameters().keys()
    assert not {"samples", "noise"} & DataOptions("a.csv", target="y").hyperparameters().keys()
    assert DataOptions().hyperparameters()["schedule"] == "cosine"


@pytest.mark.parametrize(("schedule", "shown"), [("constant", False), ("cosine", True)])
def test_a_constant_learning_rate_has_no_end(schedule, shown):
    @dataclass(frozen=True)
    class Options(DataOptions):
        schedule: str = "cosine"
        eta_min: float = 0.0

    values = Options(schedule=schedule).hyperparameters()
    assert values["schedule"] == schedule
    assert ("eta_min" in values) is shown
