r"""One call of a torch.autograd.Function, and the cotangents of its outputs."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Generator, Tensor
from torch.autograd.function import BackwardCFunction

from nnmath.gradcheck import validation

Outputs = tuple[Tensor, ...]


class FunctionCall:
    r"""One call of apply, whose backward can be run many times, with respect to the inputs ``names``."""

    def __init__(self, apply: Callable[..., Any], inputs: dict[str, Any], names: list[str]) -> None:
        self.apply, self.inputs, self.names = apply, inputs, names
        self.mutates_grad_output = False  # whether backward has changed its grad_output
        self.leaves = {
            name: value.detach().clone().requires_grad_(name in names) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        with torch.enable_grad():
            result = validation.call("apply", lambda: accept_keywords(apply, self.leaves)(**self.leaves))
        self.outputs = output_tuple("apply", result)
        for output in self.outputs:
            validation.finite("the output of apply", output.detach())

    def rerun(self) -> Self:
        return type(self)(self.apply, self.inputs, self.names)

    def gradients(self, grad_output: Outputs) -> dict[str, Tensor | None]:
        r"""The gradients as backward returns them if possible, for autograd's engine changes their shapes."""
        copies = tuple(g.clone() for g in grad_output)
        versions = [copy._version for copy in copies]
        gradients: dict[str, Tensor | None] = validation.call(
            "the backward of apply", lambda: self.returned_gradients(copies) or self.accumulated_gradients(copies)
        )
        if versions != [copy._version for copy in copies] or not all(map(torch.equal, copies, grad_output)):
            self.mutates_grad_output = True
        for name, g in gradients.items():
            if g is not None:
                validation.finite(f"the gradient of {name} that backward returned", g)
        return gradients

    def accumulated_gradients(self, grad_output: Outputs) -> dict[str, Tensor | None]:
        r"""The gradients as autograd's engine accumulates them."""
        pairs = [(output, g) for output, g in zip(self.outputs, grad_output, strict=True) if output.requires_grad]
        if not pairs:
            return dict.fromkeys(self.names)
        leaves = [self.leaves[name] for name in self.names]
        differentiable, cotangents = zip(*pairs, strict=True)
        gradients = torch.autograd.grad(differentiable, leaves, cotangents, retain_graph=True, allow_unused=True)
        return dict(zip(self.names, gradients, strict=True))

    def returned_gradients(self, grad_output: Outputs) -> dict[str, Tensor | None] | None:
        r"""The gradients as backward returns them; None if apply is not a Function's own apply."""
        nodes: set[Any] = {output.grad_fn for output in self.outputs}
        node = next(iter(nodes))
        owner = getattr(self.apply, "__self__", None)
        if len(nodes) > 1 or not isinstance(node, BackwardCFunction) or owner is not getattr(node, "_forward_cls", ...):
            return None
        with torch.no_grad():
            result = node.apply(*grad_output)
        result = result if isinstance(result, tuple) else (result,)
        if len(result) < len(self.inputs):
            raise ValueError(f"it returned {len(result)} gradients for {len(self.inputs)} arguments")
        for name, g in zip(self.inputs, result, strict=False):
            if g is not None and not (isinstance(g, Tensor) and g.is_floating_point()):
                raise TypeError(f"it returned {getattr(g, 'dtype', type(g).__name__)} for {name}, not a gradient")
        return {name: g for name, g in zip(self.inputs, result, strict=False) if name in self.names}


def contraction(function: FunctionCall, forward: Callable[..., Any], grad_output: Outputs) -> Callable[..., Tensor]:
    r"""The scalar function Σ output · grad_output, whose gradient backward should return."""
    grad_output = tuple(g.detach().double() for g in grad_output)

    def loss(**tensors: Tensor) -> Tensor:
        result = output_tuple("forward", accept_keywords(forward, function.inputs)(**{**function.inputs, **tensors}))
        shapes, expected = ([tuple(tensor.shape) for tensor in group] for group in (result, grad_output))
        if shapes != expected:
            raise ValueError(f"it returns shapes {shapes}, apply returns {expected}")
        return torch.stack([(output * g).sum() for output, g in zip(result, grad_output, strict=True)]).sum()

    return loss


def accept_keywords(function: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    r"""Makes a function callable by keyword; the arguments go by position if its parameters have other names."""
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # built-in functions may have no signature
        parameters = {}
    by_keyword = {name for name, p in parameters.items() if p.kind is not inspect.Parameter.POSITIONAL_ONLY}
    if set(names) <= by_keyword:
        return function
    return lambda **arguments: function(*arguments.values())


def output_tuple(argument: str, result: Any) -> Outputs:
    r"""The result as a tuple of tensors; TypeError if it is anything but floating point tensors."""
    result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    for output in result:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(f"{argument} must return a floating point tensor or a tuple of them, got {kind}")
    return result


def validate_cotangent(cotangent: Tensor | Sequence[Tensor], outputs: Outputs) -> Outputs:
    r"""The user's cotangents; TypeError or ValueError if they are not finite tensors of the outputs' shapes."""
    if not isinstance(cotangent, (Tensor, Sequence)):
        raise TypeError(f"cotangent must be a tensor, or one for each output, got {type(cotangent).__name__}")
    cotangents = (cotangent,) if isinstance(cotangent, Tensor) else tuple(cotangent)
    if len(cotangents) != len(outputs):
        raise ValueError(f"cotangent must be one tensor for each of the {len(outputs)} outputs, got {len(cotangents)}")
    for g, output in zip(cotangents, outputs, strict=True):
        if not isinstance(g, Tensor):
            raise TypeError(f"cotangent must be a tensor, got {type(g).__name__}")
        if g.shape != output.shape:
            raise ValueError(f"cotangent must have the output's shape {tuple(output.shape)}, got {tuple(g.shape)}")
        validation.finite("cotangent", g)
    return tuple(g.detach().to(output.dtype, copy=True) for g, output in zip(cotangents, outputs, strict=True))


def random_cotangent(outputs: Outputs, seed: int) -> Outputs:
    r"""A random cotangent for each output, reproducible by its seed."""
    generator = Generator().manual_seed(seed)
    return tuple(torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in outputs)
