"""Attention, and products of gates."""

import torch
from gradcheck.models.activations import softmax
from gradcheck.models.base import PLAIN, Arithmetic, Model
from torch.nn import functional as F


def attention(causal: bool = False, fused: bool = False, arithmetic: Arithmetic = PLAIN) -> Model:
    """softmax(q kᵀ / √d) v."""

    def scores(q, k):
        result = q @ k.T / q.shape[1] ** 0.5
        return result.masked_fill(~torch.ones_like(result, dtype=torch.bool).tril(), -torch.inf) if causal else result

    def forward(q, k, v):
        if fused:
            return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal)[0]
        return torch.softmax(scores(q, k), 1) @ v

    def manual(mistakes, q, k, v):
        p = softmax(scores(q, k))

        def pull(d):
            dp = d @ v.T
            axis = 0 if "sum of the softmax along columns" in mistakes else 1
            ds = p * (dp - (p * dp).sum(axis, keepdim=True))
            if "p (1 − p)" in mistakes:
                ds = p * (1 - p) * dp
            if "p dp alone" in mistakes:
                ds = p * dp
            if "derivative of softmax forgotten" in mistakes:
                ds = dp
            if "1/√d forgotten" not in mistakes:
                ds = ds / q.shape[1] ** 0.5
            return {"q": ds @ k, "k": arithmetic.product(ds, q), "v": arithmetic.product(p, d)}

        return p @ v, pull

    return Model(forward, manual)


def self_attention() -> Model:
    """Queries, keys and values are products of X."""
    inner = attention()

    def manual(mistakes, X, Wq, Wk, Wv):
        output, pull_inner = inner.manual(mistakes, X @ Wq, X @ Wk, X @ Wv)

        def pull(d):
            g = pull_inner(d)
            dX = g["q"] @ Wq.T + g["k"] @ Wk.T
            if "X without the values" not in mistakes:
                dX = dX + g["v"] @ Wv.T
            return {"X": dX, "Wq": X.T @ g["q"], "Wk": X.T @ g["k"], "Wv": X.T @ g["v"]}

        return output, pull

    return Model(lambda X, Wq, Wk, Wv: inner.forward(X @ Wq, X @ Wk, X @ Wv), manual)


def gate(activation: bool = True, highway: bool = False, arithmetic: Arithmetic = PLAIN) -> Model:
    """a b with a = tanh(X Wa) or X Wa and b = σ(X Wb), or the highway's a b + (1 − b) X."""

    def values(X, Wa, Wb):
        a, b = torch.tanh(X @ Wa) if activation else X @ Wa, torch.sigmoid(X @ Wb)
        return a, b, a * b + (1 - b) * X if highway else a * b

    def manual(mistakes, X, Wa, Wb):
        a, b, output = values(X, Wa, Wb)

        def pull(d):
            da = d if "b forgotten" in mistakes else d * a if "a for b" in mistakes else d * b
            da = da * (1 - a * a) if activation else da
            db = d * (a - X if highway else a) * b * (1 - b)
            dX = (0 if "X by one of two paths" in mistakes else da @ Wa.T) + db @ Wb.T
            dX = dX + d * (1 - b) if highway else dX
            return {"X": dX, "Wa": arithmetic.product(X, da), "Wb": arithmetic.product(X, db)}

        return output, pull

    return Model(lambda X, Wa, Wb: values(X, Wa, Wb)[2], manual)
