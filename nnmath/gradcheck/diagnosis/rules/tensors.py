r"""Another tensor instead of the saved one in backward: an updated weight, a transpose, another layer's value."""

from collections.abc import Iterator
from itertools import chain, product

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.diagnosis.rules.activations import elementwise
from nnmath.gradcheck.diagnosis.rules.layout import orientations
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit
from nnmath.gradcheck.graph.graph import Gradients
from nnmath.gradcheck.graph.site import InnermostCall

SavedKey = tuple[Node, str]  # a node and the attribute in which it saved a tensor
Replacement = tuple[Fault, str, Tensor]  # the mistake, the human-readable name of the other tensor, and the tensor
OTHER_ITERATION = "its value from another iteration of the loop"


def updated_weights(context: Context) -> Iterator[Hypothesis]:
    r"""A layer's weight was updated to θ − η g before the layer below used it."""
    keys_of: dict[str, list[SavedKey]] = {}  # leaf ↦ where it is saved for the gradient of another tensor
    for key, tensor in context.graph.saved.items():
        for name, leaf in context.graph.leaves.items():
            if same_storage(tensor, leaf):
                keys_of.setdefault(name, []).append(key)
    own = {name: value for name, value in context.comparison.values.items() if context.comparison.has_shape(name)}
    same = all(context.indistinguishable(name, own[name], context.base[name]) for name in own)
    for direction in [own] if same else [own, context.base]:
        names = [name for name in keys_of if name in direction]
        for chosen in [[name] for name in names] + ([names] if len(names) > 1 else []):
            eta = context.learning_rate
            rates = [eta] if eta else fit_rates(context, {name: keys_of[name] for name in chosen}, direction)
            for rate, which in product(rates, (chosen, names)):
                edit = update(context, {name: keys_of[name] for name in which}, direction, rate)
                if gradients := context.gradients(edit):
                    weights = " and ".join(which)
                    explanation = f"Backward used {weights} after the update θ − η g, η = {rate:.6g}, not before it."
                    fix = "compute all gradients first, then update all parameters"
                    yield Hypothesis(Fault.UPDATED_WEIGHTS, gradients, explanation, fix, edit, fitted=0 if eta else 1)


def update(context: Context, keys_of: dict[str, list[SavedKey]], direction: Gradients, rate: float) -> Edit:
    r"""The mistake of using these weights after a step of gradient descent, in all places where they are saved."""
    saved: dict[SavedKey, Tensor] = {}
    for name, keys in keys_of.items():
        leaf = context.graph.leaves[name].detach() - rate * direction[name]
        for key in keys:
            old = context.graph.saved[key]  # in the layout of the old tensor, which may be a transpose
            saved[key] = leaf.as_strided(old.shape, old.stride()) if leaf.is_contiguous() else leaf.reshape(old.shape)
    return Edit(saved=saved)


def fit_rates(context: Context, keys_of: dict[str, list[SavedKey]], direction: Gradients) -> list[float]:
    r"""Candidates for η, from gradients that are linear in it, as those of the layer below are."""
    small = 1e-3
    perturbed = context.gradients(update(context, keys_of, direction, small)) or {}
    slopes = {name: (gradient - context.base[name]) / small for name, gradient in perturbed.items()}
    return [rate for _, rate in context.fit_steps(context.base, slopes) if rate > 0]


def wrong_tensor(context: Context) -> Iterator[Hypothesis]:
    r"""The transpose of a saved tensor, its mirror image, or any other tensor of its shape."""
    for key, tensor in saved_tensors(context):
        for fault, what, other in chain(distortions(context, key[0], tensor), other_tensors(context, key[0], tensor)):
            yield from replaced_by(context, fault, what, {key: other})


def wrong_tensor_each_time(context: Context) -> Iterator[Hypothesis]:
    r"""The same in each iteration of a loop: distorted tensors, or those of another iteration or another line."""
    graph = context.graph
    saved: dict[tuple[InnermostCall | None, str, str], list[SavedKey]] = {}
    for key, _ in saved_tensors(context):
        saved.setdefault((graph.call(key[0]), key[0].name(), key[1]), []).append(key)
    values: dict[tuple[InnermostCall | None, str], list[tuple[str, Tensor]]] = {}
    for node in graph.nodes:
        if (value := graph.value(node)) is not None:
            values.setdefault((graph.call(node), node.name()), []).append((graph.describe(node), value))
    loops = [(keys, [graph.saved[key] for key in keys]) for keys in saved.values() if len(keys) > 1]
    for keys, tensors in loops:
        for same in zip(*(distortions(context, keys[0][0], tensor) for tensor in tensors), strict=False):
            replacements = dict(zip(keys, (tensor for _, _, tensor in same), strict=True))
            yield from replaced_by(context, same[0][0], same[0][1], replacements)
        yield from shifted(context, keys, OTHER_ITERATION, tensors)
    for keys, _ in loops:
        for line in values.values():
            yield from shifted(context, keys, f"the value of {line[0][0]}", [value for _, value in line])


def shifted(context: Context, keys: list[SavedKey], what: str, others: list[Tensor]) -> Iterator[Hypothesis]:
    r"""Other tensors instead of a loop's: in reverse, or one iteration later or earlier; the ends keep their own."""
    tensors, fault = [context.graph.saved[key] for key in keys], fault_at(context, keys[0][0])
    n, m = len(tensors), len(others)
    candidates = [others[::-1]] if m == n else []
    for offset in range(-1, 2 + max(0, m - n)):
        candidates.append([others[k + offset] if 0 <= k + offset < m else tensors[k] for k in range(n)])
    for candidate in candidates:
        if all(a.shape == b.shape for a, b in zip(tensors, candidate, strict=True)):
            yield from replaced_by(context, fault, what, dict(zip(keys, candidate, strict=True)))


def replaced_by(context: Context, fault: Fault, what: str, replaced: dict[SavedKey, Tensor]) -> Iterator[Hypothesis]:
    r"""The hypothesis that backward used other tensors instead of the saved ones."""
    edit = Edit(saved=replaced)
    node, attribute = next(iter(replaced))
    changed = any(not torch.equal(context.graph.saved[key], tensor) for key, tensor in replaced.items())
    if changed and (gradients := context.gradients(edit)):
        name = tensor_name(context, context.graph.saved[node, attribute])
        each_time = ", each time" if len(replaced) > 1 else ""
        what = OTHER_ITERATION if what == name else what
        explanation = f"The backward pass of {context.graph.describe(node)} used {what} instead of {name}{each_time}."
        yield Hypothesis(fault, gradients, explanation, f"use {name}, as the forward pass did", edit)


def saved_tensors(context: Context) -> Iterator[tuple[SavedKey, Tensor]]:
    r"""The saved tensors that an unexplained gradient depends on."""
    relevant = set(context.relevant_nodes())
    return ((key, tensor) for key, tensor in context.graph.saved.items() if key[0] in relevant)


def fault_at(context: Context, node: Node) -> Fault:
    r"""The name of the mistake of using another tensor in a node's derivative."""
    return Fault.WRONG_TENSOR if elementwise(context, node) is None else Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR


def distortions(context: Context, node: Node, tensor: Tensor) -> Iterator[Replacement]:
    r"""The transpose of a saved tensor, or its mirror image; nothing for an elementwise function."""
    if fault_at(context, node) is Fault.WRONG_TENSOR:
        name = tensor_name(context, tensor)
        if tensor.ndim >= 2 and tensor.shape[-1] == tensor.shape[-2]:
            yield Fault.TRANSPOSE, f"the transpose of {name}", tensor.mT.contiguous()
        if context.graph.function(node) == "convolution" and tensor.ndim > 2:
            yield Fault.FLIP, f"the mirror image of {name}", tensor.flip(list(range(2, tensor.ndim)))


def other_tensors(context: Context, node: Node, tensor: Tensor) -> Iterator[Replacement]:
    r"""All tensors of the forward pass that have the shape of a saved one, and transposes that have it."""
    fault = fault_at(context, node)
    for name, other in context.graph.tensors():
        for view in orientations(other):
            if view.shape == tensor.shape:
                yield fault, name if view is other else f"the transpose of {name}", view


def tensor_name(context: Context, tensor: Tensor) -> str:
    r"""A human-readable name of a saved tensor."""
    for name, other in context.graph.tensors():
        if other.shape == tensor.shape and (same_storage(other, tensor) or torch.equal(other, tensor)):
            return name
    return "the tensor that it had saved"


def same_storage(a: Tensor, b: Tensor) -> bool:
    r"""Whether two tensors are views of all entries of the same storage."""
    return a.numel() == b.numel() and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
