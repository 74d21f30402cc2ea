r"""Five kinds of evidence for a row of the catalogue.

The value is compared with plain torch, the gradients with autograd, with finite differences and, by running the same
code on symbols, with SymPy. The fifth kind is the error of float64, measured against 50 digits.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath
import sympy
import torch
from torch import Tensor

from nnmath.gradcheck import Report, check_gradients
from nnmath.gradcheck.comparison.errors import relative_error, ulp
from nnmath.gradcheck.comparison.finite_differences import one_sided_derivatives
from nnmath.gradcheck.comparison.rounding import gradients_of
from nnmath.verification.catalogue import Equation, Inputs, N
from nnmath.verification.exact_arithmetic import DIGITS, Exact, SigmoidSymbols, Symbols, symbols, to_mpmath

VALUE_TOLERANCE = 1e-12  # relative error of a value against torch
FINITE_DIFFERENCE_TOLERANCE = 1e-8  # relative error of a gradient against finite differences
MAX_ULPS = 4  # allowed error against 50 digits, in addition to twice torch's error


@dataclass(frozen=True)
class Evidence:
    r"""The evidence for one row, in float64. Each property is None if it does not apply to the row."""

    equation: Equation
    seed: int = 0  # of the inputs

    @cached_property
    def inputs(self) -> Inputs:
        r"""Random inputs of the row."""
        return self.equation.draw(torch.Generator().manual_seed(self.seed), torch.float64)

    @cached_property
    def gradients(self) -> Inputs | None:
        r"""The hand-written gradients of the value's sum."""
        return None if self.equation.gradients is None else self.equation.gradients(**self.inputs)

    @cached_property
    def value(self) -> float:
        r"""Relative error of the value against plain torch."""
        return relative_error(self.equation.value(**self.inputs), self.equation.reference(**self.inputs))

    @cached_property
    def autograd(self) -> Report | None:
        r"""The gradients compared with autograd of the plain torch implementation."""
        return None if self.gradients is None else check_gradients(self.reference_sum, self.inputs, self.gradients)

    def reference_sum(self, **inputs: Tensor) -> Tensor:
        r"""Sum of the value by plain torch."""
        return self.equation.reference(**inputs).sum()

    @cached_property
    def finite_differences(self) -> float | None:
        r"""Relative error of the gradients against finite differences of the hand-written value."""
        if self.gradients is None:
            return None
        perturbed = {name: tensor.clone() for name, tensor in self.inputs.items()}
        errors = []
        for name, gradient in self.gradients.items():
            quotient = torch.empty_like(gradient)
            for index in torch.ones_like(gradient).nonzero().tolist():
                derivatives = one_sided_derivatives(
                    lambda: self.equation.value(**perturbed).sum(), perturbed[name], tuple(index), step=1e-4
                )
                quotient[tuple(index)] = (derivatives.left + derivatives.right) / 2
            errors.append(relative_error(gradient, quotient))
        return max(errors)

    @cached_property
    def proof(self) -> bool | None:
        r"""Whether the gradients equal SymPy's derivatives of the value, for 1, 2 and 3 samples."""
        if self.equation.gradients is None:
            return None
        signs = ("positive", "negative") if self.equation.id.startswith("A") else ("real",)
        return all(proved_symbolically(self.equation, n, sign) for n in (1, 2, 3) for sign in signs)

    @cached_property
    def ulps(self) -> tuple[float, float] | None:
        r"""Errors of the hand-written code and of torch: of the gradients, or of the value where there are none."""
        if self.equation.gradients is None and not self.equation.exact:
            return None
        if self.gradients is None:
            manual, reference = {"": self.equation.value(**self.inputs)}, {"": self.equation.reference(**self.inputs)}
        else:
            manual, reference = self.gradients, gradients_of(self.reference_sum, self.inputs, self.gradients)
        compute = self.equation.gradients or (lambda **inputs: {"": self.equation.value(**inputs)})
        with mpmath.workdps(DIGITS):
            exact = compute(**{name: to_mpmath(tensor) for name, tensor in self.inputs.items()})
            return max_ulps(manual, exact), max_ulps(reference, exact)

    @property
    def passed(self) -> bool:
        r"""Whether all evidence that applies is within its tolerance."""
        return (
            self.value <= VALUE_TOLERANCE
            and (self.autograd is None or self.autograd.passed)
            and (self.finite_differences is None or self.finite_differences <= FINITE_DIFFERENCE_TOLERANCE)
            and self.proof is not False
            and (self.ulps is None or self.ulps[0] <= 2 * self.ulps[1] + MAX_ULPS)
        )


def proved_symbolically(equation: Equation, n: int, sign: str) -> bool:
    r"""Whether the gradients equal SymPy's derivatives of the value, for n samples and inputs of a sign.

    The derivative of an activation is proved from e^z, separately for z > 0 and z < 0. All other rows, with real
    inputs, use an abstract σ that has only the properties proved there.
    """
    assert equation.gradients is not None
    kind, simplify = (SigmoidSymbols, sympy.expand) if sign == "real" else (Symbols, sympy.simplify)
    inputs: Any = {
        name: symbols(name, *(n if size == N else size for size in tensor.shape), kind=kind, **{sign: True})
        for name, tensor in Evidence(equation).inputs.items()
    }
    total = sum(entries(equation.value(**inputs)))
    return all(
        simplify(sympy.diff(total, symbol) - manual) == 0
        for name, gradient in equation.gradients(**inputs).items()
        for symbol, manual in zip(inputs[name].flat, entries(gradient), strict=True)
    )


def entries(value: Any) -> list[Any]:
    r"""Entries of an array of exact numbers, or the single number that a sum over all dimensions returns."""
    return list(value.flat) if isinstance(value, Exact) else [value]


def max_ulps(tensors: Inputs, exact: dict[str, Any]) -> float:
    r"""Largest error of float64 tensors, in units in the last place of a tensor's largest exact entry."""
    errors = []
    for name, array in exact.items():
        numbers = entries(array)
        error = max(abs(mpmath.mpf(a) - b) for a, b in zip(tensors[name].flatten().tolist(), numbers, strict=True))
        errors.append(float(error / ulp(max(map(abs, numbers)), torch.float64)))
    return max(errors)
