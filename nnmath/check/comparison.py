r"""Hand-written gradients against the reference: which are right, and by how much the others are off."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nnmath.check import validation
from nnmath.check.differences import Sides, sides
from nnmath.check.graph import Forward, Gradients, Graph, Promotion
from nnmath.check.kinks import TINY, Moved
from nnmath.check.report import Entry
from nnmath.check.tolerance import Noise, bound, coarser, gradients_of, noise

STEPS = (1e-1, 1e-2, 1e-4, 1e-7)
r"""Of the largest entry of a tensor: the steps of its difference quotients. A kink is one at all that tell."""
SINGLY = 1024
r"""Up to so many entries at a kink, or groups of them, are moved one by one, in small gradients."""
DESCENTS = 500
r"""Steps of a search for shares, before a slower one that is exact."""
NUMBERS = 2_000_000
r"""Up to so many numbers are kept for that, at least those of 32 entries."""


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


def one_sided(comparison: Comparison, measured: Noise) -> Gradients:
    r"""Gradients that are right for another derivative at a kink: name ↦ the reference with that derivative."""
    near = [d.abs() <= 4 * moved for d, moved in zip(measured.distances, measured.kinks, strict=True)]
    doubtful = {call: entries for call, entries in enumerate(near) if bool(entries.any())}
    names = [name for name in comparison.wrong if comparison.shaped(name)]
    if not doubtful or not names:
        return {}

    def moves(above: Mapping[int, Tensor]) -> dict[int, Tensor]:
        found = {}
        for call, entries in doubtful.items():
            side = torch.where(above[call], 1.0, -1.0) if call in above else -1.0
            found[call] = torch.where(entries, side * (8 * measured.kinks[call] + TINY), 0.0)
        return found

    def gradients(above: Mapping[int, Tensor]) -> Gradients:
        return gradients_of(comparison.forward, comparison.graph.inputs, names, Moved(moves(above)))

    comparison.kinks = [moves({}), moves(doubtful)]
    below, found = gradients({}), {}
    calls = [{call: entries} for call, entries in doubtful.items()]
    together = [[doubtful], calls, alike(doubtful, measured.distances), singly(doubtful)]
    most = min(SINGLY, max(32, NUMBERS // max(1, sum(comparison.values[name].numel() for name in names))))
    for choices in (choices for choices in together if len(choices) <= most):
        above = [gradients(choice) for choice in choices]
        for name in [name for name in names if name not in found]:
            paths = torch.stack([(side[name] - below[name]).flatten() for side in above], dim=1)
            enough = bound(comparison.values[name], comparison.dtype(name)) / 10
            shares = in_unit_box(paths, (comparison.values[name] - below[name]).flatten(), enough)
            mixture = below[name] + (paths @ shares).view_as(below[name])
            size = torch.stack([below[name].abs(), mixture.abs(), paths.abs().amax(1).view_as(mixture)])
            limit = bound(size, comparison.dtype(name), measured.gradients[name])
            if float((comparison.values[name] - mixture).abs().max()) <= limit:
                found[name] = mixture
        if len(found) == len(names):
            return found
    if len(together[-1]) > most:
        left = [name for name in names if name not in found]
        found |= each_its_own(comparison, left, doubtful, measured.kinks, gradients)
    return found


def each_its_own(
    comparison: Comparison,
    names: list[str],
    doubtful: Mapping[int, Tensor],
    rounding: list[Tensor],
    gradients: Callable[[Mapping[int, Tensor]], Gradients],
) -> Gradients:
    r"""Gradients that are right if rounding decides at random on which side of its kink each of many entries is."""
    generator = torch.Generator().manual_seed(0)

    def tossed(call: int) -> Tensor:
        r"""Each entry that rounding may move on a side of its own; those that are exactly at a kink all on one."""
        coins = torch.rand(doubtful[call].shape, generator=generator) < 0.5
        return torch.where(rounding[call] > 0, coins.to(rounding[call].device), bool(coins.flatten()[0]))

    draws = [gradients({call: tossed(call) for call in doubtful}) for _ in range(32)]
    found = {}
    for name in names:
        together = torch.stack([draw[name] for draw in draws])
        middle, value = together.mean(0), comparison.values[name]
        spread = (together - middle).abs().amax(0)
        if bool(((value - middle).abs() <= bound(together, comparison.dtype(name)) + 3 * spread).all()):
            found[name] = value
    return found


def alike(doubtful: Mapping[int, Tensor], distances: list[Tensor]) -> list[dict[int, Tensor]]:
    r"""Those together that are equally far from their kink: rounding treats them alike."""
    return [
        {call: entries & (distances[call] == distance)}
        for call, entries in doubtful.items()
        for distance in distances[call][entries].unique()
    ]


def singly(doubtful: Mapping[int, Tensor]) -> list[dict[int, Tensor]]:
    r"""Each entry for itself."""
    found = []
    for call, entries in doubtful.items():
        for index in entries.flatten().nonzero().flatten()[: SINGLY + 1]:
            one = torch.zeros_like(entries).flatten()
            one[index] = True
            found.append({call: one.view_as(entries)})
    return found


def in_unit_box(paths: Tensor, wanted: Tensor, enough: float) -> Tensor:
    r"""Shares t in [0, 1] that minimise ‖paths t − wanted‖², or bring it to ``enough``².

    First by accelerated projected gradients, begun anew whenever they turn back (Beck and Teboulle; O'Donoghue and
    Candès), then, where that is not close enough, by the active-set method of Stark and Parker (BVLS) from there: the
    shares that are not at a bound take the step that is best for them, as far as the first bound; one that wants to
    leave its bound becomes free again.
    """
    shares = torch.full_like(paths[0], 0.5)
    size = float(paths.abs().max())
    if not 0 < size < math.inf:
        return shares
    paths, wanted = paths / size, wanted / size
    enough = max(enough / size, 1e-13 * float(wanted.norm()))
    shares = descended(paths, wanted, shares, enough)
    residual, free = wanted - paths @ shares, (shares > 0) & (shares < 1)
    for _ in range(10 * len(shares)):
        if float(residual.norm()) <= enough:
            break
        step = torch.zeros_like(shares)
        if bool(free.any()):
            step[free] = torch.linalg.lstsq(paths[:, free], residual[:, None], driver="gelsd").solution[:, 0]
        room = torch.where(step > 0, 1 - shares, shares) / step.abs().clamp(min=1e-300)
        reach = min(1.0, float(room[free].min())) if bool(free.any()) else 1.0
        shares = (shares + reach * step).clamp(0, 1)
        residual = wanted - paths @ shares
        if reach < 1:
            free &= room > reach
            continue
        pull = paths.T @ residual
        leaving = ~free & torch.where(shares > 0.5, pull < 0, pull > 0)
        if not bool(leaving.any()):
            break
        free[torch.where(leaving, pull.abs(), -1.0).argmax()] = True
    return shares


def descended(paths: Tensor, wanted: Tensor, shares: Tensor, enough: float) -> Tensor:
    r"""The shares after up to so many steps of accelerated projected gradients."""
    step = 1 / float(torch.linalg.matrix_norm(paths, 2)) ** 2
    ahead, pace = shares, 1.0
    for _ in range(DESCENTS):
        moved = (ahead + step * (paths.T @ (wanted - paths @ ahead))).clamp(0, 1)
        faster = (1 + math.sqrt(1 + 4 * pace**2)) / 2
        if float(((ahead - moved) * (moved - shares)).sum()) > 0:
            ahead, pace = moved, 1.0
        else:
            ahead, pace = moved + (pace - 1) / faster * (moved - shares), faster
        shares = moved
        if float((wanted - paths @ shares).norm()) <= enough:
            break
    return shares


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
        leaf.copy_(start + shift)
        return loss()

    found = [sides(shifted, shift, (0,), step * (float(start.abs().max()) or 1.0), noise) for step in STEPS]
    leaf.copy_(start)
    closest = min(found, key=lambda each: each.error)
    return closest.contain(float(value.sum()), bound * value.numel() + 10 * closest.error)


def speaks_for(found: Sides, value: float, autograds: float, bound: float) -> bool:
    r"""Whether difference quotients allow a value, and there is a kink or they do not allow autograd's."""
    autograd_wrong = not found.contain(autograds, bound + 10 * found.error)
    return found.contain(value, bound) and (found.differ(bound) or autograd_wrong)
