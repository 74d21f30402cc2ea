"""Hand-written gradients, right and wrong, written without a look at how the diagnosis works.

A section is a model: its loss in plain torch, its gradients by hand, and its cases. Without ``mistakes`` the gradients
are right; each word among them switches a mistake on. Every section draws from a generator of its own, so that a case
more in one changes no number in another.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nnmath.gradcheck.faults import Fault


@dataclass(frozen=True)
class Case:
    name: str
    forward: Callable[..., Tensor]
    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    wrong: tuple[str, ...] = ()
    """The gradients that are wrong."""
    faults: frozenset[str] = frozenset()
    """The labels of which each names the mistake, or one of two mistakes; none if every gradient is right."""
    n: int | None = None
    learning_rate: float | None = None


CASES: list[Case] = []


def add(name, forward, inputs, gradients, wrong="", faults: Iterable[str] = (), n=None, learning_rate=None):
    CASES.append(Case(name, forward, inputs, gradients, tuple(wrong.split()), frozenset(faults), n, learning_rate))


def draws(seed):
    """A function that draws normal tensors from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=1.0):
        return scale * torch.randn(shape, generator=generator, dtype=torch.float64)

    return draw


def cast(inputs, dtype):
    return {name: tensor.to(dtype) for name, tensor in inputs.items()}


# --- linear regression ------------------------------------------------------------------------------------------------


def linear(X, y, w, b):
    return 0.5 * ((X @ w + b - y) ** 2).mean()


def linear_y_column(X, y, w, b):
    return 0.5 * ((X @ w + b - y[:, 0]) ** 2).mean()


def linear_n_by_n(X, y, w, b):
    return 0.5 * ((X @ w + b - y) ** 2).mean()  # y is a column: (n,) − (n, 1)


def ridge(X, y, w, b):
    return linear(X, y, w, b) + 0.05 * (w**2).sum()


def lasso(X, y, w, b):
    return linear(X, y, w, b) + 0.05 * w.abs().sum()


def linear_gradients(inputs, *mistakes):
    X, y, w, b = inputs.values()
    n = len(X)
    e = X @ w + b
    if "target" not in mistakes:
        e = e - y.reshape(n)
    if "sign" in mistakes:
        e = -e
    if "sum" not in mistakes:
        e = e / n
    if "mean twice" in mistakes:
        e = e / n
    return {"w": X.T @ e, "b": e if "bias rows" in mistakes else e.sum()}


def linear_n_by_n_gradients(inputs):
    X, y, w, b = inputs.values()
    e = (X @ w + b - y) / len(X) ** 2  # (n, n)
    return {"w": (e @ X).sum(0), "b": e.sum()}


draw = draws(1)
LINEAR = {n: {"X": draw(n, 6), "y": draw(n), "w": draw(6), "b": draw()} for n in (1, 2, 7, 300)}
COLUMN = LINEAR[7] | {"y": LINEAR[7]["y"][:, None]}
SCALED = LINEAR[7] | {"X": LINEAR[7]["X"] * torch.logspace(-6, 6, 6, dtype=torch.float64)}
SPARSE = LINEAR[7] | {"w": LINEAR[7]["w"] * torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)}

add("linear, n = 1", linear, LINEAR[1], linear_gradients(LINEAR[1]), n=1)
data = cast(LINEAR[300], torch.float32)
add("linear, n = 300, float32", linear, data, linear_gradients(data), n=300)
add("linear, badly scaled features", linear, SCALED, linear_gradients(SCALED), n=7)
add("linear, sign", linear, LINEAR[7], linear_gradients(LINEAR[7], "sign"), "w b", {Fault.SIGN}, n=7)
add("linear, n = 1, sign", linear, LINEAR[1], linear_gradients(LINEAR[1], "sign"), "w b", {Fault.SIGN}, n=1)
add("linear, sum for mean", linear, LINEAR[300], linear_gradients(LINEAR[300], "sum"), "w b", {Fault.FACTOR_N}, n=300)
add(
    "linear, sum for mean, n not given",
    linear,
    LINEAR[7],
    linear_gradients(LINEAR[7], "sum"),
    "w b",
    {Fault.FACTOR_N, Fault.FACTOR},
)
add(
    "linear, sum for mean, n = 2",
    linear,
    LINEAR[2],
    linear_gradients(LINEAR[2], "sum"),
    "w b",
    {Fault.FACTOR_N, Fault.FACTOR_2},
    n=2,
)
add("linear, mean twice, float32", linear, data, linear_gradients(data, "mean twice"), "w b", {Fault.FACTOR_N}, n=300)
add(
    "linear, sign and sum for mean",
    linear,
    LINEAR[7],
    linear_gradients(LINEAR[7], "sign", "sum"),
    "w b",
    {Fault.SIGN_AND_FACTOR_N},
    n=7,
)
data = cast(LINEAR[7], torch.float16)
add(
    "linear, sign and sum for mean, float16",
    linear,
    data,
    linear_gradients(data, "sign", "sum"),
    "w b",
    {Fault.SIGN_AND_FACTOR_N},
    n=7,
)
add(
    "linear, y forgotten",
    linear,
    LINEAR[7],
    linear_gradients(LINEAR[7], "target"),
    "w b",
    {Fault.TARGET_TERM_MISSING},
    n=7,
)
add(
    "linear, bias for each sample",
    linear,
    LINEAR[300],
    linear_gradients(LINEAR[300], "bias rows"),
    "b",
    {Fault.BIAS_NOT_SUMMED},
    n=300,
)
add(  # the mean of p − y is the same either way: b is right
    "linear, gradient broadcasts to n × n",
    linear_y_column,
    COLUMN,
    linear_n_by_n_gradients(COLUMN),
    "w",
    {Fault.BROADCAST_N_BY_N},
    n=7,
)
add(
    "linear, loss broadcasts to n × n",
    linear_n_by_n,
    COLUMN,
    linear_gradients(COLUMN),
    "w",
    {Fault.BROADCAST_N_BY_N},
    n=7,
)
right = linear_gradients(LINEAR[7])
add(
    "linear, decay not in the loss",
    linear,
    LINEAR[7],
    right | {"w": right["w"] + 0.01 * LINEAR[7]["w"]},
    "w",
    {Fault.REGULARIZATION},
    n=7,
)
add("ridge", ridge, LINEAR[7], right | {"w": right["w"] + 0.1 * LINEAR[7]["w"]}, n=7)
add("ridge, penalty forgotten", ridge, LINEAR[7], right, "w", {Fault.REGULARIZATION}, n=7)
add("linear, b doubled", linear, LINEAR[7], right | {"b": 2 * right["b"]}, "b", {Fault.FACTOR_2}, n=7)
last_forgotten = torch.cat([right["w"][:-1], right["w"].new_zeros(1)])
add("linear, loop ends one early", linear, LINEAR[7], right | {"w": last_forgotten}, "w", {Fault.PARTIAL}, n=7)
clipped = {"w": linear_gradients(LINEAR[7])["w"].clamp(-0.5, 0.5)}
add("linear, clipped to ±0.5", linear, LINEAR[7], clipped, "w", {Fault.CLIPPED}, n=7)
right = linear_gradients(SPARSE)
add("lasso, sign(0) = 0", lasso, SPARSE, right | {"w": right["w"] + 0.05 * SPARSE["w"].sign()}, n=7)
signs = torch.where(SPARSE["w"] >= 0, 1.0, -1.0)
add("lasso, sign(0) = 1", lasso, SPARSE, right | {"w": right["w"] + 0.05 * signs}, n=7)
add(
    "lasso, gradient of ridge",
    lasso,
    LINEAR[7],
    linear_gradients(LINEAR[7]) | {"w": linear_gradients(LINEAR[7])["w"] + 0.05 * LINEAR[7]["w"]},
    "w",
    {Fault.REGULARIZATION},
    n=7,
)

# --- linear regression on several outputs -----------------------------------------------------------------------------


def outputs(X, Y, W):
    return ((X @ W - Y) ** 2).mean()


def outputs_gradients(inputs, *mistakes):
    X, Y, W = inputs.values()
    e = (X @ W - Y) / (len(X) if "n for nk" in mistakes else Y.numel())
    if "half" not in mistakes:
        e = 2 * e
    if "sign" in mistakes:
        e = -e
    return {"W": e.T @ X if "transposed" in mistakes else X.T @ e}


draw = draws(2)
SQUARE = {"X": draw(8, 3), "Y": draw(8, 3), "W": draw(3, 3)}
OBLONG = {"X": draw(6, 4), "Y": draw(6, 3), "W": draw(4, 3)}

add("outputs, float32", outputs, cast(OBLONG, torch.float32), outputs_gradients(cast(OBLONG, torch.float32)), n=6)
add("outputs, transposed", outputs, SQUARE, outputs_gradients(SQUARE, "transposed"), "W", {Fault.TRANSPOSE}, n=8)
add(
    "outputs, transposed, not square",
    outputs,
    OBLONG,
    outputs_gradients(OBLONG, "transposed"),
    "W",
    {Fault.TRANSPOSE},
    n=6,
)
add(
    "outputs, transposed and sign",
    outputs,
    SQUARE,
    outputs_gradients(SQUARE, "transposed", "sign"),
    "W",
    {Fault.TRANSPOSE, Fault.SIGN},
    n=8,
)
add("outputs, 2 of the square", outputs, OBLONG, outputs_gradients(OBLONG, "half"), "W", {Fault.FACTOR_HALF}, n=6)
data = cast(SQUARE, torch.bfloat16)
add("outputs, 2 of the square, bfloat16", outputs, data, outputs_gradients(data, "half"), "W", {Fault.FACTOR_HALF}, n=8)
add("outputs, 1/n for 1/(nk)", outputs, OBLONG, outputs_gradients(OBLONG, "n for nk"), "W", {Fault.FACTOR}, n=6)
add(
    "outputs, in reverse order",
    outputs,
    OBLONG,
    {"W": outputs_gradients(OBLONG)["W"].flip(1)},
    "W",
    {Fault.FLIP},
    n=6,
)
add(
    "outputs, rows off by one",
    outputs,
    OBLONG,
    {"W": outputs_gradients(OBLONG)["W"].roll(1, 0)},
    "W",
    {Fault.PERMUTED},
    n=6,
)
add(
    "outputs, rounded to float16",
    outputs,
    OBLONG,
    {"W": outputs_gradients(OBLONG)["W"].half().double()},
    "W",
    {Fault.SMALL_RELATIVE},
    n=6,
)
add(
    "outputs, flattened",
    outputs,
    OBLONG,
    {"W": outputs_gradients(OBLONG)["W"].flatten()},
    "W",
    {Fault.SHAPE},
    n=6,
)
gradient = outputs_gradients(SQUARE)["W"]
add(
    "outputs, momentum left in",
    outputs,
    SQUARE,
    {"W": gradient + 0.9 * draw(3, 3)},
    "W",
    {Fault.UNKNOWN},
    n=8,
)
add(
    "outputs, root of each entry",
    outputs,
    OBLONG,
    {"W": (g := outputs_gradients(OBLONG)["W"]).sign() * g.abs().sqrt()},
    "W",
    {Fault.UNKNOWN},
    n=6,
)

# --- logistic regression, the sigmoid composed of exp -----------------------------------------------------------------


def hand_sigmoid(z):
    return 1 / (1 + torch.exp(-z))


def logistic(X, y, w, b):
    p = hand_sigmoid(X @ w + b)
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


def logistic_weighted(X, y, w, b, s):
    return (s * F.binary_cross_entropy_with_logits(X @ w + b, y, reduction="none")).mean()


def brier(X, y, w, b):
    return 0.5 * ((hand_sigmoid(X @ w + b) - y) ** 2).mean()


def logistic_gradients(inputs, *mistakes):
    X, y, w, b = list(inputs.values())[:4]
    p = torch.sigmoid(X @ w + b)
    e = (p if "target" in mistakes else p - y) / len(X)
    if "s" in inputs and "weights" not in mistakes:
        e = e * inputs["s"]
    if "slope" in mistakes:
        e = e * p * (1 - p)
    return {"w": X.T @ e, "b": e.sum()}


def brier_gradients(inputs, *mistakes):
    X, y, w, b = inputs.values()
    z = X @ w + b
    p = torch.sigmoid(z)
    slope = p * (1 - p)
    if "no slope" in mistakes:
        slope = 1
    if "slope at z" in mistakes:
        slope = z * (1 - z)
    if "plus" in mistakes:
        slope = p * (1 + p)
    if "no minus" in mistakes:  # of exp(−z)
        slope = -slope
    e = (p - y) / len(X) * slope
    return {"w": X.T @ e, "b": e.sum()}


draw = draws(3)
LOGISTIC = {"X": draw(12, 3), "y": (draw(12) > 0).double(), "w": draw(3), "b": draw()}
WEIGHTED = LOGISTIC | {"s": draw(12).exp()}
SATURATED = {"X": 40 * LOGISTIC["X"], "y": LOGISTIC["y"], "w": LOGISTIC["w"], "b": LOGISTIC["b"]}
OVERFLOW = LOGISTIC | {
    "X": torch.cat([LOGISTIC["X"][:-1], -800 * LOGISTIC["w"][None] / LOGISTIC["w"].dot(LOGISTIC["w"])])
}

add("logistic", logistic, LOGISTIC, logistic_gradients(LOGISTIC), n=12)
data = cast(SATURATED, torch.float32)
add("brier, saturated, float32", brier, data, brier_gradients(data), n=12)
add("brier, exp overflows", brier, OVERFLOW, brier_gradients(OVERFLOW), n=12)
add(
    "logistic, slope that cancels",
    logistic,
    LOGISTIC,
    logistic_gradients(LOGISTIC, "slope"),
    "w b",
    {Fault.ACTIVATION_DERIVATIVE_EXTRA},
    n=12,
)
data = cast(LOGISTIC, torch.float32)
add(
    "logistic, y forgotten, float32",
    logistic,
    data,
    logistic_gradients(data, "target"),
    "w b",
    {Fault.TARGET_TERM_MISSING},
    n=12,
)
add("logistic, weighted", logistic_weighted, WEIGHTED, logistic_gradients(WEIGHTED), n=12)
add(
    "logistic, weights of the samples forgotten",
    logistic_weighted,
    WEIGHTED,
    logistic_gradients(WEIGHTED, "weights"),
    "w b",
    {Fault.MISSING_FACTOR},
    n=12,
)
for mistake, fault in {
    "no slope": Fault.ACTIVATION_DERIVATIVE_MISSING,
    "slope at z": Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
    "plus": Fault.ACTIVATION_DERIVATIVE_WRONG,
    "no minus": Fault.SIGN,
}.items():
    add(f"brier, {mistake}", brier, LOGISTIC, brier_gradients(LOGISTIC, mistake), "w b", {fault}, n=12)

# --- softmax regression -----------------------------------------------------------------------------------------------

LABELS = torch.tensor([0, 3, 1, 1, 2, 3, 0])


def softmax_regression(X, W, b):
    return F.cross_entropy(X @ W + b, LABELS)


def softmax_smoothed(X, W, b):
    return F.cross_entropy(X @ W + b, LABELS, label_smoothing=0.2)


def softmax_summed(X, W, b):
    return F.cross_entropy(X @ W + b, LABELS, reduction="sum")


def softmax_gradients(inputs, *mistakes):
    X, W, b = inputs.values()
    p = torch.softmax(X @ W + b, 1)
    d = p if "one-hot" in mistakes else p - F.one_hot(LABELS, 4)
    if "slope" in mistakes:
        d = d * p * (1 - p)
    if "sum" not in mistakes:
        d = d / len(X)
    if "classes" in mistakes:
        d = d / 4
    return {"W": X.T @ d, "b": d if "bias rows" in mistakes else d.sum(0)}


draw = draws(4)
SOFTMAX = {"X": draw(7, 5), "W": draw(5, 4), "b": draw(4)}
SOFTMAX32 = cast(SOFTMAX, torch.float32)

add("softmax, float32", softmax_regression, SOFTMAX32, softmax_gradients(SOFTMAX32), n=7)
add(
    "softmax, one-hot forgotten",
    softmax_regression,
    SOFTMAX,
    softmax_gradients(SOFTMAX, "one-hot"),
    "W b",
    {Fault.TARGET_TERM_MISSING},
    n=7,
)
add(
    "softmax, sum for mean, float32",
    softmax_regression,
    SOFTMAX32,
    softmax_gradients(SOFTMAX32, "sum"),
    "W b",
    {Fault.FACTOR_N},
    n=7,
)
add(
    "softmax, mean for sum",
    softmax_summed,
    SOFTMAX,
    softmax_gradients(SOFTMAX),
    "W b",
    {Fault.FACTOR_N},
    n=7,
)
add(
    "softmax, mean over classes too",
    softmax_regression,
    SOFTMAX,
    softmax_gradients(SOFTMAX, "classes"),
    "W b",
    {Fault.FACTOR},
    n=7,
)
add(
    "softmax, slope that cancels",
    softmax_regression,
    SOFTMAX,
    softmax_gradients(SOFTMAX, "slope"),
    "W b",
    {Fault.ACTIVATION_DERIVATIVE_EXTRA},
    n=7,
)
add(
    "softmax, bias for each sample, one-hot forgotten",
    softmax_regression,
    SOFTMAX,
    softmax_gradients(SOFTMAX, "one-hot", "bias rows"),
    "W b",
    {Fault.TARGET_TERM_MISSING, Fault.BIAS_NOT_SUMMED},
    n=7,
)
add(
    "softmax, label smoothing forgotten",
    softmax_smoothed,
    SOFTMAX,
    softmax_gradients(SOFTMAX),
    "W b",
    {Fault.UNKNOWN},
    n=7,
)

# --- a 2-4-1 net of sigmoids, samples as rows; dz1 and dz2 are zeros whose gradients are the deltas -------------------


def rows(X, y, W1, b1, W2, b2, dz1, dz2):
    a1 = torch.sigmoid(X @ W1 + b1 + dz1)
    a2 = torch.sigmoid(a1 @ W2 + b2 + dz2)
    return 0.5 * ((a2 - y) ** 2).mean()


def sigmoid_slope(layer, z, a, mistakes):
    if f"no slope {layer}" in mistakes:
        return torch.ones_like(a)
    if f"slope {layer} at z" in mistakes:
        return z * (1 - z)
    if f"slope {layer} of a" in mistakes:
        return torch.sigmoid(a) * (1 - torch.sigmoid(a))
    if f"slope {layer} of tanh" in mistakes:
        return 1 - a**2
    if f"slope {layer} twice" in mistakes:
        return (a * (1 - a)) ** 2
    return a * (1 - a)


def rows_gradients(inputs, *mistakes, learning_rate=0.0):
    X, y, W1, b1, W2, b2, *_ = inputs.values()
    z1 = X @ W1 + b1
    a1 = torch.sigmoid(z1)
    z2 = a1 @ W2 + b2
    a2 = torch.sigmoid(z2)
    e = a2 if "target" in mistakes else y - a2 if "sign" in mistakes else a2 - y
    e = e if "sum" in mistakes else e / len(X)
    e = 2 * e if "double" in mistakes else e
    d2 = e * sigmoid_slope(2, z2, a2, mistakes)
    gW2 = (z1 if "z for a" in mistakes else a1).T @ d2
    d1 = d2 @ (W2 - learning_rate * gW2).T * sigmoid_slope(1, z1, a1, mistakes)
    gW1 = X.T @ d1
    return {
        "W1": gW1 / len(X) if "W1 mean twice" in mistakes else gW1,
        "b1": d1 if "b1 rows" in mistakes else d1.sum(0),
        "W2": -gW2 if "W2 sign" in mistakes else gW2,
        "b2": d2 if "b2 rows" in mistakes else d2.sum(0),
        "dz1": d1,
        "dz2": d2,
    }


def rows_data(draw, n):
    net = {"X": draw(n, 2), "y": draw(n, 1), "W1": draw(2, 4), "b1": draw(4), "W2": draw(4, 1), "b2": draw(1)}
    return net | {"dz1": torch.zeros(n, 4, dtype=torch.float64), "dz2": torch.zeros(n, 1, dtype=torch.float64)}


draw = draws(5)
ROWS = {n: rows_data(draw, n) for n in (9, 2, 4)}
EVERY, LOWER = "W1 b1 W2 b2 dz1 dz2", "W1 b1 dz1"

add("rows", rows, ROWS[9], rows_gradients(ROWS[9]), n=9)
for dtype in torch.float16, torch.bfloat16:
    data = cast(ROWS[9], dtype)
    add(f"rows, {dtype}", rows, data, rows_gradients(data), n=9)
    add(f"rows, sum for mean, {dtype}", rows, data, rows_gradients(data, "sum"), EVERY, {Fault.FACTOR_N}, n=9)
    add(f"rows, sign of W2, {dtype}", rows, data, rows_gradients(data, "W2 sign"), "W2", {Fault.SIGN}, n=9)
for name, mistakes, wrong, faults in [
    ("y − a", ["sign"], EVERY, {Fault.SIGN}),
    ("no slope 2", ["no slope 2"], EVERY, {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("no slope 1", ["no slope 1"], LOWER, {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("no slope", ["no slope 1", "no slope 2"], EVERY, {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("slope 1 at z", ["slope 1 at z"], LOWER, {Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR}),
    ("slope 2 of a", ["slope 2 of a"], EVERY, {Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR}),
    ("slope 1 of tanh", ["slope 1 of tanh"], LOWER, {Fault.ACTIVATION_DERIVATIVE_WRONG}),
    ("slope 1 twice", ["slope 1 twice"], LOWER, {Fault.ACTIVATION_DERIVATIVE_EXTRA}),
    ("y forgotten", ["target"], EVERY, {Fault.TARGET_TERM_MISSING}),
    ("z for a in W2", ["z for a"], "W2", {Fault.WRONG_TENSOR}),
    ("biases for each sample", ["b1 rows", "b2 rows"], "b1 b2", {Fault.BIAS_NOT_SUMMED}),
    ("W1 mean twice", ["W1 mean twice"], "W1", {Fault.FACTOR_N}),
    (
        "no slope 2 and doubled",
        ["no slope 2", "double"],
        EVERY,
        {Fault.ACTIVATION_DERIVATIVE_MISSING, Fault.FACTOR_2},
    ),
    (
        "no slope 1, sign of W2",
        ["no slope 1", "W2 sign"],
        f"{LOWER} W2",
        {Fault.ACTIVATION_DERIVATIVE_MISSING, Fault.SIGN},
    ),
    ("b1 for each sample, sign of W2", ["b1 rows", "W2 sign"], "b1 W2", {Fault.BIAS_NOT_SUMMED, Fault.SIGN}),
    (
        "slope 1 of tanh, sum for mean",
        ["slope 1 of tanh", "sum"],
        EVERY,
        {Fault.ACTIVATION_DERIVATIVE_WRONG, Fault.FACTOR_N},
    ),
]:
    add(f"rows, {name}", rows, ROWS[9], rows_gradients(ROWS[9], *mistakes), wrong, faults, n=9)
add(
    "rows, doubled, n = 2",
    rows,
    ROWS[2],
    rows_gradients(ROWS[2], "double"),
    EVERY,
    {Fault.FACTOR_2, Fault.FACTOR_N},
    n=2,
)
add("rows, doubled, n = 4", rows, ROWS[4], rows_gradients(ROWS[4], "double"), EVERY, {Fault.FACTOR_2}, n=4)
add(
    "rows, b1 for each sample, n = 4",  # (4, 4) beside (4,)
    rows,
    ROWS[4],
    rows_gradients(ROWS[4], "b1 rows"),
    "b1",
    {Fault.BIAS_NOT_SUMMED},
    n=4,
)
add(
    "rows, W2 already updated",
    rows,
    ROWS[9],
    rows_gradients(ROWS[9], learning_rate=0.5),
    LOWER,
    {Fault.UPDATED_WEIGHTS},
    n=9,
    learning_rate=0.5,
)
add(
    "rows, W2 already updated, rate not given",
    rows,
    ROWS[9],
    rows_gradients(ROWS[9], learning_rate=0.1),
    LOWER,
    {Fault.UPDATED_WEIGHTS},
    n=9,
)
data = cast(ROWS[9], torch.float32)
add(
    "rows, W2 already updated, float32",
    rows,
    data,
    rows_gradients(data, learning_rate=1.0),
    LOWER,
    {Fault.UPDATED_WEIGHTS},
    n=9,
    learning_rate=1.0,
)

# --- the same net, samples as columns ---------------------------------------------------------------------------------


def columns(X, y, W1, b1, W2, b2):
    a1 = torch.sigmoid(W1 @ X + b1)
    a2 = torch.sigmoid(W2 @ a1 + b2)
    return 0.5 * ((a2 - y) ** 2).mean()


def columns_gradients(inputs, *mistakes):
    X, y, W1, b1, W2, b2 = inputs.values()
    z1 = W1 @ X + b1
    a1 = torch.sigmoid(z1)
    z2 = W2 @ a1 + b2
    a2 = torch.sigmoid(z2)
    e = (a2 - y) / (len(X) if "len(X)" in mistakes else X.shape[1])
    d2 = e * sigmoid_slope(2, z2, a2, mistakes)
    d1 = W2.T @ d2 * sigmoid_slope(1, z1, a1, mistakes)
    gb1 = d1.sum(1, keepdim=True)
    if "keepdim" in mistakes:
        gb1 = d1.sum(1)
    if "b1 over units" in mistakes:
        gb1 = d1.sum(0)[:, None]
    return {
        "W1": X @ d1.T if "transposed" in mistakes else d1 @ X.T,
        "b1": gb1,
        "W2": d2 @ a1.T,
        "b2": d2 if "b2 columns" in mistakes else d2.sum(1, keepdim=True),
    }


draw = draws(6)
COLUMNS = {
    n: {"X": draw(2, n), "y": draw(1, n), "W1": draw(4, 2), "b1": draw(4, 1), "W2": draw(1, 4), "b2": draw(1, 1)}
    for n in (10, 2, 4)
}
for n, name, mistakes, wrong, faults in [
    (2, "n = 2", [], "", ()),
    (10, "divided by len(X), the features", ["len(X)"], "W1 b1 W2 b2", {Fault.FACTOR}),
    (10, "W1 transposed", ["transposed"], "W1", {Fault.TRANSPOSE}),
    (10, "b1 without keepdim", ["keepdim"], "b1", {Fault.SHAPE}),
    (10, "b2 for each sample", ["b2 columns"], "b2", {Fault.BIAS_NOT_SUMMED}),
    (4, "b1 summed over the units", ["b1 over units"], "b1", {Fault.UNKNOWN}),
    (2, "no slope 1, n = 2", ["no slope 1"], "W1 b1", {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    (10, "slope 2 twice", ["slope 2 twice"], "W1 b1 W2 b2", {Fault.ACTIVATION_DERIVATIVE_EXTRA}),
]:
    add(f"columns, {name}", columns, COLUMNS[n], columns_gradients(COLUMNS[n], *mistakes), wrong, faults, n=n)

# --- three layers, two of them with an activation ---------------------------------------------------------------------


def normal_cdf(z):
    return (1 + torch.erf(z / math.sqrt(2))) / 2


def normal_density(z):
    return torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def gelu_tanh_slope(z, a):
    """Of the approximation by tanh."""
    t = torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    return (1 + t) / 2 + z * (1 - t**2) / 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)


ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": F.gelu, "silu": F.silu, "softplus": F.softplus}
SLOPES = {
    "tanh": lambda z, a: 1 - a**2,
    "relu": lambda z, a: (z > 0).to(z),
    "gelu": lambda z, a: normal_cdf(z) + z * normal_density(z),
    "silu": lambda z, a: torch.sigmoid(z) * (1 + z * (1 - torch.sigmoid(z))),
    "softplus": lambda z, a: torch.sigmoid(z),
}


def no_slope(z, a):
    return torch.ones_like(z)


def deep(activation):
    f = ACTIVATIONS[activation]

    def forward(X, Y, W1, b1, W2, b2, W3, b3):
        return 0.5 * ((f(f(X @ W1 + b1) @ W2 + b2) @ W3 + b3 - Y) ** 2).sum(1).mean()

    return forward


def deep_gradients(inputs, activation, *mistakes, slope1=None, slope2=None, learning_rate=0.0):
    X, Y, W1, b1, W2, b2, W3, b3 = inputs.values()
    f, slope = ACTIVATIONS[activation], SLOPES[activation]
    z1 = X @ W1 + b1
    a1 = f(z1)
    z2 = a1 @ W2 + b2
    a2 = f(z2)
    d3 = (a2 @ W3 + b3 - Y) / len(X)
    gW3 = a2.T @ d3
    d2 = d3 @ (W3 - learning_rate * gW3).T * (slope2 or slope)(z2, a2)
    gW2 = (X if "X for a1" in mistakes else a1).T @ d2
    back = W1 if "W1 for W2" in mistakes else W2 - learning_rate * gW2
    d1 = d2 @ (back if "W2 untransposed" in mistakes else back.T) * (slope1 or slope)(z1, a1)
    return {"W1": X.T @ d1, "b1": d1.sum(0), "W2": gW2, "b2": d2.sum(0), "W3": gW3, "b3": d3.sum(0)}


draw = draws(7)
DEEP = {"X": draw(8, 4), "Y": draw(8, 3), "W1": draw(4, 4), "b1": draw(4), "W2": draw(4, 4), "b2": draw(4)}
DEEP |= {"W3": draw(4, 3), "b3": draw(3)}
DEEP32 = cast(DEEP, torch.float32)
LAYER1, LAYERS12, LAYERS123 = "W1 b1", "W1 b1 W2 b2", "W1 b1 W2 b2 W3 b3"

for activation in ACTIVATIONS:
    add(f"deep, {activation}, float32", deep(activation), DEEP32, deep_gradients(DEEP32, activation), n=8)
data = cast(DEEP, torch.bfloat16)
add("deep, gelu, bfloat16", deep("gelu"), data, deep_gradients(data, "gelu"), n=8)
for activation, name, slopes, wrong, faults in [
    ("relu", "no slope 1", {"slope1": no_slope}, LAYER1, {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("relu", "no slopes", {"slope1": no_slope, "slope2": no_slope}, LAYERS12, {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("softplus", "no slope 2", {"slope2": no_slope}, LAYERS12, {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    (
        "gelu",
        "Φ alone",
        {"slope2": lambda z, a: normal_cdf(z)},
        LAYERS12,
        {Fault.ACTIVATION_DERIVATIVE_WRONG, Fault.MISSING_PATH},
    ),
    (
        "gelu",
        "slopes of the approximation",
        {"slope1": gelu_tanh_slope, "slope2": gelu_tanh_slope},
        LAYERS12,
        {Fault.SMALL_RELATIVE, Fault.ACTIVATION_DERIVATIVE_WRONG},
    ),
    (
        "silu",
        "σ alone",
        {"slope1": lambda z, a: torch.sigmoid(z)},
        LAYER1,
        {Fault.ACTIVATION_DERIVATIVE_WRONG, Fault.MISSING_PATH},
    ),
    (
        "softplus",
        "slope 1 at a",
        {"slope1": lambda z, a: torch.sigmoid(a)},
        LAYER1,
        {Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR},
    ),
    ("tanh", "slope 2 at z", {"slope2": lambda z, a: 1 - z**2}, LAYERS12, {Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR}),
    ("tanh", "1 − a", {"slope1": lambda z, a: 1 - a}, LAYER1, {Fault.ACTIVATION_DERIVATIVE_WRONG}),
    ("tanh", "slope 2 of sigmoid", {"slope2": lambda z, a: a * (1 - a)}, LAYERS12, {Fault.ACTIVATION_DERIVATIVE_WRONG}),
    ("tanh", "slope 1 twice", {"slope1": lambda z, a: (1 - a**2) ** 2}, LAYER1, {Fault.ACTIVATION_DERIVATIVE_EXTRA}),
]:
    add(
        f"deep, {activation}, {name}",
        deep(activation),
        DEEP,
        deep_gradients(DEEP, activation, **slopes),
        wrong,
        faults,
        n=8,
    )
data = DEEP32
add(
    "deep, relu, no slope 2, float32",
    deep("relu"),
    data,
    deep_gradients(data, "relu", slope2=no_slope),
    LAYERS12,
    {Fault.ACTIVATION_DERIVATIVE_MISSING},
    n=8,
)
for name, mistake, wrong, faults in [
    ("X for a1 in W2", "X for a1", "W2", {Fault.WRONG_TENSOR}),
    ("back through W1 for W2", "W1 for W2", LAYER1, {Fault.WRONG_TENSOR}),
    ("back through W2 untransposed", "W2 untransposed", LAYER1, {Fault.TRANSPOSE, Fault.WRONG_TENSOR}),
]:
    add(f"deep, {name}", deep("tanh"), DEEP, deep_gradients(DEEP, "tanh", mistake), wrong, faults, n=8)
add(
    "deep, W3 and W2 already updated",
    deep("tanh"),
    DEEP,
    deep_gradients(DEEP, "tanh", learning_rate=0.2),
    LAYERS12,
    {Fault.UPDATED_WEIGHTS},
    n=8,
    learning_rate=0.2,
)
right = deep_gradients(DEEP, "silu")
summed = {name: 8 * gradient for name, gradient in right.items()}
ONE, SUM_AND_DECAY = torch.tensor(1.0, dtype=torch.float64), {Fault.FACTOR_N, Fault.REGULARIZATION}
for name, changes, faults in [
    ("W1 and W2 swapped", {"W1": right["W2"], "W2": right["W1"]}, {Fault.SWAPPED}),
    ("b1 with the gradient of b2", {"b1": right["b2"]}, {Fault.SWAPPED}),
    ("decay on W2 and W3", {k: right[k] + 0.02 * DEEP[k] for k in ("W2", "W3")}, {Fault.REGULARIZATION}),
    ("W1 zero", {"W1": torch.zeros_like(right["W1"])}, {Fault.DETACHED}),
    ("W1 and b1 missing", {"W1": None, "b1": None}, {Fault.DETACHED}),
    ("W2 transposed, sign of b3", {"W2": right["W2"].T, "b3": -right["b3"]}, {Fault.TRANSPOSE, Fault.SIGN}),
    ("b2 averaged", {"b2": right["b2"] / 8}, {Fault.FACTOR_N}),
    ("W3 with 1/√n", {"W3": right["W3"] * math.sqrt(8)}, {Fault.FACTOR}),
    ("W2 last row zero", {"W2": right["W2"] * torch.tensor([[1.0], [1], [1], [0]])}, {Fault.PARTIAL}),
    ("one entry of W1", {"W1": right["W1"].index_put((torch.tensor(2), torch.tensor(1)), ONE)}, {Fault.LOCALIZED}),
    ("sum for mean, decay on W1", summed | {"W1": summed["W1"] + 0.1 * DEEP["W1"]}, SUM_AND_DECAY),
]:
    add(f"deep, {name}", deep("silu"), DEEP, right | changes, " ".join(changes), faults, n=8)
norm = torch.sqrt(sum((gradient**2).sum() for gradient in right.values()))
clipped = {name: gradient / norm for name, gradient in right.items()}
add("deep, clipped to norm 1", deep("silu"), DEEP, clipped, LAYERS123, {Fault.CLIPPED}, n=8)
clipped = {name: gradient.clamp(-0.1, 0.1) for name, gradient in deep_gradients(DEEP32, "relu").items()}
wrong = " ".join(name for name, gradient in deep_gradients(DEEP32, "relu").items() if gradient.abs().max() > 0.1)
add("deep, clipped to ±0.1, float32", deep("relu"), DEEP32, clipped, wrong, {Fault.CLIPPED}, n=8)
halves = [
    {name: tensor[s] if name in "XY" else tensor for name, tensor in DEEP.items()} for s in (slice(4), slice(4, 8))
]
last_half = {name: gradient / 2 for name, gradient in deep_gradients(halves[1], "tanh").items()}
add("deep, second half of the batch assigned", deep("tanh"), DEEP, last_half, LAYERS123, {Fault.OVERWRITTEN}, n=8)

# --- dropout with a mask that is given --------------------------------------------------------------------------------


def dropout(X, y, W, v, mask):
    return ((torch.relu(X @ W) * mask / 0.75 @ v - y) ** 2).mean()


def dropout_gradients(inputs, *mistakes):
    X, y, W, v, mask = inputs.values()
    a = torch.relu(X @ W)
    h = a * mask / 0.75
    e = 2 * (h @ v - y) / len(X)
    d = e[:, None] * v * (a > 0)
    if "mask" not in mistakes:
        d = d * mask
    if "scale" not in mistakes:
        d = d / 0.75
    return {"W": X.T @ d, "v": (a if "undropped" in mistakes else h).T @ e}


draw = draws(8)
DROPOUT = {"X": draw(10, 3), "y": draw(10), "W": draw(3, 6), "v": draw(6), "mask": (draw(10, 6) > -0.67).double()}
for name, mistake, wrong, faults in [
    ("mask forgotten", "mask", "W", {Fault.MISSING_FACTOR}),
    ("scale forgotten", "scale", "W", {Fault.FACTOR, Fault.MISSING_FACTOR}),
    ("v before the dropout", "undropped", "v", {Fault.WRONG_TENSOR, Fault.MISSING_FACTOR}),
]:
    add(f"dropout, {name}", dropout, DROPOUT, dropout_gradients(DROPOUT, mistake), wrong, faults, n=10)

# --- a recurrent net --------------------------------------------------------------------------------------------------


def recurrent(X, y, Wx, Wh, b, v, h):
    for x in X:
        h = torch.tanh(x @ Wx + h @ Wh + b)
    return ((h @ v - y) ** 2).mean()


def recurrent_gradients(inputs, *mistakes):
    X, y, Wx, Wh, b, v, h = inputs.values()
    hs = [h]
    for x in X:
        hs.append(torch.tanh(x @ Wx + hs[-1] @ Wh + b))
    e = 2 * (hs[-1] @ v - y) / X.shape[1]
    g = {name: torch.zeros_like(inputs[name]) for name in ("Wx", "Wh", "b")}
    d = e[:, None] * v
    for t in reversed(range(len(X))):
        if "no slope" not in mistakes:
            d = d * (1 - hs[t + 1] ** 2)
        if "assigned" in mistakes:
            g = {name: torch.zeros_like(gradient) for name, gradient in g.items()}
        g["Wx"] += X[len(X) - 1 - t if "x reversed" in mistakes else t].T @ d
        g["Wh"] += hs[t + 1 if "new h" in mistakes else t].T @ d
        g["b"] += d.sum(0)
        if "one step" in mistakes:
            break
        d = d @ (Wh if "untransposed" in mistakes else Wh.T)
    return g | {"v": hs[-1].T @ e}


draw = draws(9)
RECURRENT = {"X": draw(4, 5, 3), "y": draw(5), "Wx": draw(3, 3, scale=0.7), "Wh": draw(3, 3, scale=0.7)}
RECURRENT |= {"b": draw(3), "v": draw(3), "h": draw(5, 3)}
TWO_STEPS = RECURRENT | {"X": RECURRENT["X"][:2]}

add("recurrent", recurrent, RECURRENT, recurrent_gradients(RECURRENT), n=5)
for name, data, mistake, wrong, faults in [
    ("no slope", RECURRENT, "no slope", "Wx Wh b", {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("assigned at each step", RECURRENT, "assigned", "Wx Wh b", {Fault.OVERWRITTEN}),
    ("assigned, two steps", TWO_STEPS, "assigned", "Wx Wh b", {Fault.OVERWRITTEN, Fault.MISSING_PATH}),
    ("only the last step", TWO_STEPS, "one step", "Wx Wh b", {Fault.MISSING_PATH, Fault.OVERWRITTEN}),
    ("h for the h before", RECURRENT, "new h", "Wh", {Fault.WRONG_TENSOR}),
    ("X in reverse", RECURRENT, "x reversed", "Wx", {Fault.WRONG_TENSOR, Fault.FLIP}),
    ("Wh untransposed", TWO_STEPS, "untransposed", "Wx Wh b", {Fault.TRANSPOSE, Fault.WRONG_TENSOR}),
]:
    add(f"recurrent, {name}", recurrent, data, recurrent_gradients(data, mistake), wrong, faults, n=5)
right = recurrent_gradients(RECURRENT)
swapped = right | {"Wx": right["Wh"], "Wh": right["Wx"]}
add("recurrent, Wx and Wh swapped", recurrent, RECURRENT, swapped, "Wx Wh", {Fault.SWAPPED}, n=5)

# --- a gated recurrent net --------------------------------------------------------------------------------------------


def gated(X, h, Wz, Uz, Wc, Uc):
    for x in X:
        z = torch.sigmoid(x @ Wz + h @ Uz)
        h = (1 - z) * h + z * torch.tanh(x @ Wc + h @ Uc)
    return (h**2).sum(1).mean()


def gated_gradients(inputs, *mistakes):
    X, h, Wz, Uz, Wc, Uc = inputs.values()
    steps = []
    for x in X:
        z, c = torch.sigmoid(x @ Wz + h @ Uz), torch.tanh(x @ Wc + h @ Uc)
        steps.append((x, h, z, c))
        h = (1 - z) * h + z * c
    dh = 2 * h / len(h)
    g = {name: torch.zeros_like(inputs[name]) for name in ("Wz", "Uz", "Wc", "Uc")}
    for x, h, z, c in reversed(steps):
        dz = dh * (c - h)
        if "gate's slope" not in mistakes:
            dz = dz * z * (1 - z)
        dc = dh * (1 - c**2)
        if "gate" not in mistakes:
            dc = dc * z
        sign = -1 if "gate's sign" in mistakes else 1
        g["Wz"] += sign * x.T @ dz
        g["Uz"] += sign * h.T @ dz
        g["Wc"] += x.T @ dc
        g["Uc"] += (z * h if "reset" in mistakes else h).T @ dc
        dh = (0 if "carry" in mistakes else dh * (1 - z)) + dz @ Uz.T + dc @ Uc.T
    return g | {"h": dh}


draw = draws(10)
GATED = {"X": draw(3, 4, 2), "h": draw(4, 3), "Wz": draw(2, 3), "Uz": draw(3, 3), "Wc": draw(2, 3), "Uc": draw(3, 3)}
GATED32 = cast(GATED, torch.float32)
GATES = "Wz Uz Wc Uc h"

add("gated", gated, GATED, gated_gradients(GATED), n=4)
for name, data, mistake, wrong, faults in [
    ("gate's slope forgotten", GATED, "gate's slope", GATES, {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("(1 − z) h forgotten", GATED, "carry", GATES, {Fault.MISSING_PATH}),
    ("factor z forgotten", GATED32, "gate", GATES, {Fault.MISSING_FACTOR}),
    ("sign of the gate's weights", GATED32, "gate's sign", "Wz Uz", {Fault.SIGN}),
    ("z h for h in Uc", GATED, "reset", "Uc", {Fault.WRONG_TENSOR}),
]:
    add(f"gated, {name}", gated, data, gated_gradients(data, mistake), wrong, faults, n=4)

# --- residual blocks --------------------------------------------------------------------------------------------------


def residual(X, Y, W1, V1, W2, V2):
    h = X + torch.relu(X @ W1) @ V1
    return 0.5 * ((h + torch.relu(h @ W2) @ V2 - Y) ** 2).sum(1).mean()


def residual_gradients(inputs, *mistakes):
    X, Y, W1, V1, W2, V2 = inputs.values()
    r1 = torch.relu(X @ W1)
    h = X + r1 @ V1
    r2 = torch.relu(h @ W2)
    d = (h + r2 @ V2 - Y) / len(X)
    d2 = d @ V2.T * ((h if "mask of h" in mistakes else r2) > 0)
    dh = d2 @ W2.T
    if "skip" not in mistakes:
        dh = dh + d
    if "branch" in mistakes:
        dh = d
    d1 = dh @ V1.T
    if "mask" not in mistakes:
        d1 = d1 * (r1 > 0)
    return {"X": dh + d1 @ W1.T, "W1": X.T @ d1, "V1": r1.T @ dh, "W2": h.T @ d2, "V2": r2.T @ d}


draw = draws(11)
RESIDUAL = {"X": draw(6, 4), "Y": draw(6, 4)} | {name: draw(4, 4) for name in ("W1", "V1", "W2", "V2")}
data = cast(RESIDUAL, torch.bfloat16)
add("residual, bfloat16", residual, data, residual_gradients(data), n=6)
for name, mistake, wrong, faults in [
    ("skip forgotten", "skip", "X W1 V1", {Fault.MISSING_PATH}),
    ("branch forgotten", "branch", "X W1 V1", {Fault.MISSING_PATH}),
    ("no slope 1", "mask", "X W1", {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("slope 2 at h", "mask of h", "X W1 V1 W2", {Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR}),
]:
    add(f"residual, {name}", residual, RESIDUAL, residual_gradients(RESIDUAL, mistake), wrong, faults, n=6)
data = cast(RESIDUAL, torch.float16)
add(
    "residual, skip forgotten, float16",
    residual,
    data,
    residual_gradients(data, "skip"),
    "X W1 V1",
    {Fault.MISSING_PATH},
    n=6,
)

# --- products ---------------------------------------------------------------------------------------------------------


def product(a, b, c):
    return (a * b * c).sum()


def gate(X, Y, Wa, Wb):
    return ((X @ Wa * torch.sigmoid(X @ Wb) - Y) ** 2).sum(1).mean()


def gate_gradients(inputs, *mistakes):
    X, Y, Wa, Wb = inputs.values()
    a, b = X @ Wa, torch.sigmoid(X @ Wb)
    d = 2 * (a * b - Y) / len(X)
    da = d if "b" in mistakes else d * a if "a for b" in mistakes else d * b
    db = d * a * b * (1 - b)
    return {"X": (0 if "Xa" in mistakes else da @ Wa.T) + db @ Wb.T, "Wa": X.T @ da, "Wb": X.T @ db}


draw = draws(12)
PRODUCT = {"a": draw(6), "b": draw(6), "c": draw(6)}
a, b, c = PRODUCT.values()
crossed = {"a": a * c, "b": b * c}
add("product, a and b crossed", product, PRODUCT, crossed, "a b", {Fault.SWAPPED, Fault.WRONG_TENSOR})
add("product, c forgotten", product, PRODUCT, {"a": b, "b": a, "c": a * b}, "a b", {Fault.MISSING_FACTOR})
GATE = {"X": draw(5, 3), "Y": draw(5, 3), "Wa": draw(3, 3), "Wb": draw(3, 3)}
for name, mistake, wrong, faults in [
    ("b forgotten", "b", "X Wa", {Fault.MISSING_FACTOR}),
    ("a for b", "a for b", "X Wa", {Fault.WRONG_TENSOR}),
    ("X by one of two paths", "Xa", "X", {Fault.MISSING_PATH}),
]:
    add(f"gate, {name}", gate, GATE, gate_gradients(GATE, mistake), wrong, faults, n=5)

# --- self-attention ---------------------------------------------------------------------------------------------------


def attention(X, Wq, Wk, Wv, C):
    p = torch.softmax((X @ Wq) @ (X @ Wk).T / math.sqrt(X.shape[1]), 1)
    return (p @ X @ Wv * C).sum()


def attention_gradients(inputs, *mistakes):
    X, Wq, Wk, Wv, C = inputs.values()
    q, k, v = X @ Wq, X @ Wk, X @ Wv
    p = torch.softmax(q @ k.T / math.sqrt(X.shape[1]), 1)
    dp = C @ v.T
    ds = p * (dp - (p * dp).sum(0 if "columns" in mistakes else 1, keepdim=True))
    if "diagonal" in mistakes:
        ds = p * (1 - p) * dp
    if "one term" in mistakes:
        ds = p * dp
    if "no slope" in mistakes:
        ds = dp
    if "scale" not in mistakes:
        ds = ds / math.sqrt(X.shape[1])
    dq, dk, dv = ds @ k, ds.T @ q, p.T @ C
    dX = dq @ Wq.T + dk @ Wk.T
    if "values" not in mistakes:
        dX = dX + dv @ Wv.T
    return {"X": dX, "Wq": X.T @ dq, "Wk": X.T @ dk, "Wv": X.T @ dv}


draw = draws(13)
ATTENTION = {"X": draw(6, 5), "Wq": draw(5, 5), "Wk": draw(5, 5), "Wv": draw(5, 5), "C": draw(6, 5)}
ATTENTION["Wq"] *= 0.4
add("attention", attention, ATTENTION, attention_gradients(ATTENTION))
for name, mistake, wrong, faults in [
    ("1/√d forgotten", "scale", "X Wq Wk", {Fault.FACTOR, Fault.MISSING_FACTOR}),
    ("p (1 − p)", "diagonal", "X Wq Wk", {Fault.ACTIVATION_DERIVATIVE_WRONG, Fault.MISSING_PATH}),
    ("p dp alone", "one term", "X Wq Wk", {Fault.MISSING_PATH, Fault.ACTIVATION_DERIVATIVE_WRONG}),
    ("slope of softmax forgotten", "no slope", "X Wq Wk", {Fault.ACTIVATION_DERIVATIVE_MISSING}),
    ("softmax's sum along columns", "columns", "X Wq Wk", {Fault.ACTIVATION_DERIVATIVE_WRONG}),
    ("X without the values", "values", "X", {Fault.MISSING_PATH, Fault.OVERWRITTEN}),
]:
    add(f"attention, {name}", attention, ATTENTION, attention_gradients(ATTENTION, mistake), wrong, faults)
right = attention_gradients(ATTENTION)
swapped = right | {"Wq": right["Wk"], "Wk": right["Wq"]}
add("attention, Wq and Wk swapped", attention, ATTENTION, swapped, "Wq Wk", {Fault.SWAPPED})

# --- normalization: along the features (1) or the batch (0) -----------------------------------------------------------


def normalize(X, dim):
    centred = X - X.mean(dim, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim, keepdim=True) + 1e-5)


def layer_norm(X, gamma, beta, C):
    return ((normalize(X, 1) * gamma + beta) * C).sum()


def torch_layer_norm(X, gamma, beta, C):
    return (F.layer_norm(X, X.shape[1:], gamma, beta, eps=1e-5) * C).sum()


def batch_norm(X, gamma, beta, C):
    return (torch.tanh(normalize(X, 0) * gamma + beta) * C).sum()


def norm_gradients(inputs, dim, *mistakes):
    X, gamma, beta, C = inputs.values()
    centred = X - X.mean(dim, keepdim=True)
    count = X.shape[dim] - ("bessel" in mistakes)
    s = torch.sqrt((centred**2).sum(dim, keepdim=True) / count + (0 if "eps" in mistakes else 1e-5))
    h = centred / s
    d = C * (1 - torch.tanh(h * gamma + beta) ** 2) if dim == 0 and "no slope" not in mistakes else C
    dh = d if "gamma" in mistakes else d * gamma
    dX = dh
    if "mean" not in mistakes:
        dX = dX - dh.mean(dim, keepdim=True)
    if "variance" not in mistakes:
        dX = dX - h * (dh * h).mean(dim, keepdim=True)
    if "s" not in mistakes:
        dX = dX / s
    ggamma = d * (X if "X for h" in mistakes else h)
    return {"X": dX, "gamma": ggamma.sum(0), "beta": d if "beta rows" in mistakes else d.sum(0)}


draw = draws(14)
NORM = {"X": 2 * draw(7, 6) + 1, "gamma": draw(6), "beta": draw(6), "C": draw(7, 6)}
NORM32 = cast(NORM, torch.float32)
add("layer norm", layer_norm, NORM, norm_gradients(NORM, 1), n=7)
add("F.layer_norm, float32", torch_layer_norm, NORM32, norm_gradients(NORM32, 1), n=7)
add("batch norm", batch_norm, NORM, norm_gradients(NORM, 0), n=7)
for name, forward, mistake, wrong, faults in [
    ("layer norm, mean as constant", layer_norm, "mean", "X", {Fault.MISSING_PATH}),
    ("F.layer_norm, variance as constant", torch_layer_norm, "variance", "X", {Fault.MISSING_PATH}),
    ("layer norm, γ forgotten", layer_norm, "gamma", "X", {Fault.MISSING_FACTOR}),
    ("layer norm, 1/s forgotten", layer_norm, "s", "X", {Fault.MISSING_FACTOR}),
    ("layer norm, X for h in γ", layer_norm, "X for h", "gamma", {Fault.WRONG_TENSOR}),
    ("F.layer_norm, ε forgotten", torch_layer_norm, "eps", "X gamma", {Fault.SMALL_RELATIVE}),
    ("layer norm, s with n − 1", layer_norm, "bessel", "X gamma", {Fault.BESSEL}),
    ("F.layer_norm, β for each sample", torch_layer_norm, "beta rows", "beta", {Fault.BIAS_NOT_SUMMED}),
]:
    add(name, forward, NORM, norm_gradients(NORM, 1, mistake), wrong, faults, n=7)
for name, mistakes, wrong, faults in [
    ("variance as constant", ["variance"], "X", {Fault.MISSING_PATH}),
    ("mean and variance as constants", ["mean", "variance"], "X", {Fault.MISSING_PATH}),
    ("s with n − 1", ["bessel"], "X gamma beta", {Fault.BESSEL}),
    ("no slope", ["no slope"], "X gamma beta", {Fault.ACTIVATION_DERIVATIVE_MISSING}),
]:
    add(f"batch norm, {name}", batch_norm, NORM, norm_gradients(NORM, 0, *mistakes), wrong, faults, n=7)

# --- variance ---------------------------------------------------------------------------------------------------------


def variance(x):
    return x.var()


draw = draws(15)
x10, x2 = draw(10), draw(2)
add("variance, 1/n for 1/(n − 1)", variance, {"x": x10}, {"x": 2 * (x10 - x10.mean()) / 10}, "x", {Fault.BESSEL}, n=10)
add(
    "variance, 1/n for 1/(n − 1), n = 2",
    variance,
    {"x": x2},
    {"x": x2 - x2.mean()},
    "x",
    {Fault.BESSEL, Fault.FACTOR_HALF, Fault.FACTOR_N},
    n=2,
)
half = x10.bfloat16()
add(
    "variance, 2 forgotten, bfloat16",
    variance,
    {"x": half},
    {"x": (half - half.mean()) / 9},
    "x",
    {Fault.FACTOR_HALF},
    n=10,
)

# --- convolutions -----------------------------------------------------------------------------------------------------


def conv1d(x, y, w, b):
    return 0.5 * ((F.conv1d(x, w, b) - y) ** 2).sum() / len(x)


def conv1d_gradients(inputs, *mistakes):
    x, y, w, b = inputs.values()
    d = (F.conv1d(x, w, b) - y) / len(x)
    width = d.shape[2]
    gx, gw = torch.zeros_like(x), torch.zeros_like(w)
    kernel = w.flip(2) if "kernel flipped" in mistakes else w
    for k in range(w.shape[2]):
        patch = slice(k, k + width)
        gw[:, :, k] = torch.einsum("nol,nil->oi", d, x[:, :, patch])
        back = torch.einsum("nol,oi->nil", d, kernel[:, :, k])
        gx[:, :, patch] = back if "assigned" in mistakes else gx[:, :, patch] + back
    gb = d.sum(0) if "bias rows" in mistakes else d.sum((0, 2))
    return {"x": gx, "w": gw.flip(2) if "w flipped" in mistakes else gw, "b": gb}


def conv2d(x, w, c):
    return (torch.tanh(F.conv2d(x, w, padding=1)) * c).sum()


def conv2d_gradients(inputs, *mistakes):
    x, w, c = inputs.values()
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    d = c
    if "no slope" not in mistakes:
        d = d * (1 - torch.tanh(F.conv2d(padded, w)) ** 2)
    gx, gw = torch.zeros_like(padded), torch.zeros_like(w)
    for i in range(3):
        for j in range(3):
            patch = (..., slice(i, i + height), slice(j, j + width))
            gw[:, :, i, j] = torch.einsum("nohw,nihw->oi", d, padded[patch])
            gx[patch] += torch.einsum("nohw,oi->nihw", d, w[:, :, i, j])
    gx = gx[:, :, 1:-1, 1:-1]
    if "border" in mistakes:
        gx = F.pad(gx[:, :, 1:-1, 1:-1], (1, 1, 1, 1))
    return {"x": gx, "w": gw.mT if "transposed" in mistakes else gw}


draw = draws(16)
CONV1D = {"x": draw(2, 2, 9), "y": draw(2, 3, 6), "w": draw(3, 2, 4), "b": draw(3)}
CONV2D = {"x": draw(2, 1, 6, 5), "w": draw(2, 1, 3, 3), "c": draw(2, 2, 6, 5)}
for name, mistake, wrong, faults in [
    ("right", None, "", ()),
    ("kernel flipped", "kernel flipped", "x", {Fault.FLIP}),
    ("w flipped", "w flipped", "w", {Fault.FLIP}),
    ("x assigned", "assigned", "x", {Fault.OVERWRITTEN}),
    ("b for each position", "bias rows", "b", {Fault.BIAS_NOT_SUMMED, Fault.SHAPE}),
]:
    add(f"conv1d, {name}", conv1d, CONV1D, conv1d_gradients(CONV1D, mistake), wrong, faults, n=2)
for name, mistake, wrong, faults in [
    ("w transposed", "transposed", "w", {Fault.TRANSPOSE}),
    ("border zero", "border", "x", {Fault.PARTIAL}),
    ("no slope", "no slope", "x w", {Fault.ACTIVATION_DERIVATIVE_MISSING}),
]:
    add(f"conv2d, {name}", conv2d, CONV2D, conv2d_gradients(CONV2D, mistake), wrong, faults, n=2)

# --- embeddings -------------------------------------------------------------------------------------------------------

WORDS, PADDING = [3, 7, 3, 1, 11, 3], 1
NEXT = torch.tensor([7, 3, 1, 11, 3, 0])


def embedding(E, W, Y):
    return 0.5 * ((E[WORDS] @ W - Y) ** 2).sum(1).mean()


def embedding_padded(E, W, Y):
    words = torch.tensor(WORDS)
    return 0.5 * ((E[words] * (words != PADDING)[:, None] @ W - Y) ** 2).sum(1).mean()


def embedding_gradients(inputs, *mistakes):
    E, W, Y = inputs.values()
    e = (E[WORDS] @ W - Y) / len(WORDS)
    gE = torch.zeros_like(E)
    for word, d in zip(WORDS, e @ W.T):
        row = word - 1 if "off by one" in mistakes else word
        gE[row] = d if "assigned" in mistakes else gE[row] + d
    return {"E": gE, "W": E[WORDS].T @ e}


def tied_language_model(E):
    return F.cross_entropy(torch.tanh(E[WORDS]) @ E.T, NEXT)


def tied_gradients(E, *mistakes):
    h = torch.tanh(E[WORDS])
    d = (torch.softmax(h @ E.T, 1) - F.one_hot(NEXT, len(E))) / len(WORDS)
    out = d.T @ h
    dh = d @ E
    if "no slope" not in mistakes:
        dh = dh * (1 - h**2)
    into = torch.zeros_like(E)
    for word, row in zip(WORDS, dh):
        into[word] += row
    return {"E": into if "output" in mistakes else out if "input" in mistakes else out + into}


draw = draws(17)
EMBEDDING = {"E": draw(12, 4), "W": draw(4, 2), "Y": draw(6, 2)}
right = embedding_gradients(EMBEDDING)
add("embedding, a word three times", embedding, EMBEDDING, right, n=6)
for mistake, fault in {"assigned": Fault.OVERWRITTEN, "off by one": Fault.PERMUTED}.items():
    add(f"embedding, {mistake}", embedding, EMBEDDING, embedding_gradients(EMBEDDING, mistake), "E", {fault}, n=6)
data = EMBEDDING | {"E": EMBEDDING["E"].index_fill(0, torch.tensor(PADDING), 0)}
add(
    "embedding, gradient of the padding",
    embedding_padded,
    data,
    embedding_gradients(data),
    "E",
    {Fault.LOCALIZED, Fault.MISSING_FACTOR},
    n=6,
)
TIED = {"E": draw(12, 4)}
for name, mistake, faults in [
    ("output forgotten", "output", {Fault.MISSING_PATH, Fault.OVERWRITTEN}),
    ("input forgotten", "input", {Fault.MISSING_PATH, Fault.OVERWRITTEN}),
    ("no slope", "no slope", {Fault.ACTIVATION_DERIVATIVE_MISSING}),
]:
    add(f"tied embedding, {name}", tied_language_model, TIED, tied_gradients(TIED["E"], mistake), "E", faults, n=6)

# --- autoencoders -----------------------------------------------------------------------------------------------------


def autoencoder(X, W1, W2):
    return 0.5 * ((torch.sigmoid(X @ W1) @ W2 - X) ** 2).sum(1).mean()


def autoencoder_gradients(inputs, *mistakes):
    X, W1, W2 = inputs.values()
    a = torch.sigmoid(X @ W1)
    e = (a @ W2 - X) / len(X)
    d = e @ W2.T * a * (1 - a)
    if "sign" in mistakes:
        d = -d
    return {"X": d @ W1.T - (0 if "target" in mistakes else e), "W1": X.T @ d, "W2": a.T @ e}


def tied_autoencoder(X, W):
    return 0.5 * ((torch.sigmoid(X @ W) @ W.T - X) ** 2).sum(1).mean()


def tied_autoencoder_gradients(inputs, *mistakes):
    X, W = inputs.values()
    a = torch.sigmoid(X @ W)
    e = (a @ W.T - X) / len(X)
    encoder, decoder = X.T @ (e @ W * a * (1 - a)), e.T @ a
    return {"W": encoder + (decoder.T if "transposed" in mistakes else decoder)}


draw = draws(18)
AUTOENCODER = {"X": draw(9, 5), "W1": draw(5, 3), "W2": draw(3, 5)}
add(
    "autoencoder, X as the target forgotten",
    autoencoder,
    AUTOENCODER,
    autoencoder_gradients(AUTOENCODER, "target"),
    "X",
    {Fault.MISSING_PATH, Fault.TARGET_TERM_MISSING},
    n=9,
)
add(
    "autoencoder, sign below the decoder",
    autoencoder,
    AUTOENCODER,
    autoencoder_gradients(AUTOENCODER, "sign"),
    "X W1",
    {Fault.SIGN},
    n=9,
)
data = {"X": draw(5, 4), "W": draw(4, 4)}
add(
    "tied autoencoder, decoder's term transposed",
    tied_autoencoder,
    data,
    tied_autoencoder_gradients(data, "transposed"),
    "W",
    {Fault.TRANSPOSE},
    n=5,
)

# --- other losses -----------------------------------------------------------------------------------------------------


def hinge(X, y, w):
    return torch.clamp(1 - y * (X @ w), min=0).mean() + 0.05 * (w @ w)


def hinge_gradients(inputs, *mistakes):
    X, y, w = inputs.values()
    margin = y * (X @ w)
    active = margin <= 1 if "active at 1" in mistakes else margin < 1
    if "perceptron" in mistakes:
        active = margin < 0
    if "all active" in mistakes:
        active = torch.ones_like(active)
    d = -active.to(w) / len(X)
    if "label" not in mistakes:
        d = d * y
    if "sign" in mistakes:
        d = -d
    return {"w": X.T @ d + (0 if "penalty" in mistakes else 0.1 * w)}


draw = draws(19)
HINGE = {"X": draw(15, 3), "y": draw(15).sign(), "w": torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)}
HINGE["X"][4] = HINGE["y"][4] * torch.tensor([1.0, 0.5, 2.0])  # a margin of exactly 1
add("hinge, margin of 1 not active", hinge, HINGE, hinge_gradients(HINGE), n=15)
add("hinge, margin of 1 active", hinge, HINGE, hinge_gradients(HINGE, "active at 1"), n=15)
for name, mistake, faults in [
    (
        "active below 0",
        "perceptron",
        {Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR, Fault.ACTIVATION_DERIVATIVE_WRONG},
    ),
    ("always active", "all active", {Fault.ACTIVATION_DERIVATIVE_MISSING, Fault.MISSING_FACTOR}),
    ("label forgotten", "label", {Fault.MISSING_FACTOR}),
    ("penalty forgotten", "penalty", {Fault.REGULARIZATION}),
    ("sign of the data's part", "sign", {Fault.SIGN}),
]:
    add(f"hinge, {name}", hinge, HINGE, hinge_gradients(HINGE, mistake), "w", faults, n=15)


def huber(p, y):
    return F.huber_loss(p, y, delta=2.0)


def absolute(X, y, w):
    return (X @ w - y).abs().mean()


HUBER = {"p": draw(30), "y": draw(30)}
HUBER["y"][[4, 19]] = torch.tensor([6.0, -7.0], dtype=torch.float64)  # the only two beyond δ
HUBER["p"][:] = torch.where((HUBER["p"] - HUBER["y"]).abs() < 2, HUBER["p"], HUBER["y"] / 2)
error = HUBER["p"] - HUBER["y"]
add("huber", huber, HUBER, {"p": error.clamp(-2, 2) / 30}, n=30)
add(
    "huber, nowhere linear",
    huber,
    HUBER,
    {"p": error / 30},
    "p",
    {Fault.ACTIVATION_DERIVATIVE_WRONG, Fault.LOCALIZED},
    n=30,
)
ABSOLUTE = cast({"X": draw(20, 3), "y": draw(20), "w": draw(3)}, torch.float32)
X, y, w = ABSOLUTE.values()
signs = (X @ w - y).sign() / 20
add("absolute error, float32", absolute, ABSOLUTE, {"w": X.T @ signs}, n=20)
add(
    "absolute error, error for its sign, float32",
    absolute,
    ABSOLUTE,
    {"w": X.T @ (X @ w - y) / 20},
    "w",
    {Fault.ACTIVATION_DERIVATIVE_WRONG, Fault.WRONG_TENSOR},
    n=20,
)

# --- vectors of length 1 ----------------------------------------------------------------------------------------------


def cosine(U, V):
    return 1 - F.cosine_similarity(U, V, dim=1).mean()


def cosine_gradients(inputs, *mistakes):
    U, V = inputs.values()
    norm = U.norm(dim=1, keepdim=True)
    u, v = U / norm, V / V.norm(dim=1, keepdim=True)
    d = -v / len(U)
    if "projection" not in mistakes:
        d = d - u * (d * u).sum(1, keepdim=True)
    if "sign" in mistakes:
        d = -d
    return {"U": d if "norm" in mistakes else d / norm}


def weight_norm(X, y, v, g):
    return ((X @ (g * v / v.norm()) - y) ** 2).mean()


def weight_norm_gradients(inputs, *mistakes):
    X, y, v, g = inputs.values()
    u = v / v.norm()
    dw = 2 * X.T @ (X @ (g * u) - y) / len(X)
    dv = dw if "g" in mistakes else g * dw
    if "length" not in mistakes:
        dv = dv - u * (u @ dv)
    return {"v": dv / v.norm(), "g": u @ dw}


draw = draws(20)
COSINE = {"U": draw(6, 4), "V": draw(6, 4)}
for name, mistake, wrong, faults in [
    ("right", None, "", ()),
    ("length as constant", "projection", "U", {Fault.MISSING_PATH}),
    ("1/|u| forgotten", "norm", "U", {Fault.MISSING_FACTOR}),
    ("sign", "sign", "U", {Fault.SIGN}),
]:
    add(f"cosine, {name}", cosine, COSINE, cosine_gradients(COSINE, mistake), wrong, faults, n=6)
NORMED = cast({"X": draw(8, 5), "y": draw(8), "v": draw(5), "g": draw()}, torch.float32)
for name, mistake, wrong, faults in [
    ("length as constant", "length", "v", {Fault.MISSING_PATH}),
    ("g forgotten", "g", "v", {Fault.FACTOR, Fault.MISSING_FACTOR}),
]:
    gradients = weight_norm_gradients(NORMED, mistake)
    add(f"weight norm, {name}, float32", weight_norm, NORMED, gradients, wrong, faults, n=8)

# --- a mixture of normal distributions --------------------------------------------------------------------------------


def mixture(x, mu, rho, pi):
    t = (x[:, None] - mu) / torch.exp(rho)
    return -torch.logsumexp(torch.log_softmax(pi, 0) - rho - t**2 / 2, 1).mean()


def mixture_gradients(inputs, *mistakes):
    x, mu, rho, pi = inputs.values()
    sigma = torch.exp(rho)
    t = (x[:, None] - mu) / sigma
    r = torch.softmax(torch.log_softmax(pi, 0) - rho - t**2 / 2, 1)
    if "responsibilities" in mistakes:
        r = torch.ones_like(r)
    gmu = -(r * t) if "σ" in mistakes else -(r * t / sigma)
    grho = -(r * t**2) if "determinant" in mistakes else r * (1 - t**2)
    gpi = -r if "normalizer" in mistakes else torch.softmax(pi, 0) - r
    share = 1 if "sum" in mistakes else 1 / len(x)
    return {"mu": gmu.sum(0) * share, "rho": grho.sum(0) * share, "pi": gpi.sum(0) * share}


draw = draws(21)
MIXTURE = {"x": 2 * draw(25), "mu": draw(3), "rho": draw(3, scale=0.5), "pi": draw(3)}
for name, mistake, wrong, faults in [
    ("right", None, "", ()),
    ("responsibilities forgotten", "responsibilities", "mu rho pi", {Fault.MISSING_FACTOR}),
    ("1/σ forgotten", "σ", "mu", {Fault.MISSING_FACTOR}),
    ("log σ forgotten", "determinant", "rho", {Fault.MISSING_PATH}),
    ("normalizer of π forgotten", "normalizer", "pi", {Fault.MISSING_PATH}),
    ("sum for mean", "sum", "mu rho pi", {Fault.FACTOR_N}),
]:
    add(f"mixture, {name}", mixture, MIXTURE, mixture_gradients(MIXTURE, mistake), wrong, faults, n=25)

# --- a differential equation by Euler's method ------------------------------------------------------------------------

STEP = 0.1


def euler(x, A, b, y):
    for _ in range(8):
        x = x + STEP * torch.tanh(x @ A + b)
    return 0.5 * ((x - y) ** 2).sum()


def euler_gradients(inputs, *mistakes):
    x, A, b, y = inputs.values()
    path, slopes = [], []
    for _ in range(8):
        path.append(x)
        f = torch.tanh(x @ A + b)
        slopes.append(1 - f**2)
        x = x + STEP * f
    if "order" in mistakes:
        slopes.reverse()
    d = x - y
    gA, gb = torch.zeros_like(A), torch.zeros_like(b)
    for x, slope in zip(reversed(path), reversed(slopes)):
        dz = d * slope
        if "step" not in mistakes:
            dz = STEP * dz
        if "assigned" in mistakes:
            gA, gb = torch.zeros_like(gA), torch.zeros_like(gb)
        gA += torch.outer(x, dz)
        gb += dz
        back = dz @ (A if "untransposed" in mistakes else A.T)
        d = back if "identity" in mistakes else d + back
    share = 1 / STEP if "step of A and b" in mistakes else 1
    return {"x": d, "A": gA * share, "b": gb * share}


draw = draws(22)
EULER = {"x": draw(3), "A": draw(3, 3), "b": draw(3), "y": draw(3)}
for name, mistake, wrong, faults in [
    ("right", None, "", ()),
    ("step forgotten", "step", "x A b", {Fault.MISSING_FACTOR}),
    ("step forgotten in A and b", "step of A and b", "A b", {Fault.FACTOR, Fault.MISSING_FACTOR}),
    ("identity forgotten", "identity", "x A b", {Fault.MISSING_PATH}),
    ("A untransposed", "untransposed", "x A b", {Fault.TRANSPOSE, Fault.WRONG_TENSOR}),
    ("slopes in the order of time", "order", "x A b", {Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR, Fault.WRONG_TENSOR}),
    ("A and b assigned", "assigned", "A b", {Fault.OVERWRITTEN}),
]:
    add(f"euler, {name}", euler, EULER, euler_gradients(EULER, mistake), wrong, faults)


def growth(x, r, K):
    for _ in range(5):
        x = x + STEP * r * x * (1 - x / K)
    return x


def growth_gradients(inputs, *mistakes):
    x, r, K = inputs.values()
    path = [x]
    for _ in range(4):
        path.append(path[-1] + STEP * r * path[-1] * (1 - path[-1] / K))
    d = torch.ones_like(x)
    gr, gK = torch.zeros_like(r), torch.zeros_like(K)
    for x in reversed(path):
        gr = gr + d * STEP * x * (1 - x / K)
        gK = gK + d * STEP * r * x**2 / K**2
        d = d * (1 + STEP * r * (1 - (1 if "2" in mistakes else 2) * x / K))
    return {"x": d, "r": gr, "K": -gK if "sign" in mistakes else gK}


GROWTH = {name: torch.tensor(value) for name, value in {"x": 0.5, "r": 2.0, "K": 3.0}.items()}
add("growth, scalars, float32", growth, GROWTH, growth_gradients(GROWTH))
add("growth, sign of K, float32", growth, GROWTH, growth_gradients(GROWTH, "sign"), "K", {Fault.SIGN})
add(
    "growth, x (1 − x) with one x, float32",
    growth,
    GROWTH,
    growth_gradients(GROWTH, "2"),
    "x r K",
    {Fault.MISSING_PATH},
)

# --- sums over neighbours ---------------------------------------------------------------------------------------------


def roughness(x):
    return ((x[1:] - x[:-1]) ** 2).sum()


def cubes(x):
    return (x**3).sum()


draw = draws(23)
x = draw(20)
steps = 2 * (x[1:] - x[:-1])
zero = x.new_zeros(1)
right = torch.cat([zero, steps]) - torch.cat([steps, zero])
add(
    "roughness, one of two neighbours", roughness, {"x": x}, {"x": -torch.cat([steps, zero])}, "x", {Fault.MISSING_PATH}
)
periodic = right.clone()
periodic[0] += 2 * (x[0] - x[-1])
periodic[-1] += 2 * (x[-1] - x[0])
add("roughness, ends joined", roughness, {"x": x}, {"x": periodic}, "x", {Fault.LOCALIZED})
interior = torch.cat([zero, right[1:-1], zero])
add("roughness, ends zero", roughness, {"x": x}, {"x": interior}, "x", {Fault.PARTIAL, Fault.LOCALIZED})
add("cubes, 3 forgotten", cubes, {"x": x}, {"x": x**2}, "x", {Fault.FACTOR})
add(
    "cubes, a coarse difference quotient",
    cubes,
    {"x": x},
    {"x": ((x + 1e-4) ** 3 - x**3) / 1e-4},
    "x",
    {Fault.SMALL_RELATIVE},
)

# --- kinks, nan, subnormal numbers, unused inputs ---------------------------------------------------------------------


def relu_layer(X, W, b, c):
    return (torch.relu(X @ W + b) * c).mean()


def relu_layer_gradients(inputs, at_zero, sign=1):
    X, W, b, c = inputs.values()
    z = X @ W + b
    d = sign * c / c.numel() * torch.where(z == 0, at_zero, (z > 0).to(z))
    return {"W": X.T @ d, "b": d.sum(0)}


draw = draws(24)
KINK = {"X": draw(5, 3), "W": draw(3, 4), "b": torch.zeros(4, dtype=torch.float64), "c": draw(5, 4)}
KINK["X"][2] = 0  # with b = 0 every unit is at its kink
for at_zero in 0.0, 0.5, 1.0:
    add(f"relu′(0) = {at_zero}", relu_layer, KINK, relu_layer_gradients(KINK, at_zero), n=5)
add("relu′(0) = 1, sign", relu_layer, KINK, relu_layer_gradients(KINK, 1.0, sign=-1), "W b", {Fault.SIGN}, n=5)
add(
    "relu′(0) = 3",
    relu_layer,
    KINK,
    relu_layer_gradients(KINK, 3.0),
    "b",
    {Fault.ACTIVATION_DERIVATIVE_WRONG},
    n=5,
)


def greatest(x):
    return x.amax()


def greater(a, b, c):
    return (torch.maximum(a, b) * c).sum()


x = torch.tensor([1.0, 4.0, -2.0, 4.0, 4.0], dtype=torch.float64)
add("greatest of five, three tie", greatest, {"x": x}, {"x": torch.tensor([0.0, 1, 0, 0, 0], dtype=torch.float64)})
tied = torch.tensor([0.0, 1, 0, 1, 1], dtype=torch.float64)
every = {Fault.UNKNOWN, Fault.PARTIAL, Fault.FACTOR}
add("greatest of five, each that ties gets all", greatest, {"x": x}, {"x": tied}, "x", every)
add("greatest of five, none that ties gets any", greatest, {"x": x}, {"x": 0 * tied}, "x", {Fault.DETACHED})
a, b, c = draw(6), draw(6), draw(6)
b[:3] = a[:3]
data = {"a": a, "b": b, "c": c}
add("greater of two, ties to a", greater, data, {"a": c * (a >= b), "b": c * (a < b)})


def root_of_positive(x, c):
    return (torch.where(x > 0, torch.sqrt(x), 0.0) * c).sum()  # autograd: 0 · nan where x < 0


ROOT = {"x": torch.tensor([2.0, -1.0, 0.5, -3.0, 1.5], dtype=torch.float64), "c": draw(5)}
root_slope = torch.where(ROOT["x"] > 0, ROOT["x"].abs().rsqrt() / 2, 0.0) * ROOT["c"]
add("where, unused branch nan", root_of_positive, ROOT, {"x": root_slope})
add("where, unused branch nan, doubled", root_of_positive, ROOT, {"x": 2 * root_slope}, "x", {Fault.FACTOR_2})


def small(w, c):
    return (torch.tanh(w) * c).sum()


SMALL = {"w": draw(6), "c": draw(6, scale=1e-310)}
add("subnormal", small, SMALL, {"w": SMALL["c"] * (1 - torch.tanh(SMALL["w"]) ** 2)})
SMALL32 = {"w": SMALL["w"].float(), "c": draw(6, scale=1e-40).float()}
add("subnormal, float32", small, SMALL32, {"w": SMALL32["c"] * (1 - torch.tanh(SMALL32["w"]) ** 2)})


def saturated(w, c, unused):
    return (torch.sigmoid(w) * c).sum()


SATURATED_UNITS = {"w": 60 * draw(6), "c": draw(6), "unused": draw(2, 3)}
p, q = torch.sigmoid(SATURATED_UNITS["w"]), torch.sigmoid(-SATURATED_UNITS["w"])
right = {"w": SATURATED_UNITS["c"] * p * q, "unused": torch.zeros(2, 3, dtype=torch.float64)}
add("saturated, an unused input", saturated, SATURATED_UNITS, right)
add(
    "saturated, a gradient for an unused input",
    saturated,
    SATURATED_UNITS,
    right | {"unused": torch.ones(2, 3, dtype=torch.float64)},
    "unused",
    {Fault.UNKNOWN},
)


# --- a gated recurrent unit -------------------------------------------------------------------------------------------

draw = draws(93)


def gru(x, Wz, Wr, Wc, Uz, Ur, Uc, out):
    h = torch.zeros(x.shape[1], len(Uz), dtype=x.dtype)
    for x_t in x:
        z, r = torch.sigmoid(x_t @ Wz + h @ Uz), torch.sigmoid(x_t @ Wr + h @ Ur)
        c = torch.tanh(x_t @ Wc + (r * h) @ Uc)
        h = (1 - z) * h + z * c
    return ((h @ out) ** 2).mean()


def gru_gradients(x, Wz, Wr, Wc, Uz, Ur, Uc, out, sign=1.0):
    h, tape = torch.zeros(x.shape[1], len(Uz), dtype=x.dtype), []
    for x_t in x:
        z, r = torch.sigmoid(x_t @ Wz + h @ Uz), torch.sigmoid(x_t @ Wr + h @ Ur)
        c = torch.tanh(x_t @ Wc + (r * h) @ Uc)
        tape.append((x_t, h, z, r, c))
        h = (1 - z) * h + z * c
    d_out = 2 * (h @ out) / x.shape[1]
    g = dict.fromkeys(("Wz", "Wr", "Wc", "Uz", "Ur", "Uc"), 0.0) | {"out": h.T @ d_out}
    dh = d_out[:, None] * out
    for x_t, h, z, r, c in reversed(tape):
        dz, dc = sign * dh * (c - h) * z * (1 - z), dh * z * (1 - c * c)
        drh = dc @ Uc.T
        dr = drh * h * r * (1 - r)
        for gate, d, seen in (("z", dz, h), ("r", dr, h), ("c", dc, r * h)):
            g[f"W{gate}"] = g[f"W{gate}"] + x_t.T @ d
            g[f"U{gate}"] = g[f"U{gate}"] + seen.T @ d
        dh = dh * (1 - z) + drh * r + dz @ Uz.T + dr @ Ur.T
    return g


GRU = {"x": draw(3, 4, 2), **{f"W{gate}": draw(2, 3) for gate in "zrc"}, **{f"U{gate}": draw(3, 3) for gate in "zrc"}}
GRU |= {"out": draw(3)}
add("gru", gru, GRU, gru_gradients(**GRU), n=4)
add("gru, sign of dz", gru, GRU, gru_gradients(**GRU, sign=-1.0), "Wz Wr Wc Uz Ur Uc", {Fault.SIGN}, n=4)
