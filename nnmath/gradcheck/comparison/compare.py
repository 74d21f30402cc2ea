r"""Compares gradients with autograd's; a difference may be rounding, a kink, or an error of autograd."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.finite_differences import OneSided, one_sided_derivatives
from nnmath.gradcheck.comparison.rounding import bound, lower_precision, noise
from nnmath.gradcheck.comparison.subgradients import find_subgradient
from nnmath.gradcheck.graph.graph import Forward, Graph, Promotion

STEPS = (1e-1, 1e-2, 1e-4, 1e-7)
r"""Of finite differences, relative to the largest entry. A kink is one only if every informative step size says so."""


def compare(forward: Forward, inputs: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> Comparison:
    r"""Compares the gradients of a loss with those by autograd in float64.

    Raises TypeError if the loss is not a real tensor, and ValueError if forward raises, or its value is not a finite
    scalar, or its gradient is not finite.
    """
    graph = validation.call("forward", lambda: Graph(forward, inputs, list(gradients)))
    validation.scalar(graph.loss)
    reference = validation.call("the backward pass of forward", graph.gradients)
    values = {name: gradient.detach().double() for name, gradient in gradients.items() if gradient is not None}
    comparison = Comparison(forward, inputs, gradients, values, reference, graph, bounds={})
    for name in gradients:
        fill_nonfinite_reference(comparison, name)
        comparison.bounds[name] = bound(reference[name], comparison.dtype(name))
    comparison.wrong = [name for name in gradients if not comparison.fits(name)]
    if comparison.wrong:
        allow_for_rounding_and_kinks(comparison)
    return comparison


def fill_nonfinite_reference(comparison: Comparison, name: str) -> None:
    r"""Replaces nan and inf in autograd's gradient by finite differences; ValueError if these do not converge."""
    reference = comparison.reference[name]
    if bool(reference.isfinite().all()):
        return
    loss, leaf = loss_of_leaf(comparison.forward, comparison.graph.inputs, name)
    for index in map(tuple, (~reference.isfinite()).nonzero().tolist()):
        sides = one_sided_derivatives(loss, leaf, index, STEPS[2] * (float(leaf.abs().max()) or 1.0))
        size = max(abs(sides.left), abs(sides.right))
        if not math.isfinite(sides.error + size) or sides.error > 1e-4 * max(size, 1e-4):
            raise ValueError(
                f"the gradient of forward must be finite, got {float(reference[index])} for inputs[{name!r}] at index "
                f"{index}, and difference quotients do not converge there either"
            )
        value = comparison.values[name][index].item() if comparison.has_shape(name) else math.nan
        reference[index] = value if sides.contains(value, 0.0) else (sides.left + sides.right) / 2
        comparison.notes[name] = "autograd gives nan or inf here: compared with difference quotients"


def loss_of_leaf(forward: Forward, inputs: Mapping[str, Tensor], name: str) -> tuple[Callable[[], Tensor], Tensor]:
    r"""The loss without arguments, and the copy of an input that it reads at each call."""
    copies = {key: tensor.detach().clone() for key, tensor in inputs.items()}

    def loss() -> Tensor:
        with torch.no_grad(), Promotion():
            return forward(**copies)

    return loss, copies[name]


def allow_for_rounding_and_kinks(comparison: Comparison) -> None:
    r"""Accepts wrong gradients that rounding, a kink, or an error of autograd explains."""
    dtype = functools.reduce(lower_precision, map(comparison.dtype, comparison.gradients))
    try:
        measured = noise(comparison.forward, comparison.inputs, comparison.reference, dtype)
    except Exception:  # some forwards cannot run with jitter, for example those that use vmap
        return

    def accept(name: str, note: str) -> None:
        comparison.notes[name] = note
        comparison.wrong.remove(name)

    comparison.noise = measured.gradients
    for name in comparison.gradients:
        comparison.bounds[name] += measured.gradients[name]
    for name in list(comparison.wrong):
        if comparison.fits(name):
            accept(name, "off by more than the type's tolerance, but by no more than rounding is here")
    for name, subgradient in find_subgradient(comparison, measured).items():
        comparison.reference[name] = subgradient
        accept(name, "at a kink: a valid choice between the one-sided derivatives")
    for name in list(comparison.wrong):
        if comparison.has_shape(name) and confirmed_by_finite_differences(comparison, name, measured.loss):
            accept(name, "not autograd's value, but the one that difference quotients give")


def confirmed_by_finite_differences(comparison: Comparison, name: str, noise: float) -> bool:
    r"""Whether finite differences confirm the entries that differ from autograd's, and contradict autograd there.

    If they do, the reference is corrected. ``noise`` is the rounding error of the loss.
    """
    if comparison.graph.has_detach:
        return False
    value, reference, bound = comparison.values[name], comparison.reference[name], comparison.bounds[name]
    loss, leaf = loss_of_leaf(comparison.forward, comparison.graph.inputs, name)
    scale = float(leaf.abs().max()) or 1.0
    error = (value - reference).abs()
    corrected = reference.clone()
    for flat in error.flatten().argsort(descending=True).tolist():
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), error.shape))
        if float(error[index]) <= bound:
            break
        quotients = [one_sided_derivatives(loss, leaf, index, step * scale, noise) for step in STEPS]
        informative = [sides for sides in quotients if sides.error < float(error[index]) / 4]
        v, r = float(value[index]), float(reference[index])
        if not informative or not all(supports(sides, v, r, bound) for sides in informative):
            return False
        corrected[index] = value[index]
    if not confirmed_along_diagonal(loss, leaf, value, bound, noise):
        return False
    comparison.reference[name] = corrected
    return True


def confirmed_along_diagonal(
    loss: Callable[[], Tensor], leaf: Tensor, value: Tensor, bound: float, noise: float
) -> bool:
    r"""Whether Σ gradient is the derivative when all entries move together.

    Entry by entry is not enough: each of two equal maxima may have the whole gradient, but not both.
    """
    start, shift = leaf.clone(), torch.zeros(1, dtype=leaf.dtype, device=leaf.device)
    scale = float(start.abs().max()) or 1.0

    def shifted() -> Tensor:
        leaf.copy_(start + shift[0])
        return loss()

    quotients = [one_sided_derivatives(shifted, shift, (0,), step * scale, noise) for step in STEPS]
    leaf.copy_(start)
    closest = min(quotients, key=lambda sides: sides.error)
    return closest.contains(float(value.sum()), bound * value.numel() + 10 * closest.error)


def supports(sides: OneSided, value: float, autograd_value: float, bound: float) -> bool:
    r"""Whether finite differences allow a value, and either show a kink or contradict autograd's value."""
    contradicts = not sides.contains(autograd_value, bound + 10 * sides.error)
    return sides.contains(value, bound) and (sides.is_kink(bound) or contradicts)
