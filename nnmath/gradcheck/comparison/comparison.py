r"""The result of a comparison: hand-written gradients beside their reference, and which of them are wrong."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nnmath.gradcheck.comparison.errors import max_abs, ulp
from nnmath.gradcheck.comparison.rounding import lower_precision
from nnmath.gradcheck.graph.graph import Forward, Gradients, Graph
from nnmath.gradcheck.report import Entry


@dataclass
class Comparison:
    r"""Hand-written gradients beside those by autograd."""

    forward: Forward  # the loss
    inputs: Mapping[str, Tensor]  # in the user's types
    gradients: Mapping[str, Tensor | None]  # the user's; None where one is missing
    values: Gradients  # the same in float64, without the missing ones
    reference: Gradients  # in float64
    graph: Graph  # of the reference
    bounds: dict[str, float]  # name ↦ the largest error of an entry that passes
    notes: dict[str, str] = field(default_factory=dict)  # name ↦ why a gradient passes though it is not autograd's
    noise: dict[str, float] = field(default_factory=dict)  # name ↦ the part of its bound that allows for rounding
    wrong: list[str] = field(default_factory=list)  # the names of the wrong gradients
    has_ties: bool = False  # whether a function selects one of equal entries; known if gradients are wrong
    kinks: list[dict[int, Tensor]] = field(default_factory=list)  # moves of inputs at a kink to below it and above it

    def dtype(self, name: str) -> torch.dtype:
        r"""The dtype of an input or of its gradient, whichever has the lower precision."""
        gradient = self.gradients[name]
        return self.inputs[name].dtype if gradient is None else lower_precision(self.inputs[name].dtype, gradient.dtype)

    def fits(self, name: str) -> bool:
        r"""Whether a gradient is right: of the reference's shape, and no entry exceeds the bound."""
        return self.has_shape(name) and max_abs(self.values[name] - self.reference[name]) <= self.bounds[name]

    def has_shape(self, name: str) -> bool:
        r"""Whether a gradient is present and has its input's shape."""
        return name in self.values and self.values[name].shape == self.reference[name].shape

    def entry(self, name: str) -> Entry:
        r"""The report's entry for one gradient."""
        gradient, reference = self.gradients[name], self.reference[name]
        if gradient is None:
            return Entry(passed=False, shape_ok=False, note="missing")
        if gradient.shape != reference.shape:
            note = f"shape {tuple(gradient.shape)}, the input has {tuple(reference.shape)}"
            return Entry(passed=False, shape_ok=False, note=note)
        value = self.values[name]
        if not value.numel():
            return Entry(passed=True, exact=True, max_abs=0.0, relative=0.0, ulps=0.0)
        error = (value - reference).abs_()  # in place: a new tensor of this size costs more than the operation
        worst = tuple(map(int, np.unravel_index(int(error.argmax()), error.shape)))
        max_error, largest = float(error[worst]), max_abs(reference)
        a, b, units = value.flatten(), reference.flatten(), (max_abs(value) or 1.0, largest or 1.0)
        if min(units) < 1e-100 or max(units) > 1e100:  # the squares would underflow or overflow
            a, b = a / units[0], b / units[1]
        else:
            units = (1.0, 1.0)
        product, square = float(a @ b), float(b @ b)
        norms = math.sqrt(float(a @ a)) * math.sqrt(square)
        return Entry(
            passed=name not in self.wrong,
            exact=torch.equal(gradient, reference.to(gradient.dtype)),
            max_abs=max_error,
            relative=max_error / largest if largest else (math.inf if max_error else 0.0),
            tolerance=self.bounds[name] / largest if largest else math.inf,
            ulps=max_error / ulp(largest, gradient.dtype),
            cosine=product / norms if norms else math.nan,
            ratio=product / square * (units[0] / units[1]) if square else math.nan,
            worst_index=worst,
            manual=float(value[worst]),
            reference=float(reference[worst]),
            note=self.notes.get(name, ""),
        )

    def entries(self) -> dict[str, Entry]:
        return {name: self.entry(name) for name in self.gradients}
