r"""What speaks for an equation: five kinds of evidence, each from another side, for a row of the catalogue.

Its value against plain torch; its gradients against autograd; against difference quotients; against SymPy, the very
same code being run on symbols; and how many of 50 digits float64 gets right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck import Report, check_gradients
from nnmath.gradcheck.comparison.finite_differences import one_sided_derivatives
from nnmath.gradcheck.comparison.rounding import gradients_of
from nnmath.verification.catalogue import Equation, Inputs, N
from nnmath.verification.exact_arithmetic import DIGITS, Exact, SigmoidSymbols, Symbols, symbols, to_mpmath

VALUE = 1e-12
r"""How far a value may be from torch's, of the largest entry."""
FINITE_DIFFERENCES = 1e-8
r"""How far difference quotients may be from a gradient, of the largest entry."""
ULPS = 4
r"""How far float64 may be from the 50 digits beyond twice torch's own error, in units in the last place."""


@dataclass(frozen=True)
class Evidence:
    r"""The evidence for one row, in float64; each is None where it does not apply.

    Args:
        equation: the row.
        seed: of the numbers that it is checked on.
    """

    equation: Equation
    seed: int = 0

    @cached_property
    def inputs(self) -> Inputs:
        r"""The numbers."""
        return self.equation.draw(torch.Generator().manual_seed(self.seed), torch.float64)

    @cached_property
    def gradients(self) -> Inputs | None:
        r"""The hand-written gradients of the value's sum."""
        return None if self.equation.gradients is None else self.equation.gradients(**self.inputs)

    @cached_property
    def value(self) -> float:
        r"""The largest difference, max |by hand − torch| / max |torch|, of the value."""
        return relative_error(self.equation.value(**self.inputs), self.equation.by_torch(**self.inputs))

    @cached_property
    def autograd(self) -> Report | None:
        r"""The gradients against autograd's of the plain torch implementation."""
        if self.gradients is None:
            return None
        return check_gradients(lambda **inputs: self.equation.by_torch(**inputs).sum(), self.inputs, self.gradients)

    @cached_property
    def finite_differences(self) -> float | None:
        r"""The largest difference of the gradients from difference quotients of the hand-written value, relative."""
        if self.gradients is None:
            return None
        moved = {name: tensor.clone() for name, tensor in self.inputs.items()}
        worst = 0.0
        for name, gradient in self.gradients.items():
            quotient = torch.empty_like(gradient)
            for index in torch.ones_like(gradient).nonzero().tolist():
                found = one_sided_derivatives(
                    lambda: self.equation.value(**moved).sum(), moved[name], tuple(index), step=1e-4
                )
                quotient[tuple(index)] = (found.left + found.right) / 2
            worst = max(worst, relative_error(gradient, quotient))
        return worst

    @cached_property
    def proof(self) -> bool | None:
        r"""Whether each gradient minus SymPy's derivative of the value is 0, for 1, 2 and 3 samples."""
        return (
            None if self.equation.gradients is None else all(proved_symbolically(self.equation, n) for n in (1, 2, 3))
        )

    @cached_property
    def ulps(self) -> tuple[float, float] | None:
        r"""The largest error of float64 against 50 digits, of the gradients or else of the value: by hand, by torch."""
        import mpmath

        if self.gradients is None and not self.equation.exact:
            return None
        with mpmath.workdps(DIGITS):
            exact = {name: to_mpmath(tensor) for name, tensor in self.inputs.items()}
            if self.equation.gradients is None or self.gradients is None:
                truths = {"value": self.equation.value(**exact)}
                by_hand = {"value": self.equation.value(**self.inputs)}
                by_torch = {"value": self.equation.by_torch(**self.inputs)}
            else:
                truths, by_hand = self.equation.gradients(**exact), self.gradients
                by_torch = gradients_of(lambda **inputs: self.equation.by_torch(**inputs).sum(), self.inputs, by_hand)
            hand, torchs = (
                max(ulps(tensors[name], truth) for name, truth in truths.items()) for tensors in (by_hand, by_torch)
            )
            return hand, torchs

    @property
    def passed(self) -> bool:
        r"""Whether all evidence that applies is good enough."""
        return (
            self.value <= VALUE
            and (self.autograd is None or self.autograd.passed)
            and (self.finite_differences is None or self.finite_differences <= FINITE_DIFFERENCES)
            and self.proof is not False
            and (self.ulps is None or self.ulps[0] <= 2 * self.ulps[1] + ULPS)
        )


def proved_symbolically(equation: Equation, n: int) -> bool:
    r"""Whether each gradient minus SymPy's derivative of the value is 0, for n samples.

    An activation's own derivative is proved with e^z as it is, for z > 0 and for z < 0; the others with nothing known
    of σ but what that has proved.
    """
    import sympy

    about_activation = equation.id.startswith("A")
    kind, zero = (Symbols, sympy.simplify) if about_activation else (SigmoidSymbols, sympy.expand)
    shapes = {name: tensor.shape for name, tensor in Evidence(equation).inputs.items()}
    for assumptions in ({"positive": True}, {"negative": True}) if about_activation else ({"real": True},):
        inputs = {
            name: symbols(name, *(n if size == N else size for size in shape), kind=kind, **assumptions)
            for name, shape in shapes.items()
        }
        total = sum(entries(equation.value(**inputs)))
        assert equation.gradients is not None
        for name, gradient in equation.gradients(**inputs).items():
            for symbol, by_hand in zip(inputs[name].flat, entries(gradient), strict=True):
                if zero(sympy.diff(total, symbol) - by_hand) != 0:
                    return False
    return True


def entries(value: Any) -> list[Any]:
    r"""The entries of an array of exact numbers, or the one number that a sum has left."""
    return list(value.flat) if isinstance(value, Exact) else [value]


def relative_error(tensor: Tensor, reference: Tensor) -> float:
    r"""The largest difference, max |tensor − reference| / max |reference|."""
    if tensor.shape != reference.shape:
        return float("inf")
    difference = float((tensor - reference).abs().max())
    return difference / float(reference.abs().max()) if difference else 0.0


def ulps(tensor: Tensor, truth: object) -> float:
    r"""The largest |tensor − truth| in units in the last place of the largest entry."""
    import mpmath

    exact = entries(truth)
    size = max(abs(entry) for entry in exact)
    errors = [abs(mpmath.mpf(a) - b) for a, b in zip(tensor.flatten().tolist(), exact, strict=True)]
    return float(max(errors) / mpmath.ldexp(1, int(mpmath.floor(mpmath.log(size, 2))) - 52)) if size else 0.0
