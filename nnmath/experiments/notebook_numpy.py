r"""One epoch of the notebook's sweep in NumPy, summed in its author's order: python notebook_in_numpy.py haberman.csv.

Every sum over the samples is a matrix product, of the biases' gradients and of the error too, and a delta is
(y − O) · (O (1 − O)). It prints which kernels NumPy multiplies by, then the published figures of the sweep. It is a
program of its own because NumPy chooses the kernels when it is imported; OPENBLAS_CORETYPE=Haswell gives the figures.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

RATES = tuple(k / 100 for k in (0, 1, 2, 3, 4, 85, 86, 87, 88, 89))
Array = NDArray[np.float64]


def sigmoid(z: Array) -> Any:
    r"""σ(z) = 1 / (1 + e^(−z))"""
    return 1 / (1 + np.exp(-z))


def validation_error(table: Array, eta: float) -> float:
    r"""1/(2n) Σ (O − y)² of the validation rows after one epoch at η, samples in rows.

    Args:
        table: haberman.csv, shape (306, 4).
        eta: η.
    """
    rng = np.random.RandomState(1)
    w_i, b_i, w_o, b_o = (rng.uniform(size=shape).round(1) for shape in ((3, 5), (1, 5), (5, 1), (1, 1)))
    x, y = table[:, :3] ** [1, 1, 0.5], (table[:, 3:] == 1).astype(float)
    x = x / x.max(0)
    train, val = slice(0, 266), slice(266, 286)
    ones = np.ones((1, 266))

    h = sigmoid(x[train] @ w_i + b_i)
    output = sigmoid(h @ w_o + b_o)
    delta_o = (y[train] - output) * (output * (1 - output))
    delta_i = (h * (1 - h)) * (delta_o @ w_o.T)
    w_o, b_o = w_o + (h.T @ delta_o) * eta, b_o + (ones @ delta_o) * eta
    w_i, b_i = w_i + (x[train].T @ delta_i) * eta, b_i + (ones @ delta_i) * eta
    error = sigmoid(sigmoid(x[val] @ w_i + b_i) @ w_o + b_o) - y[val]
    return float((1 / (2 * len(error)) * (error.T @ error)).item())


if __name__ == "__main__":
    print(*{library.get("architecture") for library in threadpool_info() if library["internal_api"] == "openblas"})
    print(*(validation_error(np.loadtxt(sys.argv[1], delimiter=","), eta) for eta in RATES))
