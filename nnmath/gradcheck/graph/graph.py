r"""The graph that autograd built for a loss, to be differentiated again and again, each time with another edit.

The gradients under an edit, which is a mistake made in the graph, are the ones that someone who made it would write
down.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from nnmath.gradcheck.graph.edits import Edit, GradOutputHook

Forward = Callable[..., Tensor]
Gradients = dict[str, Tensor]

TORCH, HERE = str(Path(torch.__file__).parent), str(Path(__file__).parent)


class Site(NamedTuple):
    r"""A line of the user's code."""

    file: str
    line: int
    instruction: int
    r"""tells two calls in the same line apart"""

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip()
        place = f"{Path(self.file).name}:{self.line}"
        return f"`{text}` ({place})" if text else place


class Call(NamedTuple):
    r"""The call of a torch function that created a node."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    site: Site | None


def tensors_in(value: Any) -> Iterator[Tensor]:
    r"""The tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def each_tensor(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    r"""The same nested value, with the function of each of its tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        items = [each_tensor(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: each_tensor(function, item) for key, item in value.items()}
    return value


def promote_to_float64(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    r"""The arguments, float64 throughout if one of them is: a float32 tensor of the user's meets our float64 inputs."""
    dtypes = {tensor.dtype for tensor in tensors_in((args, kwargs)) if tensor.is_floating_point()}
    if len(dtypes) < 2 or torch.float64 not in dtypes or in_place(function, kwargs):
        return args, kwargs

    def double(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    return each_tensor(double, args), each_tensor(double, kwargs)


def in_place(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> bool:
    r"""Whether a function writes to one of its arguments, so that a copy must not take its place."""
    name = getattr(function, "__name__", "")
    plain = name.endswith("_") and not name.endswith("__")
    return plain or name == "__setitem__" or bool(kwargs.get("inplace")) or kwargs.get("out") is not None


def factory_to_float64(function: Callable[..., Any], kwargs: Mapping[str, Any], result: Any) -> Any:
    r"""A new tensor of the default type as float64, for what is written to it is."""
    made = getattr(function, "__name__", "") in FACTORIES and kwargs.get("dtype") is None
    return result.double() if made and isinstance(result, Tensor) and result.is_floating_point() else result


FACTORIES = frozenset(("zeros", "ones", "empty", "full", "eye", "linspace", "rand", "randn", "tensor"))


class Promotion(TorchFunctionMode):
    r"""Evaluates in float64 what meets a float64 tensor."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = promote_to_float64(function, args, kwargs or {})
        return factory_to_float64(function, kwargs, function(*args, **kwargs))


data: Any = Tensor.data  # a descriptor, of whose getter a TorchFunctionMode is told; torch's types say a Tensor
STOPPING = (Tensor.detach, Tensor.detach_, torch.detach, torch.detach_, data.__get__)
r"""What stops a gradient on purpose."""


class Recorder(TorchFunctionMode):
    r"""Notes for each node of the graph the call that created it and the value it has.

    And, in ``stopped``, whether gradients were stopped on purpose, so that autograd's are no derivatives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Node, Call] = {}
        self.values: dict[tuple[Node, int], tuple[Tensor, int]] = {}
        self.has_detach = False

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = promote_to_float64(function, args, kwargs or {})
        result = factory_to_float64(function, kwargs, function(*args, **kwargs))
        self.has_detach |= function in STOPPING or not torch.is_grad_enabled() or kwargs.get("padding_idx") is not None
        for tensor in tensors_in(result):
            node = tensor.grad_fn
            if node is not None and node not in self.calls:
                self.record(node, Call(function, args, kwargs, user_frame()))
            if node is not None and (node, tensor.output_nr) not in self.values:
                self.values[node, tensor.output_nr] = (tensor.detach(), tensor._version)
        return result

    def record(self, node: Node, call: Call) -> None:
        r"""A call may create several nodes: those behind the result's that no earlier call has created."""
        behind = [node]
        while behind:
            node = behind.pop()
            if node not in self.calls and node.name() != "torch::autograd::AccumulateGrad":
                self.calls[node] = call
                behind += [following for following, _ in node.next_functions if following is not None]


def user_frame() -> Site | None:
    r"""The innermost line that is being executed outside torch; None if it is of this package."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(TORCH):
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(HERE):
        return None
    return Site(frame.f_code.co_filename, frame.f_lineno, frame.f_lasti)


class Graph:
    r"""One evaluation of a loss in float64, and its gradients as often as wanted.

    Args:
        forward: takes the tensors by keyword and returns a scalar.
        inputs: name ↦ tensor; the floating point ones are copied to float64, the others are copied.
        names: of the inputs to differentiate with respect to.
        mode: entered for the evaluation.
    """

    def __init__(
        self,
        forward: Forward,
        inputs: Mapping[str, Tensor],
        names: Sequence[str],
        mode: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.inputs = {name: to_float64(tensor) for name, tensor in inputs.items()}
        self.leaves = {name: self.inputs[name].requires_grad_() for name in names}
        self.recorder = Recorder()
        with torch.enable_grad(), mode or nullcontext(), self.recorder:
            self.loss = forward(**self.inputs)
        self.replaced: Mapping[tuple[Node, str], Tensor] = {}

    def gradients(self, edit: Edit | None = None) -> Gradients:
        r"""The gradients of the loss, right or under an edit; 0 with respect to an input that it does not depend on."""
        if self.loss.grad_fn is None:
            return {name: torch.zeros_like(leaf) for name, leaf in self.leaves.items()}
        edit = edit or Edit()
        if edit.saved:
            _ = self.saved  # hooks on the saved tensors, from the first edit that needs them
        self.replaced = edit.saved
        handles = [node.register_hook(hook) for node, hook in edit.grad_input.items()]
        handles += [node.register_prehook(each(hook)) for node, hook in edit.grad_output.items()]
        try:
            gradients = torch.autograd.grad(
                self.loss, list(self.leaves.values()), torch.ones_like(self.loss), retain_graph=True, allow_unused=True
            )
        finally:
            self.replaced = {}
            for handle in handles:
                handle.remove()
        return {
            name: torch.zeros_like(leaf) if gradient is None else gradient.to(leaf.dtype)
            for (name, leaf), gradient in zip(self.leaves.items(), gradients, strict=True)
        }

    @cached_property
    def has_detach(self) -> bool:
        r"""Whether gradients are stopped on purpose, by detach, no_grad, or a Function with a backward of its own."""
        return self.recorder.has_detach or any(isinstance(node, BackwardCFunction) for node in self.nodes)

    @cached_property
    def nodes(self) -> list[Node]:
        r"""The nodes that lie between the loss and the leaves, in an order in which a backward pass may visit them."""
        order: list[Node] = []
        seen: set[Node] = set()
        stack: list[tuple[Node, bool]] = [(self.loss.grad_fn, False)] if self.loss.grad_fn is not None else []
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack += [(following, False) for following, _ in node.next_functions if following is not None]
        return [node for node in reversed(order) if node not in self.leaf_of]

    @cached_property
    def leaf_of(self) -> dict[Node, str]:
        r"""The node at which a leaf's gradient arrives ↦ the leaf's name."""
        return {torch.autograd.graph.get_gradient_edge(leaf).node: name for name, leaf in self.leaves.items()}

    @cached_property
    def reachable_leaves(self) -> dict[Node, frozenset[str]]:
        r"""Node ↦ the leaves that its gradient reaches."""
        reach = {node: frozenset({name}) for node, name in self.leaf_of.items()}
        for node in reversed(self.nodes):
            after = [following for following, _ in node.next_functions if following is not None]
            reach[node] = frozenset[str]().union(*(reach.get(following, frozenset()) for following in after))
        return reach

    @cached_property
    def depth(self) -> dict[str, int]:
        r"""Leaf ↦ how many nodes lie between it and the loss, on the shortest path."""
        depth: dict[Node, int] = {self.nodes[0]: 0} if self.nodes else {}
        for node in self.nodes:
            for following, _ in node.next_functions:
                if following is not None:
                    depth[following] = min(depth.get(following, sys.maxsize), depth[node] + 1)
        return {name: depth.get(node, sys.maxsize) for node, name in self.leaf_of.items()}

    @cached_property
    def saved(self) -> dict[tuple[Node, str], Tensor]:
        r"""Node and attribute ↦ the floating point tensor that the node has saved for its backward."""
        found: dict[tuple[Node, str], Tensor] = {}
        for node in self.nodes:
            for attribute in (name for name in dir(node) if name.startswith("_raw_saved_")):
                saved = getattr(node, attribute)
                tensor = getattr(node, attribute.replace("_raw", ""), None)
                if isinstance(tensor, Tensor) and tensor.is_floating_point() and not isinstance(saved, (tuple, list)):
                    key = (node, attribute)
                    saved.register_hooks(Tensor.detach, lambda tensor, key=key: self.replaced.get(key, tensor))
                    found[key] = tensor.detach()
        return found

    def value(self, node: Node | None, output: int = 0) -> Tensor | None:
        r"""What the forward pass computed at a node, or the leaf that it stands for; None if it is not known."""
        if node is None:
            return None
        if node in self.leaf_of:
            return self.leaves[self.leaf_of[node]].detach()
        tensor, version = self.recorder.values.get((node, output), (None, 0))
        return None if tensor is None or tensor._version != version else tensor

    def input(self, node: Node) -> Tensor | None:
        r"""The value of the one input of a node that has one."""
        edges = [(before, output) for before, output in node.next_functions if before is not None]
        return self.value(*edges[0]) if len(edges) == 1 else None

    def function(self, node: Node) -> str:
        r"""The name of the function that created a node."""
        return node.name().rstrip("0123456789").removesuffix("Backward").lower()

    def site(self, node: Node) -> Site | None:
        r"""The user's line that created a node."""
        return self.recorder.calls[node].site if node in self.recorder.calls else None

    def describe(self, node: Node) -> str:
        r"""A node for a person: its function, and the line it stands in."""
        site = self.site(node)
        return f"{self.function(node)} in {site}" if site else self.function(node)

    def derivative_at(self, node: Node, tensor: Tensor) -> Tensor | None:
        r"""The derivative of the function that created a node, at another tensor; None if it is not of one tensor."""
        call = self.recorder.calls.get(node)
        if call is None or len(list(tensors_in((call.args, call.kwargs)))) != 1:
            return None
        leaf = tensor.detach().clone().requires_grad_()
        with torch.enable_grad():
            result = call.function(*each_tensor(lambda _: leaf, call.args), **call.kwargs)
        if not isinstance(result, Tensor) or result.shape != leaf.shape or not result.requires_grad:
            return None
        return torch.autograd.grad(result.sum(), leaf)[0]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        r"""Every floating point tensor that was around in the forward pass, with a name for a person."""
        for name, tensor in self.inputs.items():
            if tensor.is_floating_point():
                yield name, tensor.detach()
        for node in self.nodes:
            value = self.value(node)
            if value is not None:
                yield f"the value of {self.describe(node)}", value


def to_float64(tensor: Tensor) -> Tensor:
    r"""A copy, in float64 if it is a floating point tensor; nothing done to it reaches the user's."""
    return tensor.detach().to(torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)


def each(hook: GradOutputHook) -> Callable[[tuple[Tensor | None, ...]], tuple[Tensor | None, ...]]:
    r"""The hook on each of a node's gradients."""
    return lambda gradients: tuple(None if gradient is None else hook(gradient) for gradient in gradients)
