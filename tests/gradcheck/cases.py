"""The table of hand-written gradients, right and wrong, written independently of the diagnosis.

A table is a model with its inputs; a row is what is done to its right gradients: mistakes that its backward makes, or
an edit of its result. Each group of tables draws from its own generator, so that a new row changes no other numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from gradcheck.models import losses
from gradcheck.models.activations import activated
from gradcheck.models.attention import gate, self_attention
from gradcheck.models.base import PLAIN, Arithmetic, Model, gradients, normal, vector
from gradcheck.models.convolution import conv1d, conv2d
from gradcheck.models.elementwise import mixture, scalar
from gradcheck.models.embedding import embedding, tied_language_model
from gradcheck.models.linear import affine, autoencoder, dropout, network, residual_blocks, weight_norm
from gradcheck.models.losses import half_mse, half_mse_of_rows, mse, mse_of_rows, penalized, weighted_sum, with_loss
from gradcheck.models.normalization import normalization, row_function
from gradcheck.models.recurrent import euler, gated, growth, recurrent
from torch import Tensor

from nnmath.gradcheck import Fault


@dataclass(frozen=True)
class Case:
    name: str
    forward: Callable[..., Tensor]
    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    wrong: tuple[str, ...]  # the names of the wrong gradients
    faults: frozenset[Fault]  # each label names the mistake, or one of two mistakes
    n: int | None
    learning_rate: float | None


CASES: list[Case] = []
FLOAT64, FLOAT32, FLOAT16, BFLOAT16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


def table(title, model, inputs, names, n=None, dtypes=(FLOAT64,), learning_rate=None):
    """A function that adds a row; the first rows hold the right gradients of these names in these types.

    A model that makes a mistake itself has none. edit(inputs, gradients) gives the gradients that change; the mistakes,
    separated by "; ", are the model's, or what the edit does.
    """

    def case(mistakes="", wrong="", faults="", edit=None, dtype=FLOAT64):
        data = {name: tensor.to(dtype) for name, tensor in inputs.items()}
        manual = gradients(model, data, mistakes.split("; "))
        manual = {name: manual[name] for name in names.split()}
        manual |= edit(data, manual) if edit else {}
        type_name = "" if dtype == FLOAT64 else str(dtype).removeprefix("torch.")
        name = ", ".join(filter(None, (title, mistakes, type_name)))
        expected = frozenset(map(Fault, faults.split()))
        CASES.append(Case(name, model.forward, data, manual, tuple(wrong.split()), expected, n, learning_rate))

    for dtype in dtypes:
        case(dtype=dtype)
    return case


def change(function, *names):
    """An edit: the gradients of these names, or all, each changed by the function."""
    return lambda x, g: {name: function(g[name]) for name in names or g}


def scaled(factor, *names):
    return change(lambda gradient: factor * gradient, *names)


def decay(rate, *names):
    """Weight decay in the gradients, whether or not the loss has it."""
    return lambda x, g: {name: g[name] + rate * x[name] for name in names}


def swapped(first, second):
    return lambda x, g: {first: g[second], second: g[first]}


def clipped_to_norm_1(x, g):
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in g.values()))
    return {name: gradient / norm for name, gradient in g.items()}


draw = normal(1)
LINEAR = {n: {"X": draw(n, 6), "y": draw(n), "w": draw(6), "b": draw()} for n in (1, 2, 7, 300)}
COLUMN = LINEAR[7] | {"y": LINEAR[7]["y"][:, None]}
SCALED = LINEAR[7] | {"X": LINEAR[7]["X"] * torch.logspace(-6, 6, 6, dtype=torch.float64)}
SPARSE = LINEAR[7] | {"w": LINEAR[7]["w"] * vector(1, 0, 1, 1, 0, 1)}
linear = half_mse(affine())
column_target = linear._replace(forward=lambda y, **inputs: linear.forward(y=y[:, 0], **inputs))

case = table("linear, n = 1", linear, LINEAR[1], "w b", n=1)
case("sign", "w b", "sign", scaled(-1))
table("linear, badly scaled features", linear, SCALED, "w b", n=7)
case = table("linear, n = 2", linear, LINEAR[2], "w b", n=2)
case("sum for mean", "w b", "factor_n factor_2", scaled(2))
case = table("linear, n not given", linear, LINEAR[7], "w b")
case("sum for mean", "w b", "factor_n factor", scaled(7))
case = table("linear, n = 300", linear, LINEAR[300], "w b", n=300, dtypes=(FLOAT64, FLOAT32))
case("sum for mean", "w b", "factor_n", scaled(300))
case("mean twice", "w b", "factor_n", scaled(1 / 300), FLOAT32)
case("bias for each sample", "b", "bias_not_summed")
case = table("linear", linear, LINEAR[7], "w b", n=7)
case("sign", "w b", "sign", scaled(-1))
case("sign; sum for mean", "w b", "sign_and_factor_n", scaled(-7))
case("sign; sum for mean", "w b", "sign_and_factor_n", scaled(-7), FLOAT16)
case("target forgotten", "w b", "target_term_missing")
case("decay not in the loss", "w", "regularization", decay(0.01, "w"))
case("twice the gradient of b", "b", "factor_2", scaled(2, "b"))
case("loop ends one early", "w", "partial", change(lambda w: torch.cat([w[:-1], w.new_zeros(1)]), "w"))
case = table("linear, only w", linear, LINEAR[7], "w", n=7)
case("clipped to ±0.5", "w", "clipped", change(lambda gradient: gradient.clamp(-0.5, 0.5)))
# the mean of p − y is the same either way: b is right
case = table("linear, y a column", column_target, COLUMN, "w b", n=7)
case("broadcast to n × n", "w", "broadcast_n_by_n")
case = table("linear, y a column", linear, COLUMN, "w b", n=7, dtypes=())
case("loss broadcasts to n × n", "w", "broadcast_n_by_n")
ridge = penalized(linear, "squares", 0.1)
case = table("ridge", ridge, LINEAR[7], "w b", n=7)
case("penalty forgotten", "w", "regularization")
for sign_of_0, kink in (0, 0.5), (1, 1.0):
    lasso = penalized(linear, "absolute values", 0.05, arithmetic=Arithmetic(kink=kink))
    case = table(f"lasso, sign(0) = {sign_of_0}", lasso, SPARSE, "w b", n=7)
case = table("lasso", lasso, LINEAR[7], "w b", n=7)
case("penalty forgotten; penalty of ridge", "w", "regularization", decay(0.05, "w"))

draw = normal(2)
SQUARE = {"X": draw(8, 3), "Y": draw(8, 3), "W": draw(3, 3)}
OBLONG = {"X": draw(6, 4), "Y": draw(6, 3), "W": draw(4, 3)}
NOISE = draw(3, 3)
outputs = mse(affine(), target="Y")
case = table("several outputs, square weights", outputs, SQUARE, "W", n=8)
case("transposed", "W", "transpose", change(lambda W: W.T))
case("transposed and sign", "W", "transpose sign", change(lambda W: -W.T))
case("2 of the square", "W", "factor_half", scaled(0.5), BFLOAT16)
case("momentum left in", "W", "unknown", change(lambda W: W + 0.9 * NOISE))
case = table("several outputs", outputs, OBLONG, "W", n=6, dtypes=(FLOAT64, FLOAT32))
case("transposed", "W", "transpose", change(lambda W: W.T))
case("2 of the square", "W", "factor_half", scaled(0.5))
case("1/n for 1/(n k)", "W", "factor", scaled(3))
case("in reverse order", "W", "flip", change(lambda W: W.flip(1)))
case("rows off by one", "W", "permuted", change(lambda W: W.roll(1, 0)))
case("rounded to float16", "W", "small_relative", change(lambda W: W.half().double()))
case("flattened", "W", "shape", change(lambda W: W.flatten()))
case("root of each entry", "W", "unknown", change(lambda W: W.sign() * W.abs().sqrt()))


def log_likelihood(z, y):
    p = 1 / (1 + torch.exp(-z))
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


def weighted_likelihood(z, y, s):
    return (s * F.binary_cross_entropy_with_logits(z, y, reduction="none")).mean()


draw = normal(3)
LOGISTIC = {"X": draw(12, 3), "y": (draw(12) > 0).double(), "w": draw(3), "b": draw()}
WEIGHTED = LOGISTIC | {"s": draw(12).exp()}
SATURATED = LOGISTIC | {"X": 40 * LOGISTIC["X"]}
far = -800 * LOGISTIC["w"] / LOGISTIC["w"].dot(LOGISTIC["w"])
OVERFLOW = LOGISTIC | {"X": torch.cat([LOGISTIC["X"][:-1], far[None]])}
brier = half_mse(activated(affine(), "exp_sigmoid"))
case = table("logistic", with_loss(affine(), losses.logistic, log_likelihood, len), LOGISTIC, "w b", n=12)
case("derivative that cancels", "w b", "activation_derivative_extra")
case("target forgotten", "w b", "target_term_missing", dtype=FLOAT32)
loss = with_loss(affine(), losses.logistic, weighted_likelihood, len)
case = table("logistic, weighted", loss, WEIGHTED, "w b", n=12)
case("weights of the samples forgotten", "w b", "missing_factor")
case = table("Brier score, saturated", brier, SATURATED, "w b", n=12, dtypes=(FLOAT64, FLOAT32))
case = table("Brier score, exp overflows", brier, OVERFLOW, "w b", n=12)
case = table("Brier score", brier, LOGISTIC, "w b", n=12)
case("no derivative", "w b", "activation_derivative_missing")
case("z (1 − z)", "w b", "activation_derivative_wrong_tensor")
case("p (1 + p)", "w b", "activation_derivative_wrong")
case("sign of exp(−z) forgotten", "w b", "sign", scaled(-1))


def softmax_regression(**options):
    loss = partial(F.cross_entropy, **options)
    size = (lambda z: 1) if options.get("reduction") == "sum" else len
    return with_loss(affine(), losses.cross_entropy, loss, size, torch.tensor([0, 3, 1, 1, 2, 3, 0]))


draw = normal(4)
SOFTMAX = {"X": draw(7, 5), "W": draw(5, 4), "b": draw(4)}
case = table("softmax", softmax_regression(), SOFTMAX, "W b", n=7, dtypes=(FLOAT64, FLOAT32))
case("target forgotten", "W b", "target_term_missing")
case("sum for mean", "W b", "factor_n", scaled(7), FLOAT32)
case("mean over classes too", "W b", "factor", scaled(1 / 4))
case("derivative that cancels", "W b", "activation_derivative_extra")
case("target forgotten; bias for each sample", "W b", "target_term_missing bias_not_summed")
case = table("softmax, summed", softmax_regression(reduction="sum"), SOFTMAX, "W b", n=7)
case("mean for sum", "W b", "factor_n", scaled(1 / 7))
case = table("softmax, smoothed", softmax_regression(label_smoothing=0.2), SOFTMAX, "W b", n=7, dtypes=())
case("label smoothing forgotten", "W b", "unknown")


def rows(learning_rate=0.0):
    """A 2-4-1 network of sigmoids, samples in rows."""
    return half_mse(network(["sigmoid", "sigmoid"], learning_rate=learning_rate))


draw = normal(5)
ROWS = {
    n: {"X": draw(n, 2), "y": draw(n, 1), "W1": draw(2, 4), "b1": draw(4), "W2": draw(4, 1), "b2": draw(1)}
    for n in (9, 2, 4)
}
for n, data in ROWS.items():  # the gradients of these zeros are the deltas
    data |= {"dz1": torch.zeros(n, 4, dtype=FLOAT64), "dz2": torch.zeros(n, 1, dtype=FLOAT64)}
ALL, LOWER = "W1 b1 W2 b2 dz1 dz2", "W1 b1 dz1"
case = table("2-4-1", rows(), ROWS[9], ALL, n=9, dtypes=(FLOAT64, FLOAT16, BFLOAT16))
for dtype in FLOAT16, BFLOAT16:
    case("sum for mean", ALL, "factor_n", scaled(9), dtype)
    case("sign of W2", "W2", "sign", scaled(-1, "W2"), dtype)
case("y − a", ALL, "sign", scaled(-1))
case("no derivative in layer 2", ALL, "activation_derivative_missing")
case("no derivative in layer 1", LOWER, "activation_derivative_missing")
case("no derivative in layer 1; no derivative in layer 2", ALL, "activation_derivative_missing")
case("z (1 − z) in layer 1", LOWER, "activation_derivative_wrong_tensor")
case("σ(a) (1 − σ(a)) in layer 2", ALL, "activation_derivative_wrong_tensor")
case("derivative of tanh in layer 1", LOWER, "activation_derivative_wrong")
case("derivative twice in layer 1", LOWER, "activation_derivative_extra")
case("target forgotten", ALL, "target_term_missing")
case("z for a in W2", "W2", "wrong_tensor")
case("b1 for each sample; b2 for each sample", "b1 b2", "bias_not_summed")
case("W1 mean twice", "W1", "factor_n", scaled(1 / 9, "W1"))
case("no derivative in layer 2; factor 2", ALL, "activation_derivative_missing factor_2", scaled(2))
case("no derivative in layer 1; sign of W2", f"{LOWER} W2", "activation_derivative_missing sign", scaled(-1, "W2"))
case("b1 for each sample; sign of W2", "b1 W2", "bias_not_summed sign", scaled(-1, "W2"))
case("derivative of tanh in layer 1; sum for mean", ALL, "activation_derivative_wrong factor_n", scaled(9))
case = table("2-4-1, n = 2", rows(), ROWS[2], ALL, n=2)
case("factor 2", ALL, "factor_2 factor_n", scaled(2))
case = table("2-4-1, n = 4", rows(), ROWS[4], ALL, n=4)
case("factor 2", ALL, "factor_2", scaled(2))
case("b1 for each sample", "b1", "bias_not_summed")
case = table("2-4-1", rows(0.5), ROWS[9], ALL, n=9, dtypes=(), learning_rate=0.5)
case("W2 already updated", LOWER, "updated_weights")
case = table("2-4-1, rate not given", rows(0.1), ROWS[9], ALL, n=9, dtypes=())
case("W2 already updated", LOWER, "updated_weights")
case = table("2-4-1", rows(1.0), ROWS[9], ALL, n=9, dtypes=(), learning_rate=1.0)
case("W2 already updated", LOWER, "updated_weights", dtype=FLOAT32)

draw = normal(6)
COLUMNS = {
    n: {"X": draw(2, n), "y": draw(1, n), "W1": draw(4, 2), "b1": draw(4, 1), "W2": draw(1, 4), "b2": draw(1, 1)}
    for n in (10, 2, 4)
}
columns = half_mse(network(["sigmoid", "sigmoid"], columns=True))
LAYER1, LAYERS12, LAYERS123 = "W1 b1", "W1 b1 W2 b2", "W1 b1 W2 b2 W3 b3"
case = table("columns, n = 2", columns, COLUMNS[2], LAYERS12, n=2)
case("no derivative in layer 1", LAYER1, "activation_derivative_missing")
case = table("columns", columns, COLUMNS[10], LAYERS12, n=10)
case("divided by len(X), the features", LAYERS12, "factor", scaled(10 / 2))
case("W1 transposed", "W1", "transpose", change(lambda W: W.T, "W1"))
case("b1 without keepdim", "b1", "shape", change(lambda b: b[:, 0], "b1"))
case("b2 for each sample", "b2", "bias_not_summed")
case("derivative twice in layer 2", LAYERS12, "activation_derivative_extra")
case = table("columns, n = 4", columns, COLUMNS[4], LAYERS12, n=4)
case("b1 summed over the units", "b1", "unknown")


def deep(activation, learning_rate=0.0):
    return half_mse_of_rows(network([activation, activation, "identity"], learning_rate=learning_rate))


def second_half_assigned(x, g):
    half = {name: tensor[4:] if name in "XY" else tensor for name, tensor in x.items()}
    return {name: gradient / 2 for name, gradient in gradients(deep("tanh"), half).items() if name in g}


draw = normal(7)
DEEP = {"X": draw(8, 4), "Y": draw(8, 3), "W1": draw(4, 4), "b1": draw(4), "W2": draw(4, 4), "b2": draw(4)}
DEEP |= {"W3": draw(4, 3), "b3": draw(3)}
ENTRY = torch.tensor(2), torch.tensor(1)
case = table("deep tanh", deep("tanh"), DEEP, LAYERS123, n=8, dtypes=(FLOAT64, FLOAT32))
case("1 − z² in layer 2", LAYERS12, "activation_derivative_wrong_tensor")
case("1 − a in layer 1", LAYER1, "activation_derivative_wrong")
case("derivative of sigmoid in layer 2", LAYERS12, "activation_derivative_wrong")
case("derivative twice in layer 1", LAYER1, "activation_derivative_extra")
case("X for a in W2", "W2", "wrong_tensor")
case("back through W1 for W2", LAYER1, "wrong_tensor")
case("back through W2 untransposed", LAYER1, "transpose wrong_tensor")
case("second half of the batch assigned", LAYERS123, "overwritten", second_half_assigned)
case = table("deep relu", deep("relu"), DEEP, LAYERS123, n=8, dtypes=(FLOAT64, FLOAT32))
case("no derivative in layer 1", LAYER1, "activation_derivative_missing")
case("no derivative in layer 1; no derivative in layer 2", LAYERS12, "activation_derivative_missing")
case("no derivative in layer 2", LAYERS12, "activation_derivative_missing", dtype=FLOAT32)
case("clipped to ±0.1", LAYERS123, "clipped", change(lambda gradient: gradient.clamp(-0.1, 0.1)), FLOAT32)
case = table("deep gelu", deep("gelu"), DEEP, LAYERS123, n=8, dtypes=(FLOAT64, FLOAT32, BFLOAT16))
case("Φ(z) alone in layer 2", LAYERS12, "activation_derivative_wrong missing_path")
case(
    "derivative of GELU's approximation in layer 1; derivative of GELU's approximation in layer 2",
    LAYERS12,
    "small_relative activation_derivative_wrong",
)
case = table("deep silu", deep("silu"), DEEP, LAYERS123, n=8, dtypes=(FLOAT64, FLOAT32))
case("σ(z) alone in layer 1", LAYER1, "activation_derivative_wrong missing_path")
case("W1 and W2 swapped", "W1 W2", "swapped", swapped("W1", "W2"))
case("b1 with the gradient of b2", "b1", "swapped", lambda x, g: {"b1": g["b2"]})
case("decay on W2 and W3", "W2 W3", "regularization", decay(0.02, "W2", "W3"))
case("W1 zero", "W1", "detached", scaled(0, "W1"))
case("W1 and b1 missing", "W1 b1", "detached", change(lambda gradient: None, "W1", "b1"))
case("W2 transposed, sign of b3", "W2 b3", "transpose sign", lambda x, g: {"W2": g["W2"].T, "b3": -g["b3"]})
case("b2 averaged", "b2", "factor_n", scaled(1 / 8, "b2"))
case("W3 with 1/√n", "W3", "factor", scaled(math.sqrt(8), "W3"))
case("W2 last row zero", "W2", "partial", scaled(vector(1, 1, 1, 0)[:, None], "W2"))
case("one entry of W1", "W1", "localized", change(lambda W: W.index_put(ENTRY, vector(1)[0]), "W1"))
case(
    "sum for mean, decay on W1",
    LAYERS123,
    "factor_n regularization",
    lambda x, g: scaled(8)(x, g) | {"W1": 8 * g["W1"] + 0.1 * x["W1"]},
)
case("clipped to norm 1", LAYERS123, "clipped", clipped_to_norm_1)
case = table("deep softplus", deep("softplus"), DEEP, LAYERS123, n=8, dtypes=(FLOAT64, FLOAT32))
case("no derivative in layer 2", LAYERS12, "activation_derivative_missing")
case("σ(a) in layer 1", LAYER1, "activation_derivative_wrong_tensor")
case = table("deep tanh", deep("tanh", 0.2), DEEP, LAYERS123, n=8, learning_rate=0.2, dtypes=())
case("W3 and W2 already updated", LAYERS12, "updated_weights")

draw = normal(8)
DROPOUT = {"X": draw(10, 3), "y": draw(10), "W": draw(3, 6), "v": draw(6), "mask": (draw(10, 6) > -0.67).double()}
case = table("dropout", mse(dropout()), DROPOUT, "W v", n=10)
case("mask forgotten", "W", "missing_factor")
case("scale forgotten", "W", "factor missing_factor")
case("v before the dropout", "v", "wrong_tensor missing_factor")

draw = normal(9)
RECURRENT = {"X": draw(4, 5, 3), "y": draw(5), "Wx": 0.7 * draw(3, 3), "Wh": 0.7 * draw(3, 3)}
RECURRENT |= {"b": draw(3), "v": draw(3), "h": draw(5, 3)}
case = table("recurrent", mse(recurrent()), RECURRENT, "Wx Wh b v", n=5)
case("no derivative", "Wx Wh b", "activation_derivative_missing")
case("assigned at each step", "Wx Wh b", "overwritten")
case("h for the h before", "Wh", "wrong_tensor")
case("X in reverse", "Wx", "wrong_tensor flip")
case("Wx and Wh swapped", "Wx Wh", "swapped", swapped("Wx", "Wh"))
case = table("recurrent, two steps", mse(recurrent()), RECURRENT | {"X": RECURRENT["X"][:2]}, "Wx Wh b v", n=5)
case("assigned at each step", "Wx Wh b", "overwritten missing_path")
case("only the last step", "Wx Wh b", "missing_path overwritten")
case("Wh untransposed", "Wx Wh b", "transpose wrong_tensor")
draw = normal(10)
GATED = {"X": draw(3, 4, 2), "h": draw(4, 3), "Wz": draw(2, 3), "Uz": draw(3, 3), "Wc": draw(2, 3), "Uc": draw(3, 3)}
GATES = "Wz Uz Wc Uc h"
loss = with_loss(gated(), losses.squared, lambda h, _: (h**2).sum(1).mean(), len, target=None)
case = table("gated", loss, GATED, GATES, n=4)
case("gate's derivative forgotten", GATES, "activation_derivative_missing")
case("(1 − z) h forgotten", GATES, "missing_path")
case("factor z forgotten", GATES, "missing_factor", dtype=FLOAT32)
case("sign of the gate's weights", "Wz Uz", "sign", scaled(-1, "Wz", "Uz"), FLOAT32)
case("z h for h in Uc", "Uc", "wrong_tensor")
draw = normal(93)
GRU_WEIGHTS = "Wz Wr Wc Uz Ur Uc"
GRU = {"X": draw(3, 4, 2)} | {name: draw(2 if name[0] == "W" else 3, 3) for name in GRU_WEIGHTS.split()}
GRU["out"] = draw(3)
loss = with_loss(gated(reset=True), losses.squared, lambda o, _: (o**2).mean(), len, target=None)
case = table("GRU", loss, GRU, f"{GRU_WEIGHTS} out", n=4)
case("sign of dz", GRU_WEIGHTS, "sign")

draw = normal(11)
RESIDUAL = {"X": draw(6, 4), "Y": draw(6, 4)} | {name: draw(4, 4) for name in ("W1", "V1", "W2", "V2")}
case = table(
    "residual", half_mse_of_rows(residual_blocks()), RESIDUAL, "X W1 V1 W2 V2", n=6, dtypes=(FLOAT64, BFLOAT16)
)
case("skip forgotten", "X W1 V1", "missing_path")
case("skip forgotten", "X W1 V1", "missing_path", dtype=FLOAT16)
case("branch forgotten", "X W1 V1", "missing_path")
case("no derivative 1", "X W1", "activation_derivative_missing")
case("derivative 2 at h", "X W1 V1 W2", "activation_derivative_wrong_tensor")

draw = normal(12)
PRODUCT = {"a": draw(6), "b": draw(6), "c": draw(6)}
GATE = {"X": draw(5, 3), "Y": draw(5, 3), "Wa": draw(3, 3), "Wb": draw(3, 3)}
product = scalar(lambda a, b, c: (a * b * c).sum(), lambda a, b, c: {"a": b * c, "b": a * c, "c": a * b})
case = table("product without c", product, PRODUCT, "a b")
case("a and b crossed", "a b", "swapped wrong_tensor", swapped("a", "b"))
case = table("product", product, PRODUCT, "a b c")
case("c forgotten", "a b", "missing_factor", lambda x, g: {"a": x["b"], "b": x["a"]})
case = table("gate", mse_of_rows(gate(activation=False)), GATE, "X Wa Wb", n=5)
case("b forgotten", "X Wa", "missing_factor")
case("a for b", "X Wa", "wrong_tensor")
case("X by one of two paths", "X", "missing_path")

draw = normal(13)
ATTENTION = {"X": draw(6, 5), "Wq": 0.4 * draw(5, 5), "Wk": draw(5, 5), "Wv": draw(5, 5), "C": draw(6, 5)}
case = table("attention", weighted_sum(self_attention()), ATTENTION, "X Wq Wk Wv")
case("1/√d forgotten", "X Wq Wk", "factor missing_factor")
case("p (1 − p)", "X Wq Wk", "activation_derivative_wrong missing_path")
case("p dp alone", "X Wq Wk", "missing_path activation_derivative_wrong")
case("derivative of softmax forgotten", "X Wq Wk", "activation_derivative_missing")
case("sum of the softmax along columns", "X Wq Wk", "activation_derivative_wrong")
case("X without the values", "X", "missing_path overwritten")
case("Wq and Wk swapped", "Wq Wk", "swapped", swapped("Wq", "Wk"))

draw = normal(14)
NORM = {"X": 2 * draw(7, 6) + 1, "gamma": draw(6), "beta": draw(6), "C": draw(7, 6)}
case = table("layer norm", weighted_sum(normalization()), NORM, "X gamma beta", n=7)
case("mean as constant", "X", "missing_path")
case("γ forgotten", "X", "missing_factor")
case("1/s forgotten", "X", "missing_factor")
case("X for h in γ", "gamma", "wrong_tensor")
case("s with n − 1", "X gamma", "bessel")
case = table(
    "F.layer_norm", weighted_sum(normalization(fused=True)), NORM, "X gamma beta", n=7, dtypes=(FLOAT64, FLOAT32)
)
case("variance as constant", "X", "missing_path")
case("ε forgotten", "X gamma", "small_relative")
case("β for each sample", "beta", "bias_not_summed")
case = table("batch norm", weighted_sum(activated(normalization(axis=0), "tanh")), NORM, "X gamma beta", n=7)
case("variance as constant", "X", "missing_path")
case("mean as constant; variance as constant", "X", "missing_path")
case("s with n − 1", "X gamma beta", "bessel")
case("no derivative", "X gamma beta", "activation_derivative_missing")
draw = normal(15)
VARIANCE = {n: {"x": draw(n)} for n in (10, 2)}
variance = scalar(lambda x: x.var(), lambda x: {"x": 2 * (x - x.mean()) / (len(x) - 1)})
case = table("variance", variance, VARIANCE[10], "x", n=10)
case("1/n for 1/(n − 1)", "x", "bessel", scaled(9 / 10))
case("2 forgotten", "x", "factor_half", scaled(0.5), BFLOAT16)
case = table("variance, n = 2", variance, VARIANCE[2], "x", n=2)
case("1/n for 1/(n − 1)", "x", "bessel factor_half factor_n", scaled(1 / 2))

draw = normal(16)
CONV1D = {"x": draw(2, 2, 9), "y": draw(2, 3, 6), "w": draw(3, 2, 4), "b": draw(3)}
CONV2D = {"x": draw(2, 1, 6, 5), "w": draw(2, 1, 3, 3), "C": draw(2, 2, 6, 5)}
loss = with_loss(conv1d(), losses.squared, lambda o, y: 0.5 * ((o - y) ** 2).sum() / len(o), lambda o: 2 * len(o))
case = table("conv1d", loss, CONV1D, "x w b", n=2)
case("kernel flipped", "x", "flip")
case("w flipped", "w", "flip", change(lambda w: w.flip(2), "w"))
case("x assigned", "x", "overwritten")
case("b for each position", "b", "bias_not_summed shape")
case = table("conv2d", weighted_sum(activated(conv2d(), "tanh")), CONV2D, "x w", n=2)
case("w transposed", "w", "transpose", change(lambda w: w.mT, "w"))
case("border zero", "x", "partial", change(lambda x: F.pad(x[..., 1:-1, 1:-1], (1, 1, 1, 1)), "x"))
case("no derivative", "x w", "activation_derivative_missing")

draw = normal(17)
WORDS = [3, 7, 3, 1, 11, 3]
EMBEDDING = {"E": draw(12, 4), "W": draw(4, 2), "Y": draw(6, 2)}
case = table("embedding, a word three times", half_mse_of_rows(embedding(WORDS)), EMBEDDING, "E W", n=6)
case("assigned", "E", "overwritten")
case("off by one", "E", "permuted")
PADDED = EMBEDDING | {"E": EMBEDDING["E"].index_fill(0, torch.tensor(1), 0)}
case = table("embedding, padded", half_mse_of_rows(embedding(WORDS, padding=1)), PADDED, "E W", n=6, dtypes=())
case("gradient of the padding", "E", "localized missing_factor")
NEXT = torch.tensor([7, 3, 1, 11, 3, 0])
loss = with_loss(tied_language_model(WORDS), losses.cross_entropy, F.cross_entropy, len, NEXT)
case = table("tied embedding", loss, {"E": draw(12, 4)}, "E", n=6)
case("output forgotten", "E", "missing_path overwritten")
case("input forgotten", "E", "missing_path overwritten")
case("no derivative", "E", "activation_derivative_missing")

draw = normal(18)
reconstruction = with_loss(
    autoencoder(), losses.squared, lambda o, _: 0.5 * (o**2).sum(1).mean(), lambda o: 2 * len(o), target=None
)
case = table("autoencoder", reconstruction, {"X": draw(9, 5), "W1": draw(5, 3), "W2": draw(3, 5)}, "X W1 W2", n=9)
case("X as the target forgotten", "X", "missing_path target_term_missing")
case("sign below the decoder", "X W1", "sign")
case = table("tied autoencoder", reconstruction, {"X": draw(5, 4), "W1": draw(4, 4)}, "W1", n=5)
case("decoder's term transposed", "W1", "transpose")


def hinge(arithmetic=PLAIN):
    def forward(o, y):
        return torch.clamp(1 - y * o, min=0).mean()

    return penalized(with_loss(affine(), losses.hinge, forward, len, arithmetic=arithmetic), "dot", 0.1)


draw = normal(19)
HINGE = {"X": draw(15, 3), "y": draw(15).sign(), "w": vector(1, -2, 0.5)}
HINGE["X"][4] = HINGE["y"][4] * vector(1, 0.5, 2)  # a margin of exactly 1
HUBER = {"p": draw(30), "y": draw(30)}
HUBER["y"][[4, 19]] = vector(6, -7)  # the only two beyond δ
HUBER["p"][:] = torch.where((HUBER["p"] - HUBER["y"]).abs() < 2, HUBER["p"], HUBER["y"] / 2)
ABSOLUTE = {"X": draw(20, 3), "y": draw(20), "w": draw(3)}
case = table("hinge, margin of 1 not active", hinge(), HINGE, "w", n=15)
case("active below 0", "w", "activation_derivative_wrong_tensor activation_derivative_wrong")
case("always active", "w", "activation_derivative_missing missing_factor")
case("label forgotten", "w", "missing_factor")
case("penalty forgotten", "w", "regularization")
case("sign of the data's part", "w", "sign")
case = table("hinge, margin of 1 active", hinge(Arithmetic(kink=1.0)), HINGE, "w", n=15)
identity = Model(lambda p: p, lambda mistakes, p: (p, lambda d: {"p": d}))
loss = with_loss(identity, partial(losses.huber, delta=2.0), partial(F.huber_loss, delta=2.0), len)
case = table("Huber", loss, HUBER, "p", n=30)
case("nowhere linear", "p", "activation_derivative_wrong localized")
loss = with_loss(affine(), losses.absolute, lambda o, y: (o - y).abs().mean(), len)
case = table("absolute error", loss, ABSOLUTE, "w", n=20, dtypes=(FLOAT64, FLOAT32))
case("error for its sign", "w", "activation_derivative_wrong wrong_tensor", dtype=FLOAT32)

draw = normal(20)
COSINE = {"x": draw(6, 4), "a": draw(6, 4)}
NORMED = {"X": draw(8, 5), "y": draw(8), "v": draw(5), "g": draw()}
loss = with_loss(row_function("cosine"), losses.weighted, lambda c, _: 1 - c.mean(), len, torch.full((6,), -1.0))
case = table("cosine", loss, COSINE, "x", n=6)
case("length as constant", "x", "missing_path")
case("1/|x| forgotten", "x", "missing_factor")
case("sign", "x", "sign", scaled(-1))
case = table("weight norm", mse(weight_norm()), NORMED, "v g", n=8)
case("length as constant", "v", "missing_path", dtype=FLOAT32)
case("g forgotten", "v", "factor missing_factor", dtype=FLOAT32)

draw = normal(21)
MIXTURE = {"x": 2 * draw(25), "mu": draw(3), "rho": 0.5 * draw(3), "pi": draw(3)}
case = table("mixture", mixture(), MIXTURE, "mu rho pi", n=25)
case("responsibilities forgotten", "mu rho pi", "missing_factor")
case("1/σ forgotten", "mu", "missing_factor")
case("log σ forgotten", "rho", "missing_path")
case("normalizer of π forgotten", "pi", "missing_path")
case("sum for mean", "mu rho pi", "factor_n", scaled(25))

draw = normal(22)
EULER = {"x": draw(3), "A": draw(3, 3), "b": draw(3), "y": draw(3)}
loss = with_loss(euler(), losses.squared, lambda o, y: 0.5 * ((o - y) ** 2).sum(), lambda o: 2)
case = table("Euler", loss, EULER, "x A b")
case("step forgotten", "x A b", "missing_factor")
case("step forgotten in A and b", "A b", "factor missing_factor", scaled(10, "A", "b"))
case("identity forgotten", "x A b", "missing_path")
case("A untransposed", "x A b", "transpose wrong_tensor")
case("derivatives in the order of time", "x A b", "activation_derivative_wrong_tensor wrong_tensor")
case("A and b assigned", "A b", "overwritten")
GROWTH = {name: torch.tensor(value) for name, value in {"x": 0.5, "r": 2.0, "K": 3.0}.items()}
case = table("growth of scalars", growth(), GROWTH, "x r K", dtypes=(FLOAT64, FLOAT32))
case("sign of K", "K", "sign", scaled(-1, "K"), FLOAT32)
case("x (1 − x) with one x", "x r K", "missing_path", dtype=FLOAT32)


def two_neighbours(x):
    steps = 2 * x.diff()
    return {"x": F.pad(steps, (1, 0)) - F.pad(steps, (0, 1))}


draw = normal(23)
NEIGHBOURS = {"x": draw(20)}
case = table("roughness", scalar(lambda x: ((x[1:] - x[:-1]) ** 2).sum(), two_neighbours), NEIGHBOURS, "x")
case("one of two neighbours", "x", "missing_path", lambda x, g: {"x": -F.pad(2 * x["x"].diff(), (0, 1))})
case("ends joined", "x", "localized", lambda x, g: {"x": 2 * (2 * x["x"] - x["x"].roll(1) - x["x"].roll(-1))})
case("ends zero", "x", "partial localized", change(lambda x: F.pad(x[1:-1], (1, 1)), "x"))
case = table("cubes", scalar(lambda x: (x**3).sum(), lambda x: {"x": 3 * x**2}), NEIGHBOURS, "x")
case("3 forgotten", "x", "factor", scaled(1 / 3))
case("a coarse quotient", "x", "small_relative", lambda x, g: {"x": ((x["x"] + 1e-4) ** 3 - x["x"] ** 3) / 1e-4})


def relu_layer(at_zero):
    layer = network(["relu"], arithmetic=Arithmetic(kink=at_zero))
    return with_loss(layer, losses.weighted, lambda o, c: (o * c).mean(), lambda o: o.numel(), "C")


draw = normal(24)
KINK = {"X": draw(5, 3), "W1": draw(3, 4), "b1": torch.zeros(4, dtype=torch.float64), "C": draw(5, 4)}
KINK["X"][2] = 0  # with b1 = 0 every unit is at its kink
for at_zero in 0.0, 0.5, 1.0:
    case = table(f"relu′(0) = {at_zero}", relu_layer(at_zero), KINK, "W1 b1", n=5)
case("sign", "W1 b1", "sign", scaled(-1))
case = table("relu′(0) = 3.0", relu_layer(3.0), KINK, "W1 b1", n=5, dtypes=())
case("beyond the one-sided derivatives", "b1", "activation_derivative_wrong")
largest = scalar(lambda x: x.amax(), lambda x: {"x": vector(0, 1, 0, 0, 0)})
case = table("largest of five, three tie", largest, {"x": vector(1, 4, -2, 4, 4)}, "x")
case("each that ties gets all", "x", "unknown partial factor", lambda x, g: {"x": vector(0, 1, 0, 1, 1)})
case("none that ties gets any", "x", "detached", scaled(0))
TIES = {"a": draw(6), "b": draw(6), "c": draw(6)}
TIES["b"][:3] = TIES["a"][:3]
larger = scalar(lambda a, b, c: (torch.maximum(a, b) * c).sum(), lambda a, b, c: {"a": c * (a >= b), "b": c * (a < b)})
case = table("larger of two, ties to a", larger, TIES, "a b")
ROOT = {"x": vector(2, -1, 0.5, -3, 1.5), "c": draw(5)}
root = scalar(
    lambda x, c: (torch.where(x > 0, torch.sqrt(x), 0.0) * c).sum(),  # autograd gives 0 · nan below 0
    lambda x, c: {"x": torch.where(x > 0, x.abs().rsqrt() / 2, 0.0) * c},
)
case = table("where, unused branch nan", root, ROOT, "x")
case("factor 2", "x", "factor_2", scaled(2))
SMALL = {"w": draw(6), "c": 1e-310 * draw(6)}
small = scalar(lambda w, c: (torch.tanh(w) * c).sum(), lambda w, c: {"w": c * (1 - torch.tanh(w) ** 2)})
case = table("subnormal", small, SMALL, "w")
case = table("subnormal in float32", small, SMALL | {"c": 1e-40 * draw(6)}, "w", dtypes=(FLOAT64, FLOAT32))
UNUSED = {"w": 60 * draw(6), "c": draw(6), "unused": draw(2, 3)}
saturated = scalar(
    lambda w, c, unused: (torch.sigmoid(w) * c).sum(),
    lambda w, c, unused: {"w": c * torch.sigmoid(w) * torch.sigmoid(-w), "unused": torch.zeros_like(unused)},
)
case = table("saturated, an unused input", saturated, UNUSED, "w unused")
case("a gradient for an unused input", "unused", "unknown", change(torch.ones_like, "unused"))
