r"""Hand-written gradients against the reference: which are right, and by how much the others are off."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.finite_differences import Sides, sides
from nnmath.gradcheck.comparison.rounding import bound, coarser, noise
from nnmath.gradcheck.comparison.subgradients import one_sided
from nnmath.gradcheck.graph.graph import Forward, Gradients, Graph, Promotion
from nnmath.gradcheck.report import Entry

STEPS = (1e-1, 1e-2, 1e-4, 1e-7)
r"""Of the largest entry of a tensor: the steps of its difference quotients. A kink is one at all that tell."""


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
        return self.inputs[name].dtype if gradient is None else coarser(self.inputs[name].dtype, gradient.dtype)

    def fits(self, name: str) -> bool:
        r"""Whether a gradient is right: of the reference's shape, and nowhere off by more than its bound."""
        value, reference = self.values.get(name), self.reference[name]
        if value is None or value.shape != reference.shape:
            return False
        return not value.numel() or float((value - reference).abs().max()) <= self.bounds[name]

    def shaped(self, name: str) -> bool:
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
        largest, size = float(reference.abs().max()), float(error.max())
        unit = reference / largest if largest else reference  # squares of small numbers would underflow
        scale = float(value.abs().max()) or 1.0
        norms, product = float((value / scale).norm() * unit.norm()), float((value / scale * unit).sum())
        info = torch.finfo(gradient.dtype)
        spacing = info.eps * 2.0 ** math.floor(math.log2(max(largest, info.smallest_normal)))
        return Entry(
            passed=passed,
            exact=exact,
            shape_ok=True,
            max_abs=size,
            relative=size / largest if largest else (math.inf if size else 0.0),
            tolerance=self.bounds[name] / largest if largest else math.inf,
            ulps=size / spacing,
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


def compare(forward: Forward, inputs: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> Comparison:
    r"""Compares the gradients of a loss with those by autograd in float64.

    What differs by more than the type's tolerance is looked at more closely: is it rounding, is it a kink, is it
    autograd that is wrong there?

    Args:
        forward: the loss, a scalar, of the inputs by keyword.
        inputs: name ↦ tensor.
        gradients: name ↦ the gradient by hand, or None.

    Raises:
        TypeError: the loss is no tensor of real numbers.
        ValueError: forward raises, or returns no finite scalar, or its gradient is not finite.
    """
    graph = validation.called("forward", lambda: Graph(forward, inputs, list(gradients)))
    validation.scalar(graph.loss)
    reference = validation.called("the backward pass of forward", graph.gradients)
    values = {name: gradient.detach().double() for name, gradient in gradients.items() if gradient is not None}
    comparison = Comparison(forward, inputs, gradients, values, reference, graph, bounds={})
    for name in gradients:
        repair(comparison, name)
        comparison.bounds[name] = bound(reference[name], comparison.dtype(name))
    comparison.wrong = wrong = [name for name in gradients if not comparison.fits(name)]
    if wrong:
        weigh(comparison)
    return comparison


def repair(comparison: Comparison, name: str) -> None:
    r"""Where autograd gives nan or inf, difference quotients say what the derivative is.

    Raises:
        ValueError: they do not converge either.
    """
    reference = comparison.reference[name]
    if bool(reference.isfinite().all()):
        return
    loss, leaf = at_leaf(comparison.forward, comparison.graph.inputs, name)
    for index in map(tuple, (~reference.isfinite()).nonzero().tolist()):
        found = sides(loss, leaf, index, STEPS[2] * (float(leaf.abs().max()) or 1.0))
        value = comparison.values[name][index].item() if comparison.shaped(name) else math.nan
        middle = (found.left + found.right) / 2
        size = max(abs(found.left), abs(found.right))
        if not math.isfinite(found.error + size) or found.error > 1e-4 * max(size, 1e-4):
            raise ValueError(
                f"the gradient of forward must be finite, got {float(reference[index])} for inputs[{name!r}] at index "
                f"{index}, and difference quotients do not converge there either"
            )
        reference[index] = value if found.contain(value, 0.0) else middle
        comparison.notes[name] = "autograd gives nan or inf here: compared with difference quotients"


def at_leaf(forward: Forward, inputs: Mapping[str, Tensor], name: str) -> tuple[Callable[[], Tensor], Tensor]:
    r"""The loss as a function of nothing, and the copy of an input that it reads each time."""
    copies = {key: tensor.detach().clone() for key, tensor in inputs.items()}

    def loss() -> Tensor:
        with torch.no_grad(), Promotion():
            return forward(**copies)

    return loss, copies[name]


def weigh(comparison: Comparison) -> None:
    r"""Looks again at the gradients that differ: rounding, kinks, and where autograd itself is wrong."""
    coarsest = functools.reduce(coarser, map(comparison.dtype, comparison.gradients))
    try:
        measured = noise(comparison.forward, comparison.inputs, comparison.reference, coarsest)
    except Exception:  # a forward that cannot be rounded, as one with vmap in it: then nothing is allowed for
        return
    comparison.noise = measured.gradients
    for name in comparison.gradients:
        comparison.bounds[name] += measured.gradients[name]
    for name in [name for name in comparison.wrong if comparison.fits(name)]:
        comparison.notes[name] = "off by more than the type's tolerance, but by no more than rounding is here"
        comparison.wrong.remove(name)
    if any(map(comparison.shaped, comparison.wrong)):
        for name, value in one_sided(comparison, measured).items():
            comparison.reference[name] = value
            comparison.notes[name] = "at a kink: a valid choice between the one-sided derivatives"
            comparison.wrong.remove(name)
    for name in list(comparison.wrong):
        if comparison.shaped(name) and between_quotients(comparison, name, measured.loss):
            comparison.notes[name] = "not autograd's value, but the one that difference quotients give"
            comparison.wrong.remove(name)


def between_quotients(comparison: Comparison, name: str, noise: float) -> bool:
    r"""Whether the entries that differ from autograd's are what difference quotients say, and autograd's are not.

    Args:
        comparison: where autograd and the user differ.
        name: of the gradient.
        noise: of the loss, which is the quotients' when it is divided by the step.
    """
    value, reference, bound = comparison.values[name], comparison.reference[name], comparison.bounds[name]
    if comparison.graph.stopped:
        return False
    loss, leaf = at_leaf(comparison.forward, comparison.graph.inputs, name)
    scale = float(leaf.abs().max()) or 1.0
    error = (value - reference).abs()
    corrected = reference.clone()
    for flat in error.flatten().argsort(descending=True).tolist():
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), error.shape))
        if float(error[index]) <= bound:
            break
        quotients = [sides(loss, leaf, index, step * scale, noise) for step in STEPS]
        telling = [found for found in quotients if found.error < float(error[index]) / 4]
        v, r = float(value[index]), float(reference[index])
        if not telling or not all(speaks_for(found, v, r, bound) for found in telling):
            return False
        corrected[index] = value[index]
    if not together_too(loss, leaf, value, bound, noise):
        return False
    comparison.reference[name] = corrected
    return True


def together_too(loss: Callable[[], Tensor], leaf: Tensor, value: Tensor, bound: float, noise: float) -> bool:
    r"""Whether a gradient is right for all entries at once: each of two equal largest may have all of it, not both."""
    start, shift = leaf.clone(), torch.zeros(1, dtype=leaf.dtype, device=leaf.device)

    def shifted() -> Tensor:
        leaf.copy_(start + shift[0])
        return loss()

    found = [sides(shifted, shift, (0,), step * (float(start.abs().max()) or 1.0), noise) for step in STEPS]
    leaf.copy_(start)
    closest = min(found, key=lambda each: each.error)
    return closest.contain(float(value.sum()), bound * value.numel() + 10 * closest.error)


def speaks_for(found: Sides, value: float, autograds: float, bound: float) -> bool:
    r"""Whether difference quotients allow a value, and there is a kink or they do not allow autograd's."""
    autograd_wrong = not found.contain(autograds, bound + 10 * found.error)
    return found.contain(value, bound) and (found.differ(bound) or autograd_wrong)
