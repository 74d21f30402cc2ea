r"""Mistakes in the backward pass, as hooks on the nodes of autograd's graph.

As in torch, a node receives ``grad_output`` and returns ``grad_input``, a gradient for each of its inputs, its edges.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor
from torch.autograd.graph import Node

Grads = tuple[Tensor | None, ...]
GradInputHook = Callable[[Grads, Grads], Grads]  # (grad_input, grad_output) ↦ grad_input, as for Node.register_hook
GradOutputHook = Callable[[Tensor], Tensor]  # grad_output ↦ grad_output, for each output of a node


@dataclass(frozen=True)
class Edit:
    r"""Changes to some nodes; the sum of two edits makes both mistakes."""

    grad_input: dict[Node, GradInputHook] = field(default_factory=dict)  # node ↦ the gradients that it returns
    grad_output: dict[Node, GradOutputHook] = field(default_factory=dict)  # node ↦ the gradient that it receives
    saved: dict[tuple[Node, str], Tensor] = field(default_factory=dict)  # node and attribute ↦ its replacement

    def __add__(self, other: "Edit") -> "Edit":
        return Edit(self.grad_input | other.grad_input, self.grad_output | other.grad_output, self.saved | other.saved)


def combine(edits: Iterable[Edit]) -> Edit:
    return sum(edits, Edit())


def scaled_edges(node: Node, edges: list[int], t: float) -> Edit:
    r"""Multiplies the gradients along these edges by t; t = 0 cuts the edges."""

    def hook(grad_input: Grads, _: Grads) -> Grads:
        return tuple(t * g if g is not None and i in edges else g for i, g in enumerate(grad_input))

    return Edit(grad_input={node: hook})


def set_grad_input(node: Node, gradient: Callable[[Tensor, Tensor], Tensor], edge: int = 0) -> Edit:
    r"""Computes the gradient along one edge as ``gradient(grad_output, correct gradient)``."""

    def hook(grad_input: Grads, grad_output: Grads) -> Grads:
        received, correct = grad_output[0], grad_input[edge]
        if received is None or correct is None:
            return grad_input
        return (*grad_input[:edge], gradient(received, correct), *grad_input[edge + 1 :])

    return Edit(grad_input={node: hook})


def set_derivative(node: Node, derivative: Tensor) -> Edit:
    r"""Replaces the derivative of an elementwise function."""
    return set_grad_input(node, lambda grad_output, _: grad_output * derivative)


def straight_through(nodes: Iterable[Node]) -> Edit:
    r"""Makes the nodes return their grad_output unchanged, for each of their inputs."""

    def hook(grad_input: Grads, grad_output: Grads) -> Grads:
        return tuple(None if g is None else grad_output[0] for g in grad_input)

    return Edit(grad_input=dict.fromkeys(nodes, hook))


def pass_grad_output(node: Node, edge: int) -> Edit:
    r"""Makes a node return its grad_output along one edge, summed where the forward pass broadcast."""
    return set_grad_input(node, lambda grad_output, correct: grad_output.sum_to_size(correct.shape), edge)


def scale_grad_output(node: Node, factor: Tensor) -> Edit:
    r"""Multiplies the gradient that a node receives by a factor."""
    return Edit(grad_output={node: lambda grad_output: grad_output * factor})


def replace_grad_output(node: Node, gradient: Tensor) -> Edit:
    r"""Replaces the gradient that a node receives, if the shapes agree."""
    return Edit(grad_output={node: lambda g: gradient if g.shape == gradient.shape else g})


def scale(edit: Edit, c: float) -> Edit:
    r"""The same mistake, with all gradients at its nodes multiplied by c."""

    def scale_input(hook: GradInputHook) -> GradInputHook:
        return lambda *grads: tuple(None if g is None else c * g for g in hook(*grads))

    def scale_output(hook: GradOutputHook) -> GradOutputHook:
        return lambda grad_output: c * hook(grad_output)

    grad_input = {node: scale_input(hook) for node, hook in edit.grad_input.items()}
    grad_output = {node: scale_output(hook) for node, hook in edit.grad_output.items()}
    return Edit(grad_input, grad_output, edit.saved)


def blend(edit: Edit, t: float) -> Edit:
    r"""The mean of the correct gradients (weight t) and the mistaken ones (1 − t), where the edit sets grad_input."""

    def blend_input(hook: GradInputHook) -> GradInputHook:
        def mix(grad_input: Grads, grad_output: Grads) -> Grads:
            pairs = zip(grad_input, hook(grad_input, grad_output), strict=True)
            return tuple(None if g is None or wrong is None else t * g + (1 - t) * wrong for g, wrong in pairs)

        return mix

    return Edit(grad_input={node: blend_input(hook) for node, hook in edit.grad_input.items()})
