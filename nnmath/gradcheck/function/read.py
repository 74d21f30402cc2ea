r"""Reads the code of a Function's backward."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck.code.program import Program
from nnmath.gradcheck.code.reading import Reading
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.function.call import FunctionCall, Outputs
from nnmath.gradcheck.function.reference import NoContext

TIME_LIMIT = 30.0  # seconds


class Context(NoContext):
    r"""Replaces a Function's ctx in a forward and a backward that are called one after the other."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors


def read_function(function: FunctionCall, grad_output: Outputs, comparison: Comparison) -> Reading:
    r"""The reading of a Function's backward; one that says nothing if apply is not a Function's own."""
    owner: Any = getattr(function.apply, "__self__", None)
    cotangents = tuple(g.double() for g in grad_output)

    def run(backward: Callable[..., Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        ctx = Context(tuple(name in function.names for name in function.inputs))
        arguments = [tensors.get(name, value) for name, value in function.inputs.items()]
        with torch.no_grad():
            if owner.setup_context is torch.autograd.Function.setup_context:
                owner.forward(ctx, *arguments)
            else:
                owner.setup_context(ctx, tuple(arguments), owner.forward(*arguments))
            result = backward(ctx, *(g.clone() for g in cotangents))
        returned = dict(zip(function.inputs, result if isinstance(result, tuple) else (result,), strict=False))
        return {name: sum_to_input(returned[name], tensors[name]) for name in function.names}

    wrong = sorted(comparison.wrong, key=lambda name: comparison.graph.depth[name])
    is_own = isinstance(owner, type) and issubclass(owner, torch.autograd.Function)
    program = Program(owner.backward if is_own else run, run)
    options = True, time.monotonic() + TIME_LIMIT, comparison.has_ties
    reading = Reading(comparison.forward, program, comparison.inputs, wrong, *options)
    if wrong and is_own:
        reading.run()
    return reading


def sum_to_input(gradient: Tensor | None, tensor: Tensor) -> Tensor:
    r"""A gradient in its input's shape, as autograd's engine sums it; zeros if it is missing."""
    if gradient is None:
        return torch.zeros_like(tensor)
    if gradient.shape == tensor.shape or not is_summed_by_engine(gradient, tensor):
        return gradient
    return gradient.sum_to_size(tensor.shape)


def is_summed_by_engine(gradient: Tensor, tensor: Tensor) -> bool:
    r"""Whether autograd's engine sums a gradient of another shape, as that of a tensor that was broadcast."""
    if gradient.shape == tensor.shape or gradient.ndim < tensor.ndim:
        return False
    pairs = zip(reversed(tensor.shape), reversed(gradient.shape), strict=False)
    return all(a in (1, b) for a, b in pairs)
