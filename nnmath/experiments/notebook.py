r"""The article's author's notebook, reproduced: its data, its network, its procedure and its published figures.

The procedure differs from the article's in one point: the error is *summed* over the rows, not averaged, so that its
learning rate 0.45 on 266 rows is 119.7 in the article's convention.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnmath.ensemble.stack import Trained, train
from nnmath.equations import SIGMOID, Layer, backward, error, forward
from nnmath.experiments.haberman import Data, Split

SIZES = (3, 5, 1)
RATES = tuple(k / 100 for k in range(90))
r"""The learning rates of its sweep."""

PUBLISHED_SWEEP = {
    0.00: "0.1425529855036571",
    0.01: "0.14210338931169902",
    0.02: "0.1416300613785155",
    0.03: "0.14113213376972283",
    0.04: "0.14060875423211186",
    0.85: "0.22257661037668994",
    0.86: "0.22673188453343487",
    0.87: "0.23082166744438465",
    0.88: "0.2348405717455151",
    0.89: "0.23878382237053977",
}
r"""learning rate ↦ validation error after one epoch, as printed; ten of the ninety are shown"""

PUBLISHED_EPOCHS = {
    1: "0.13689036",
    2: "0.12201688",
    3: "0.10695007",
    5: "0.10729602",
    6: "0.10559432",
    100: "0.10840044",
    200: "0.08707395",
    300: "0.08225687",
    400: "0.07964516",
    500: "0.07786024",
    600: "0.07653455",
    700: "0.07550894",
    800: "0.07470981",
    900: "0.07411084",
    1000: "0.07371096",
    2000: "0.07039622",
    3000: "0.0666253",
    4000: "0.06473711",
    5000: "0.06452243",
    6000: "0.06442864",
    7000: "0.0657919",
    8000: "0.06858621",
}
r"""number of epochs ↦ validation error, as printed"""
EPOCHS_RATE = 0.1
r"""Their learning rate, which the notebook does not tell."""

FINAL_RATE, FINAL_EPOCHS = 0.45, 6000
PUBLISHED_FINAL = {"validation": "0.15", "test": "0.125"}


def initial_layers() -> list[Layer]:
    r"""The network that every run of the notebook starts from: uniform on [0, 1), rounded to one decimal.

    The draws are those of NumPy's legacy generator with the seed 1: input weights, input biases, output weights, output
    bias. NumPy's arrays have a column for each neuron; here it is a row.
    """
    draw = np.random.RandomState(1).uniform
    layers = []
    for n_in, n_out in pairwise(SIZES):
        weight, bias = (np.round(draw(size=size), 1) for size in ((n_in, n_out), (1, n_out)))
        layers.append(Layer(torch.from_numpy(weight).mT.contiguous(), torch.from_numpy(bias[0])))
    return layers


def train_rates(
    part: Split, rates: Sequence[float], epochs: int, record: Iterable[int] | None = None, **options: Any
) -> Trained:
    r"""A stack of the notebook's network, one for each learning rate, trained by full-batch descent on ½ Σ (y − O)².

    Args:
        part: the rows to train on.
        rates: the learning rates.
        epochs: how many.
        record: the numbers of epochs after which the errors are recorded, 1/(2n) Σ (O − y)².
        options: of :func:`~nnmath.ensemble.stack.train`, validation for example.
    """
    m = len(rates)
    stack = [Layer(weight.expand(m, -1, -1), bias.expand(m, -1)) for weight, bias in initial_layers()]
    options = {"reduction": "sum", "learning_rate": torch.tensor(rates, dtype=torch.float64)} | options
    return train(stack, part.x, part.y, epochs=epochs, record=record, **options)


def final_errors(data: Data, progress: bool = False) -> dict[str, float]:
    r"""Validation and test error of the network that the notebook ends with."""
    layers = train_rates(data.train, [FINAL_RATE], FINAL_EPOCHS, progress=progress).layers
    return {"validation": mse(layers, data.val), "test": mse(layers, data.test)}


def mse(layers: Sequence[Layer], part: Split) -> float:
    r"""The notebook's measure, 1/(2n) Σ (O − y)², of a stack of one network."""
    return float(error(forward(part.x, layers, (SIGMOID, SIGMOID))[-1], part.y.expand(1, *part.y.shape)))


def one_epoch_to_50_digits(data: Data, rates: Sequence[float]) -> list[Any]:
    r"""Validation error after one epoch by the same equations on numbers of 50 digits: what rounding has no part in."""
    import mpmath

    from nnmath.verification.exact_arithmetic import DIGITS, to_mpmath

    exact: Any = to_mpmath  # which the equations take as they take tensors
    with mpmath.workdps(DIGITS):
        layers = [Layer(*map(exact, layer)) for layer in initial_layers()]
        x, y, x_val, y_val = (exact(tensor) for part in (data.train, data.val) for tensor in part)
        activations: Any = (SIGMOID, SIGMOID)
        gradients = backward(forward(x, layers, activations), layers, activations, y, "sum")
        results = []
        for rate in rates:
            eta = mpmath.mpf(rate)
            there = [Layer(w - eta * g_w, b - eta * g_b) for (w, b), (g_w, g_b) in zip(layers, gradients, strict=True)]
            results.append(error(forward(x_val, there, activations)[-1], y_val).item())
    return results


def in_its_authors_order(csv: str | os.PathLike[str]) -> list[str]:
    r"""The published figures of the sweep by NumPy, every sum in the order of the notebook's author.

    They are the published ones to the last bit on kernels with fused multiply-add of 256 bits, which the author's
    machine will have had; on others up to five differ in their last digits.

    Args:
        csv: the data.

    Returns:
        The figures, in the order of :data:`PUBLISHED_SWEEP`; none where NumPy has no such kernels.
    """
    program = Path(__file__).with_name("notebook_numpy.py")
    environment = os.environ | {"OPENBLAS_CORETYPE": "Haswell"}
    process = subprocess.run(
        [sys.executable, str(program), str(csv)], env=environment, capture_output=True, text=True, check=True
    )
    kernels, figures = process.stdout.splitlines()
    return figures.split() if kernels in ("Haswell", "Zen") else []
