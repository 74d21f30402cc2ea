r"""Hand-written gradients against the reference: which are right, and by how much the others are off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.errors import relative_error, ulps
from nnmath.gradcheck.comparison.rounding import lower_precision
from nnmath.gradcheck.graph.graph import Forward, Gradients, Graph
from nnmath.gradcheck.report import Entry


@dataclass
class Comparison:
    r"""Gradients by hand beside those by autograd.

    Args:
        forward: the loss.
        inputs: in the user's types.
        gradients: the user's; None where there is none.
        values: the same in float64, of those that there are.
        reference: in float64.
        graph: that gave the reference.
        bounds: name ↦ what an entry may be off.
        notes: name ↦ why a gradient that is not autograd's passes.
        noise: name ↦ the part of its bound that rounding explains.
        wrong: the names of the gradients that are wrong.
        kinks: how to move the inputs of functions that are at a kink to the one side, and to the other.
    """

    forward: Forward
    inputs: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor | None]
    values: Gradients
    reference: Gradients
    graph: Graph
    bounds: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    kinks: list[dict[int, Tensor]] = field(default_factory=list)

    def dtype(self, name: str) -> torch.dtype:
        r"""The coarser type of an input and its gradient."""
        gradient = self.gradients[name]
        return self.inputs[name].dtype if gradient is None else lower_precision(self.inputs[name].dtype, gradient.dtype)

    def fits(self, name: str) -> bool:
        r"""Whether a gradient is right: of the reference's shape, and nowhere off by more than its bound."""
        value, reference = self.values.get(name), self.reference[name]
        if value is None or value.shape != reference.shape:
            return False
        return not value.numel() or float((value - reference).abs().max()) <= self.bounds[name]

    def has_shape(self, name: str) -> bool:
        r"""Whether a gradient has its input's shape."""
        return name in self.values and self.values[name].shape == self.reference[name].shape

    def entry(self, name: str) -> Entry:
        r"""What the report says of one gradient."""
        gradient, reference, value = self.gradients[name], self.reference[name], self.values.get(name)
        passed, note = name not in self.wrong, self.notes.get(name, "")
        if gradient is None or value is None or value.shape != reference.shape:
            shape = None if gradient is None else tuple(gradient.shape)
            note = "missing" if shape is None else f"shape {shape}, the input has {tuple(reference.shape)}"
            return Entry(passed=False, shape_ok=False, note=note)
        exact = torch.equal(gradient, reference.to(gradient.dtype))
        if not value.numel():
            return Entry(passed=True, exact=True, shape_ok=True, max_abs=0.0, relative=0.0, ulps=0.0)
        error = (value - reference).abs()
        worst = tuple(int(i) for i in torch.unravel_index(error.argmax(), error.shape))
        largest = float(reference.abs().max())
        unit = reference / largest if largest else reference  # squares of small numbers would underflow
        scale = float(value.abs().max()) or 1.0
        norms, product = float((value / scale).norm() * unit.norm()), float((value / scale * unit).sum())
        return Entry(
            passed=passed,
            exact=exact,
            shape_ok=True,
            max_abs=float(error.max()),
            relative=relative_error(value, reference),
            tolerance=self.bounds[name] / largest if largest else math.inf,
            ulps=ulps(value, reference, gradient.dtype),
            cosine=product / norms if norms else math.nan,
            ratio=product * scale / largest / float((unit**2).sum()) if largest else math.nan,
            worst_index=worst,
            manual=float(value[worst]),
            reference=float(reference[worst]),
            note=note,
        )

    def entries(self) -> dict[str, Entry]:
        r"""What the report says of each gradient."""
        return {name: self.entry(name) for name in self.gradients}
