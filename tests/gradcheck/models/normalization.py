"""Layer norm and batch norm; norms and other functions of the rows of a matrix."""

import torch
from gradcheck.models.activations import softmax
from gradcheck.models.base import PLAIN, Arithmetic, Model
from torch.nn import functional as F


def normalization(axis: int = 1, eps: float = 1e-5, fused: bool = False, arithmetic: Arithmetic = PLAIN) -> Model:
    """Over the features (axis 1: layer norm) or over the samples (axis 0: batch norm)."""

    def forward(X, gamma, beta):
        if fused:
            return F.layer_norm(X, X.shape[1:], gamma, beta, eps)
        centred = X - X.mean(axis, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(axis, keepdim=True) + eps) * gamma + beta

    def manual(mistakes, X, gamma, beta):
        centred = X - X.mean(axis, keepdim=True)
        centred = centred - centred.mean(axis, keepdim=True)  # rounding left a mean that pull takes for 0
        count = X.shape[axis] - ("s with n − 1" in mistakes)
        variance = (centred * centred).sum(axis, keepdim=True) / count
        s = torch.sqrt(variance + (0 if "ε forgotten" in mistakes else eps))
        h = centred / s

        def pull(d):
            dh = d if "γ forgotten" in mistakes else d * gamma
            dX = dh
            if "mean as constant" not in mistakes:
                dX = dX - dh.mean(axis, keepdim=True)
            if "variance as constant" not in mistakes:
                dX = dX - h * (dh * h).mean(axis, keepdim=True)
            return {
                "X": dX if "1/s forgotten" in mistakes else dX / s,
                "gamma": arithmetic.total(d * (X if "X for h in γ" in mistakes else h)),
                "beta": d if "β for each sample" in mistakes else arithmetic.total(d),
            }

        return gamma * h + beta, pull

    return Model(forward, manual)


ROW_FUNCTIONS = {
    "two": lambda x: torch.linalg.vector_norm(x, dim=1),
    "unit": lambda x: F.normalize(x, dim=1),
    "cosine": lambda x, a: F.cosine_similarity(x, a, dim=1),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "largest": lambda x: x.max(1).values,
    "largest, ties evenly": lambda x: x.amax(1),
    "variance": lambda x: x.var(1, correction=0),
    "one": lambda x: x.abs().sum(1),
}


def row_function(kind: str, arithmetic: Arithmetic = PLAIN) -> Model:
    """A function of each row: its norm, the row over its norm, the cosine with a row of a, …"""

    def manual(mistakes, x, a=None):
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        unit = torch.where(norm == 0, 0.0, x / norm)
        if kind == "unit":
            return unit, lambda d: {"x": (d - unit * (unit * d).sum(1, keepdim=True)) / norm}
        if kind == "cosine":
            norm_a = torch.linalg.vector_norm(a, dim=1, keepdim=True)
            unit_a = a / norm_a
            c = (unit * unit_a).sum(1, keepdim=True)
            derivative = unit_a if "length as constant" in mistakes else unit_a - c * unit
            derivative = derivative if "1/|x| forgotten" in mistakes else derivative / norm
            return c[:, 0], lambda d: {"x": d[:, None] * derivative, "a": d[:, None] * (unit - c * unit_a) / norm_a}
        if kind == "two":
            value, derivative = norm[:, 0], unit
        elif kind == "logsumexp":
            largest = x.amax(1, keepdim=True)
            value, derivative = ((x - largest).exp().sum(1, keepdim=True).log() + largest)[:, 0], softmax(x)
        elif kind == "largest":
            value, derivative = x.amax(1), F.one_hot(x.argmax(1), x.shape[1]).to(x.dtype)
        elif kind == "largest, ties evenly":
            value = x.amax(1)
            ties = (x == value[:, None]).to(x.dtype)
            derivative = ties / ties.sum(1, keepdim=True)
        elif kind == "variance":
            centred = x - x.mean(1, keepdim=True)
            value, derivative = (centred**2).mean(1), 2 / x.shape[1] * centred
        else:
            value, derivative = x.abs().sum(1), arithmetic.sign(x)
        return value, lambda d: {"x": d[:, None] * derivative}

    return Model(ROW_FUNCTIONS[kind], manual)
