r"""Checks the gradients of a Module: of its inputs, and of its parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from nnmath.gradcheck.function.check import check_function
from nnmath.gradcheck.report import Report


def check_module(
    module: nn.Module, inputs: Mapping[str, Any], *, cotangent: Tensor | Sequence[Tensor] | None = None
) -> Report:
    r"""Compares the gradients that a Module's own Functions and hooks give with finite differences.

    Args:
        module: the Module. Its parameters that require a gradient are checked, by their names in the state_dict.
        inputs: name ↦ argument of its forward, in order; floating point tensors are checked too.
        cotangent: the gradient of the output, as for :func:`~nnmath.gradcheck.check_function`.

    Raises:
        TypeError: ``module`` is not a Module.
        ValueError: an input has the name of a parameter, or more entries than finite differences can take; and as from
            check_function.

    >>> import torch
    >>> check_module(nn.Linear(2, 3), {"x": torch.randn(4, 2)}).passed
    True
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    if clash := parameters.keys() & inputs.keys():
        raise ValueError(f"inputs must not have the name of a parameter, got {', '.join(sorted(clash))}; rename it")
    arguments = {**inputs, **parameters}

    def apply(*values: Any) -> Any:
        given = dict(zip(arguments, values, strict=True))
        own = {name: given.pop(name) for name in parameters}
        return functional_call(module, own, tuple(given.values()))

    return check_function(apply, arguments, cotangent=cotangent)
