r"""What a caller passes as names ↦ tensors: NumPy arrays, numbers and lists, and gradients named ``dW``."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

PREFIXES, SUFFIXES = ("d", "d_", "grad_", "g_", "dL_d", "dE_d"), ("_grad", "_g", ".grad")


def to_tensors(argument: str, values: object) -> dict[str, Any]:
    r"""Name ↦ tensor; anything that is not an array, a number or a list of numbers is left as it is.

    Raises:
        TypeError: ``values`` is not a mapping.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{argument} must map names to tensors or arrays, got {type(values).__name__}")
    return {name: to_tensor(value) for name, value in values.items()}


def to_tensor(value: Any) -> Any:
    r"""A tensor with the value of an array, a number or a list of numbers; a Python number is a float64."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))
    if isinstance(value, (int, float, list)):
        try:
            return to_tensor(np.array(value))
        except ValueError:  # lists of unequal lengths
            return value
    return value


def to_floating(gradient: Any) -> Any:
    r"""A gradient of counts, or of a mask, in float64."""
    is_whole = isinstance(gradient, Tensor) and not gradient.is_floating_point() and not gradient.is_complex()
    return gradient.double() if is_whole else gradient


def native(inputs: Mapping[str, Tensor], takes: str) -> dict[str, Any]:
    r"""Copies of the inputs, as tensors or as arrays; a number is one of NumPy."""
    if takes == "torch":
        return {name: tensor.clone() for name, tensor in inputs.items()}
    return {name: tensor.numpy().copy()[()] for name, tensor in inputs.items()}


def name_gradients(
    gradients: object, inputs: Iterable[str], names: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    r"""Input ↦ its gradient as it is, and input ↦ a note where the gradient had another name, such as ``dW`` for ``W``.

    Args:
        gradients: a mapping, or a tuple or list in the order of ``names``.
        inputs: the names of the inputs.
        names: of which inputs a tuple has the gradients, in order.

    Raises:
        TypeError: the gradients are neither, or ``names`` is missing.
        ValueError: a name fits no input, or several gradients fit one.
    """
    inputs = list(inputs)
    if isinstance(gradients, (tuple, list)):
        if names is None or len(names) != len(gradients):
            got = "no names" if names is None else f"{len(names)} names"
            raise TypeError(f"gradients in a {type(gradients).__name__} of {len(gradients)} need names=[…], got {got}")
        gradients = dict(zip(names, gradients, strict=True))
    if not isinstance(gradients, Mapping):
        raise TypeError(f"gradients must map names of inputs to gradients, got {type(gradients).__name__}")
    named: dict[str, Any] = {}
    notes: dict[str, str] = {}
    for key, value in gradients.items():
        matches = [key] if key in inputs else [name for name in inputs if is_gradient_name(key, name)]
        if len(matches) != 1 or matches[0] in named:
            same_letters = [name for name in inputs if name.lower() == str(key).lower()]
            near = same_letters or difflib.get_close_matches(str(key), inputs, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"gradients[{key!r}] names no input{hint}; inputs has {', '.join(map(repr, inputs))}")
        named[matches[0]] = value
        if key != matches[0]:
            notes[matches[0]] = f"given as {key}"
    return named, notes


def is_gradient_name(key: object, name: str) -> bool:
    r"""Whether a key such as ``dW`` or ``W_grad`` names the gradient of an input."""
    return key in {*(prefix + name for prefix in PREFIXES), *(name + suffix for suffix in SUFFIXES)}
