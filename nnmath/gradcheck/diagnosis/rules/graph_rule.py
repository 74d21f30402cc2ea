r"""A mistake made in the graph: at each node, at all nodes of a line, at all nodes of one function."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, combine
from nnmath.gradcheck.graph.graph import Site

Kind = TypeVar("Kind")
Mistake = tuple[Kind, str, Edit]
r"""its kind, the human-readable place, and the change to the graph"""


@dataclass(frozen=True)
class GraphRule:
    r"""Yields a hypothesis for each way to make one mistake in the graph."""

    fault: Fault
    mistakes: Callable[[Context], Iterator[Mistake[str]]]  # the ways to make it
    explanation: str  # for the report, with {place} and {kind}
    fix: str  # what to write instead

    def __call__(self, context: Context) -> Iterator[Hypothesis]:
        for kind, place, edit in self.mistakes(context):
            if gradients := context.gradients(edit):
                explanation = self.explanation.format(place=place, kind=kind)
                yield Hypothesis(self.fault, gradients, explanation, self.fix, edit)


def at_every_node(
    mistakes: Callable[[Context, Node], Iterator[tuple[str, Edit]]],
) -> Callable[[Context], Iterator[Mistake[str]]]:
    r"""Decorates a function that yields the mistakes at one node, each with its kind: makes them at every node."""
    return lambda context: walk(context, partial(mistakes, context))


def walk(context: Context, mistakes: Callable[[Node], Iterator[tuple[Kind, Edit]]]) -> Iterator[Mistake[Kind]]:
    r"""Each mistake at all nodes that one line of the code created, at each node, then at all of the same function."""
    graph = context.graph
    single: list[Mistake[Kind]] = []
    by_line: dict[tuple[Site | None, str, Kind], list[tuple[Node, Edit]]] = {}
    by_function: dict[tuple[str, Kind], list[tuple[Node, Edit]]] = {}
    for node in relevant_nodes(context):
        for kind, edit in mistakes(node):
            single.append((kind, graph.describe(node), edit))
            by_line.setdefault((graph.site(node), node.name(), kind), []).append((node, edit))
            by_function.setdefault((node.name(), kind), []).append((node, edit))
    for (_, _, kind), line in by_line.items():
        if len(line) > 1:
            yield kind, f"{graph.describe(line[0][0])}, each time", combine(edit for _, edit in line)
    yield from single
    sizes = {(name, kind, len(line)) for (_, name, kind), line in by_line.items()}
    for (name, kind), same in by_function.items():
        if len(same) > 1 and (name, kind, len(same)) not in sizes:
            yield kind, f"every {graph.function(same[0][0])}", combine(edit for _, edit in same)


def relevant_nodes(context: Context) -> list[Node]:
    r"""The nodes that a gradient which is not explained yet depends on."""
    reachable = context.graph.reachable_leaves
    return [node for node in context.graph.nodes if not reachable[node].isdisjoint(context.remaining)]


def differentiable_edges(context: Context, node: Node) -> list[int]:
    r"""The inputs of a node that depend on a leaf."""
    reachable = context.graph.reachable_leaves
    return [i for i, (before, _) in enumerate(node.next_functions) if before is not None and reachable.get(before)]
