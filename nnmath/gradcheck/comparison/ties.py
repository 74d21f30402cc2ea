r"""At a tie, a function that selects by order may select any of the equal entries, or a share of each.

What such a function selects is S z: row o of S has the shares of the entries z that are equal to output o, and its sum
is 1. All such S give the same values; each gives a valid gradient Sᵀ δ, with δ that of the outputs. An entry that is
sorted goes to one place: then no column of S has a sum above 1.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.kinks import Kinks, Select
from nnmath.gradcheck.comparison.rounding import Noise, bound
from nnmath.gradcheck.graph.graph import Gradients

MAX_ENTRIES = 2048  # of a tensor that is selected from
MAX_SHARES, MAX_NUMBERS = 1024, 2_000_000  # that are fitted; of the numbers in all their columns
WEIGHT = 1e4  # of the sums of the shares, beside the gradient: they hold to rounding


class Ties(NamedTuple):
    r"""What a call may select."""

    candidates: Tensor  # (outputs, entries): whether an entry is equal to the output and may be selected for it
    once: bool  # whether an entry can be selected for one output only

    def equal(self) -> Tensor:
        r"""S with equal shares."""
        return self.candidates.double() / self.candidates.sum(1, keepdim=True)

    def first(self) -> Tensor:
        r"""S with the first of the equal entries; where an entry is selected once, with the next of them."""
        free = self.candidates.clone()
        shares = torch.zeros_like(free, dtype=torch.float64)
        for output, row in enumerate(free):
            entry = int(row.double().argmax())
            shares[output, entry] = 1.0
            if self.once:
                free[:, entry] = False
        return shares

    def last(self) -> Tensor:
        r"""S with the last of the equal entries."""
        return Ties(self.candidates.flip(1), self.once).first().flip(1)


class Selections(Kinks):
    r"""Records the ties of the calls that select, or makes these select the given shares."""

    def __init__(self, errors: list[Tensor], shares: Mapping[int, Tensor] | None = None) -> None:
        super().__init__()
        self.errors, self.shares = errors, shares or {}
        self.ties: dict[int, Ties] = {}
        self.entries: dict[int, Tensor] = {}  # call ↦ what it selects from
        self.outputs: dict[int, Tensor] = {}  # call ↦ what it selects

    def selected(self, call: int, tensor: Tensor, select: Select) -> Any:
        result = select(tensor)
        values, *others = (result,) if isinstance(result, Tensor) else result
        if call in self.shares:
            self.entries[call] = tensor.flatten()
            self.outputs[call] = values = (self.shares[call] @ self.entries[call]).view_as(values)
            return values if isinstance(result, Tensor) else type(result)((values, *others))
        if values.requires_grad and tensor.numel() <= MAX_ENTRIES and call < len(self.errors):
            possible, once = selectable(select, tensor, values.numel())
            difference = values.detach().reshape(-1, 1) - tensor.detach().flatten()
            candidates = possible & (difference.abs() <= 4 * self.errors[call].flatten())
            if bool((candidates.sum(1) > 1).any()):
                self.ties[call] = Ties(candidates, once)
        return result


def selectable(select: Select, tensor: Tensor, outputs: int) -> tuple[Tensor, bool]:
    r"""Which entries each output may select, whatever their values, and whether it can select each only once.

    Each entry has each rank among its neighbours in one of the rotations of 0, 1, …, n - 1.
    """
    n, index = tensor.numel(), torch.arange(tensor.numel(), device=tensor.device)
    possible, once = torch.zeros(outputs, n, dtype=torch.bool, device=tensor.device), True
    for shift in range(n):
        result = select(((index + shift) % n).to(tensor.dtype).view_as(tensor))
        values = result if isinstance(result, Tensor) else result[0]
        entries = (values.flatten().long() - shift) % n
        possible[torch.arange(outputs), entries] = True
        once = once and len(entries.unique()) == outputs
    return possible, once


def find_ties(comparison: Comparison, measured: Noise) -> dict[int, Ties]:
    r"""The calls that select one of equal entries, by their number."""
    names = [name for name in comparison.wrong if comparison.has_shape(name)]
    if not names or not measured.selections:
        return {}
    return Linear(comparison, names, Selections(measured.selections)).selections.ties


def find_selection(comparison: Comparison, measured: Noise, ties: Mapping[int, Ties]) -> Gradients:
    r"""The wrong gradients that are right for another selection at the ties: name ↦ the reference with that."""
    names = [name for name in comparison.wrong if comparison.has_shape(name)]
    results: Gradients = {}
    for choice in (Ties.first, Ties.last, Ties.equal) if names and ties else ():
        shares = {call: choice(tie) for call, tie in ties.items()}
        linear = Linear(comparison, names, Selections(measured.selections, shares))
        for name in [name for name in names if name not in results]:
            fitted = linear.gradients[name]
            if choice is Ties.equal and not fits(comparison, measured, name, fitted):
                fitted = fit(comparison, name, linear, ties)
            if fits(comparison, measured, name, fitted):
                results[name] = fitted
    return results


def fits(comparison: Comparison, measured: Noise, name: str, reference: Tensor) -> bool:
    r"""Whether a gradient is right beside this reference."""
    limit = bound(reference, comparison.dtype(name), measured.gradients[name])
    return float((comparison.values[name] - reference).abs().max()) <= limit


class Linear:
    r"""The gradients for one selection, and how they depend on the shares."""

    def __init__(self, comparison: Comparison, names: list[str], selections: Selections) -> None:
        copies = {key: tensor.detach().clone() for key, tensor in comparison.graph.inputs.items()}
        self.leaves = {name: copies[name].requires_grad_() for name in names}
        self.selections = selections
        with torch.enable_grad(), selections:
            loss = comparison.forward(**copies)
        if not loss.requires_grad:  # it depends on no input: all gradients are 0
            loss = torch.zeros_like(loss, requires_grad=True)
        targets = [*self.leaves.values(), *selections.outputs.values()]
        gradients = torch.autograd.grad(loss, targets, retain_graph=True, materialize_grads=True)
        self.gradients = dict(zip(names, gradients, strict=False))
        self.deltas = dict(zip(selections.outputs, gradients[len(names) :], strict=True))

    def column(self, name: str, call: int, output: int, entry: int) -> Tensor:
        r"""The derivative of the gradient by one share: δ of the output times that of the entry by the input."""
        z = self.selections.entries[call][entry]
        (derivative,) = torch.autograd.grad(z, self.leaves[name], retain_graph=True, materialize_grads=True)
        return self.deltas[call].flatten()[output] * derivative.flatten()


def fit(comparison: Comparison, name: str, linear: Linear, ties: Mapping[int, Ties]) -> Tensor:
    r"""The gradient with the shares that make it most like the user's."""
    from scipy.optimize import nnls

    start, shares = linear.gradients[name], linear.selections.shares
    places = [
        (call, output, entry)
        for call, tie in ties.items()
        for output, entry in (tie.candidates & (tie.candidates.sum(1, keepdim=True) > 1)).nonzero().tolist()
    ]
    if len(places) > MAX_SHARES or len(places) * start.numel() > MAX_NUMBERS:
        return start
    columns = torch.stack([linear.column(name, *place) for place in places], dim=1).cpu().numpy()
    initial = np.array([float(shares[call][output, entry]) for call, output, entry in places])
    difference = (comparison.values[name] - start).flatten().cpu().numpy()
    size = WEIGHT * (np.abs(columns).max() or 1.0)
    outputs = one_hot([(call, output) for call, output, _ in places])
    entries = one_hot([(call, entry) if ties[call].once else None for call, _, entry in places])
    # the gradient; Σ shares of an output = 1 and Σ shares of an entry + slack = 1, which have a large weight
    slack = [np.zeros((len(columns), len(entries))), np.zeros((len(outputs), len(entries))), np.eye(len(entries))]
    system = np.hstack([np.vstack([columns / size, outputs, entries]), np.vstack(slack)])
    target = np.concatenate([(difference + columns @ initial) / size, np.ones(len(outputs) + len(entries))])
    try:
        weights, _ = nnls(system, target)
    except RuntimeError:  # it does not converge
        return start
    return start + torch.from_numpy(columns @ (weights[: len(places)] - initial)).to(start).view_as(start)


def one_hot(keys: list[Any]) -> Any:
    r"""A row for each different key, which is 1 where that key is; None has no row."""
    return np.array([[float(key == row) for key in keys] for row in dict.fromkeys(keys) if row]).reshape(-1, len(keys))
