"""Activations in torch and with hand-written derivatives, right and wrong."""

import math
from collections.abc import Collection
from functools import partial

import torch
from gradcheck.models.base import PLAIN, Arithmetic, Model
from torch.nn import functional as F

NEGATIVE_SLOPE = 0.01  # of leaky ReLU
FORWARD = {  # the variants: different ways to write the same function
    "sigmoid": (torch.sigmoid, F.sigmoid, lambda z: (1 + torch.tanh(z / 2)) / 2),
    "tanh": (torch.tanh,),
    "relu": (torch.relu, lambda z: z.clamp(min=0), lambda z: torch.where(z > 0, z, torch.zeros_like(z))),
    "leaky_relu": (
        partial(F.leaky_relu, negative_slope=NEGATIVE_SLOPE),
        lambda z: torch.maximum(z, NEGATIVE_SLOPE * z),
        lambda z: torch.where(z > 0, z, NEGATIVE_SLOPE * z),
    ),
    "softplus": (F.softplus, lambda z: torch.logaddexp(z, torch.zeros_like(z)), lambda z: -F.logsigmoid(-z)),
    "abs": (torch.abs,),
    "identity": (lambda z: z,),
    "gelu": (F.gelu,),
    "silu": (F.silu,),
    "exp_sigmoid": (lambda z: 1 / (1 + torch.exp(-z)),),
}


def forward(name, variant=0):
    return FORWARD[name][variant % len(FORWARD[name])]


def normal_cdf(z):
    return (1 + torch.erf(z / math.sqrt(2))) / 2


def gelu_tanh_derivative(z):
    """Of the approximation by tanh."""
    t = torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    return (1 + t) / 2 + z * (1 - t**2) / 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)


MISTAKES = {  # z, the activation's value and its derivative to a wrong derivative
    "no derivative": lambda z, a, d: torch.ones_like(z),
    "derivative twice": lambda z, a, d: d**2,
    "derivative of tanh": lambda z, a, d: 1 - a**2,
    "derivative of sigmoid": lambda z, a, d: a * (1 - a),
    "z (1 − z)": lambda z, a, d: z * (1 - z),
    "1 − z²": lambda z, a, d: 1 - z**2,
    "p (1 + p)": lambda z, a, d: a * (1 + a),
    "σ(a) (1 − σ(a))": lambda z, a, d: torch.sigmoid(a) * (1 - torch.sigmoid(a)),
    "σ(a)": lambda z, a, d: torch.sigmoid(a),
    "σ(z) alone": lambda z, a, d: torch.sigmoid(z),
    "1 − a": lambda z, a, d: 1 - a,
    "Φ(z) alone": lambda z, a, d: normal_cdf(z),
    "derivative of GELU's approximation": lambda z, a, d: gelu_tanh_derivative(z),
}


def value_and_derivative(name, z, mistakes: Collection[str] = (), where="", variant=0, arithmetic: Arithmetic = PLAIN):
    """The mistakes are those that end in ``where``, for example " in layer 1"."""
    if name in ("sigmoid", "exp_sigmoid"):
        a = torch.sigmoid(z)
        d = (a * (1 - a), (1 - a) * a, a * torch.sigmoid(-z))[variant]
    elif name == "tanh":
        a = torch.tanh(z)
        d = (1 - a * a, (1 - a) * (1 + a), 1 / torch.cosh(z) ** 2)[variant]
    elif name == "relu":
        a, d = z.clamp(min=0), arithmetic.step(z)
    elif name == "leaky_relu":
        a = torch.where(z > 0, z, NEGATIVE_SLOPE * z)
        d = NEGATIVE_SLOPE + (1 - NEGATIVE_SLOPE) * arithmetic.step(z)
    elif name == "softplus":
        a = F.softplus(z) if variant == 0 else torch.logaddexp(z, torch.zeros_like(z))  # torch's is z from 20 on
        d = (torch.sigmoid(z), -torch.expm1(-a), 1 / (1 + torch.exp(-z)))[variant]
    elif name == "gelu":
        a, d = F.gelu(z), normal_cdf(z) + z * torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    elif name == "silu":
        a, d = F.silu(z), torch.sigmoid(z) * (1 + z * (1 - torch.sigmoid(z)))
    elif name == "abs":
        a, d = z.abs(), arithmetic.sign(z)
    else:
        a, d = z, torch.ones_like(z)
    for mistake, wrong in MISTAKES.items():
        if mistake + where in mistakes:
            d = wrong(z, a, d)
    return a, d


def activated(model: Model, name: str) -> Model:
    """The activation of a model's output."""

    def manual(mistakes, **inputs):
        z, pull = model.manual(mistakes, **inputs)
        a, derivative = value_and_derivative(name, z, mistakes)
        return a, lambda d: pull(d * derivative)

    return Model(lambda **inputs: forward(name)(model.forward(**inputs)), manual)


def softmax(z):
    e = torch.exp(z - z.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)
