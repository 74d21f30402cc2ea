r"""Exact numbers for the equations: NumPy arrays of SymPy symbols or of 50-digit numbers, with a tensor's methods.

The functions of :mod:`nnmath.equations` call only operators and a few methods, so the same code runs on these arrays.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import mpmath
import numpy as np
import sympy
from torch import Tensor

DIGITS = 50


class Exact(np.ndarray[Any, np.dtype[np.object_]]):
    r"""An array of exact numbers. Subclasses add the methods of a tensor that NumPy lacks or names differently."""

    library: Any  # sympy or mpmath

    def exp(self) -> "Exact":
        return self.map(self.library.exp)

    def sign(self) -> "Exact":
        return self.map(self.library.sign)

    def map(self, function: Callable[[Any], Any]) -> "Exact":
        r"""Apply a function to each entry."""
        return array([function(entry) for entry in self.flat], self.shape, type(self))


class Symbols(Exact):
    r"""SymPy symbols and expressions."""

    library = sympy

    def expm1(self) -> Exact:
        return cast(Exact, self.exp() - 1)

    def clamp(self, min: Any) -> Exact:
        return self.map(lambda z: sympy.Max(min, z))


class Sigma(sympy.Function):
    r"""σ as an abstract function, defined only by σ′ = σ (1 − σ) and σ(−z) = 1 − σ(z)."""

    @classmethod
    def eval(cls, z: Any) -> Any:
        return 1 - cls(-z) if z.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> Any:
        return self * (1 - self)


class SigmoidSymbols(Symbols):
    r"""SymPy symbols whose exponential is e^(−z) = 1/σ(z) − 1 with the abstract :class:`Sigma`.

    What remains to prove of backpropagation is algebra, which is fast.
    """

    def exp(self) -> Exact:
        return self.map(lambda z: 1 / Sigma(-z) - 1)


class Numbers(Exact):
    r"""mpmath numbers of 50 digits."""

    library = mpmath

    def expm1(self) -> Exact:
        return self.map(mpmath.expm1)

    def clamp(self, min: Any) -> Exact:
        return self.map(lambda z: z if z > min else 0 * z + min)


def array(entries: Sequence[Any], shape: tuple[int, ...], kind: type[Exact]) -> Exact:
    r"""An array of a shape from its entries in row-major order."""
    result = np.empty(len(entries), dtype=object)
    result[:] = entries
    return cast(Exact, result.reshape(shape).view(kind))


def symbols(name: str, *shape: int, kind: type[Symbols] = Symbols, **assumptions: bool) -> Exact:
    r"""An array of symbols name[i, j, …], real by default.

    >>> symbols("w", 1, 2)
    Symbols([[w[0, 0], w[0, 1]]], dtype=object)
    """
    assumptions = assumptions or {"real": True}
    return array([sympy.Symbol(f"{name}{list(index)}", **assumptions) for index in np.ndindex(*shape)], shape, kind)


def to_mpmath(tensor: Tensor) -> Exact:
    r"""Convert a tensor without rounding. Compute with the result inside ``mpmath.workdps(DIGITS)``."""
    return array([mpmath.mpf(entry) for entry in tensor.flatten().tolist()], tuple(tensor.shape), Numbers)
