"""Symbols for the equations: NumPy arrays of SymPy expressions with the few methods of a tensor that they call."""

import numpy as np
import sympy


class Symbols(np.ndarray):
    """An array of expressions, with the methods of a tensor that NumPy lacks or names otherwise."""

    def each(self, function):
        return np.array([function(entry) for entry in self.flat], dtype=object).reshape(self.shape).view(Symbols)

    def exp(self):
        return self.each(sympy.exp)

    def expm1(self):
        return self.each(lambda z: sympy.exp(z) - 1)

    def clamp(self, min):
        return self.each(lambda z: sympy.Max(min, z))

    def sign(self):
        return self.each(sympy.sign)


def symbols(name, *shape):
    """Real symbols name[i, j, ...] in an array of that shape."""
    array = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        array[index] = sympy.Symbol(f"{name}{list(index)}", real=True)
    return array.view(Symbols)


class Sigma(sympy.Function):
    """σ, of which nothing is known but σ′ = σ (1 − σ)."""

    def fdiff(self, argindex=1):
        return self * (1 - self)
