r"""The notebook of the article's author: its network, its procedure and its published figures.

The procedure differs from the article's in one point: the error is *summed* over the rows, not averaged. Its learning
rate 0.45 on 266 rows is therefore 119.7 in the article's convention.

scripts/reproduce_notebook.py prints every published figure beside the reproduced one. Of the 22 numbers of epochs, 19
give the same error in all eight digits; the last three, 6,000 epochs and more, differ in the sixth decimal, because
rounding errors have grown. The errors of the sweep were published to 16 or 17 digits: 15 or more are equal, and the
order of summation decides the others.

The script then trains all 90 learning rates for 8,000 epochs as one stack, which takes about 20 seconds on two cores.
The least validation error is 0.062 to 0.063. Where it lies depends on rounding: at η = 0.44 after 6,800 epochs on two
threads, at η = 0.10 after 5,572 on one.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from nnmath.ensemble.stack import Trained, repeat_network, train
from nnmath.equations import SIGMOID, Layer, backward, error, forward, sgd_step, zero_velocities
from nnmath.experiments.haberman import Data, Split

SIZES = (3, 5, 1)
ACTIVATIONS = (SIGMOID, SIGMOID)
RATES = tuple(k / 100 for k in range(90))  # the learning rates of the sweep

PUBLISHED_SWEEP = {  # learning rate ↦ validation error after one epoch, as printed: ten of the ninety
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
PUBLISHED_EPOCHS = {  # number of epochs ↦ validation error, as printed
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
EPOCHS_RATE = 0.1  # their learning rate, which the notebook does not give
FINAL_RATE, FINAL_EPOCHS = 0.45, 6000
PUBLISHED_FINAL = {"validation": "0.15", "test": "0.125"}


def initial_layers() -> list[Layer]:
    r"""The initial network of every run in the notebook: uniform on [0, 1), rounded to one decimal.

    NumPy's legacy generator with seed 1 draws the input weights, input biases, output weights and output bias. NumPy's
    arrays have a column for each neuron; here it is a row.
    """
    uniform = np.random.RandomState(1).uniform
    layers = []
    for n_in, n_out in pairwise(SIZES):
        weight, bias = (np.round(uniform(size=size), 1) for size in ((n_in, n_out), (1, n_out)))
        layers.append(Layer(torch.from_numpy(weight).mT.contiguous(), torch.from_numpy(bias[0])))
    return layers


def train_rates(split: Split, rates: Sequence[float], epochs: int, **options: Any) -> Trained:
    r"""A copy of the notebook's network for each learning rate, trained by full-batch descent on ½ Σ (y − O)².

    The options are those of :func:`~nnmath.ensemble.stack.train`, for example ``record`` and ``validation``.
    """
    stack = repeat_network(initial_layers(), len(rates))
    eta = torch.tensor(rates, dtype=torch.float64)
    return train(stack, *split, epochs=epochs, learning_rate=eta, reduction="sum", **options)


def final_errors(data: Data) -> dict[str, float]:
    r"""Validation and test error of the notebook's final network."""
    layers = train_rates(data.train, [FINAL_RATE], FINAL_EPOCHS).layers
    return {"validation": mse(layers, data.val), "test": mse(layers, data.test)}


def mse(layers: Sequence[Layer], split: Split) -> float:
    r"""The notebook's measure, 1/(2n) Σ (O − y)², of a stack of one network."""
    return float(error(forward(split.x, layers, ACTIVATIONS)[-1], split.y[None]))


def one_epoch_to_50_digits(data: Data, rates: Sequence[float]) -> list[Any]:
    r"""Validation error after one epoch, computed by the same equations with 50 digits."""
    import mpmath

    from nnmath.verification.exact_arithmetic import DIGITS, to_mpmath

    exact: Any = to_mpmath  # the equations are typed for tensors
    with mpmath.workdps(DIGITS):
        layers = [Layer(*map(exact, layer)) for layer in initial_layers()]
        x, y, x_val, y_val = (exact(tensor) for split in (data.train, data.val) for tensor in split)
        gradients = backward(forward(x, layers, ACTIVATIONS), layers, ACTIVATIONS, y, "sum")
        errors = []
        for rate in rates:
            stepped, _ = sgd_step(layers, zero_velocities(layers), gradients, mpmath.mpf(rate))
            errors.append(error(forward(x_val, stepped, ACTIVATIONS)[-1], y_val).item())
    return errors


def same_digits(published: str, value: float) -> int:
    r"""How many decimal places of a published number in (0, 1) agree with a value after rounding both.

    >>> same_digits("0.1425529855036571", 0.14255298550365708), same_digits("0.126", 0.127)
    (16, 2)
    """
    places = range(max(len(published), len(repr(value))) - 2, 0, -1)
    agreeing = (n for n in places if round(value, n) == round(float(published), n))
    return min(next(agreeing, 0), len(published) - 2)
