r"""The data of the loss: a target that was broadcast or left out; n − 1 for n."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nnmath.gradcheck.comparison.rounding import gradients_of
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.graph import Gradients, Promotion, promote_to_float64


def broadcast_n_by_n(context: Context) -> Iterator[Hypothesis]:
    r"""(n,) for (n, 1), or the other way round: the difference of the two is (n, n)."""
    for name, tensor in data(context):
        if tensor.numel() < 2:
            continue
        others = [tensor.unsqueeze(-1)]  # also for a forward pass that squeezes it
        others += [tensor.squeeze(-1)] if tensor.shape[-1] == 1 else []
        for other in others:
            if gradients := rerun(context, {name: other}):
                explanation = (
                    f"{name} was broadcast against the output, (n,) against (n, 1), so that their difference has shape "
                    "(n, n): every sample against every other one."
                )
                yield Hypothesis(Fault.BROADCAST_N_BY_N, gradients, explanation, f"give {name} the output's shape")


def target_missing(context: Context) -> Iterator[Hypothesis]:
    r"""O instead of O − y."""
    for name, tensor in data(context):
        if gradients := rerun(context, {name: torch.zeros_like(tensor)}):
            gradients = {key: gradient for key, gradient in gradients.items() if gradient.any()}
            explanation = f"This is the gradient for {name} = 0: the term with {name} is missing."
            yield Hypothesis(Fault.TARGET_TERM_MISSING, gradients, explanation, f"subtract {name}")


def target_sign(context: Context) -> Iterator[Hypothesis]:
    r"""O + y instead of O − y."""
    for name, tensor in data(context):
        if gradients := rerun(context, {name: -tensor}):
            explanation = f"This is the gradient for −{name}: only the term with {name} has the wrong sign."
            yield Hypothesis(Fault.SIGN, gradients, explanation, f"flip the sign of {name}")


def data(context: Context) -> list[tuple[str, Tensor]]:
    r"""The floating point inputs without a gradient."""
    graph = context.graph
    return [(name, t) for name, t in graph.inputs.items() if name not in graph.leaves and t.is_floating_point()]


def bessel(context: Context) -> Iterator[Hypothesis]:
    r"""N − 1 for n in a variance or a mean, or the other way round."""
    counter = BesselCorrection(None)
    with torch.no_grad(), counter:
        context.comparison.forward(**context.graph.inputs)
    for call in range(counter.calls):
        if gradients := rerun(context, {}, BesselCorrection(call)):
            yield Hypothesis(
                Fault.BESSEL,
                gradients,
                "A variance, standard deviation or mean divides by n − 1 where the loss divides by n, or vice versa.",
                "divide by the number that the forward pass divides by (torch.var has correction=1)",
            )


class BesselCorrection(TorchFunctionMode):
    r"""Exchanges n and n − 1 in one of the calls of var, std and mean.

    Args:
        chosen: the number of the call; None counts the calls and changes nothing.
    """

    def __init__(self, chosen: int | None) -> None:
        super().__init__()
        self.chosen, self.calls = chosen, 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = promote_to_float64(function, args, kwargs or {})
        result = function(*args, **kwargs)
        name = function.__name__
        if name not in ("var", "std", "mean") or not isinstance(result, Tensor):
            return result
        n = args[0].numel() / max(result.numel(), 1)
        call, self.calls = self.calls, self.calls + 1
        if call != self.chosen or n <= 1:
            return result
        if name == "mean":
            return result * n / (n - 1)
        unbiased = kwargs.get("unbiased", kwargs.get("correction", args[-1] if isinstance(args[-1], bool) else 1))
        factor = (n - 1) / n if unbiased else n / (n - 1)
        return result * (factor if name == "var" else factor**0.5)


def rerun(context: Context, changed: Mapping[str, Tensor], mode: TorchFunctionMode | None = None) -> Gradients | None:
    r"""The gradients with other data; None if forward does not accept the data."""
    inputs = {**context.graph.inputs, **changed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return gradients_of(context.comparison.forward, inputs, list(context.base), mode or Promotion())
        except Exception:  # the user's forward, with data that it was not written for
            return None
