"""One epoch of the notebook's sweep in NumPy, summed in its author's order: python notebook_in_numpy.py haberman.csv.

Every sum over the samples is a matrix product, of the biases' gradients and of the error too, and a delta is
(y − O) · (O (1 − O)). Prints the kernels that NumPy multiplies by, then the published figures of the sweep.
"""

import sys

import numpy as np
from threadpoolctl import threadpool_info

RATES = [i / 100 for i in (0, 1, 2, 3, 4, 85, 86, 87, 88, 89)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def validation_error(table, eta):
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
    table = np.loadtxt(sys.argv[1], delimiter=",")
    print(*(validation_error(table, eta) for eta in RATES))
