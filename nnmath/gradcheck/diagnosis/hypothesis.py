r"""A story of how a wrong gradient came about, and the test that it has to pass: the numbers must be the user's.

A rule tells stories; each says what the gradients would be if it were true. A story is believed for the gradients that
it reproduces to rounding, and for no others. A constant may have been multiplied in besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.rounding import RTOL, underflow_allowance
from nnmath.gradcheck.diagnosis.constants import Constant, common_constants, sizes_in
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, combine
from nnmath.gradcheck.graph.graph import Gradients, Graph, Site


@dataclass(frozen=True)
class Hypothesis:
    r"""What may have happened.

    Args:
        fault: None if there is no more to it than a constant.
        gradients: name ↦ what that would make of the gradient.
        explanation: one or two sentences for a person.
        fix: what to write instead.
        edit: the mistake in the graph, if it is one there.
        free: how many numbers were fitted to the user's gradients.
        given: name ↦ what to compare it with, where that is not the user's gradient as it is.
    """

    fault: Fault | None
    gradients: Gradients
    explanation: str = ""
    fix: str = ""
    edit: Edit | None = None
    free: int = 0
    given: Gradients = field(default_factory=dict)


@dataclass
class Context:
    r"""What a rule may look at.

    Args:
        comparison: the gradients by hand beside the reference.
        n: the batch size, if it is known.
        learning_rate: η, if it is known.
        remaining: the names not explained yet, the one nearest to the loss first.
        edit: the mistakes in the graph that have been found so far.
        base: what the gradients would be with those.
        in_graph: whether the graph is the user's mathematics, and mistakes can be made in it.
    """

    comparison: Comparison
    n: int | None
    learning_rate: float | None
    remaining: list[str]
    edit: Edit = field(default_factory=Edit)
    base: Gradients = field(default_factory=dict)
    in_graph: bool = True

    @property
    def graph(self) -> Graph:
        r"""The graph of the loss."""
        return self.comparison.graph

    def value(self, name: str) -> Tensor:
        r"""The user's gradient in float64; zeros where it is missing."""
        return self.comparison.values.get(name, torch.zeros_like(self.comparison.reference[name]))

    @cached_property
    def constants(self) -> list[Constant]:
        r"""The constants that have a name here."""
        return list(common_constants(self.n, self.sizes, self.learning_rate))

    @cached_property
    def sizes(self) -> dict[int, str]:
        r"""The sizes that may be the batch's, and why: n if it is known."""
        if self.n is not None:
            return {self.n: "the batch size"}
        return {**averaged_over(self.graph), **sizes_in(self.comparison.inputs, self.comparison.gradients)}

    def gradients(self, edit: Edit) -> Gradients | None:
        r"""The gradients with one more mistake; None if it cannot be made, for the shapes do not fit."""
        try:
            return self.graph.gradients(self.edit + edit)
        except RuntimeError:
            return None

    def fits(self, name: str, candidate: Tensor, value: Tensor | None = None, part: float = 0.1) -> bool:
        r"""Whether a candidate is the user's gradient to rounding, and explains what the reference does not.

        What it leaves unexplained may at most be that part of what the reference does.
        """
        own = self.value(name)
        value = own if value is None else value
        if value.shape != candidate.shape or not value.numel():
            return False
        reference, dtype = self.comparison.reference[name], self.comparison.dtype(name)
        off = value - reference if value is own and own.shape == reference.shape else value
        noise = self.comparison.noise.get(name, 0.0) + underflow_allowance(dtype)
        bound = RTOL[dtype] * float(candidate.abs().max()) + noise
        largest = float(off.abs().max())
        rounding = max(1e-3, 4 * torch.finfo(dtype).eps)
        limit = min(bound, rounding * largest + noise, part * largest)
        return float((value - candidate).abs().max()) <= limit

    def indistinguishable(self, name: str, a: Tensor, b: Tensor) -> bool:
        r"""Whether two candidates are too close to tell one from the other."""
        if a.shape != b.shape:
            return False
        size = max(float(a.abs().max()), float(b.abs().max())) if a.numel() else 0.0
        noise = self.comparison.noise.get(name, 0.0)
        return not a.numel() or float((a - b).abs().max()) <= 10 * RTOL[self.comparison.dtype(name)] * size + noise

    def named(self, name: str, c: float, candidate: Tensor, value: Tensor | None = None) -> list[Constant]:
        r"""The constants with a name that multiply a candidate to the user's gradient; c is the best of all numbers."""
        close = [constant for constant in self.constants if abs(c - constant.value) <= 0.1 * abs(c)]
        return [constant for constant in close if self.fits(name, constant.value * candidate, value)]


def fit_scale(part: Tensor, whole: Tensor) -> float | None:
    r"""The number t for which t · part is closest to whole; None if part is 0."""
    size = float(part.abs().max()) if part.numel() else 0.0
    if not size:
        return None
    unit = part / size  # squares of small numbers would underflow
    return float((unit * whole).sum() / (unit * unit).sum()) / size


def fit_coefficients(parts: list[Tensor], whole: Tensor) -> list[float] | None:
    r"""The numbers t for which Σ t · part is closest to whole; None if they are not finite."""
    matrix = torch.stack([part.flatten() for part in parts], dim=1)
    if not bool(matrix.isfinite().all()) or not bool(whole.isfinite().all()):
        return None
    return torch.linalg.lstsq(matrix, whole.flatten()[:, None], driver="gelsd").solution[:, 0].tolist()


AVERAGES = frozenset(("mean", "mseloss", "l1loss", "smoothl1loss", "huberloss", "nllloss", "std", "var"))


def averaged_over(graph: Graph) -> dict[int, str]:
    r"""The numbers that the forward pass averages over or divides by: each may be the batch's size."""
    found: dict[int, str] = {}
    for node in graph.nodes:
        name, value, before = graph.function(node), graph.value(node), graph.input(node)
        before = getattr(node, "_saved_self", None) if before is None else before
        if before is not None and before.ndim and (name in AVERAGES or name.startswith("binarycrossentropy")):
            for n in (before.numel() // (1 if value is None else max(1, value.numel())), before.shape[0]):
                found.setdefault(n, f"what {graph.describe(node)} averages over")
        divisor = getattr(node, "_saved_other", None) if name == "div" else None
        if isinstance(divisor, Tensor) and divisor.ndim == 0 and not divisor.requires_grad and divisor % 1 == 0:
            found.setdefault(int(divisor), f"what {graph.describe(node)} divides by")
    return found


@dataclass(frozen=True)
class Match:
    r"""A story, and the gradients that it explains up to a constant."""

    story: Hypothesis
    names: list[str]
    constant: float
    constants: list[Constant]
    r"""the constant by name; several if they have the same value"""
    contradictions: int
    r"""gradients that are right, though the story would make them wrong"""

    @property
    def free(self) -> int:
        r"""How many numbers were fitted."""
        return self.story.free + (self.constant != 1 and not self.constants)


def matches(case: Context, story: Hypothesis) -> Iterator[Match]:
    r"""The gradients that a story explains, those with the same constant together."""
    groups: list[tuple[float, list[Constant], list[str]]] = []
    for name in case.remaining:
        if name not in story.gradients:
            continue
        c, constants = constant_of(case, story, name)
        if c is None:
            continue
        for other, _, names in groups:
            if abs(c - other) <= (1e-6 + RTOL[case.comparison.dtype(name)]) * abs(c):
                names.append(name)
                break
        else:
            groups.append((c, constants, [name]))
    for c, constants, names in groups:
        equations = sum(case.value(name).numel() for name in names)
        if equations > 2 and only_a_constant(case, story, names):
            continue
        match = Match(story, names, c, constants, contradictions(case, story))
        twofold = story.fault is not None and c != 1
        if equations >= (match.free + 2 if match.free or twofold else 1):
            yield match


def constant_of(case: Context, story: Hypothesis, name: str) -> tuple[float | None, list[Constant]]:
    r"""What a story's gradient must be multiplied by to be the user's: 1, a constant with a name, None if it cannot be.

    Only the story of a mere constant may have one without a name.
    """
    value, candidate = story.given.get(name, case.value(name)), story.gradients[name]
    if value.shape != candidate.shape:
        return None, []
    bare = story.fault is None
    if not bare and case.fits(name, candidate, value):
        return 1.0, []
    c = fit_scale(candidate, value)
    if c is None or (not bare and not story.given and case.indistinguishable(name, candidate, case.base[name])):
        return None, []
    if constants := case.named(name, c, candidate, value):
        return constants[0].value, constants
    return (c, []) if bare and c != 0 and case.fits(name, c * candidate, value, part=0.02) else (None, [])


def only_a_constant(case: Context, story: Hypothesis, names: list[str]) -> bool:
    r"""Whether a story that claims more fits no better than a constant, so that nothing speaks for the rest of it."""
    if story.fault in (None, Fault.CLIPPED, Fault.DETACHED) or story.given:
        return False
    c = None
    for name in names:
        base, told, value = case.base[name], story.gradients[name], case.value(name)
        if base.shape != told.shape:
            return False
        c = (fit_scale(base, value) or 0.0) if c is None else c
        by_constant = (value - c * base).abs().max()
        by_story = (value - (fit_scale(told, value) or 0.0) * told).abs().max()
        if float(by_constant) > 3 * float(by_story) + 1e-2 * case.comparison.bounds[name]:
            return False
    return True


def contradictions(case: Context, story: Hypothesis) -> int:
    r"""How many gradients are right, though the story would make them wrong."""
    if story.edit is None:
        return 0
    return sum(
        not case.indistinguishable(name, story.gradients[name], reference)
        for name, reference in case.comparison.reference.items()
        if name not in case.comparison.wrong and name in story.gradients
    )


Single = tuple[Node, str, Edit]
r"""a node, the kind of mistake made there, and the mistake"""


def at_every_node(
    case: Context, mistakes: Callable[[Node], Iterator[tuple[str, Edit]]]
) -> Iterator[tuple[str, str, Edit]]:
    r"""A mistake at all nodes that a line of the code created, at each node, then at all of the same function.

    Args:
        case: its graph is walked.
        mistakes: node ↦ the mistakes that can be made there, each with the kind that it is.

    Yields:
        the kind, the place for a person, the mistake.
    """
    graph = case.graph
    singles: list[tuple[str, str, Edit]] = []
    by_line: dict[tuple[Site | None, str, str], list[Single]] = {}
    by_function: dict[tuple[str, str], list[Single]] = {}
    for node in graph.nodes:
        if graph.reachable_leaves[node].isdisjoint(case.remaining):
            continue
        for kind, edit in mistakes(node):
            singles.append((kind, graph.describe(node), edit))
            by_line.setdefault((graph.site(node), node.name(), kind), []).append((node, kind, edit))
            by_function.setdefault((node.name(), kind), []).append((node, kind, edit))
    for line in by_line.values():
        if len(line) > 1:
            yield line[0][1], f"{graph.describe(line[0][0])}, each time", combine(edit for _, _, edit in line)
    yield from singles
    sizes = {(name, kind, len(line)) for (_, name, kind), line in by_line.items()}
    for (name, kind), same in by_function.items():
        if len(same) > 1 and (name, kind, len(same)) not in sizes:
            yield kind, f"every {graph.function(same[0][0])}", combine(edit for _, _, edit in same)


def scaled(tensors: Mapping[str, Tensor], c: float) -> Gradients:
    r"""Each tensor times c."""
    return {name: c * tensor for name, tensor in tensors.items()}
