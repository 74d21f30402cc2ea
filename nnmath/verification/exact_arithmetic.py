r"""The equations on exact numbers: NumPy arrays of SymPy symbols or of 50-digit numbers, with a tensor's methods.

The functions of :mod:`nnmath.equations` call nothing but operators and a few methods, so the very same code runs on
these. SymPy and mpmath, which torch brings along, are loaded when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

DIGITS = 50


class Exact(np.ndarray[Any, np.dtype[np.object_]]):
    r"""An array of exact numbers, with the methods of a tensor that NumPy lacks or names otherwise."""

    def each(self, function: Callable[[Any], Any]) -> Exact:
        r"""The function of each entry."""
        return array([function(entry) for entry in self.flat], self.shape, type(self))


class Symbols(Exact):
    r"""Symbols of SymPy, and expressions of them."""

    def exp(self) -> Exact:
        import sympy

        return self.each(sympy.exp)

    def expm1(self) -> Exact:
        return cast(Exact, self.exp() - 1)

    def clamp(self, min: Any) -> Exact:
        import sympy

        return self.each(lambda z: sympy.Max(min, z))

    def sign(self) -> Exact:
        import sympy

        return self.each(sympy.sign)


class SigmoidSymbols(Symbols):
    r"""Symbols for which σ is a function of which nothing is known but σ′ = σ (1 − σ) and σ(−z) = 1 − σ(z).

    The exponential is then e^(−z) = 1/σ(z) − 1. What is left to prove of backpropagation is algebra, and quickly done.
    """

    def exp(self) -> Exact:
        return self.each(lambda z: 1 / sigma()(-z) - 1)


class Numbers(Exact):
    r"""Numbers of mpmath, of 50 digits."""

    def exp(self) -> Exact:
        import mpmath

        return self.each(mpmath.exp)

    def expm1(self) -> Exact:
        import mpmath

        return self.each(mpmath.expm1)

    def clamp(self, min: Any) -> Exact:
        return self.each(lambda z: z if z > min else 0 * z + min)

    def sign(self) -> Exact:
        import mpmath

        return self.each(mpmath.sign)


def array(entries: Sequence[Any], shape: tuple[int, ...], kind: type[Exact]) -> Exact:
    r"""The entries, row after row, in an array of that shape."""
    result = np.empty(len(entries), dtype=object)
    result[:] = entries
    return cast(Exact, result.reshape(shape).view(kind))


def symbols(name: str, *shape: int, kind: type[Symbols] = Symbols, **assumptions: bool) -> Exact:
    r"""Real symbols name[i, j, …] in an array of that shape.

    >>> symbols("w", 1, 2)
    Symbols([[w[0, 0], w[0, 1]]], dtype=object)
    """
    import sympy

    assumptions = assumptions or {"real": True}
    return array([sympy.Symbol(f"{name}{list(index)}", **assumptions) for index in np.ndindex(*shape)], shape, kind)


def to_mpmath(tensor: Any) -> Exact:
    r"""A tensor's numbers, exactly, to be computed with to 50 digits within ``mpmath.workdps(DIGITS)``."""
    import mpmath

    return array([mpmath.mpf(entry) for entry in tensor.flatten().tolist()], tuple(tensor.shape), Numbers)


def sigma() -> Any:
    r"""σ as a function of SymPy, of which nothing is known but its derivative and its symmetry."""
    global _sigma  # made once, when SymPy is first needed
    if _sigma is None:
        import sympy

        class Sigma(sympy.Function):
            @classmethod
            def eval(cls, z: Any) -> Any:
                return 1 - cls(-z) if z.could_extract_minus_sign() else None

            def fdiff(self, argindex: int = 1) -> Any:
                return self * (1 - self)

        _sigma = Sigma
    return _sigma


_sigma: Any = None
