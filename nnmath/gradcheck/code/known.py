r"""What a value equals: a value of the forward pass, the gradient of one, or neither."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]

SAMPLE = 100  # entries
RTOL = 1e-8  # between two numbers that should be equal but for rounding


class Known(NamedTuple):
    r"""A value that the forward pass or its true backward pass computes."""

    text: str  # "h", or "∂E/∂h"
    is_gradient: bool
    value: Array
    fingerprint: float  # the value's product with random numbers, over its norm
    norm: float


class Meaning(NamedTuple):
    r"""What a value equals: factor · known, perhaps transposed or of another shape."""

    known: Known
    factor: float
    is_transposed: bool

    @property
    def is_exact(self) -> bool:
        return self.factor == 1 and not self.is_transposed

    @property
    def is_right(self) -> bool:
        r"""Whether it may be meant: a value of the forward pass, perhaps transposed, or a gradient."""
        return self.factor == 1 and not (self.is_transposed and self.known.is_gradient)

    def __str__(self) -> str:
        factor = "" if self.factor == 1 else "−" if self.factor == -1 else f"{self.factor:.6g} · "
        text = self.known.text
        if self.is_transposed:
            text = f"({text})ᵀ" if " " in text and not self.known.is_gradient else f"{text}ᵀ"
        return factor + text


class KnownValues:
    r"""Finds what a value equals, up to a constant factor, transposition and shape."""

    def __init__(self, values: Iterable[tuple[str, bool, Any]]) -> None:
        self.of_size: dict[int, list[Known]] = {}
        for text, is_gradient, tensor in values:
            value = as_array(tensor)
            if value is None or not np.isfinite(value).all():
                continue
            same_size = self.of_size.setdefault(value.size, [])
            f, norm = fingerprint(value)
            if norm and not any(close(f, k.fingerprint) and close(norm, k.norm) for k in same_size):
                same_size.append(Known(text, is_gradient, value, f, norm))

    def identify(self, array: Any) -> Meaning | None:
        r"""What an array equals; None if nothing that is known, or if it is a single number."""
        value = as_array(array)
        if value is None or value.size < 2 or not np.isfinite(value).all() or value.size not in self.of_size:
            return None
        best: Meaning | None = None
        for transposed in (False, True) if value.ndim == 2 and min(value.shape) > 1 else (False,):
            f, norm = fingerprint(value.T if transposed else value)
            for known in self.of_size[value.size] if norm else ():
                if close(abs(f), abs(known.fingerprint)):
                    factor = float(f"{norm / known.norm * np.sign(f * known.fingerprint):.9g}")
                    meaning = Meaning(known, factor, transposed)
                    if meaning.is_exact:
                        return meaning
                    best = best or meaning
        return best

    def gradients(self, size: int) -> list[Known]:
        r"""The true gradients with this number of entries."""
        return [known for known in self.of_size.get(size, []) if known.is_gradient]


def fingerprint(value: Array) -> tuple[float, float]:
    flat = value.ravel()
    norm = float(np.linalg.norm(flat))
    weights = np.random.default_rng(flat.size).standard_normal(flat.size)
    return (float(weights @ flat) / norm if norm else 0.0), norm


def as_array(value: Any) -> Array | None:
    r"""An array of float64, if the value is one of floating point numbers or a Python float."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().double().numpy() if value.is_floating_point() else None
    if isinstance(value, (np.ndarray, np.floating)):
        return np.asarray(value, dtype=float) if np.asarray(value).dtype.kind == "f" else None
    return np.asarray(value) if isinstance(value, float) else None


def close(a: float, b: float) -> bool:
    return abs(a - b) <= RTOL * max(abs(a), abs(b))


def same(a: Array, b: Array) -> bool:
    r"""Whether two arrays are equal to rounding, relative to the largest entry."""
    if a.shape != b.shape:
        return False
    if a.size > 10 * SAMPLE:  # most large arrays differ in a few of their entries already
        stride = a.size // SAMPLE
        sample, other = a.ravel()[::stride], b.ravel()[::stride]
        if float(np.abs(sample - other).max()) > 1e-3 * float(np.abs(other).max()):
            return False
    scale = float(np.abs(b).max(initial=0.0))
    error = float(np.abs(a - b).max(initial=0.0))
    return error <= RTOL * scale  # also false for nan


def ratio(a: Array, b: Array) -> float | None:
    r"""The constant c ≠ 0 with a = c · b to rounding; None if there is none."""
    if a.shape != b.shape or not b.any():
        return None
    c = float(f"{float((a * b).sum() / (b * b).sum()):.12g}")
    return c if c and np.isfinite(c) and same(c * b, a) else None
