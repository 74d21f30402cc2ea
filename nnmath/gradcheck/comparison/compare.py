r"""Compares gradients with autograd's."""

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
r"""Of the largest entry of a tensor: the steps of its difference quotients. A kink is one at all that tell."""


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
    graph = validation.call("forward", lambda: Graph(forward, inputs, list(gradients)))
    validation.scalar(graph.loss)
    reference = validation.call("the backward pass of forward", graph.gradients)
    values = {name: gradient.detach().double() for name, gradient in gradients.items() if gradient is not None}
    comparison = Comparison(forward, inputs, gradients, values, reference, graph, bounds={})
    for name in gradients:
        fill_nonfinite_reference(comparison, name)
        comparison.bounds[name] = bound(reference[name], comparison.dtype(name))
    comparison.wrong = wrong = [name for name in gradients if not comparison.fits(name)]
    if wrong:
        allow_for_rounding_and_kinks(comparison)
    return comparison


def fill_nonfinite_reference(comparison: Comparison, name: str) -> None:
    r"""Where autograd gives nan or inf, difference quotients say what the derivative is.

    Raises:
        ValueError: they do not converge either.
    """
    reference = comparison.reference[name]
    if bool(reference.isfinite().all()):
        return
    loss, leaf = at_leaf(comparison.forward, comparison.graph.inputs, name)
    for index in map(tuple, (~reference.isfinite()).nonzero().tolist()):
        found = one_sided_derivatives(loss, leaf, index, STEPS[2] * (float(leaf.abs().max()) or 1.0))
        value = comparison.values[name][index].item() if comparison.has_shape(name) else math.nan
        middle = (found.left + found.right) / 2
        size = max(abs(found.left), abs(found.right))
        if not math.isfinite(found.error + size) or found.error > 1e-4 * max(size, 1e-4):
            raise ValueError(
                f"the gradient of forward must be finite, got {float(reference[index])} for inputs[{name!r}] at index "
                f"{index}, and difference quotients do not converge there either"
            )
        reference[index] = value if found.contains(value, 0.0) else middle
        comparison.notes[name] = "autograd gives nan or inf here: compared with difference quotients"


def at_leaf(forward: Forward, inputs: Mapping[str, Tensor], name: str) -> tuple[Callable[[], Tensor], Tensor]:
    r"""The loss as a function of nothing, and the copy of an input that it reads each time."""
    copies = {key: tensor.detach().clone() for key, tensor in inputs.items()}

    def loss() -> Tensor:
        with torch.no_grad(), Promotion():
            return forward(**copies)

    return loss, copies[name]


def allow_for_rounding_and_kinks(comparison: Comparison) -> None:
    r"""Looks again at the gradients that differ: rounding, kinks, and where autograd itself is wrong."""
    coarsest = functools.reduce(lower_precision, map(comparison.dtype, comparison.gradients))
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
    if any(map(comparison.has_shape, comparison.wrong)):
        for name, value in find_subgradient(comparison, measured).items():
            comparison.reference[name] = value
            comparison.notes[name] = "at a kink: a valid choice between the one-sided derivatives"
            comparison.wrong.remove(name)
    for name in list(comparison.wrong):
        if comparison.has_shape(name) and confirmed_by_finite_differences(comparison, name, measured.loss):
            comparison.notes[name] = "not autograd's value, but the one that difference quotients give"
            comparison.wrong.remove(name)


def confirmed_by_finite_differences(comparison: Comparison, name: str, noise: float) -> bool:
    r"""Whether the entries that differ from autograd's are what difference quotients say, and autograd's are not.

    Args:
        comparison: where autograd and the user differ.
        name: of the gradient.
        noise: of the loss, which is the quotients' when it is divided by the step.
    """
    value, reference, bound = comparison.values[name], comparison.reference[name], comparison.bounds[name]
    if comparison.graph.has_detach:
        return False
    loss, leaf = at_leaf(comparison.forward, comparison.graph.inputs, name)
    scale = float(leaf.abs().max()) or 1.0
    error = (value - reference).abs()
    corrected = reference.clone()
    for flat in error.flatten().argsort(descending=True).tolist():
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), error.shape))
        if float(error[index]) <= bound:
            break
        quotients = [one_sided_derivatives(loss, leaf, index, step * scale, noise) for step in STEPS]
        telling = [found for found in quotients if found.error < float(error[index]) / 4]
        v, r = float(value[index]), float(reference[index])
        if not telling or not all(supports(found, v, r, bound) for found in telling):
            return False
        corrected[index] = value[index]
    if not confirmed_along_diagonal(loss, leaf, value, bound, noise):
        return False
    comparison.reference[name] = corrected
    return True


def confirmed_along_diagonal(
    loss: Callable[[], Tensor], leaf: Tensor, value: Tensor, bound: float, noise: float
) -> bool:
    r"""Whether a gradient is right for all entries at once: each of two equal largest may have all of it, not both."""
    start, shift = leaf.clone(), torch.zeros(1, dtype=leaf.dtype, device=leaf.device)

    def shifted() -> Tensor:
        leaf.copy_(start + shift[0])
        return loss()

    found = [
        one_sided_derivatives(shifted, shift, (0,), step * (float(start.abs().max()) or 1.0), noise) for step in STEPS
    ]
    leaf.copy_(start)
    closest = min(found, key=lambda each: each.error)
    return closest.contains(float(value.sum()), bound * value.numel() + 10 * closest.error)


def supports(found: OneSided, value: float, autograds: float, bound: float) -> bool:
    r"""Whether difference quotients allow a value, and there is a kink or they do not allow autograd's."""
    autograd_wrong = not found.contains(autograds, bound + 10 * found.error)
    return found.contains(value, bound) and (found.is_kink(bound) or autograd_wrong)
