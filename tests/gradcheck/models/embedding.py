"""Embeddings: rows of a table E by indices that repeat."""

import torch
from gradcheck.models.base import PLAIN, Model
from torch.nn import functional as F


def scatter(d, index, like, method, mistakes=()):
    """The sum of the rows of d with the same index."""
    if method == "index_add":
        return torch.zeros_like(like).index_add(0, index, d)
    if method == "one hot":
        return F.one_hot(index, len(like)).to(d.dtype).T @ d
    result = torch.zeros_like(like)
    for i, row in enumerate(index.tolist()):
        row = row - 1 if "off by one" in mistakes else row
        result[row] = d[i] if "assigned" in mistakes else result[row] + d[i]
    return result


def embedding(words=None, tanh=False, fused=False, method="loop", padding=None, arithmetic=PLAIN) -> Model:
    """E[words] W, or tanh(E[words]) W; without words they are the input ``index``. The padding's row counts as 0."""

    def forward(E, W, index=None):
        index = words if index is None else index
        h = F.embedding(index, E) if fused else E[index]
        h = h if padding is None else h * (torch.tensor(words) != padding)[:, None]
        return (torch.tanh(h) if tanh else h) @ W

    def manual(mistakes, E, W, index=None):
        index = torch.tensor(words) if index is None else index
        h = torch.tanh(E[index]) if tanh else E[index]

        def pull(d):
            delta = d @ W.T * (1 - h * h) if tanh else d @ W.T
            return {"E": scatter(delta, index, E, method, mistakes), "W": arithmetic.product(h, d)}

        return h @ W, pull

    return Model(forward, manual)


def tied_language_model(words) -> Model:
    """tanh(E[words]) Eᵀ."""

    def manual(mistakes, E):
        h = torch.tanh(E[words])

        def pull(d):
            output = 0 if "output forgotten" in mistakes else d.T @ h
            dh = d @ E if "no derivative" in mistakes else d @ E * (1 - h**2)
            into = 0 if "input forgotten" in mistakes else scatter(dh, torch.tensor(words), E, "loop")
            return {"E": output + into}

        return h @ E.T, pull

    return Model(lambda E: torch.tanh(E[words]) @ E.T, manual)
