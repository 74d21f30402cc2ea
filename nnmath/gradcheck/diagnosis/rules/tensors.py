r"""A tensor that backward had saved, taken for another: an updated weight, a transpose, another layer's value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_scale
from nnmath.gradcheck.diagnosis.rules.activations import pointwise
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.edits import Edit
from nnmath.gradcheck.graph.graph import Gradients, Site

Saved = tuple[Node, str]
r"""A node and the attribute in which it saved a tensor."""


# --- weights from after their update ---------------------------------------------------------------------------------


def updated_weights(case: Context) -> Iterator[Hypothesis]:
    r"""Case 2 with θ − η g: a layer's weight had been updated before the layer below it used it."""
    users = weights(case)
    for direction in directions(case):
        names = [name for name in users if name in direction]
        choices = [[name] for name in names] + ([names] if len(names) > 1 else [])
        for chosen in choices:
            rates = [case.learning_rate] if case.learning_rate else fitted_rates(case, users, chosen, direction)
            for rate in rates:
                for which in dict.fromkeys((tuple(chosen), tuple(names))):
                    edit = updated(case, users, which, direction, rate)
                    if gradients := case.gradients(edit):
                        yield Hypothesis(
                            Fault.UPDATED_WEIGHTS,
                            gradients,
                            f"Backward used {' and '.join(which)} from after the update θ − η g, with η = {rate:.6g}; "
                            "the gradient belongs to the weights of the forward pass.",
                            "compute all gradients first, then update all parameters",
                            edit,
                            free=0 if case.learning_rate else 1,
                        )


def weights(case: Context) -> dict[str, list[Saved]]:
    r"""Leaf ↦ where it is saved for another's gradient."""
    users: dict[str, list[Saved]] = {}
    for key, tensor in case.graph.saved.items():
        for name, leaf in case.graph.leaves.items():
            if same_storage(tensor, leaf):
                users.setdefault(name, []).append(key)
    return users


def directions(case: Context) -> list[Gradients]:
    r"""What a weight may have been updated by: the user's own gradients, the right ones."""
    own = {name: value for name, value in case.comparison.values.items() if case.comparison.has_shape(name)}
    return [own] if all(case.indistinguishable(name, own[name], case.base[name]) for name in own) else [own, case.base]


def updated(
    case: Context, users: dict[str, list[Saved]], names: Sequence[str], direction: Gradients, rate: float
) -> Edit:
    r"""These weights, wherever they are saved, after a step of descent."""
    return Edit(
        saved={
            key: as_saved(case.graph.saved[key], case.graph.leaves[name].detach() - rate * direction[name])
            for name in names
            for key in users[name]
        }
    )


def fitted_rates(
    case: Context, users: dict[str, list[Saved]], names: Sequence[str], direction: Gradients
) -> list[float]:
    r"""η, from a gradient that depends on it linearly, as the one of the layer below does."""
    small = 1e-3
    moved = case.gradients(updated(case, users, names, direction, small)) or {}
    rates: list[float] = []
    for name in (name for name in case.remaining if name in moved):
        slope, value = (moved[name] - case.base[name]) / small, case.value(name)
        if value.shape != slope.shape:
            continue
        rate = fit_scale(slope, value - case.base[name])
        if rate and rate > 0 and case.fits(name, case.base[name] + rate * slope):
            rates += [rate] if all(abs(rate - other) > 1e-6 * other for other in rates) else []
    return rates


# --- any other tensor ------------------------------------------------------------------------------------------------


def subtrahend_missing(case: Context) -> Iterator[Hypothesis]:
    r"""O for O − y in the derivative of (O − y)², or of a loss that has a target of its own."""
    for key, tensor in saved(case):
        if key[1] == "_raw_saved_target":
            yield from taken_for(case, Fault.TARGET_TERM_MISSING, "0", {key: torch.zeros_like(tensor)})
            continue
        for node in case.graph.nodes:
            call, value = case.graph.recorder.calls.get(node), case.graph.value(node)
            if case.graph.function(node) == "sub" and value is not None and call is not None and len(call.args) == 2:
                minuend = call.args[0]
                if isinstance(minuend, Tensor) and minuend.shape == tensor.shape and same_storage(value, tensor):
                    what = "what is subtracted from for the difference, that is"
                    yield from taken_for(case, Fault.TARGET_TERM_MISSING, what, {key: minuend.detach()})


def wrong_tensor(case: Context) -> Iterator[Hypothesis]:
    r"""A saved tensor's transpose, its mirror image, ones, or any other tensor of its shape."""
    for key, tensor in saved(case):
        for fault, what, other in replacements(case, key[0], tensor):
            yield from taken_for(case, fault, what, {key: other})


def wrong_tensor_each_time(case: Context) -> Iterator[Hypothesis]:
    r"""The same in each pass of a loop: transposes, ones, or the tensors of another line, or of another pass."""
    lines: dict[tuple[Site | None, str, str], list[Saved]] = {}
    for key, _ in saved(case):
        lines.setdefault((case.graph.site(key[0]), key[0].name(), key[1]), []).append(key)
    values: dict[tuple[Site | None, str], list[tuple[str, Tensor]]] = {}
    for node in case.graph.nodes:
        if (value := case.graph.value(node)) is not None:
            values.setdefault((case.graph.site(node), node.name()), []).append((case.graph.describe(node), value))
    loops = {keys[0]: [case.graph.saved[key] for key in keys] for keys in lines.values() if len(keys) > 1}
    keys_of = {keys[0]: keys for keys in lines.values()}
    for first, tensors in loops.items():
        for fault, what, others in replacements_each_time(case, first[0], tensors):
            yield from taken_for(case, fault, what, dict(zip(keys_of[first], others, strict=True)))
        place = "that of another pass of the loop"
        for shifted in shifts(tensors, tensors):
            yield from taken_for(case, wrong(case, first[0]), place, dict(zip(keys_of[first], shifted, strict=True)))
    for first, tensors in loops.items():
        for line in values.values():
            for shifted in shifts([value for _, value in line], tensors):
                what = f"the value of {line[0][0]}"
                yield from taken_for(case, wrong(case, first[0]), what, dict(zip(keys_of[first], shifted, strict=True)))


def shifts(others: list[Tensor], tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    r"""A loop's tensors as they are, one pass earlier or later, and in reverse; the ends keep their own."""
    n = len(tensors)
    found = [others[::-1]] if len(others) == n else []
    for offset in range(-1, 2 + max(0, len(others) - n)):
        found.append([others[k + offset] if 0 <= k + offset < len(others) else tensors[k] for k in range(n)])
    for shifted in found:
        if all(a.shape == b.shape for a, b in zip(tensors, shifted, strict=True)):
            yield shifted


def replacements_each_time(
    case: Context, node: Node, tensors: list[Tensor]
) -> Iterator[tuple[Fault, str, list[Tensor]]]:
    r"""What may have been taken for the tensors that a line saved in each pass of a loop."""
    options = [list(replacements(case, node, tensor, bare=True)) for tensor in tensors]
    for same in zip(*options, strict=False):
        yield same[0][0], same[0][1], [tensor for _, _, tensor in same]


def taken_for(case: Context, fault: Fault, what: str, replaced: dict[Saved, Tensor]) -> Iterator[Hypothesis]:
    r"""The story that these tensors were taken for the saved ones."""
    edit, key = Edit(saved=replaced), next(iter(replaced))
    if all(torch.equal(case.graph.saved[k], tensor) for k, tensor in replaced.items()):
        return
    if gradients := case.gradients(edit):
        name = tensor_name(case, case.graph.saved[key])
        each = ", each time" if len(replaced) > 1 else ""
        what = "that of another pass of the loop" if what == name else what
        yield Hypothesis(
            fault,
            gradients,
            f"The backward pass of {case.graph.describe(key[0])} took {what} for {name}{each}.",
            f"use {name}, as the forward pass did",
            edit,
        )


def saved(case: Context) -> Iterator[tuple[Saved, Tensor]]:
    r"""The saved tensors that what remains to be explained depends on."""
    for key, tensor in case.graph.saved.items():
        if not case.graph.reachable_leaves[key[0]].isdisjoint(case.remaining):
            yield key, tensor


def wrong(case: Context, node: Node) -> Fault:
    r"""What to call another tensor in a node's derivative."""
    return Fault.WRONG_TENSOR if pointwise(case, node) is None else Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR


def replacements(case: Context, node: Node, tensor: Tensor, bare: bool = False) -> Iterator[tuple[Fault, str, Tensor]]:
    r"""What may have been taken for a saved tensor; ``bare`` without all the other tensors there are."""
    name, fault = tensor_name(case, tensor), wrong(case, node)
    if fault is Fault.WRONG_TENSOR:
        if tensor.ndim >= 2 and tensor.shape[-1] == tensor.shape[-2]:
            yield Fault.TRANSPOSE, f"the transpose of {name}", tensor.mT.contiguous()
        if case.graph.function(node) == "convolution" and tensor.ndim > 2:
            yield Fault.FLIP, f"the mirror image of {name}", tensor.flip(list(range(2, tensor.ndim)))
        if tensor.numel() > 1:
            yield Fault.MISSING_FACTOR, "1", torch.ones_like(tensor)
    for other_name, other in () if bare else case.graph.tensors():
        for view, text in ((other, ""), (other.mT, "the transpose of ")) if other.ndim == 2 else ((other, ""),):
            if view.shape == tensor.shape:
                yield fault, f"{text}{other_name}", view


def tensor_name(case: Context, tensor: Tensor) -> str:
    r"""A tensor's name for a person."""
    for name, other in case.graph.tensors():
        if other.shape == tensor.shape and (same_storage(other, tensor) or torch.equal(other, tensor)):
            return name
    return "the tensor that it had saved"


def same_storage(a: Tensor, b: Tensor) -> bool:
    r"""Whether two tensors are views of the same numbers, all of them."""
    return a.numel() == b.numel() and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def as_saved(saved: Tensor, leaf: Tensor) -> Tensor:
    r"""A leaf's new value, laid out as the node had saved the old one, which may be its transpose."""
    return leaf.as_strided(saved.shape, saved.stride()) if leaf.is_contiguous() else leaf.reshape(saved.shape)
