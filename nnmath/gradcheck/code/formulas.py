r"""What the mathematics of the forward pass offers for an edit: true gradients, derivatives, and the backward of its
operations, written in the user's variables where they exist.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnmath.gradcheck.code.candidates import Variables, braced
from nnmath.gradcheck.code.forward import Operation, RecordedForward
from nnmath.gradcheck.code.known import Array, as_array, ratio, same
from nnmath.gradcheck.code.program import Step

# names of torch's functions and attributes
VIEWS = {"view", "reshape", "t", "T", "mT", "transpose", "permute", "unsqueeze", "squeeze", "expand", "flatten"}
VIEWS |= {"contiguous", "clone", "detach"}
NOT_ELEMENTWISE = {"add", "sub", "rsub", "mul", "div", "truediv", "neg", "cumsum", "flip", "sort", "getitem"} | VIEWS
OPERATORS = {"matmul": "@", "sub": "-", "mul": "*", "add": "+", "div": "/"}
DERIVATIVES: dict[str, Callable[[str, str], str]] = {  # of y = f(x), from their texts; "" where the user has none
    **dict.fromkeys(("sigmoid", "special_expit"), lambda x, y: y and f"{y} * (1 - {y})"),
    "tanh": lambda x, y: y and f"(1 - {y} ** 2)",
    "relu": lambda x, y: (x or y) and f"({x or y} > 0)",
    "exp": lambda x, y: y,
    "log": lambda x, y: x and f"(1 / {x})",
    "sqrt": lambda x, y: y and f"(0.5 / {y})",
    "rsqrt": lambda x, y: y and f"(-0.5 * {y} ** 3)",
    "reciprocal": lambda x, y: y and f"(-({y} ** 2))",
    "square": lambda x, y: x and f"(2 * {x})",
}


@dataclass(frozen=True)
class Target:
    r"""A true gradient, or a local derivative, that an expression may be meant to compute."""

    key: Any  # a group of operations, or the name of an input
    place: str = "fixed"  # which of the group: "same" iteration as the expression's, "reversed", or that of the index
    index: int = 0
    is_derivative: bool = False

    def operation(self, forward: RecordedForward, instance: int = 0) -> Operation:
        group = forward.groups[self.key]
        return group[self.index if self.place == "fixed" else instance if self.place == "same" else -1 - instance]

    def value(self, forward: RecordedForward | None, instance: int = 0) -> Tensor:
        assert forward is not None
        if isinstance(self.key, str):
            return forward.gradients[self.key]
        operation = self.operation(forward, instance)
        if self.is_derivative:
            return operation.vjp(operation.operands[0], torch.ones_like(operation.value))
        assert operation.gradient is not None
        return operation.gradient

    def text(self, forward: RecordedForward) -> str:
        operation = None if isinstance(self.key, str) else self.operation(forward)
        if operation is not None and self.is_derivative:
            return f"the derivative of {operation.name} in `{operation.text}`"
        text = self.key if operation is None else operation.text
        return f"∂E/∂{text}" if text.isidentifier() else f"∂E/∂({text})"


def targets(step: Step, count: int, forward: RecordedForward) -> Iterator[Target]:
    r"""The gradients and derivatives of a step's size, which is evaluated ``count`` times."""
    for key, group in forward.groups.items():
        first = group[0]
        if first.name in VIEWS or first.value.numel() != np.prod(np.shape(step.value)):
            continue
        if len(group) == count:
            places = [("same", 0)] + [("reversed", 0)] * (count > 1)
        else:
            places = [("fixed", i) for i in range(len(group))] if 1 in (count, len(group)) else []
        for place, index in places:
            if first.gradient is not None:
                yield Target(key, place, index)
            if is_elementwise(first):
                yield Target(key, place, index, is_derivative=True)


def is_elementwise(operation: Operation) -> bool:
    r"""Whether an operation is an elementwise function of one tensor."""
    tensors = [arg for arg in operation.args if isinstance(arg, Tensor)]
    own_shape = len(tensors) == len(operation.operands) == 1 and tensors[0].shape == operation.value.shape
    return own_shape and operation.name not in NOT_ELEMENTWISE


def find(variables: Variables, tensor: Any) -> str:
    r"""The text of the variable with this value, transposed if need be; empty if there is none."""
    value = as_array(tensor)
    if value is None:
        return ""
    arrays = [(text, array) for text, v in variables if (array := as_array(v)) is not None]
    exact = [text for text, array in arrays if same(array, value)]
    turned = [f"{text}.T" for text, array in arrays if array.ndim == 2 and same(array.T, value)]
    return braced(min(exact or turned, key=len, default=""))


def forward_expressions(forward: RecordedForward, variables: Variables, use_torch: bool) -> dict[str, Any]:
    r"""Expressions of the forward pass in the user's variables, such as ``X @ w`` or ``output - y``: text ↦ value."""
    found = {}
    for operation, *others in forward.groups.values():
        if operation.name in OPERATORS and not others and len(operation.args) == 2:
            left, right = (find(variables, argument) for argument in operation.args)
            if left and right and not find(variables, operation.value):
                text = f"({left} {OPERATORS[operation.name]} {right})"
                found[text] = operation.value if use_torch else operation.value.numpy()
    return found


def derivative_text(operation: Operation, variables: Variables) -> str:
    r"""The derivative of an elementwise function in the user's variables."""
    formula = DERIVATIVES.get(operation.name)
    return formula(find(variables, operation.args[0]), find(variables, operation.value)) if formula else ""


def vjp_texts(
    forward: RecordedForward, wanted: Array, quantities: Variables, variables: Variables
) -> Iterator[tuple[str, float]]:
    r"""The backward of an operation, applied to one of the quantities, that gives the wanted numbers up to a factor."""
    arrays = [(text, array) for text, value in quantities if (array := as_array(value)) is not None]
    for operation in (operation for group in forward.groups.values() for operation in group):
        for operand in operation.operands if operation.name not in VIEWS else ():
            for text, q in arrays if operation.args[operand].numel() == wanted.size else ():
                if q.size != operation.value.numel() or not (shown := vjp_text(operation, operand, text, q, variables)):
                    continue
                try:
                    result = operation.vjp(operand, torch.from_numpy(q.copy())).numpy()
                except (RuntimeError, TypeError):  # an operation in place
                    continue
                factor = ratio(wanted, result.ravel())
                if factor is not None:
                    yield shown, factor


def vjp_text(operation: Operation, operand: int, q: str, value: Array, variables: Variables) -> str:
    r"""The gradient of an operation's operand in the user's variables, from that of its result, ``q``."""
    name, args = operation.name, operation.args
    if derivative := derivative_text(operation, variables):
        return f"{q} * {derivative}"
    if name in ("add", "sub"):
        target, sign = np.shape(args[operand]), "-" * (name == "sub" and operand == 1)
        lead = value.ndim - len(target)
        pairs = zip(target, value.shape[max(lead, 0) :], strict=False)
        axes = [*range(lead), *(lead + i for i, (a, b) in enumerate(pairs) if a != b)]
        if lead >= 0 and axes:
            keep = "" if lead else ", keepdims=True"
            return f"{sign}{q}.sum(axis={axes[0] if len(axes) == 1 else tuple(axes)}{keep})"
    if (
        name not in ("matmul", "mv", "dot", "mm", "mul")
        or len(args) != 2
        or not (other := find(variables, args[1 - operand]))
    ):
        return ""
    turned = other.removesuffix(".T") if other.endswith(".T") else f"{other}.T"
    ndims = [np.ndim(argument) for argument in args]
    if name == "mul" or ndims == [1, 1]:
        return f"{q} * {other}" if np.shape(args[operand]) == np.shape(operation.value) or ndims == [1, 1] else ""
    if ndims == [2, 2]:
        return f"{q} @ {turned}" if operand == 0 else f"{turned} @ {q}"
    if ndims == [2, 1]:
        return f"np.outer({q}, {other})" if operand == 0 else f"{turned} @ {q}"
    return (f"{other} @ {q}" if operand == 0 else f"np.outer({other}, {q})") if ndims == [1, 2] else ""
