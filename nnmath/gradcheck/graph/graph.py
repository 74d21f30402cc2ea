r"""The graph that autograd recorded for a loss; it can be differentiated many times, each time with another edit.

An edit makes a mistake in the backward pass; its gradients are those that the mistake would give.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from nnmath.gradcheck.graph.edits import Edit, GradOutputHook, Grads
from nnmath.gradcheck.graph.site import InnermostCall, Site, user_site

Forward = Callable[..., Tensor]
Gradients = dict[str, Tensor]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # args and kwargs

FACTORIES = ("zeros", "ones", "empty", "full", "eye", "linspace", "rand", "randn", "tensor")


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
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    r"""A copy of the nested value, with the function applied to its tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        items = [map_tensors(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    return value


def as_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def in_place(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> bool:
    r"""Whether a function writes to one of its arguments, so that it must not receive a copy."""
    name = getattr(function, "__name__", "")
    underscore = name.endswith("_") and not name.endswith("__")
    return underscore or name == "__setitem__" or bool(kwargs.get("inplace")) or kwargs.get("out") is not None


class Promotion(TorchFunctionMode):
    r"""Evaluates a function in float64 if one of its arguments is: a closure's float32 tensor may meet the inputs."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        dtypes = {tensor.dtype for tensor in tensors_in((args, kwargs)) if tensor.is_floating_point()}
        if len(dtypes) > 1 and torch.float64 in dtypes and not in_place(function, kwargs):
            args, kwargs = map_tensors(as_double, (args, kwargs))
        result = self.call(function, args, kwargs)
        # float64 values may be written to a new tensor of the default dtype
        is_new = getattr(function, "__name__", "") in FACTORIES and kwargs.get("dtype") is None
        return as_double(result) if is_new and isinstance(result, Tensor) else result

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        r"""The result of a function of torch; subclasses observe or replace it."""
        return function(*args, **kwargs)


data: Any = Tensor.data  # a descriptor, whose getter a TorchFunctionMode sees; torch annotates it as a Tensor
DETACHING = (Tensor.detach, Tensor.detach_, torch.detach, torch.detach_, data.__get__)
LEAVING = (*DETACHING, Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__float__)  # results have no gradient


class Recorder(Promotion):
    r"""Records the call that created each node, the node's values, and whether gradients were stopped on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Node, Call] = {}
        self.values: dict[tuple[Node, int], tuple[Tensor, int]] = {}
        self.has_detach = False
        self.end: Site | None = None  # the last call whose result has no gradient although its argument has one

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = function(*args, **kwargs)
        if function in LEAVING and args[0].requires_grad:
            self.end = user_site()
        self.has_detach |= function in DETACHING or not torch.is_grad_enabled() or kwargs.get("padding_idx") is not None
        for tensor in tensors_in(result):
            node = tensor.grad_fn
            if node is not None and node not in self.calls:
                self.record(node, Call(function, args, kwargs, user_site()))
            if node is not None and (node, tensor.output_nr) not in self.values:
                self.values[node, tensor.output_nr] = (tensor.detach(), tensor._version)
        return result

    def record(self, node: Node, call: Call) -> None:
        r"""Assigns a call to its result's node, and to the nodes behind it that no earlier call has created."""
        stack = [node]
        while stack:
            node = stack.pop()
            if node not in self.calls and node.name() != "torch::autograd::AccumulateGrad":
                self.calls[node] = call
                stack += successors(node)


def successors(node: Node) -> list[Node]:
    r"""The nodes to which a node passes gradients, in the direction of the backward pass."""
    return [successor for successor, _ in node.next_functions if successor is not None]


class Graph:
    r"""One evaluation of a loss in float64, inside ``mode``, to be differentiated with respect to the ``names``."""

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
        r"""The gradients of the loss, with an edit if one is given; 0 for an input that the loss does not depend on."""
        if self.loss.grad_fn is None:
            return {name: torch.zeros_like(leaf) for name, leaf in self.leaves.items()}
        edit = edit or Edit()
        if edit.saved:
            _ = self.saved  # registers hooks on the saved tensors
        self.replaced = edit.saved
        handles = [node.register_hook(hook) for node, hook in edit.grad_input.items()]
        handles += [node.register_prehook(on_each_grad(hook)) for node, hook in edit.grad_output.items()]
        try:
            leaves = list(self.leaves.values())
            gradients = torch.autograd.grad(self.loss, leaves, retain_graph=True, materialize_grads=True)
        finally:
            self.replaced = {}
            for handle in handles:
                handle.remove()
        return dict(zip(self.leaves, gradients, strict=True))

    @cached_property
    def has_detach(self) -> bool:
        r"""Whether gradients are stopped on purpose, by detach, no_grad, or a Function with its own backward."""
        return self.recorder.has_detach or any(isinstance(node, BackwardCFunction) for node in self.nodes)

    @cached_property
    def nodes(self) -> list[Node]:
        r"""The nodes between the loss and the leaves, in topological order from the loss."""
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
                stack += [(successor, False) for successor in successors(node)]
        return [node for node in reversed(order) if node not in self.leaf_of]

    @cached_property
    def leaf_of(self) -> dict[Node, str]:
        r"""The node that accumulates a leaf's gradient ↦ the leaf's name."""
        return {torch.autograd.graph.get_gradient_edge(leaf).node: name for name, leaf in self.leaves.items()}

    @cached_property
    def reachable_leaves(self) -> dict[Node, frozenset[str]]:
        r"""Node ↦ the leaves that its gradient reaches."""
        reach = {node: frozenset({name}) for node, name in self.leaf_of.items()}
        for node in reversed(self.nodes):
            reach[node] = frozenset[str]().union(*(reach.get(after, frozenset()) for after in successors(node)))
        return reach

    @cached_property
    def depth(self) -> dict[str, int]:
        r"""Leaf ↦ the number of nodes between it and the loss, on the shortest path."""
        depth: dict[Node, int] = {self.nodes[0]: 0} if self.nodes else {}
        for node in self.nodes:
            for after in successors(node):
                depth[after] = min(depth.get(after, sys.maxsize), depth[node] + 1)
        return {name: depth.get(node, sys.maxsize) for node, name in self.leaf_of.items()}

    @cached_property
    def saved(self) -> dict[tuple[Node, str], Tensor]:
        r"""Node and attribute ↦ the floating point tensor that the node has saved for its backward."""
        tensors: dict[tuple[Node, str], Tensor] = {}
        for node in self.nodes:
            for attribute in (name for name in dir(node) if name.startswith("_raw_saved_")):
                saved = getattr(node, attribute)
                tensor = getattr(node, attribute.replace("_raw", ""), None)
                if isinstance(tensor, Tensor) and tensor.is_floating_point() and not isinstance(saved, (tuple, list)):
                    key = (node, attribute)
                    saved.register_hooks(Tensor.detach, lambda tensor, key=key: self.replaced.get(key, tensor))
                    tensors[key] = tensor.detach()
        return tensors

    def value(self, node: Node | None, output: int = 0) -> Tensor | None:
        r"""What the forward pass computed at a node; None if it is unknown, or was changed in place since."""
        if node is None:
            return None
        if node in self.leaf_of:
            return self.leaves[self.leaf_of[node]].detach()
        tensor, version = self.recorder.values.get((node, output), (None, 0))
        return None if tensor is None or tensor._version != version else tensor

    def input(self, node: Node) -> Tensor | None:
        r"""The value of a node's input, if it has exactly one."""
        edges = [(before, output) for before, output in node.next_functions if before is not None]
        return self.value(*edges[0]) if len(edges) == 1 else None

    def function(self, node: Node) -> str:
        r"""The name of the function that created a node."""
        return node.name().rstrip("0123456789").removesuffix("Backward").lower()

    def site(self, node: Node) -> Site | None:
        r"""The call in the user's code that created a node."""
        return self.recorder.calls[node].site if node in self.recorder.calls else None

    def call(self, node: Node) -> InnermostCall | None:
        r"""The call that created a node; the same for all calls of the function that it is in."""
        site = self.site(node)
        return site.calls[0] if site else None

    def describe(self, node: Node) -> str:
        r"""A human-readable name of a node: its function and its line."""
        site = self.site(node)
        return f"{self.function(node)} in {site}" if site else self.function(node)

    def derivative_at(self, node: Node, tensor: Tensor) -> Tensor | None:
        r"""The derivative of the node's function at another tensor; None unless it is elementwise, of one tensor."""
        call = self.recorder.calls.get(node)
        if call is None or len(list(tensors_in((call.args, call.kwargs)))) != 1:
            return None
        leaf = tensor.detach().clone().requires_grad_()
        with torch.enable_grad():
            result = call.function(*map_tensors(lambda _: leaf, call.args), **call.kwargs)
        if not isinstance(result, Tensor) or result.shape != leaf.shape or not result.requires_grad:
            return None
        return torch.autograd.grad(result.sum(), leaf)[0]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        r"""The floating point tensors of the forward pass, with human-readable names."""
        for name, tensor in self.inputs.items():
            if tensor.is_floating_point():
                yield name, tensor.detach()
        for node in self.nodes:
            value = self.value(node)
            if value is not None:
                site = self.site(node)
                is_variable = site is not None and site.name.isidentifier()
                yield f"`{site.name}`" if site and is_variable else f"the value of {self.describe(node)}", value


def to_float64(tensor: Tensor) -> Tensor:
    r"""A copy of the tensor, in float64 if it is a floating point tensor."""
    return tensor.detach().to(torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)


def on_each_grad(hook: GradOutputHook) -> Callable[[Grads], Grads]:
    return lambda grad_output: tuple(None if g is None else hook(g) for g in grad_output)
