r"""A tensor that backward had saved, taken for another: an updated weight, a transpose, another layer's value."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.check.edits import Edit
from nnmath.check.faults import Fault
from nnmath.check.graph import Gradients
from nnmath.check.story import Case, Story

Saved = tuple[Node, str]


def updated_weights(case: Case) -> Iterator[Story]:
    r"""Case 2 with θ − η g: a layer's weight had been updated before the layer below it used it."""
    users = weights(case)
    directions = [step for step in steps(case) if step.keys() & users.keys()]
    for direction in directions:
        for chosen in [[name] for name in users if name in direction] + [[name for name in users if name in direction]]:
            saved = [(key, name) for name in chosen for key in users[name]]
            if not saved:
                continue
            rates = [case.learning_rate] if case.learning_rate else fitted_rates(case, saved, direction)
            for rate in rates:
                for names in dict.fromkeys((tuple(chosen), tuple(name for name in users if name in direction))):
                    edit = updated(case, [(key, name) for name in names for key in users[name]], direction, rate)
                    if gradients := case.gradients(edit):
                        yield Story(
                            Fault.UPDATED_WEIGHTS,
                            gradients,
                            f"Backward used {' and '.join(names)} from after the update θ − η g, with η = {rate:.6g}; "
                            "the gradient belongs to the weights of the forward pass.",
                            "compute all gradients first, then update all parameters",
                            edit,
                            free=0 if case.learning_rate else 1,
                        )


def weights(case: Case) -> dict[str, list[Saved]]:
    r"""Leaf ↦ where it is saved for another's gradient."""
    users: dict[str, list[Saved]] = {}
    for key, tensor in case.graph.saved.items():
        for name, leaf in case.graph.leaves.items():
            if same_storage(tensor, leaf):
                users.setdefault(name, []).append(key)
    return users


def steps(case: Case) -> list[Gradients]:
    r"""What a weight may have been updated by: the user's own gradients, the right ones."""
    own = {name: value for name, value in case.comparison.values.items() if case.comparison.shaped(name)}
    return [own] if all(case.alike(name, own[name], case.base[name]) for name in own) else [own, case.base]


def updated(case: Case, saved: list[tuple[Saved, str]], direction: Gradients, rate: float) -> Edit:
    r"""Saved weights after a step of descent."""
    return Edit(
        saved={
            key: (as_saved(case.graph.saved[key], case.graph.leaves[name].detach() - rate * direction[name]))
            for key, name in saved
        }
    )


def fitted_rates(case: Case, saved: list[tuple[Saved, str]], direction: Gradients) -> list[float]:
    r"""η, from the gradient nearest to the loss that depends on it: linear in it, for one weight."""
    small = 1e-3
    moved = case.gradients(updated(case, saved, direction, small))
    if moved is None:
        return []
    rates: list[float] = []
    for name in case.remaining:
        slope = (moved[name] - case.base[name]) / small
        value = case.value(name)
        if value.shape != slope.shape or case.alike(name, moved[name], case.base[name]):
            continue
        rate = case.share(name, slope, value - case.base[name])
        if rate and rate > 0 and case.fits(name, case.base[name] + rate * slope):
            rates += [rate] if all(abs(rate - other) > 1e-6 * other for other in rates) else []
    return rates


def wrong_tensor(case: Case) -> Iterator[Story]:
    r"""A saved tensor's transpose, its mirror image, ones, or any other tensor of its shape."""
    graph = case.graph
    for (node, attribute), tensor in graph.saved.items():
        if graph.reach[node].isdisjoint(case.remaining):
            continue
        for fault, what, other in replacements(case, node, tensor):
            edit = Edit(saved={(node, attribute): other})
            if gradients := case.gradients(edit):
                yield Story(
                    fault,
                    gradients,
                    f"The backward pass of {graph.where(node)} took {what} for {called(case, tensor)}.",
                    f"use {called(case, tensor)}, as the forward pass did",
                    edit,
                )


def replacements(case: Case, node: Node, tensor: Tensor) -> Iterator[tuple[Fault, str, Tensor]]:
    r"""What may have been taken for a saved tensor."""
    name = called(case, tensor)
    pointwise = case.graph.function(node) not in (
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "mul",
        "div",
        "mv",
        "dot",
        "convolution",
    )
    wrong = Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR if pointwise else Fault.WRONG_TENSOR
    if not pointwise:
        if tensor.ndim >= 2 and tensor.shape[-1] == tensor.shape[-2]:
            yield Fault.TRANSPOSE, f"the transpose of {name}", tensor.mT.contiguous()
        if case.graph.function(node) == "convolution" and tensor.ndim > 2:
            yield Fault.FLIP, f"the mirror image of {name}", tensor.flip(list(range(2, tensor.ndim)))
        if tensor.numel() > 1:
            yield Fault.MISSING_FACTOR, "1", torch.ones_like(tensor)
    for other_name, other in candidates(case):
        if other.shape == tensor.shape and not torch.equal(other, tensor):
            yield wrong, other_name, other


def candidates(case: Case) -> Iterator[tuple[str, Tensor]]:
    r"""Every tensor that was around in the forward pass, with a name for a person."""
    for name, tensor in case.graph.inputs.items():
        if tensor.is_floating_point():
            yield name, tensor.detach()
            if tensor.ndim == 2:
                yield f"the transpose of {name}", tensor.detach().T
    for node in case.graph.nodes:
        value = case.graph.value(node)
        if value is not None:
            yield f"the value of {case.graph.where(node)}", value


def called(case: Case, tensor: Tensor) -> str:
    r"""A tensor's name for a person."""
    for name, leaf in case.graph.inputs.items():
        if same_storage(tensor, leaf):
            return name
    for node in case.graph.nodes:
        value = case.graph.value(node)
        if value is not None and value.shape == tensor.shape and torch.equal(value, tensor):
            return f"the value of {case.graph.where(node)}"
    return "the tensor that it had saved"


def same_storage(a: Tensor, b: Tensor) -> bool:
    r"""Whether two tensors are views of the same numbers, all of them."""
    return a.numel() == b.numel() and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def as_saved(saved: Tensor, leaf: Tensor) -> Tensor:
    r"""A leaf's new value, laid out as the node had saved the old one, which may be its transpose."""
    return leaf.as_strided(saved.shape, saved.stride()) if leaf.is_contiguous() else leaf.reshape(saved.shape)
