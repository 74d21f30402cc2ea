r"""The loss's data: a target that broadcast, or that was forgotten; n − 1 for n."""

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


def broadcast_n_by_n(case: Context) -> Iterator[Hypothesis]:
    r"""(n,) for (n, 1), or the other way round: the difference of the two is (n, n)."""
    for name, tensor in data(case):
        if tensor.numel() < 2:
            continue
        others = [tensor.unsqueeze(-1)]  # also for a forward pass that squeezes it
        others += [tensor.squeeze(-1)] if tensor.shape[-1] == 1 else []
        for other in others:
            if gradients := rerun(case, {name: other}):
                yield Hypothesis(
                    Fault.BROADCAST_N_BY_N,
                    gradients,
                    f"{name} met the output in another shape, (n,) against (n, 1), so that their difference became "
                    "every sample against every other one, (n, n).",
                    f"give {name} the shape of the output",
                )


def target_missing(case: Context) -> Iterator[Hypothesis]:
    r"""O instead of O − y."""
    for name, tensor in data(case):
        if gradients := rerun(case, {name: torch.zeros_like(tensor)}):
            yield Hypothesis(
                Fault.TARGET_TERM_MISSING,
                {key: gradient for key, gradient in gradients.items() if gradient.any()},
                f"This is the gradient for {name} = 0: the term with {name} is missing.",
                f"subtract {name}",
            )


def target_transposed(case: Context) -> Iterator[Hypothesis]:
    r"""O + y instead of O − y."""
    for name, tensor in data(case):
        if gradients := rerun(case, {name: -tensor}):
            yield Hypothesis(
                Fault.SIGN,
                gradients,
                f"This is the gradient for −{name}: the sign of the term with {name} is wrong, the rest is right.",
                f"turn the sign of {name}",
            )


def bessel(case: Context) -> Iterator[Hypothesis]:
    r"""N − 1 for n in a variance or a mean, or the other way round."""
    counter = Averages(None)
    with torch.no_grad(), counter:
        case.comparison.forward(**case.graph.inputs)
    for call in range(counter.calls):
        if gradients := rerun(case, {}, Averages(call)):
            yield Hypothesis(
                Fault.BESSEL,
                gradients,
                "A variance, standard deviation or mean was taken with n − 1 where the loss has n, or the other way "
                "round.",
                "divide by the number that the forward pass divides by (torch.var has correction=1)",
            )


class Averages(TorchFunctionMode):
    r"""Exchanges n and n − 1 in one of the calls of var, std and mean."""

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


def data(case: Context) -> list[tuple[str, Tensor]]:
    r"""The floating point inputs without a gradient."""
    return [
        (name, tensor)
        for name, tensor in case.graph.inputs.items()
        if name not in case.graph.leaves and tensor.is_floating_point()
    ]


def rerun(case: Context, changed: Mapping[str, Tensor], mode: TorchFunctionMode | None = None) -> Gradients | None:
    r"""The gradients of the loss of other data; None if it has none."""
    inputs = {**case.graph.inputs, **changed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            modes = (mode or Promotion(),)
            return gradients_of(case.comparison.forward, inputs, list(case.base), *modes)
        except Exception:  # the user's forward, with what it was not written for
            return None
