r"""Compares gradients with autograd's; a difference may come from rounding, a kink, or an error of autograd."""

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.errors import is_finite
from nnmath.gradcheck.comparison.finite_differences import one_sided_derivatives
from nnmath.gradcheck.comparison.kinks import Distances
from nnmath.gradcheck.comparison.rounding import bound, gradients_of, lower_precision, noise
from nnmath.gradcheck.comparison.subgradients import find_subgradient
from nnmath.gradcheck.comparison.ties import find_selection, find_ties
from nnmath.gradcheck.graph.graph import Forward, Graph, Promotion
from nnmath.gradcheck.nonfinite import trace_forward

# step sizes of finite differences, relative to the largest entry; every informative one must agree on a kink
STEPS = (1e-1, 1e-2, 1e-4, 1e-7)
LARGE = 1_000_000  # entries of the gradients, from which on a gross error is called one without measuring the noise
GROSS, MAX_ROUNDING = 5e-2, 1e-3  # of the gradient's norm: an error that rounding does not make, and one that it may
MAX_AT_KINK = 1e-4  # of the entries


def compare(forward: Forward, inputs: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> Comparison:
    r"""Compares the gradients of a loss with those by autograd in float64; raises as check_gradients does."""
    graph = validation.call("forward", lambda: Graph(forward, inputs, list(gradients)))
    validation.scalar(graph.loss, graph.recorder.end)
    reference = validation.call("the backward pass of forward", graph.gradients)
    values = {name: gradient.detach().double() for name, gradient in gradients.items() if gradient is not None}
    comparison = Comparison(forward, inputs, gradients, values, reference, graph, bounds={})
    for name in gradients:
        fill_nonfinite_reference(comparison, name)
        comparison.bounds[name] = bound(reference[name], comparison.dtype(name))
    comparison.wrong = [name for name in gradients if not comparison.fits(name)]
    if comparison.wrong and not is_gross(comparison):
        allow_for_rounding_and_kinks(comparison)
    return comparison


def is_gross(comparison: Comparison) -> bool:
    r"""Whether the wrong gradients of a large problem are off by far more than rounding and kinks can explain.

    The gradients in float32 show what rounding does, and the kinks that it crosses; few entries are exactly at a kink.
    """
    dtypes = {comparison.dtype(name) for name in comparison.gradients}
    if sum(v.numel() for v in comparison.values.values()) < LARGE or dtypes - {torch.float32, torch.float64}:
        return False
    singles = {k: t.float() if t.dtype is torch.float64 else t for k, t in comparison.inputs.items()}
    distances = Distances()
    try:
        rounded = gradients_of(comparison.forward, singles, comparison.wrong, distances)
    except Exception:  # a closure in float64, for example
        return False
    entries = sum(distance.numel() for distance in distances.distances)
    if sum(int((distance == 0).sum()) for distance in distances.distances) > MAX_AT_KINK * entries:
        return False
    for name in filter(comparison.has_shape, comparison.wrong):
        value, reference = comparison.values[name], comparison.reference[name]
        size = reference.norm()
        if (rounded[name] - reference).norm() > MAX_ROUNDING * size or (value - reference).norm() < GROSS * size:
            return False
    return True


def fill_nonfinite_reference(comparison: Comparison, name: str) -> None:
    r"""Replaces nan and inf in autograd's gradient by finite differences; ValueError if these do not converge."""
    reference = comparison.reference[name]
    if is_finite(reference):
        return
    loss, leaf = loss_of_leaf(comparison.forward, comparison.graph.inputs, name)
    for index in map(tuple, (~reference.isfinite()).nonzero().tolist()):
        sides = one_sided_derivatives(loss, leaf, index, STEPS[2] * (float(leaf.abs().max()) or 1.0))
        size = max(abs(sides.left), abs(sides.right))
        if not math.isfinite(sides.error + size) or sides.error > 1e-4 * max(size, 1e-4):
            where = trace_forward(comparison.forward, comparison.graph.inputs)
            raise ValueError(
                f"the gradient of forward must be finite, got {float(reference[index])} for inputs[{name!r}] at index "
                f"{index}, and difference quotients do not converge there either{f': {where}' if where else ''}"
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
    r"""Accepts gradients whose difference from autograd's is due to rounding, a kink, or an error of autograd."""
    dtype = functools.reduce(lower_precision, map(comparison.dtype, comparison.gradients))
    try:
        measured = noise(comparison.forward, comparison.inputs, comparison.reference, dtype)
    except Exception:  # some forward functions cannot run with jitter, for example those that use vmap
        return

    def accept(name: str, note: str) -> None:
        comparison.notes[name] = note
        comparison.wrong.remove(name)

    ties = find_ties(comparison, measured)
    comparison.has_ties = bool(ties)
    if ties:
        measured = measured._replace(gradients=measured.jitter)
    comparison.noise = measured.gradients
    for name in comparison.gradients:
        comparison.bounds[name] += measured.gradients[name]
    for name in list(comparison.wrong):
        if comparison.fits(name):
            accept(name, "off by more than the type's tolerance, but by no more than rounding is here")
    for name, subgradient in find_subgradient(comparison, measured).items():
        comparison.reference[name] = subgradient
        accept(name, "at a kink: a valid choice between the one-sided derivatives")
    for name, gradient in find_selection(comparison, measured, ties).items():
        comparison.reference[name] = gradient
        accept(name, "at a tie: a valid choice of the equal entries")
    if comparison.has_ties and not comparison.kinks:
        return  # each entry alone may have the whole gradient: difference quotients say less
    for name in list(comparison.wrong):
        if comparison.has_shape(name) and confirmed_by_finite_differences(comparison, name, measured.loss):
            accept(name, "not autograd's value, but the one that difference quotients give")


def confirmed_by_finite_differences(comparison: Comparison, name: str, noise: float) -> bool:
    r"""Whether finite differences confirm the entries that differ from autograd's; if so, corrects the reference.

    ``noise`` is the rounding error of the loss.
    """
    if comparison.graph.has_detach:
        return False
    value, reference, bound = comparison.values[name], comparison.reference[name], comparison.bounds[name]
    loss, leaf = loss_of_leaf(comparison.forward, comparison.graph.inputs, name)
    scale = float(leaf.abs().max()) or 1.0
    error = (value - reference).abs()
    corrected = reference.clone()
    for flat in error.flatten().argsort(descending=True).tolist():
        index = tuple(map(int, np.unravel_index(flat, error.shape)))
        if float(error[index]) <= bound:
            break
        quotients = [one_sided_derivatives(loss, leaf, index, step * scale, noise) for step in STEPS]
        informative = [sides for sides in quotients if sides.error < float(error[index]) / 4]
        if not informative:
            return False
        for sides in informative:
            refutes_autograd = not sides.contains(float(reference[index]), bound + 10 * sides.error)
            if not sides.contains(float(value[index]), bound) or not (refutes_autograd or sides.is_kink(bound)):
                return False
        corrected[index] = value[index]

    # each of two equal maxima may have the whole gradient, but not both: all entries must be right together too
    start, shift = leaf.clone(), torch.zeros(1, dtype=leaf.dtype, device=leaf.device)

    def shifted_loss() -> Tensor:
        leaf.copy_(start + shift[0])
        return loss()

    quotients = [one_sided_derivatives(shifted_loss, shift, (0,), step * scale, noise) for step in STEPS]
    closest = min(quotients, key=lambda sides: sides.error)
    if not closest.contains(float(value.sum()), bound * value.numel() + 10 * closest.error):
        return False
    comparison.reference[name] = corrected
    return True
