"""Convolutions."""

import torch
from gradcheck.models.base import PLAIN, Arithmetic, Model
from torch.nn import functional as F


def conv1d(stride: int = 1, padding: int = 0, arithmetic: Arithmetic = PLAIN) -> Model:
    def forward(x, w, b):
        return F.conv1d(x, w, b, stride=stride, padding=padding)

    def manual(mistakes, x, w, b):
        padded = F.pad(x, (padding, padding))
        channels, width = w.shape[1:]
        out = (padded.shape[2] - width) // stride + 1
        places = [slice(j, j + stride * (out - 1) + 1, stride) for j in range(width)]
        windows = torch.stack([padded[:, :, place] for place in places], 3)
        kernel = w.flip(2) if "kernel flipped" in mistakes else w

        def pull(d):
            columns = windows.permute(0, 2, 1, 3).reshape(-1, channels * width)
            delta = d.permute(0, 2, 1).reshape(-1, len(w))
            dx = torch.zeros_like(padded)
            for j, place in enumerate(places):
                back = torch.einsum("nml,mc->ncl", d, kernel[:, :, j])
                dx[:, :, place] = back if "x assigned" in mistakes else dx[:, :, place] + back
            db = d.sum(0) if "b for each position" in mistakes else arithmetic.total(delta)
            dw = arithmetic.product(delta, columns).reshape(w.shape)
            return {"x": dx[:, :, padding : padding + x.shape[2]], "w": dw, "b": db}

        return torch.einsum("nclj,mcj->nml", windows, w) + b[:, None], pull

    return Model(forward, manual)


def conv2d() -> Model:
    """With kernels of 3 × 3 and a padding of 1."""

    def manual(mistakes, x, w):
        padded = F.pad(x, (1, 1, 1, 1))
        height, width = x.shape[2:]

        def pull(d):
            dx, dw = torch.zeros_like(padded), torch.zeros_like(w)
            for i in range(3):
                for j in range(3):
                    patch = (..., slice(i, i + height), slice(j, j + width))
                    dw[:, :, i, j] = torch.einsum("nohw,nihw->oi", d, padded[patch])
                    dx[patch] += torch.einsum("nohw,oi->nihw", d, w[:, :, i, j])
            return {"x": dx[:, :, 1:-1, 1:-1], "w": dw}

        return F.conv2d(padded, w), pull

    return Model(lambda x, w: F.conv2d(x, w, padding=1), manual)
