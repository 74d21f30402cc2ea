r"""A mistake made in the graph: at each node, at all nodes of a line, at all nodes of one function."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, Rule
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit, combine
from nnmath.gradcheck.graph.site import InnermostCall

Mistake = tuple[Any, str, Edit]  # its kind, hashable; the human-readable place; the change to the graph
Mistakes = Callable[[Context], Iterator[Mistake]]


def graph_rule(fault: Fault, explanation: str, fix: str) -> Callable[[Mistakes], Rule]:
    r"""Decorates a function that yields mistakes: makes it a rule. Its explanation contains {place} and {kind}."""

    def decorate(mistakes: Mistakes) -> Rule:
        def rule(context: Context) -> Iterator[Hypothesis]:
            for kind, place, edit in mistakes(context):
                if gradients := context.gradients(edit):
                    yield Hypothesis(fault, gradients, explanation.format(place=place, kind=kind), fix, edit)

        return rule

    return decorate


def at_every_node(mistakes: Callable[[Context, Node], Iterator[tuple[str, Edit]]]) -> Mistakes:
    r"""Decorates a function that yields (kind, edit) for the mistakes at one node: makes them at all nodes."""
    return lambda context: walk(context, partial(mistakes, context))


def walk(context: Context, mistakes: Callable[[Node], Iterator[tuple[Any, Edit]]]) -> Iterator[Mistake]:
    r"""Each mistake at all nodes that one line of code created, then at each node, then at all of the same function."""
    graph = context.graph
    single: list[Mistake] = []
    by_line: dict[tuple[InnermostCall | None, str, Any], list[tuple[Node, Edit]]] = {}
    by_function: dict[tuple[str, Any], list[tuple[Node, Edit]]] = {}
    for node in context.relevant_nodes():
        for kind, edit in mistakes(node):
            single.append((kind, graph.describe(node), edit))
            by_line.setdefault((graph.call(node), node.name(), kind), []).append((node, edit))
            by_function.setdefault((node.name(), kind), []).append((node, edit))
    for (_, _, kind), line in by_line.items():
        if len(line) > 1:
            yield kind, f"{graph.describe(line[0][0])}, each time", combine(edit for _, edit in line)
    yield from single
    sizes = {(name, kind, len(line)) for (_, name, kind), line in by_line.items()}
    for (name, kind), same in by_function.items():
        if len(same) > 1 and (name, kind, len(same)) not in sizes:
            yield kind, f"every {graph.function(same[0][0])}", combine(edit for _, edit in same)


def differentiable_edges(context: Context, node: Node) -> list[int]:
    r"""The inputs of a node that depend on a leaf."""
    reachable = context.graph.reachable_leaves
    return [i for i, (before, _) in enumerate(node.next_functions) if before is not None and reachable.get(before)]
