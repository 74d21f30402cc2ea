r"""What a Function's backward should return: by autograd, or by finite differences where autograd cannot run."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.compare import compare
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.quotients import compare_with_quotients, finite_differences
from nnmath.gradcheck.function.call import FunctionCall, Outputs, contraction


def reference(
    function: FunctionCall,
    forward: Callable[..., Any] | None,
    grad_output: Outputs,
    gradients: Mapping[str, Tensor | None],
) -> tuple[Comparison, bool]:
    r"""The comparison with autograd or finite differences, and whether its graph records the user's mathematics."""
    tensors = {name: value.detach() for name, value in function.inputs.items() if isinstance(value, Tensor)}
    if forward is not None:
        return compare(contraction(function, forward, grad_output), tensors, gradients), True
    scalar = contraction(function, function.apply, grad_output)

    def in_float64(**inputs: Tensor) -> Tensor:
        loss: Tensor = validation.call("apply in float64", lambda: scalar(**inputs))
        return loss

    quotients = finite_differences(in_float64, tensors, function.names)
    own = own_forward(function.apply)
    if own is not None:
        try:
            comparison = compare(contraction(function, own, grad_output), tensors, gradients)
            by_autograd = comparison.graph.gradients()
            if all(sides.allow(by_autograd[name]) for name, sides in quotients.items()):
                return comparison, True
        except (TypeError, ValueError):  # autograd cannot differentiate the Function's own forward
            pass
    return compare_with_quotients(tensors, gradients, quotients), False


def own_forward(apply: Callable[..., Any]) -> Callable[..., Any] | None:
    r"""A Function's own forward as plain torch; None if apply is not a Function's apply."""
    owner = getattr(apply, "__self__", None)
    if not (isinstance(owner, type) and issubclass(owner, torch.autograd.Function)):
        return None
    separate = owner.setup_context is not torch.autograd.Function.setup_context
    return lambda *args: owner.forward(*args) if separate else owner.forward(NoContext(), *args)


class NoContext:
    r"""Replaces a Function's ctx: every method does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None
