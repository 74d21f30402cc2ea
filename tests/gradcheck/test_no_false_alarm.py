"""Whoever writes a gradient right hears no complaint: models with a backward by hand, in every type and condition."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from nnmath.gradcheck import check_gradients

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
DECADES = {torch.float64: 12, torch.float32: 12, torch.float16: 2, torch.bfloat16: 6}
"""Over how many the columns of ill-conditioned data are spread: squares must not overflow."""
LARGE = {torch.float64: 1e3, torch.float32: 1e3, torch.float16: 30.0, torch.bfloat16: 1e3}
LOOPED = 64
"""Up to so many samples are added one by one: bfloat16 loses the 257th of equal terms altogether."""
PLAIN = ("normal", "normal", "normal", "integers", "sparse")
EXTREME = ("decades", "decaying rows", "zeros", "tiny", "large", "saturated", "alike", "offset", "small")
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "softplus", "abs", "identity")
SLOPE = 0.01
"""Of leaky ReLU below 0."""


class Model(NamedTuple):
    """A function of tensors twice: in torch, and by hand with its backward.

    by_hand(**inputs) gives the output and the function that takes the output's gradient to those of the inputs.
    """

    inputs: dict[str, Tensor]
    forward: Callable[..., Tensor]
    by_hand: Callable[..., tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]]


class Case(NamedTuple):
    family: str
    dtype: torch.dtype
    forward: Callable[..., Tensor]
    inputs: dict[str, Tensor]
    by_hand: Callable[..., dict[str, Tensor]]
    gradients: dict[str, Tensor]
    n: int
    told: str


class Draw:
    """What is drawn for one case; sums and products over the samples are in the drawn order."""

    def __init__(self, draw):
        self.draw = draw
        self.told = []
        self.dtype = self.one_of("dtype", *DTYPES)
        self.n = self.whole(1, 64)
        self.tame = self.coin("tame")
        self.generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
        self.kink = self.one_of("at a kink", 0.0, 0.5, 1.0)
        self.order = self.one_of("order", "matmul", "einsum", "loop", "reversed loop", "broadcast", "flipped")

    def one_of(self, what, *options):
        chosen = self.draw(st.sampled_from(options))
        self.told.append(f"{what}: {chosen}")
        return chosen

    def coin(self, what):
        return self.one_of(what, False, True)

    def whole(self, low, high):
        return self.draw(st.integers(low, high))

    def rand(self, *shape):
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def values(self, *shape, kinds=None):
        """Of one kind of trouble, or of none."""
        info = torch.finfo(self.dtype)
        kind = self.one_of("values", *(kinds or (PLAIN if self.tame else PLAIN + EXTREME)))
        decades = -self.draw(st.integers(0, DECADES[self.dtype])) if kind in ("decades", "decaying rows") else 0
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
        elif kind == "zeros":
            values *= 0
        elif kind == "tiny":
            values *= info.smallest_normal * self.one_of("of the smallest", 1.0, 0.05)
        elif kind == "small":
            values *= max(1e-4, info.smallest_normal)
        elif kind == "large":
            values *= LARGE[self.dtype]
        elif kind == "saturated":
            values = values.sign() * self.one_of("saturated", 20.5, 40.0, LARGE[self.dtype])
        elif kind == "alike":
            values = values.flatten()[0] + info.eps * values.round()
        elif kind == "offset":
            values = values + self.one_of("offset", 1e2, LARGE[self.dtype])
        values = values.reshape(shape).to(self.dtype)
        if len(shape) == 2 and self.coin("transposed in memory"):
            values = values.T.contiguous().T
        return values

    def product(self, x, d):
        """Σᵢ xᵢ dᵢ over the samples, x being (n, k) and d (n,) or (n, m)."""
        flat, d = d.dim() == 1, d.reshape(len(d), -1)
        if self.order == "matmul":
            result = x.T @ d
        elif self.order == "einsum":
            result = torch.einsum("ik,im->km", x, d)
        elif self.order == "broadcast":
            result = (x[:, :, None] * d[:, None, :]).sum(0)
        elif self.order == "flipped" or len(d) > LOOPED:
            result = x.flip(0).T @ d.flip(0)
        else:
            samples = range(len(d)) if self.order == "loop" else reversed(range(len(d)))
            result = torch.zeros(x.shape[1], d.shape[1], dtype=d.dtype)
            for i in samples:
                result = result + x[i][:, None] * d[i][None, :]
        return result[:, 0] if flat else result

    def total(self, d):
        """The sum over the samples."""
        if len(d) > LOOPED:
            return d.flip(0).sum(0)
        if self.order == "loop":
            return sum(d[i] for i in range(len(d)))
        if self.order == "reversed loop":
            return sum(d[i] for i in reversed(range(len(d))))
        if self.order == "matmul":
            return (torch.ones(1, len(d), dtype=d.dtype) @ d.reshape(len(d), -1)).reshape(d.shape[1:])
        return d.flip(0).sum(0) if self.order == "flipped" else d.sum(0)

    def above(self, z, at=0.0):
        """The derivative of max(z, 0), with the drawn convention at the kink."""
        return (z > at).to(z.dtype) + self.kink * (z == at).to(z.dtype)

    def one_sided(self):
        """Where kinks follow each other, ½ at each is ¼ at both, which may lie outside of the one-sided derivatives."""
        self.kink = float(round(self.kink))
        self.told.append(f"at a kink: {self.kink}")

    def activation(self, name):
        """A function in torch, and by hand: z ↦ its value and its derivative."""
        variant = self.whole(0, 2)
        self.told.append(f"{name} {variant}")
        return partial(by_torch, name, variant), partial(by_hand, self, name, variant)


def by_torch(name, variant, z):
    if name == "sigmoid":
        return (torch.sigmoid, F.sigmoid, lambda z: (1 + torch.tanh(z / 2)) / 2)[variant](z)
    if name == "relu":
        return (torch.relu, lambda z: z.clamp(min=0), lambda z: torch.where(z > 0, z, torch.zeros_like(z)))[variant](z)
    if name == "leaky_relu":
        other = (lambda z: torch.maximum(z, SLOPE * z), lambda z: torch.where(z > 0, z, SLOPE * z))
        return (partial(F.leaky_relu, negative_slope=SLOPE), *other)[variant](z)
    if name == "softplus":
        return (F.softplus, lambda z: torch.logaddexp(z, torch.zeros_like(z)), lambda z: -F.logsigmoid(-z))[variant](z)
    return {"tanh": torch.tanh, "abs": torch.abs, "identity": lambda z: z}[name](z)


def by_hand(s, name, variant, z):
    if name == "sigmoid":
        h = torch.sigmoid(z)
        return h, (h * (1 - h), (1 - h) * h, h * torch.sigmoid(-z))[variant]
    if name == "tanh":
        h = torch.tanh(z)
        return h, (1 - h * h, (1 - h) * (1 + h), 1 / torch.cosh(z) ** 2)[variant]
    if name == "relu":
        return z.clamp(min=0), s.above(z)
    if name == "leaky_relu":
        return torch.where(z > 0, z, SLOPE * z), SLOPE + (1 - SLOPE) * s.above(z)
    if name == "softplus":
        h = F.softplus(z) if variant == 0 else torch.logaddexp(z, torch.zeros_like(z))  # torch's is z from 20 on
        return h, (torch.sigmoid(z), -torch.expm1(-h), 1 / (1 + torch.exp(-z)))[variant]
    if name == "abs":
        return z.abs(), 2 * s.above(z) - 1
    return z, torch.ones_like(z)


def softmax(z):
    e = torch.exp(z - z.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def softmax_slope(p, d):
    return p * (d - (p * d).sum(-1, keepdim=True))


def network(s):
    """Layers in rows, h W + b, or in columns, W h + b, with or without a residual path."""
    s.one_sided()
    depth, rows, residual = s.whole(1, 4), s.coin("rows"), s.coin("residual")
    sizes = [s.whole(1, 16) for _ in range(depth + 1)]
    layers = [s.activation(s.one_of("activation", *ACTIVATIONS)) for _ in range(depth)]
    inputs = {"x": s.values(s.n, sizes[0])}
    for k, (before, after) in enumerate(pairwise(sizes)):
        inputs[f"w{k}"] = s.values(*((before, after) if rows else (after, before)))
        inputs[f"b{k}"] = s.values(after)

    def forward(x, **p):
        h = x if rows else x.T
        for k, (act, _) in enumerate(layers):
            h_in = h
            z = h @ p[f"w{k}"] + p[f"b{k}"] if rows else p[f"w{k}"] @ h + p[f"b{k}"][:, None]
            h = act(z)
            if residual and h.shape == h_in.shape:
                h = h + h_in
        return h if rows else h.T

    def hand(x, **p):
        h, steps = x, []
        for k, (_, act) in enumerate(layers):
            w = p[f"w{k}"] if rows else p[f"w{k}"].T
            value, slope = act(h @ w + p[f"b{k}"])
            through = residual and value.shape == h.shape
            steps.append((h, w, slope, through))
            h = value + h if through else value

        def pull(d):
            gradients = {}
            for k, (h, w, slope, through) in reversed(list(enumerate(steps))):
                delta = d * slope
                gradients[f"w{k}"] = s.product(h, delta) if rows else s.product(delta, h)
                gradients[f"b{k}"] = s.total(delta)
                d = delta @ w.T + d if through else delta @ w.T
            return gradients | {"x": d}

        return h, pull

    return Model(inputs, forward, hand)


def regression(s):
    """x w + b, of no shape but n."""
    k = s.whole(1, 16)
    columns = s.coin("columns")
    x, w, b = s.values(s.n, k), s.values(k), s.values()

    def forward(x, w, b):
        return (w @ x if columns else x @ w) + b

    def hand(x, w, b):
        x = x.T if columns else x

        def pull(d):
            back = d[:, None] * w
            return {"x": back.T if columns else back, "w": s.product(x, d), "b": s.total(d)}

        return x @ w + b, pull

    return Model({"x": x.T if columns else x, "w": w, "b": b}, forward, hand)


def ridge(s):
    """½ Σ (x w − y)² / n + ½ λ w², the data being fitted but for a rounding, or not; x may be powers of one number."""
    k, penalty = s.whole(1, 12), s.one_of("λ", 0.0, 1e-3, 1.0, 30.0)
    x, w = s.values(s.n, k), s.values(k)
    if s.dtype in (torch.float64, torch.float32) and s.coin("powers"):
        x = (s.rand(s.n, 1) ** torch.arange(k)).to(s.dtype)
    y = (x.double() @ w.double()).to(s.dtype)
    y = y * s.one_of("fitted", 1, 1 + 8 * torch.finfo(s.dtype).eps, 1 + 1e-3, -1)

    def forward(x, w, y):
        return ((x @ w - y) ** 2).mean() / 2 + penalty / 2 * (w**2).sum()

    def hand(x, w, y):
        r = x @ w - y
        loss = (r * r).sum() / (2 * len(r)) + penalty / 2 * (w * w).sum()

        def pull(_):
            return {"w": s.product(x, r) / len(r) + penalty * w, "x": r[:, None] * (w / len(r)), "y": -r / len(r)}

        return loss, pull

    return Model({"x": x, "w": w, "y": y}, forward, hand)


def logistic(s):
    """Cross entropy of a sigmoid, from its logit or from its value."""
    k, variant = s.whole(1, 8), s.whole(0, 4)
    s.told.append(f"cross entropy {variant}")
    kinds = None if variant < 3 else PLAIN
    x, w, b = s.values(s.n, k, kinds=kinds), s.values(k, kinds=kinds), s.values(kinds=kinds)
    y = (s.rand(s.n) if s.coin("soft targets") else s.rand(s.n).round()).to(s.dtype)

    def forward(x, w, b, y):
        z = x @ w + b
        if variant == 0:
            return F.binary_cross_entropy_with_logits(z, y)
        if variant == 1:
            return (F.softplus(z) - y * z).mean()
        if variant == 2:
            return -(y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z)).mean()
        p = torch.sigmoid(z)
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean() if variant == 3 else F.binary_cross_entropy(p, y)

    def hand(x, w, b, y):
        z = x @ w + b
        p = torch.sigmoid(z)
        loss = (torch.logaddexp(z, torch.zeros_like(z)) - y * z).mean()

        def pull(_):
            d = (p - y) / len(y)
            return {"w": s.product(x, d), "b": s.total(d), "x": torch.outer(d, w), "y": -z / len(y)}

        return loss, pull

    return Model({"x": x, "w": w, "b": b, "y": y}, forward, hand)


def classifier(s):
    """Softmax with cross entropy, from labels that are an input of integers."""
    k, m, variant = s.whole(1, 8), s.whole(1, 10), s.whole(0, 3)
    s.told.append(f"cross entropy {variant}")
    label = (s.rand(s.n) * m).long()

    def forward(x, w, b, label):
        z = x @ w + b
        if variant == 0:
            return F.cross_entropy(z, label)
        if variant == 1:
            return -F.log_softmax(z, 1)[torch.arange(len(z)), label].mean()
        if variant == 2:
            return (torch.logsumexp(z, 1) - z.gather(1, label[:, None])[:, 0]).mean()
        return -torch.softmax(z, 1).gather(1, label[:, None]).log().mean()

    def hand(x, w, b, label):
        z = x @ w + b
        z = z - z.amax(1, keepdim=True)
        loss = (z.exp().sum(1).log() - z[torch.arange(len(z)), label]).mean()

        def pull(_):
            d = (softmax(z) - F.one_hot(label, m).to(z.dtype)) / len(z)
            return {"w": s.product(x, d), "b": s.total(d), "x": d @ w.T}

        return loss, pull

    kinds = None if variant < 3 else PLAIN
    inputs = {"x": s.values(s.n, k, kinds=kinds), "w": s.values(k, m, kinds=kinds), "b": s.values(m, kinds=kinds)}
    return Model(inputs | {"label": label}, forward, hand)


def layer_norm(s):
    """Over the features, or over the samples: batch norm."""
    k, small, over_samples = s.whole(1, 16), s.one_of("ε", 1e-5, 1e-3, 1.0), s.coin("over the samples")
    axis = 0 if over_samples else 1
    fused = s.coin("fused") and not over_samples

    def forward(x, gain, bias):
        if fused:
            return F.layer_norm(x, (k,), gain, bias, small)
        centred = x - x.mean(axis, keepdim=True)
        return gain * centred / ((centred**2).mean(axis, keepdim=True) + small).sqrt() + bias

    def hand(x, gain, bias):
        centred = x - x.mean(axis, keepdim=True)
        centred = centred - centred.mean(axis, keepdim=True)  # of what rounding left: the formula below takes it for 0
        sigma = torch.sqrt((centred * centred).mean(axis, keepdim=True) + small)
        normal = centred / sigma

        def pull(d):
            dn = d * gain
            back = dn - dn.mean(axis, keepdim=True) - normal * (dn * normal).mean(axis, keepdim=True)
            return {"x": back / sigma, "gain": s.total(d * normal), "bias": s.total(d)}

        return gain * normal + bias, pull

    return Model({"x": s.values(s.n, k), "gain": s.values(k), "bias": s.values(k)}, forward, hand)


def attention(s):
    """softmax(q kᵀ / √d) v, causal or not."""
    d, m, keys = s.whole(1, 8), s.whole(1, 8), s.n
    causal, fused = s.coin("causal"), s.coin("fused")
    mask = torch.ones(s.n, keys, dtype=torch.bool).tril() if causal else torch.ones(s.n, keys, dtype=torch.bool)

    def forward(q, k, v):
        if fused:
            return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal)[0]
        return torch.softmax((q @ k.T / d**0.5).masked_fill(~mask, -torch.inf), 1) @ v

    def hand(q, k, v):
        p = softmax((q @ k.T / d**0.5).masked_fill(~mask, -torch.inf))

        def pull(g):
            scores = softmax_slope(p, g @ v.T) / d**0.5
            return {"q": scores @ k, "k": s.product(scores, q), "v": s.product(p, g)}

        return p @ v, pull

    return Model({"q": s.values(s.n, d), "k": s.values(keys, d), "v": s.values(keys, m)}, forward, hand)


def recurrent(s):
    """hₜ = φ(xₜ w + hₜ₋₁ u + b) over time; the output is the last one or the sum of all."""
    s.one_sided()
    steps, k, m, last = s.whole(1, 8), s.whole(1, 4), s.whole(1, 8), s.coin("last")
    act, slope_by_hand = s.activation(s.one_of("activation", "tanh", "tanh", "sigmoid", "relu"))

    def forward(x, h, w, u, b):
        total = 0
        for t in range(steps):
            h = act(x[t] @ w + h @ u + b)
            total = total + h
        return h if last else total

    def hand(x, h, w, u, b):
        history, slopes = [h], []
        for t in range(steps):
            value, slope = slope_by_hand(x[t] @ w + history[-1] @ u + b)
            history.append(value)
            slopes.append(slope)

        def pull(g):
            carried = back = g
            dw, du, db, dx = torch.zeros_like(w), torch.zeros_like(u), torch.zeros_like(b), torch.zeros_like(x)
            for t in reversed(range(steps)):
                delta = back * slopes[t]
                dw, du, db = dw + s.product(x[t], delta), du + s.product(history[t], delta), db + s.total(delta)
                dx[t] = delta @ w.T
                carried = delta @ u.T
                back = carried if last else carried + g
            return {"x": dx, "h": carried, "w": dw, "u": du, "b": db}

        return history[-1] if last else sum(history[1:]), pull

    inputs = {"x": s.values(steps, s.n, k), "h": s.values(s.n, m), "w": s.values(k, m), "u": s.values(m, m)}
    return Model(inputs | {"b": s.values(m)}, forward, hand)


def convolution(s):
    """In one dimension, with stride and padding."""
    c, m, width, stride, padding = s.whole(1, 3), s.whole(1, 4), s.whole(1, 4), s.whole(1, 3), s.whole(0, 2)
    length = s.whole(width, 12)

    def forward(x, w, b):
        return F.conv1d(x, w, b, stride=stride, padding=padding).flatten(1)

    def hand(x, w, b):
        padded = F.pad(x, (padding, padding))
        out = (padded.shape[2] - width) // stride + 1
        windows = torch.stack([padded[:, :, j : j + stride * (out - 1) + 1 : stride] for j in range(width)], 3)
        value = torch.einsum("nclj,mcj->nml", windows, w) + b[:, None]

        def pull(d):
            d = d.reshape(value.shape)
            columns = windows.permute(0, 2, 1, 3).reshape(-1, c * width)
            delta = d.permute(0, 2, 1).reshape(-1, m)
            dx = torch.zeros_like(padded)
            for j in range(width):
                dx[:, :, j : j + stride * (out - 1) + 1 : stride] += torch.einsum("nml,mc->ncl", d, w[:, :, j])
            dx = dx[:, :, padding : padding + x.shape[2]]
            return {"x": dx, "w": s.product(delta, columns).reshape(w.shape), "b": s.total(delta)}

        return value.flatten(1), pull

    return Model({"x": s.values(s.n, c, length), "w": s.values(m, c, width), "b": s.values(m)}, forward, hand)


def embedding(s):
    """Rows of a table by indices that repeat."""
    rows, k, m = s.whole(1, 10), s.whole(1, 8), s.whole(1, 4)
    index = (s.rand(s.n) * rows).long()
    fused, way = s.coin("fused"), s.one_of("scattered by", "index_add", "one hot", "loop")

    def forward(table, w, index):
        return torch.tanh(F.embedding(index, table) if fused else table[index]) @ w

    def hand(table, w, index):
        h = torch.tanh(table[index])

        def pull(d):
            delta = d @ w.T * (1 - h * h)
            back = torch.zeros_like(table)
            if way == "index_add":
                back = back.index_add(0, index, delta)
            elif way == "one hot":
                back = F.one_hot(index, rows).to(delta.dtype).T @ delta
            else:
                for i, row in enumerate(index.tolist()):
                    back[row] += delta[i]
            return {"table": back, "w": s.product(h, d)}

        return h @ w, pull

    return Model({"table": s.values(rows, k), "w": s.values(k, m), "index": index}, forward, hand)


def gates(s):
    """σ(x w) tanh(x v), or the highway's σ(x w) tanh(x v) + (1 − σ(x w)) x."""
    k, highway = s.whole(1, 10), s.coin("highway")
    m = k if highway else s.whole(1, 10)

    def forward(x, w, v):
        g, h = torch.sigmoid(x @ w), torch.tanh(x @ v)
        return g * h + (1 - g) * x if highway else g * h

    def hand(x, w, v):
        g, h = torch.sigmoid(x @ w), torch.tanh(x @ v)

        def pull(d):
            other = h - x if highway else h
            dg, dh = d * other * g * (1 - g), d * g * (1 - h * h)
            dx = dg @ w.T + dh @ v.T
            return {"w": s.product(x, dg), "v": s.product(x, dh), "x": dx + d * (1 - g) if highway else dx}

        return g * h + (1 - g) * x if highway else g * h, pull

    return Model({"x": s.values(s.n, k), "w": s.values(k, m), "v": s.values(k, m)}, forward, hand)


def hinge(s):
    """max(0, 1 − y x w), squared or not, and ½ λ w²."""
    k, squared, variant, penalty = s.whole(1, 8), s.coin("squared"), s.whole(0, 2), s.one_of("λ", 0.0, 1e-2, 1.0)
    y = (2 * s.rand(s.n).round() - 1).to(s.dtype)

    def forward(x, w, y):
        margin = 1 - y * (x @ w)
        other = (lambda m: m.clamp(min=0), lambda m: torch.maximum(m, torch.zeros_like(m)))
        part = (torch.relu, *other)[variant](margin)
        return (part**2 if squared else part).mean() + penalty / 2 * (w**2).sum()

    def hand(x, w, y):
        margin = 1 - y * (x @ w)
        part = margin.clamp(min=0)
        loss = (part * part if squared else part).mean() + penalty / 2 * (w * w).sum()

        def pull(_):
            d = (2 * part if squared else s.above(margin)) / len(y)
            return {"w": penalty * w - s.product(x, d * y), "x": -torch.outer(d * y, w), "y": -d * (x @ w)}

        return loss, pull

    return Model({"x": s.values(s.n, k), "w": s.values(k), "y": y}, forward, hand)


def lasso(s):
    """½ Σ (x w − y)² / n + λ |w|₁, or with |x w − y| for the square."""
    k, absolute, penalty = s.whole(1, 10), s.coin("absolute"), s.one_of("λ", 1e-2, 1.0, 10.0)
    x, w = s.values(s.n, k), s.values(k, kinds=("integers", "sparse", "zeros", "normal"))
    y = (x @ w) if s.coin("fitted") else s.values(s.n)

    def forward(x, w, y):
        fit = F.l1_loss(x @ w, y) if absolute else F.mse_loss(x @ w, y) / 2
        return fit + penalty * w.abs().sum()

    def hand(x, w, y):
        r = x @ w - y
        loss = (r.abs() if absolute else r * r / 2).mean() + penalty * w.abs().sum()

        def pull(_):
            d = (2 * s.above(r) - 1 if absolute else r) / len(y)
            return {"w": s.product(x, d) + penalty * (2 * s.above(w) - 1), "x": torch.outer(d, w), "y": -d}

        return loss, pull

    return Model({"x": x, "w": w, "y": y}, forward, hand)


LINKS = {
    "sqrt": (lambda u: (u + 1).sqrt(), lambda u, v: 1 / (2 * v)),
    "log": (lambda u: (u + 1).log(), lambda u, v: 1 / (1 + u)),
    "exp": (lambda u: torch.exp(-u), lambda u, v: -v),
    "square": (lambda u: u**2, lambda u, v: 2 * u),
    "ratio": (lambda u: u / (1 + u), lambda u, v: 1 / ((1 + u) * (1 + u))),
    "sine": (lambda u: 1 + torch.sin(u), lambda u, v: torch.cos(u)),
    "atan": (torch.atan, lambda u, v: 1 / (1 + u * u)),
    "log1p": (torch.log1p, lambda u, v: 1 / (1 + u)),
    "cube": (lambda u: u**3, lambda u, v: 3 * u * u),
    "root": (lambda u: (u * u + 1e-2).sqrt(), lambda u, v: u / v),
}


def chain(s):
    """Functions of functions of an entry that is above 0."""
    k = s.whole(1, 8)
    links = [LINKS[s.one_of("link", *LINKS)] for _ in range(s.whole(1, 5))]

    def forward(x):
        for function, _ in links:
            x = function(x)
        return x

    def hand(x):
        slopes = []
        for function, slope in links:
            value = function(x)
            slopes.append(slope(x, value))
            x = value

        def pull(d):
            for slope in reversed(slopes):
                d = d * slope
            return {"x": d}

        return x, pull

    return Model({"x": s.values(s.n, k).abs()}, forward, hand)


def norms(s):
    """Norms of rows, rows over their norm, their logsumexp, their largest entry, their variance, their cosines."""
    k, kind = s.whole(1, 8), s.one_of("norm", "two", "unit", "logsumexp", "largest", "variance", "one", "cosine")
    even = s.coin("ties evenly")
    kinds = PLAIN if kind in ("two", "unit", "cosine") else None
    inputs = {"x": s.values(s.n, k, kinds=kinds)}
    if kind == "cosine":
        inputs["a"] = s.values(s.n, k, kinds=kinds)

    def forward(x, a=None):
        if kind == "two":
            return torch.linalg.vector_norm(x, dim=1)
        if kind == "unit":
            return F.normalize(x, dim=1)
        if kind == "cosine":
            return F.cosine_similarity(x, a, dim=1)
        if kind == "logsumexp":
            return torch.logsumexp(x, 1)
        if kind == "largest":
            return x.amax(1) if even else x.max(1).values
        return x.var(1, correction=0) if kind == "variance" else x.abs().sum(1)

    def hand(x, a=None):
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        unit = torch.where(norm == 0, 0.0, x / norm)
        if kind == "two":
            return norm[:, 0], lambda d: {"x": d[:, None] * unit}
        if kind == "unit":
            return unit, lambda d: {"x": (d - unit * (unit * d).sum(1, keepdim=True)) / norm}
        if kind == "cosine":
            size = torch.linalg.vector_norm(a, dim=1, keepdim=True)
            other = a / size
            c = (unit * other).sum(1, keepdim=True)
            return c[:, 0], lambda d: {
                "x": d[:, None] * (other - c * unit) / norm,
                "a": d[:, None] * (unit - c * other) / size,
            }
        if kind == "logsumexp":
            largest = x.amax(1, keepdim=True)
            return ((x - largest).exp().sum(1, keepdim=True).log() + largest)[:, 0], lambda d: {
                "x": d[:, None] * softmax(x)
            }
        if kind == "largest":
            value = x.amax(1, keepdim=True)
            best = (x == value).to(x.dtype)
            share = best / best.sum(1, keepdim=True) if even else F.one_hot(x.argmax(1), k).to(x.dtype)
            return value[:, 0], lambda d: {"x": d[:, None] * share}
        if kind == "variance":
            centred = x - x.mean(1, keepdim=True)
            return (centred**2).mean(1), lambda d: {"x": d[:, None] * (2 / k) * centred}
        return x.abs().sum(1), lambda d: {"x": d[:, None] * (2 * s.above(x) - 1)}

    return Model(inputs, forward, hand)


def gaussian(s):
    """The mean's and the log variance's likelihood, of entries: ½ Σ (v + (y − m)² e⁻ᵛ) / n."""
    k = s.whole(1, 6)
    kinds = ("normal", "integers", "zeros", "alike", "small")

    def forward(m, v, y):
        return (v + (y - m) ** 2 * torch.exp(-v)).sum() / (2 * len(y))

    def hand(m, v, y):
        r = m - y
        weight = torch.exp(-v)
        loss = (v + r * r * weight).sum() / (2 * len(y))

        def pull(_):
            return {"m": r * weight / len(y), "y": -r * weight / len(y), "v": (1 - r * r * weight) / (2 * len(y))}

        return loss, pull

    m = s.values(s.n, k)
    y = m * (1 + 4 * torch.finfo(s.dtype).eps) if s.coin("fitted") else s.values(s.n, k)
    return Model({"m": m, "v": s.values(s.n, k, kinds=kinds), "y": y}, forward, hand)


FAMILIES = {
    family.__name__: family
    for family in (
        network,
        regression,
        ridge,
        logistic,
        classifier,
        layer_norm,
        attention,
        recurrent,
        convolution,
        embedding,
        gates,
        hinge,
        lasso,
        chain,
        norms,
        gaussian,
    )
}


def with_loss(s, model):
    """The model below a loss of its outputs and targets, which may be met but for a rounding."""
    with torch.no_grad():
        output = model.forward(**{k: t.double() if t.is_floating_point() else t for k, t in model.inputs.items()})
    assume(bool(output.isfinite().all()))
    if output.dim() == 0:
        return model
    kind = s.one_of("loss", "squared", "squared", "absolute", "logistic", "huber", "weighted", "log cosh")
    size = s.one_of("divided by", 1, 2, output.shape[0], 2 * output.shape[0], output.numel())
    late = s.coin("divided late")
    met = s.one_of("target", "drawn", "met", "nearly met") if kind in ("squared", "absolute", "huber") else "drawn"
    if met == "drawn":
        y = s.rand(*output.shape).to(s.dtype) if kind == "logistic" else s.values(*output.shape)
    else:
        y = (output * (1 if met == "met" else 1 + 1e-6 * s.randn(*output.shape))).to(s.dtype)

    def forward(y, **inputs):
        o = model.forward(**inputs)
        if kind == "squared":
            return F.mse_loss(o, y, reduction="sum") / size
        if kind == "absolute":
            return (o - y).abs().sum() / size
        if kind == "logistic":
            return F.binary_cross_entropy_with_logits(o, y, reduction="sum") / size
        if kind == "huber":
            return F.smooth_l1_loss(o, y, reduction="sum") / size
        if kind == "weighted":
            return (o * y).sum() / size
        return (torch.logaddexp(o - y, y - o)).sum() / size

    def hand(y, **inputs):
        o, pull = model.by_hand(**inputs)
        r = o - y
        value, slope = {
            "squared": lambda: (r * r, 2 * r),
            "absolute": lambda: (r.abs(), 2 * s.above(r) - 1),
            "logistic": lambda: (torch.logaddexp(o, torch.zeros_like(o)) - y * o, torch.sigmoid(o) - y),
            "huber": lambda: (torch.where(r.abs() < 1, r * r / 2, r.abs() - 0.5), r.clamp(-1, 1)),
            "weighted": lambda: (o * y, y),
            "log cosh": lambda: (torch.logaddexp(r, -r), torch.tanh(r)),
        }[kind]()
        of_target = {"logistic": lambda: -o, "weighted": lambda: o}.get(kind, lambda: -slope)()

        def divided(_):
            if late:
                return {name: g / size for name, g in pull(slope).items()} | {"y": of_target / size}
            return pull(slope / size) | {"y": of_target / size}

        return value.sum() / size, divided

    return Model(model.inputs | {"y": y}, forward, hand)


@st.composite
def cases(draw):
    """Right gradients: those that are not finite, as those of a loss that is not, are not drawn."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    s = Draw(draw)
    model = with_loss(s, FAMILIES[family](s))
    computed_in = s.one_of("computed in", s.dtype, s.dtype, s.dtype, torch.promote_types(s.dtype, torch.float32))
    assume(all(bool(tensor.isfinite().all()) for tensor in model.inputs.values()))
    with torch.no_grad():
        loss, pull = model.by_hand(
            **{k: t.to(computed_in) if t.is_floating_point() else t for k, t in model.inputs.items()}
        )
        gradients = pull(torch.ones_like(loss))
        assume(bool(loss.isfinite()) and all(bool(gradient.isfinite().all()) for gradient in gradients.values()))
        assume(bool(model.forward(**model.inputs).isfinite()))
    if s.coin("rounded in the end"):
        gradients = {name: gradient.to(s.dtype) for name, gradient in gradients.items()}
        assume(all(bool(gradient.isfinite().all()) for gradient in gradients.values()))

    def by_hand(**inputs):
        loss, pull = model.by_hand(**inputs)
        return pull(torch.ones_like(loss))

    return Case(family, s.dtype, model.forward, model.inputs, by_hand, gradients, s.n, "; ".join(s.told))


FUZZ = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large])


def check(case):
    note(f"{case.family}, n = {case.n}: {case.told}")
    report = check_gradients(case.forward, case.inputs, case.gradients, n=case.n)
    assert report.passed, f"{case.family}: {case.told}\n{report}"


@given(cases())
@settings(FUZZ, max_examples=300)
def test_right_gradients_pass(case):
    check(case)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@given(cases())
@settings(FUZZ, max_examples=10_000)
def test_right_gradients_pass_for_long(case):
    check(case)
