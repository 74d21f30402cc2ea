r"""A hypothesis about a wrong gradient, and its test: it has to reproduce the user's numbers.

A rule yields hypotheses; each predicts gradients. A hypothesis is accepted for the gradients that it reproduces to
rounding, up to a constant factor, and for no others.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.errors import max_abs
from nnmath.gradcheck.comparison.rounding import RTOL, underflow_allowance
from nnmath.gradcheck.diagnosis.constants import (
    Constant,
    batch_sizes_in_data,
    batch_sizes_in_graph,
    common_constants,
    divisors_in_graph,
    name_ratio,
)
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit
from nnmath.gradcheck.graph.graph import Gradients, Graph


@dataclass(frozen=True)
class Hypothesis:
    r"""A mistake that may have been made."""

    fault: Fault | None  # None for a constant factor alone
    gradients: Gradients  # what the mistake gives, by name
    explanation: str = ""  # one or two sentences for the report
    fix: str = ""  # what to write instead
    edit: Edit | None = None  # the mistake as a change to the graph, if it is one
    fitted: int = 0  # how many numbers were fitted to the user's gradients
    observed: Gradients = field(default_factory=dict)  # what to compare with instead of the user's gradients


@dataclass
class Context:
    r"""What a rule knows about the wrong gradients."""

    comparison: Comparison
    n: int | None  # the batch size, if the caller gave it
    learning_rate: float | None  # η, if the caller gave it
    remaining: list[str]  # the gradients that are not explained yet, the one nearest to the loss first
    edit: Edit = field(default_factory=Edit)  # the mistakes in the graph that were accepted so far
    base: Gradients = field(default_factory=dict)  # the gradients with these mistakes
    in_graph: bool = True  # whether the graph records the user's operations, so that mistakes can be made in it
    deadline: float = math.inf  # by time.monotonic; fits and gradients raise TimeoutError after it

    @property
    def graph(self) -> Graph:
        return self.comparison.graph

    @cached_property
    def batch_sizes(self) -> dict[int, str]:
        r"""Candidate batch sizes, and why: n alone if the caller gave it."""
        if self.n is not None:
            return {self.n: "the batch size"}
        inputs, gradients = self.comparison.inputs, self.comparison.gradients
        data = {name: tensor for name, tensor in inputs.items() if name not in gradients}
        return {**batch_sizes_in_graph(self.graph), **batch_sizes_in_data(data)}

    @cached_property
    def constants(self) -> list[Constant]:
        r"""The constants that have a meaning for this loss."""
        divisors = {d: where for d, where in divisors_in_graph(self.graph).items() if d not in self.batch_sizes}
        return list(common_constants(self.batch_sizes, self.learning_rate, divisors))

    def value(self, name: str) -> Tensor:
        r"""The user's gradient in float64; zeros where it is missing."""
        return self.comparison.values.get(name, torch.zeros_like(self.comparison.reference[name]))

    def pairs(self, same_shape: bool = False) -> Iterator[tuple[str, Tensor, Tensor]]:
        r"""The name, the user's value and the base of each gradient that is not explained yet."""
        for name in self.remaining:
            value, base = self.value(name), self.base[name]
            if value.shape == base.shape or not same_shape:
                yield name, value, base

    def mark_explained(self, names: list[str]) -> None:
        self.remaining = [name for name in self.remaining if name not in names]

    def relevant_nodes(self) -> list[Node]:
        r"""The nodes that an unexplained gradient depends on."""
        reachable = self.graph.reachable_leaves
        return [node for node in self.graph.nodes if not reachable[node].isdisjoint(self.remaining)]

    def gradients(self, edit: Edit) -> Gradients | None:
        r"""The gradients with one more mistake; None if the shapes do not allow it."""
        self.keep_deadline()
        try:
            return self.graph.gradients(self.edit + edit)
        except RuntimeError:
            return None

    def keep_deadline(self) -> None:
        if time.monotonic() > self.deadline:
            raise TimeoutError

    def fits(self, name: str, candidate: Tensor, value: Tensor | None = None, max_residual: float = 0.1) -> bool:
        r"""Whether a candidate equals the user's gradient, or ``value`` if one is passed, to rounding."""
        self.keep_deadline()
        own = self.value(name)
        value = own if value is None else value
        if value.shape != candidate.shape or not value.numel():
            return False
        reference, dtype = self.comparison.reference[name], self.comparison.dtype(name)
        difference = value - reference if value is own and own.shape == reference.shape else value
        noise = self.comparison.noise.get(name, 0.0) + underflow_allowance(dtype)
        largest = max_abs(difference)
        rounding = max(1e-3, 4 * torch.finfo(dtype).eps)
        # at most the fraction max_residual of the difference from the reference may remain unexplained
        limit = min(RTOL[dtype] * max_abs(candidate) + noise, rounding * largest + noise, max_residual * largest)
        return max_abs(value - candidate) <= limit

    def indistinguishable(self, name: str, a: Tensor, b: Tensor) -> bool:
        r"""Whether two candidates are equal to rounding."""
        if a.shape != b.shape:
            return False
        rounding = 10 * RTOL[self.comparison.dtype(name)] * max(max_abs(a), max_abs(b))
        return max_abs(a - b) <= rounding + self.comparison.noise.get(name, 0.0)

    def constants_near(self, c: float, name: str, candidate: Tensor, value: Tensor | None = None) -> list[Constant]:
        r"""The constants close to the fitted c for which constant · candidate is the user's gradient to rounding."""
        close = [constant for constant in self.constants if abs(c - constant.value) <= 0.1 * abs(c)]
        return [constant for constant in close if self.fits(name, constant.value * candidate, value)]

    def fit_steps(self, start: Gradients, direction: Gradients) -> list[tuple[str, float]]:
        r"""The distinct t for which start + t · direction is one of the user's gradients to rounding, with its name."""
        self.keep_deadline()
        steps: list[tuple[str, float]] = []
        for name, value, _ in self.pairs(same_shape=True):
            t = fit_scale(direction[name], value - start[name]) if name in direction else None
            if t is None or any(math.isclose(t, other, rel_tol=1e-6) for _, other in steps):
                continue
            if self.fits(name, start[name] + t * direction[name]):
                steps.append((name, t))
        return steps


Rule = Callable[[Context], Iterator[Hypothesis]]


def fit_scale(part: Tensor, total: Tensor) -> float | None:
    r"""The number t for which t · part is closest to total; None if part is 0."""
    if not (largest := max_abs(part)):
        return None
    unit = part / largest  # squares of small numbers would underflow
    return float((unit * total).sum() / (unit * unit).sum()) / largest


def fit_coefficients(parts: list[Tensor], total: Tensor) -> list[float] | None:
    r"""The numbers t for which Σ t · part is closest to total; None if an entry is not finite."""
    matrix = torch.stack([part.flatten() for part in parts], dim=1)
    if not bool(matrix.isfinite().all()) or not bool(total.isfinite().all()):
        return None
    return torch.linalg.lstsq(matrix, total.flatten()[:, None], driver="gelsd").solution[:, 0].tolist()


@dataclass(frozen=True)
class Match:
    r"""A hypothesis, and the gradients that it reproduces up to one constant."""

    hypothesis: Hypothesis
    names: list[str]
    constant: float
    constants: list[Constant]  # the known constants with this value; several may share it
    fitted: int  # how many numbers were fitted
    contradictions: int  # how many gradients are right although the hypothesis would make them wrong


def matches(context: Context, hypothesis: Hypothesis) -> Iterator[Match]:
    r"""The gradients that a hypothesis reproduces, one match per constant."""
    groups: list[tuple[float, list[Constant], list[str]]] = []
    for name in (name for name in context.remaining if name in hypothesis.gradients):
        c, constants = find_constant(context, hypothesis, name)
        if c is None:
            continue
        tolerance = (1e-6 + RTOL[context.comparison.dtype(name)]) * abs(c)
        same = [names for other, _, names in groups if abs(c - other) <= tolerance]
        if same:
            same[0].append(name)
        else:
            groups.append((c, constants, [name]))
    for c, constants, names in groups:
        equations = sum(context.value(name).numel() for name in names)
        ratio = "" if constants or c == 1 else name_ratio(c, context.comparison.inputs)
        if (equations > 2 or ratio) and constant_is_enough(context, hypothesis, names):
            continue
        contradictions = 0
        for name, gradient in hypothesis.gradients.items():
            if hypothesis.edit is not None and name not in context.comparison.wrong:
                contradictions += not context.indistinguishable(name, gradient, context.comparison.reference[name])
        fitted = hypothesis.fitted + (c != 1 and not constants)
        combined = hypothesis.fault is not None and c != 1
        needed = 2 if ratio and hypothesis.fault is None else fitted + 2 if fitted or combined else 1
        if equations >= needed:
            yield Match(hypothesis, names, c, constants, fitted, contradictions)


def find_constant(context: Context, hypothesis: Hypothesis, name: str) -> tuple[float | None, list[Constant]]:
    r"""The factor between a predicted gradient and the user's, None if it does not fit; the known constants near it."""
    value, candidate = hypothesis.observed.get(name, context.value(name)), hypothesis.gradients[name]
    if value.shape != candidate.shape:
        return None, []
    constant_only = hypothesis.fault is None
    if not constant_only and context.fits(name, candidate, value):
        return 1.0, []
    unchanged = not hypothesis.observed and context.indistinguishable(name, candidate, context.base[name])
    c = fit_scale(candidate, value)
    if c is None or (unchanged and not constant_only):
        return None, []
    if constants := context.constants_near(c, name, candidate, value):
        return constants[0].value, constants
    accepted = constant_only and c != 0 and context.fits(name, c * candidate, value, max_residual=0.02)
    return (c if accepted else None), []


def constant_is_enough(context: Context, hypothesis: Hypothesis, names: list[str]) -> bool:
    r"""Whether a constant factor alone fits as well as the hypothesis, so that nothing supports the rest of it."""
    if hypothesis.fault in (None, Fault.CLIPPED, Fault.DETACHED) or hypothesis.observed:
        return False
    c = None
    for name in names:
        base, predicted, value = context.base[name], hypothesis.gradients[name], context.value(name)
        if base.shape != predicted.shape:
            return False
        c = (fit_scale(base, value) or 0.0) if c is None else c
        error = max_abs(value - (fit_scale(predicted, value) or 0.0) * predicted)
        if max_abs(value - c * base) > 3 * error + 1e-2 * context.comparison.bounds[name]:
            return False
    return True
