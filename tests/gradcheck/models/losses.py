"""Losses of an output and its target, penalties on weights, and models that end in them."""

from functools import partial

import torch
from gradcheck.models.activations import softmax
from gradcheck.models.base import PLAIN, Arithmetic, Model
from torch import Tensor
from torch.nn import functional as F


def squared(o, y, arithmetic, mistakes):
    return (o - y) ** 2, 2 * (o - y), -2 * (o - y)


def absolute(o, y, arithmetic, mistakes):
    r = o - y
    d = r if "error for its sign" in mistakes else arithmetic.sign(r)
    return r.abs(), d, -d


def logistic(o, y, arithmetic, mistakes):
    """From the logits."""
    return torch.logaddexp(o, torch.zeros_like(o)) - y * o, torch.sigmoid(o) - y, -o


def huber(o, y, arithmetic, mistakes, delta=1.0):
    r = o - y
    d = r if "nowhere linear" in mistakes else r.clamp(-delta, delta)
    return torch.where(r.abs() < delta, r * r / 2, delta * (r.abs() - delta / 2)), d, -d


def weighted(o, y, arithmetic, mistakes):
    return o * y, y, o


def log_cosh(o, y, arithmetic, mistakes):
    r = o - y
    return torch.logaddexp(r, -r), torch.tanh(r), -torch.tanh(r)


def cross_entropy(o, y, arithmetic, mistakes):
    """From the logits, y being one-hot."""
    z = o - o.amax(1, keepdim=True)
    return z.exp().sum(1).log() - (z * y).sum(1), softmax(z) - y, -z


def hinge(o, y, arithmetic, mistakes):
    margin = 1 - y * o
    active = arithmetic.step(margin)
    if "active below 0" in mistakes:
        active = (margin > 1).to(o)
    if "always active" in mistakes:
        active = torch.ones_like(active)
    d = -active if "label forgotten" in mistakes else -active * y
    return margin.clamp(min=0), d, -active * o


def squared_hinge(o, y, arithmetic, mistakes):
    part = (1 - y * o).clamp(min=0)
    return part * part, -2 * part * y, -2 * part * o


def with_loss(model, error, forward, size, target="y", divided_late=False, arithmetic=PLAIN) -> Model:
    """The sum of the errors over the ``size`` of the output; the target is an input's name, a constant or None for 0.

    forward(output, target) is the loss in torch, error(output, target, arithmetic, mistakes) the terms of its sum with
    their derivatives in output and target. ``s`` among the inputs holds weights of the samples.
    """
    name = target if isinstance(target, str) else None

    def split(inputs):
        y = inputs[name] if name else 0.0 if target is None else target
        return y, {key: tensor for key, tensor in inputs.items() if key not in (name, "s")}

    def loss(**inputs):
        y, parameters = split(inputs)
        weights = {"s": inputs["s"]} if "s" in inputs else {}
        return forward(model.forward(**parameters), y, **weights)

    def manual(mistakes, **inputs):
        y, parameters = split(inputs)
        o, pull = model.manual(mistakes, **parameters)
        if error is cross_entropy:
            y = F.one_hot(y, o.shape[1])
        y = y.to(o.dtype).reshape(o.shape) if isinstance(y, Tensor) else y
        if "target forgotten" in mistakes:
            y = 0 * y
        if "broadcast to n × n" in mistakes:
            y = y.mean()
        value, d, d_target = error(o, y, arithmetic, mistakes)
        if "s" in inputs and "weights of the samples forgotten" not in mistakes:
            value, d = value * inputs["s"], d * inputs["s"]
        if "derivative that cancels" in mistakes:
            p = torch.sigmoid(o) if error is logistic else softmax(o)
            d = d * p * (1 - p)
        if "sign of the data's part" in mistakes:
            d = -d

        def pull_loss(_):
            result = pull(d) if divided_late else pull(d / size(o))
            if divided_late:
                result = {key: gradient / size(o) for key, gradient in result.items()}
            has_gradient = name and inputs[name].is_floating_point()
            return result | {name: d_target / size(o)} if has_gradient else result

        return value.sum() / size(o), pull_loss

    return Model(loss, manual)


squares = partial(with_loss, error=squared)
half_mse = partial(squares, forward=lambda o, y: 0.5 * ((o - y) ** 2).mean(), size=lambda o: 2 * o.numel())
mse = partial(squares, forward=lambda o, y: ((o - y) ** 2).mean(), size=Tensor.numel)
half_mse_of_rows = partial(
    squares, forward=lambda o, y: 0.5 * ((o - y) ** 2).sum(1).mean(), size=lambda o: 2 * len(o), target="Y"
)
mse_of_rows = partial(squares, forward=lambda o, y: ((o - y) ** 2).sum(1).mean(), size=len, target="Y")
weighted_sum = partial(with_loss, error=weighted, forward=lambda o, c: (o * c).sum(), size=lambda o: 1, target="C")

PENALTIES = {
    "squares": (lambda w: (w**2).sum() / 2, lambda w, arithmetic: w),
    "dot": (lambda w: (w @ w) / 2, lambda w, arithmetic: w),
    "absolute values": (lambda w: w.abs().sum(), lambda w, arithmetic: arithmetic.sign(w)),
}


def penalized(model: Model, penalty: str, rate: float, name: str = "w", arithmetic: Arithmetic = PLAIN) -> Model:
    """The loss plus ``rate`` times a penalty on the input of this name."""
    value, derivative = PENALTIES[penalty]

    def manual(mistakes, **inputs):
        loss, pull = model.manual(mistakes, **inputs)
        extra = 0 if "penalty forgotten" in mistakes else rate * derivative(inputs[name], arithmetic)
        return loss + rate * value(inputs[name]), lambda d: (g := pull(d)) | {name: g[name] + extra}

    return Model(lambda **inputs: model.forward(**inputs) + rate * value(inputs[name]), manual)
