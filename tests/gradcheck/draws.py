"""Right gradients drawn by Hypothesis from the models, in every dtype, well and badly conditioned."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from gradcheck.models import losses
from gradcheck.models.attention import attention, gate
from gradcheck.models.base import Arithmetic, Model
from gradcheck.models.convolution import conv1d
from gradcheck.models.elementwise import LINKS, chain, gaussian
from gradcheck.models.embedding import embedding
from gradcheck.models.linear import affine, network
from gradcheck.models.losses import half_mse, penalized, with_loss
from gradcheck.models.normalization import ROW_FUNCTIONS, normalization, row_function
from gradcheck.models.recurrent import recurrent
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

# over how many decades the columns of ill-conditioned data are spread: squares must not overflow
DECADES = {torch.float64: 12, torch.float32: 12, torch.float16: 2, torch.bfloat16: 6}
LARGE = {torch.float64: 1e3, torch.float32: 1e3, torch.float16: 30.0, torch.bfloat16: 1e3}
TAME = ("normal", "normal", "normal", "integers", "sparse")
EXTREME = ("decades", "decaying rows", "zeros", "tiny", "large", "saturated", "equal", "offset", "small")
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "softplus", "abs", "identity")

Drawn = tuple[Model, dict[str, Tensor]]


class DrawnCase(NamedTuple):
    family: str
    forward: Callable[..., Tensor]
    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]
    n: int
    description: str


class Draw:
    """The choices of one case, and how it is computed."""

    def __init__(self, draw):
        self.draw = draw
        self.choices = []
        self.dtype = self.choice("dtype", *DECADES)
        self.n = self.integer(1, 64)
        self.is_tame = self.boolean("tame")
        self.generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
        kink = self.choice("at a kink", 0.0, 0.5, 1.0)
        order = self.choice("order", "matmul", "einsum", "loop", "reversed loop", "broadcast", "flipped")
        self.arithmetic = Arithmetic(order, kink)

    def choice(self, what, *options):
        self.choices.append((what, self.draw(st.sampled_from(options))))
        return self.choices[-1][1]

    def boolean(self, what):
        return self.choice(what, False, True)

    def integer(self, low, high):
        self.choices.append((f"{low} to {high}", self.draw(st.integers(low, high))))
        return self.choices[-1][1]

    def rand(self, *shape):
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def values(self, *shape, kinds=None):
        """Normal values, or values of one difficult kind."""
        info, large = torch.finfo(self.dtype), LARGE[self.dtype]
        factors = {"zeros": 0, "small": max(1e-4, info.smallest_normal), "large": large}
        kind = self.choice("values", *(kinds or (TAME if self.is_tame else TAME + EXTREME)))
        decades = -self.integer(0, DECADES[self.dtype]) if kind in ("decades", "decaying rows") else 0
        values = self.randn(*(shape or (1,)))
        if kind == "integers":
            values = values.clamp(-2, 2).round()
        elif kind == "sparse":
            values *= self.rand(*values.shape) > 0.7
        elif kind == "decades":
            values *= 10 ** torch.linspace(0, decades, values.shape[-1], dtype=torch.float64)
        elif kind == "decaying rows":
            scales = 10 ** torch.linspace(0, decades, values.shape[0], dtype=torch.float64)
            values *= scales.reshape(-1, *(1,) * (values.dim() - 1))
        elif kind in factors:
            values *= factors[kind]
        elif kind == "tiny":
            values *= info.smallest_normal * self.choice("of the smallest", 1.0, 0.05)
        elif kind == "saturated":
            medium = min(40.0, 0.11 * info.max**0.5)  # float16: 64 squares of 40 would overflow
            values = values.sign() * self.choice("saturated", 20.5, medium, large)
        elif kind == "equal":
            values = values.flatten()[0] + info.eps * values.round()
        elif kind == "offset":
            values = values + self.choice("offset", 1e2, large)
        values = values.reshape(shape).to(self.dtype)
        if len(shape) == 2 and self.boolean("transposed in memory"):
            values = values.T.contiguous().T
        return values

    def exclude_half_at_kinks(self):
        """ReLU′(0) = ½ at two kinks in a row gives ¼, which may lie outside the one-sided derivatives."""
        self.arithmetic = self.arithmetic._replace(kink=float(round(self.arithmetic.kink)))
        self.choices.append(("at a kink", self.arithmetic.kink))

    def activation(self, *names):
        """An activation and one of the ways to write it."""
        return self.choice("activation", *names), self.integer(0, 2)


def draw_network(draw: Draw) -> Drawn:
    draw.exclude_half_at_kinks()
    depth, columns, residual = draw.integer(1, 4), draw.boolean("columns"), draw.boolean("residual")
    sizes = [draw.integer(1, 16) for _ in range(depth + 1)]
    names, variants = zip(*(draw.activation(*ACTIVATIONS) for _ in range(depth)))
    x = draw.values(draw.n, sizes[0])
    inputs = {"X": x.T if columns else x}
    for k, (n_in, n_out) in enumerate(pairwise(sizes), 1):
        inputs[f"W{k}"] = draw.values(*((n_out, n_in) if columns else (n_in, n_out)))
        inputs[f"b{k}"] = draw.values(n_out)
    return network(names, columns, residual, variants, arithmetic=draw.arithmetic), inputs


def draw_regression(draw: Draw) -> Drawn:
    k, columns = draw.integer(1, 16), draw.boolean("columns")
    x, w, b = draw.values(draw.n, k), draw.values(k), draw.values()
    return affine(columns, draw.arithmetic), {"X": x.T if columns else x, "w": w, "b": b}


def draw_ridge(draw: Draw) -> Drawn:
    """The data are fitted up to rounding, or not; X may hold powers of one number."""
    k, rate = draw.integer(1, 12), draw.choice("λ", 0.0, 1e-3, 1.0, 30.0)
    x, w = draw.values(draw.n, k), draw.values(k)
    if draw.dtype in (torch.float64, torch.float32) and draw.boolean("powers"):
        x = (draw.rand(draw.n, 1) ** torch.arange(k)).to(draw.dtype)
    y = (x.double() @ w.double()).to(draw.dtype)
    y = y * draw.choice("fitted", 1, 1 + 8 * torch.finfo(draw.dtype).eps, 1 + 1e-3, -1)
    model = half_mse(affine(arithmetic=draw.arithmetic), divided_late=draw.boolean("divided late"))
    return penalized(model, "squares", rate), {"X": x, "w": w, "y": y}


BINARY_CROSS_ENTROPIES = (  # the last two round extreme probabilities to 0 or 1
    F.binary_cross_entropy_with_logits,
    lambda z, y: (F.softplus(z) - y * z).mean(),
    lambda z, y: -(y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z)).mean(),
    lambda z, y: -(y * torch.sigmoid(z).log() + (1 - y) * (1 - torch.sigmoid(z)).log()).mean(),
    lambda z, y: F.binary_cross_entropy(torch.sigmoid(z), y),
)


def draw_logistic(draw: Draw) -> Drawn:
    k, variant = draw.integer(1, 8), draw.integer(0, 4)
    kinds = None if variant < 3 else TAME
    x, w, b = (draw.values(*shape, kinds=kinds) for shape in ((draw.n, k), (k,), ()))
    y = (draw.rand(draw.n) if draw.boolean("soft targets") else draw.rand(draw.n).round()).to(draw.dtype)
    model = affine(arithmetic=draw.arithmetic)
    model = with_loss(model, losses.logistic, BINARY_CROSS_ENTROPIES[variant], len)
    return model, {"X": x, "w": w, "b": b, "y": y}


CROSS_ENTROPIES = (
    F.cross_entropy,
    lambda z, label: -F.log_softmax(z, 1)[torch.arange(len(z)), label].mean(),
    lambda z, label: (torch.logsumexp(z, 1) - z.gather(1, label[:, None])[:, 0]).mean(),
    lambda z, label: -torch.softmax(z, 1).gather(1, label[:, None]).log().mean(),
)


def draw_classifier(draw: Draw) -> Drawn:
    """Softmax with cross entropy; the labels are an input of integers."""
    k, m, variant = draw.integer(1, 8), draw.integer(1, 10), draw.integer(0, 3)
    kinds = None if variant < 3 else TAME
    label = (draw.rand(draw.n) * m).long()
    x, w, b = (draw.values(*shape, kinds=kinds) for shape in ((draw.n, k), (k, m), (m,)))
    model = affine(arithmetic=draw.arithmetic)
    model = with_loss(model, losses.cross_entropy, CROSS_ENTROPIES[variant], len, "label")
    return model, {"X": x, "W": w, "b": b, "label": label}


def draw_normalization(draw: Draw) -> Drawn:
    k, eps, over_samples = draw.integer(1, 16), draw.choice("ε", 1e-5, 1e-3, 1.0), draw.boolean("over the samples")
    fused = draw.boolean("fused") and not over_samples
    model = normalization(0 if over_samples else 1, eps, fused, draw.arithmetic)
    return model, {"X": draw.values(draw.n, k), "gamma": draw.values(k), "beta": draw.values(k)}


def draw_attention(draw: Draw) -> Drawn:
    d, m = draw.integer(1, 8), draw.integer(1, 8)
    model = attention(draw.boolean("causal"), draw.boolean("fused"), draw.arithmetic)
    return model, {"q": draw.values(draw.n, d), "k": draw.values(draw.n, d), "v": draw.values(draw.n, m)}


def draw_recurrent(draw: Draw) -> Drawn:
    draw.exclude_half_at_kinks()
    steps, k, m, last = draw.integer(1, 8), draw.integer(1, 4), draw.integer(1, 8), draw.boolean("last")
    model = recurrent(*draw.activation("tanh", "tanh", "sigmoid", "relu"), last, draw.arithmetic)
    inputs = {"X": draw.values(steps, draw.n, k), "h": draw.values(draw.n, m)}
    return model, inputs | {"Wx": draw.values(k, m), "Wh": draw.values(m, m), "b": draw.values(m)}


def draw_convolution(draw: Draw) -> Drawn:
    c, m, width = draw.integer(1, 3), draw.integer(1, 4), draw.integer(1, 4)
    model = conv1d(draw.integer(1, 3), draw.integer(0, 2), draw.arithmetic)
    x = draw.values(draw.n, c, draw.integer(width, 12))
    return model, {"x": x, "w": draw.values(m, c, width), "b": draw.values(m)}


def draw_embedding(draw: Draw) -> Drawn:
    rows, k, m = draw.integer(1, 10), draw.integer(1, 8), draw.integer(1, 4)
    index = (draw.rand(draw.n) * rows).long()
    fused, method = draw.boolean("fused"), draw.choice("scattered by", "index_add", "one hot", "loop")
    model = embedding(tanh=True, fused=fused, method=method, arithmetic=draw.arithmetic)
    return model, {"E": draw.values(rows, k), "W": draw.values(k, m), "index": index}


def draw_gate(draw: Draw) -> Drawn:
    k, highway = draw.integer(1, 10), draw.boolean("highway")
    m = k if highway else draw.integer(1, 10)
    model = gate(highway=highway, arithmetic=draw.arithmetic)
    return model, {"X": draw.values(draw.n, k), "Wa": draw.values(k, m), "Wb": draw.values(k, m)}


HINGES = (torch.relu, lambda m: m.clamp(min=0), lambda m: torch.maximum(m, torch.zeros_like(m)))


def draw_hinge(draw: Draw) -> Drawn:
    k, squared, variant = draw.integer(1, 8), draw.boolean("squared"), draw.integer(0, 2)
    rate = draw.choice("λ", 0.0, 1e-2, 1.0)
    y = (2 * draw.rand(draw.n).round() - 1).to(draw.dtype)

    def forward(o, y):
        part = HINGES[variant](1 - y * o)
        return (part**2 if squared else part).mean()

    error = losses.squared_hinge if squared else losses.hinge
    model = with_loss(affine(arithmetic=draw.arithmetic), error, forward, len, arithmetic=draw.arithmetic)
    return penalized(model, "squares", rate), {"X": draw.values(draw.n, k), "w": draw.values(k), "y": y}


def draw_lasso(draw: Draw) -> Drawn:
    """With the square or the absolute value of the error."""
    k, absolute, rate = draw.integer(1, 10), draw.boolean("absolute"), draw.choice("λ", 1e-2, 1.0, 10.0)
    x, w = draw.values(draw.n, k), draw.values(k, kinds=("integers", "sparse", "zeros", "normal"))
    y = x @ w if draw.boolean("fitted") else draw.values(draw.n)
    error, size = (losses.absolute, len) if absolute else (losses.squared, lambda o: 2 * len(o))
    forward = F.l1_loss if absolute else lambda o, y: F.mse_loss(o, y) / 2
    model = with_loss(affine(arithmetic=draw.arithmetic), error, forward, size, arithmetic=draw.arithmetic)
    return penalized(model, "absolute values", rate, arithmetic=draw.arithmetic), {"X": x, "w": w, "y": y}


def draw_chain(draw: Draw) -> Drawn:
    """The inputs are above 0."""
    k = draw.integer(1, 8)
    model = chain([draw.choice("link", *LINKS) for _ in range(draw.integer(1, 5))])
    return model, {"x": draw.values(draw.n, k).abs()}


def draw_row_function(draw: Draw) -> Drawn:
    k, kind = draw.integer(1, 8), draw.choice("function", *ROW_FUNCTIONS)
    kinds = TAME if kind in ("two", "unit", "cosine") else None
    inputs = {name: draw.values(draw.n, k, kinds=kinds) for name in (("x", "a") if kind == "cosine" else ("x",))}
    return row_function(kind, draw.arithmetic), inputs


def draw_gaussian(draw: Draw) -> Drawn:
    k = draw.integer(1, 6)
    m = draw.values(draw.n, k)
    y = m * (1 + 4 * torch.finfo(draw.dtype).eps) if draw.boolean("fitted") else draw.values(draw.n, k)
    v = draw.values(draw.n, k, kinds=("normal", "integers", "zeros", "equal", "small"))
    return gaussian(), {"m": m, "v": v, "y": y}


FAMILIES = {name.removeprefix("draw_"): draw for name, draw in globals().items() if name.startswith("draw_")}
LOSSES = {
    "squared": (losses.squared, lambda o, y: F.mse_loss(o, y, reduction="sum")),
    "absolute": (losses.absolute, lambda o, y: (o - y).abs().sum()),
    "logistic": (losses.logistic, lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="sum")),
    "huber": (losses.huber, lambda o, y: F.smooth_l1_loss(o, y, reduction="sum")),
    "weighted": (losses.weighted, lambda o, y: (o * y).sum()),
    "log cosh": (losses.log_cosh, lambda o, y: torch.logaddexp(o - y, y - o).sum()),
}


def cast(inputs, dtype):
    """The inputs in this dtype, except for integers."""
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}


def draw_loss(draw: Draw, model: Model, inputs: dict[str, Tensor]) -> Drawn:
    """The model with a loss of its output and a target, which the output may meet up to rounding."""
    with torch.no_grad():
        output = model.forward(**cast(inputs, torch.float64))
    assume(bool(output.isfinite().all()))
    if output.dim() == 0:
        return model, inputs
    kind = draw.choice("loss", "squared", *LOSSES)
    size = draw.choice("divided by", 1, 2, draw.n, 2 * draw.n, output.numel())
    late = draw.boolean("divided late")
    met = draw.choice("target", "drawn", "met", "nearly met") if kind in ("squared", "absolute", "huber") else "drawn"
    if met == "drawn":
        y = draw.rand(*output.shape).to(draw.dtype) if kind == "logistic" else draw.values(*output.shape)
    else:
        y = (output * (1 if met == "met" else 1 + 1e-6 * draw.randn(*output.shape))).to(draw.dtype)
    error, forward = LOSSES[kind]
    model = with_loss(
        model, error, lambda o, y: forward(o, y) / size, lambda o: size, "y", late, arithmetic=draw.arithmetic
    )
    return model, inputs | {"y": y}


def all_finite(*tensors):
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


@st.composite
def right_gradients(draw_from):
    """Cases of finite losses and finite gradients."""
    family = draw_from(st.sampled_from(sorted(FAMILIES)))
    draw = Draw(draw_from)
    model, inputs = draw_loss(draw, *FAMILIES[family](draw))
    computed_in = draw.choice("computed in", *3 * [draw.dtype], torch.promote_types(draw.dtype, torch.float32))
    assume(all_finite(*inputs.values()))
    with torch.no_grad():
        loss, pull = model.manual((), **cast(inputs, computed_in))
        manual = pull(torch.ones_like(loss))
        assume(all_finite(loss, *manual.values(), model.forward(**inputs)))
    if draw.boolean("rounded in the end"):
        manual = cast(manual, draw.dtype)
        assume(all_finite(*manual.values()))
    description = "; ".join(f"{what}: {chosen}" for what, chosen in draw.choices)
    return DrawnCase(family, model.forward, inputs, manual, draw.n, description)
