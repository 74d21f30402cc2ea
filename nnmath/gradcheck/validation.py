r"""What the checks refuse: each a line that names the argument, the value and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def tensors(**mappings: object) -> None:
    r"""Refuse what is no mapping of names to dense tensors of finite numbers on one device.

    Raises:
        TypeError: no mapping, or an item is no tensor.
        ValueError: an entry is nan or infinite; the tensors lie on two devices; a tensor is sparse or complex.
    """
    devices: dict[str, str] = {}
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
            devices.setdefault(str(tensor.device), item)
            finite(item, tensor)
    if "meta" in devices:
        raise ValueError(f"{devices['meta']} is on the meta device and has no values; give it some")
    if len(devices) > 1:
        (one, first), (two, second) = list(devices.items())[:2]
        raise ValueError(f"all tensors must be on one device, got {first} on {one} and {second} on {two}")


def finite(item: str, tensor: Tensor) -> None:
    r"""Refuse a tensor that holds nan or inf.

    Raises:
        ValueError: with the first such entry and its index.
    """
    if not tensor.is_floating_point() or tensor.device.type == "meta":
        return
    wrong = ~tensor.isfinite()
    if bool(wrong.any()):
        index = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{item} must be finite, got {float(tensor[index])} at index {index}")


def names(inputs: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> None:
    r"""Refuse gradients of what is no floating point input, and no gradients at all.

    Raises:
        ValueError: a name that is not among the inputs; an input of integers; no gradient.
        TypeError: a gradient of integers.
    """
    if not gradients:
        raise ValueError("gradients is empty; give at least one, {name of an input: its gradient}")
    for name, gradient in gradients.items():
        if name not in inputs:
            raise ValueError(f"gradients[{name!r}] is of no input; inputs has {listed(inputs)}")
        floating(f"inputs[{name!r}] has a gradient and", inputs[name], ValueError)
        if gradient is not None:
            floating(f"gradients[{name!r}]", gradient, TypeError)


def floating(item: str, tensor: Tensor, error: type[Exception]) -> None:
    r"""Refuse a tensor that is not of a floating point type that the checks know.

    Raises:
        error: as given.
    """
    if tensor.dtype not in FLOATS:
        allowed = ", ".join(str(dtype) for dtype in FLOATS)
        raise error(f"{item} must be one of {allowed}, got {tensor.dtype}")


def options(n: object, learning_rate: object, rebuild: object) -> None:
    r"""Refuse a batch size, a learning rate or a rebuild that cannot be one.

    Raises:
        TypeError: of another type.
        ValueError: out of range.
    """
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


def function(argument: str, value: object, shape: str) -> None:
    r"""Refuse what cannot be called.

    Raises:
        TypeError: it is no function.
    """
    if not callable(value):
        raise TypeError(f"{argument} must be a function {shape}, got {type(value).__name__}")


def call(argument: str, function: Callable[[], Any]) -> Any:
    r"""The function's result; what it raises becomes one line that names the argument.

    Raises:
        ValueError: the function raised an error.
    """
    try:
        return function()
    except Exception as error:
        message = " ".join(str(error).split())
        raise ValueError(f"{argument} raised {type(error).__name__}: {message}") from error


def scalar(loss: object) -> None:
    r"""Refuse a loss that is not one finite real number.

    Raises:
        TypeError: no tensor, or not a real floating point one.
        ValueError: more entries than one; nan or infinite.
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"forward must return a scalar tensor, the loss, got {type(loss).__name__}")
    if loss.numel() != 1:
        raise ValueError(f"forward must return a scalar loss, got shape {tuple(loss.shape)}; sum or average it")
    if not loss.is_floating_point():
        raise TypeError(f"forward must return a floating point loss, got {loss.dtype}")
    if not loss.isfinite():
        raise ValueError(f"forward must return a finite loss at the given inputs, got {loss.item()}")


def listed(names: Iterable[str]) -> str:
    r"""Names for a person."""
    return ", ".join(repr(name) for name in names) or "none"
