r"""Checks of arguments: TypeError for a wrong type, ValueError for a wrong value; each names the argument."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.errors import is_finite

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def tensors(**mappings: object) -> None:
    r"""Require mappings of names to dense, real, finite tensors on one device."""
    devices: dict[str, str] = {}
    differentiated: Any = mappings.get("gradients", mappings.get("inputs"))
    for argument, mapping in mappings.items():
        if not isinstance(mapping, Mapping):
            raise TypeError(f"{argument} must map names to tensors, got {type(mapping).__name__}")
        for name, tensor in mapping.items():
            if not isinstance(name, str):
                raise TypeError(f"{argument} must have strings for names, got {name!r}")
            if tensor is None and argument == "gradients":
                continue
            item = f"{argument}[{name!r}]"
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{item} must be a tensor, got {type(tensor).__name__}")
            if tensor.layout is not torch.strided or tensor.is_complex() or tensor.is_quantized:
                raise ValueError(f"{item} must be a dense tensor of real numbers, got {tensor.layout}, {tensor.dtype}")
            if tensor.is_floating_point():
                floating(item, tensor, ValueError)
            if tensor.device.type == "meta":
                raise ValueError(f"{item} is on the meta device and has no values; give it some")
            devices.setdefault(str(tensor.device), item)
            may_be_mask = argument == "inputs" and name not in differentiated  # with −inf
            if not is_finite(tensor) and not (may_be_mask and not bool(tensor.isnan().any())):
                finite(item, tensor)
    if len(devices) > 1:
        (one, first), (two, second) = list(devices.items())[:2]
        raise ValueError(f"all tensors must be on one device, got {first} on {one} and {second} on {two}")


def finite(item: str, tensor: Tensor) -> None:
    if not is_finite(tensor):
        index = tuple((~tensor.isfinite()).nonzero()[0].tolist())
        raise ValueError(f"{item} must be finite, got {float(tensor[index])} at index {index}")


def names(inputs: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> None:
    r"""Require at least one gradient, and that all belong to floating point inputs."""
    if not gradients:
        raise ValueError("gradients is empty; give at least one, {name of an input: its gradient}")
    for name, gradient in gradients.items():
        if name not in inputs:
            raise ValueError(f"gradients[{name!r}] names no input; inputs has {', '.join(map(repr, inputs)) or 'none'}")
        floating(f"inputs[{name!r}] has a gradient and", inputs[name], ValueError)
        if gradient is not None:
            floating(f"gradients[{name!r}]", gradient, TypeError)


def gradients(inputs: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> None:
    r"""Require gradients that can be compared: see :func:`tensors` and :func:`names`."""
    tensors(inputs=inputs, gradients=gradients)
    names(inputs, gradients)


def floating(item: str, tensor: Tensor, error: type[Exception]) -> None:
    if tensor.dtype not in FLOATS:
        raise error(f"{item} must be one of {', '.join(map(str, FLOATS))}, got {tensor.dtype}")


def options(n: object, learning_rate: object, rebuild: object) -> None:
    r"""Require a batch size, a learning rate and a function, where given."""
    if n is not None:
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"n must be the batch size, a whole number, got {n!r}")
        if n < 1:
            raise ValueError(f"n must be the batch size, at least 1, got {n}")
    if learning_rate is not None:
        if isinstance(learning_rate, bool) or not isinstance(learning_rate, (int, float)):
            raise TypeError(f"learning_rate must be a number, got {learning_rate!r}")
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0 and finite, got {learning_rate}")
    if rebuild is not None:
        function("rebuild", rebuild, "n -> (forward, inputs, gradients)")


def function(argument: str, value: object, signature: str) -> None:
    if not callable(value):
        raise TypeError(f"{argument} must be a function {signature}, got {type(value).__name__}")


def call(argument: str, function: Callable[[], Any]) -> Any:
    r"""Calls a function; any error becomes a ValueError of one line that names the argument."""
    try:
        return function()
    except Exception as error:
        message = " ".join(str(error).split())
        if "leaf Variable that requires grad is being used in an in-place" in message:
            message = "it changes an input in place; let it work on a copy, x = x.clone()"
        raise ValueError(f"{argument} raised {type(error).__name__}: {message}") from error


def scalar(loss: object, end: object = None) -> None:
    r"""Require a loss that is one finite real number; ``end`` is where the forward pass left autograd's graph."""
    if not isinstance(loss, Tensor):
        hint = "; do not convert the loss by item() or float()" if isinstance(loss, float) else ""
        hint += f", as in {end}" if end and hint else ""
        raise TypeError(f"forward must return a scalar tensor, the loss, got {type(loss).__name__}{hint}")
    if loss.numel() != 1:
        raise ValueError(f"forward must return a scalar loss, got shape {tuple(loss.shape)}; sum or average it")
    if not loss.is_floating_point():
        raise TypeError(f"forward must return a floating point loss, got {loss.dtype}")
    if not loss.isfinite():
        raise ValueError(f"forward must return a finite loss at the given inputs, got {loss.item()}")
