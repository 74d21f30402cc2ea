r"""A mistake in the backward pass, as a change to autograd's graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

GradInputHook = Callable[[tuple[Tensor | None, ...], tuple[Tensor | None, ...]], tuple[Tensor | None, ...]]
GradOutputHook = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Edit:
    r"""What is done otherwise at some nodes; the sum of two edits makes both mistakes."""

    outgoing: Mapping[Node, GradInputHook] = field(default_factory=dict)
    r"""node ↦ the gradients that it hands on, from the right ones and from the gradients that it was given"""
    incoming: Mapping[Node, GradOutputHook] = field(default_factory=dict)
    r"""node ↦ the gradient that it is given, from the right one"""
    saved: Mapping[tuple[Node, str], Tensor] = field(default_factory=dict)
    r"""node and attribute ↦ the tensor that it takes for the one it had saved"""

    def __add__(self, other: Edit) -> Edit:
        return Edit(
            {**self.outgoing, **other.outgoing}, {**self.incoming, **other.incoming}, {**self.saved, **other.saved}
        )


def together(edits: Iterable[Edit]) -> Edit:
    r"""All the mistakes at once."""
    return sum(edits, Edit())


def scaled_edges(node: Node, edges: list[int], t: float) -> Edit:
    r"""What goes along these edges is multiplied by t; t = 0 cuts them."""

    def hook(inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(t * g if g is not None and i in edges else g for i, g in enumerate(inputs))

    return Edit(outgoing={node: hook})


def set_grad_input(node: Node, gradient: Callable[[Tensor, Tensor], Tensor]) -> Edit:
    r"""The first gradient that a node hands on, from the one that it is given and the right one."""

    def hook(inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        given, right = outputs[0], inputs[0]
        return inputs if given is None or right is None else (gradient(given, right), *inputs[1:])

    return Edit(outgoing={node: hook})


def derivative_of(node: Node, factor: Tensor) -> Edit:
    r"""A node that applies a function entry by entry, with this derivative."""
    return set_grad_input(node, lambda given, right: given * factor)


def straight_through(nodes: Iterable[Node]) -> Edit:
    r"""These nodes hand on the gradient that they are given, to each of their inputs."""

    def hook(inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(None if g is None else outputs[0] for g in inputs)

    return Edit(outgoing=dict.fromkeys(nodes, hook))


def pass_grad_output(node: Node, edge: int) -> Edit:
    r"""A node hands on the gradient that it is given along one edge, summed where the forward pass broadcast."""

    def hook(inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        given, right = outputs[0], inputs[edge]
        if given is None or right is None:
            return inputs
        return (*inputs[:edge], given.sum_to_size(right.shape), *inputs[edge + 1 :])

    return Edit(outgoing={node: hook})


def with_transpose(node: Node, edge: int) -> Edit:
    r"""A node hands on along one edge what it would if the gradient that it is given were transposed."""
    step: Any = node

    def hook(inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        given = outputs[0]
        if given is None:
            return inputs
        return (*inputs[:edge], step(given.mT)[edge], *inputs[edge + 1 :])

    return Edit(outgoing={node: hook})


def multiplied(node: Node, factor: Tensor) -> Edit:
    r"""The gradient that a node is given is multiplied by a factor first."""
    return Edit(incoming={node: lambda given: given * factor})


def replaced(node: Node, gradient: Tensor) -> Edit:
    r"""The gradient that a node is given is this one, where the shapes agree."""
    return Edit(incoming={node: lambda given: gradient if given.shape == gradient.shape else given})


def times(edit: Edit, c: float) -> Edit:
    r"""The same mistake, with everything that these nodes hand on multiplied by c."""

    def after(hook: GradInputHook) -> GradInputHook:
        return lambda inputs, outputs: tuple(None if g is None else c * g for g in hook(inputs, outputs))

    def before(hook: GradOutputHook) -> GradOutputHook:
        return lambda given: c * hook(given)

    outgoing = {node: after(hook) for node, hook in edit.outgoing.items()}
    return Edit(outgoing, {node: before(hook) for node, hook in edit.incoming.items()}, edit.saved)


def partly(edit: Edit, t: float) -> Edit:
    r"""A share t of the right gradient, and 1 − t of the mistaken one, at every node that hands one on."""

    def mixed(hook: GradInputHook) -> GradInputHook:
        def hook_partly(
            inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]
        ) -> tuple[Tensor | None, ...]:
            mistaken = hook(inputs, outputs)
            pairs = zip(inputs, mistaken, strict=True)
            return tuple(None if g is None or m is None else t * g + (1 - t) * m for g, m in pairs)

        return hook_partly

    return Edit(outgoing={node: mixed(hook) for node, hook in edit.outgoing.items()})
