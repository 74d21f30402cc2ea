r"""The loss: a target that was broadcast or omitted, n − 1 for n, a penalty that is missing or extra."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck.comparison.rounding import gradients_of
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.graph import Gradients, Promotion


def wrong_data(context: Context) -> Iterator[Hypothesis]:
    r"""A target y of shape (n,) for an output O of (n, 1), or vice versa: O − y is (n, n). O or O + y for O − y."""
    for name, y in context.graph.inputs.items():
        if name in context.graph.leaves or not y.is_floating_point():
            continue
        text = f"{name} was broadcast against the output, (n,) against (n, 1): the difference is (n, n)."
        for other in (y.unsqueeze(-1), y.squeeze(-1)):  # the former also of (n, 1): forward may squeeze it
            if other.shape != y.shape and (gradients := rerun(context, {name: other})):
                yield Hypothesis(Fault.BROADCAST_N_BY_N, gradients, text, f"give {name} the output's shape")
        if gradients := rerun(context, {name: torch.zeros_like(y)}):
            gradients = {key: gradient for key, gradient in gradients.items() if gradient.any()}
            text = f"This is the gradient for {name} = 0: the term with {name} is missing."
            yield Hypothesis(Fault.TARGET_TERM_MISSING, gradients, text, f"subtract {name}")
        if gradients := rerun(context, {name: -y}):
            text = f"This is the gradient for −{name}: only the term with {name} has the wrong sign."
            yield Hypothesis(Fault.SIGN, gradients, text, f"flip the sign of {name}")


def bessel(context: Context) -> Iterator[Hypothesis]:
    r"""A variance or a mean that divides by n − 1 instead of n, or vice versa."""
    counter = BesselCorrection()
    with torch.no_grad(), counter:
        context.comparison.forward(**context.graph.inputs)
    for call in range(counter.calls):
        if gradients := rerun(context, {}, BesselCorrection(call)):
            explanation = "A variance, standard deviation or mean divides by n − 1 instead of n, or vice versa."
            fix = "divide by the number that the forward pass divides by (torch.var has correction=1)"
            yield Hypothesis(Fault.BESSEL, gradients, explanation, fix)


class BesselCorrection(Promotion):
    r"""Exchanges n and n − 1 in the chosen call of var, std or mean, and counts these calls."""

    def __init__(self, chosen: int | None = None) -> None:
        super().__init__()
        self.chosen, self.calls = chosen, 0

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result, name = function(*args, **kwargs), function.__name__
        if name not in ("var", "std", "mean") or not isinstance(result, Tensor):
            return result
        n = args[0].numel() / max(result.numel(), 1)
        call, self.calls = self.calls, self.calls + 1
        if call != self.chosen or n <= 1:
            return result
        correction = kwargs.get("correction", args[-1] if isinstance(args[-1], bool) else 1)
        unbiased = name != "mean" and kwargs.get("unbiased", correction)
        factor = (n - 1) / n if unbiased else n / (n - 1)
        return result * (factor**0.5 if name == "std" else factor)


def rerun(context: Context, changed: Mapping[str, Tensor], mode: Promotion | None = None) -> Gradients | None:
    r"""The gradients with some inputs replaced; None if forward does not accept them."""
    inputs = {**context.graph.inputs, **changed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return gradients_of(context.comparison.forward, inputs, list(context.base), mode or Promotion())
        except Exception:  # the user's forward, with inputs that it was not written for
            return None


def penalty(context: Context) -> Iterator[Hypothesis]:
    r"""A constant times the gradient plus λθ, from a penalty λ/2 ‖θ‖², or plus λ sign θ, from λ ‖θ‖₁."""
    leaves = {name: leaf.detach() for name, leaf in context.graph.leaves.items()}
    signs = {name: leaf.sign() for name, leaf in leaves.items() if leaf.sign().unique().numel() > 1}
    for term, terms in (("λθ", leaves), ("λ sign θ", signs)):
        # a few signs would fit by chance
        large = [name for name, t in terms.items() if t.numel() >= (5 if torch.equal(t, t.sign()) else 3)]
        for c in [1.0, *(constant.value for constant in context.constants)]:
            start = {name: c * base for name, base in context.base.items()}
            direction = {name: c * terms[name] for name in large}
            for _, weight in context.fit_steps(start, direction):
                gradients = {name: context.base[name] + weight * tensor for name, tensor in terms.items()}
                if weight > 0:
                    explanation = f"The gradient has a term {term} with λ = {weight:.6g}; the loss has no such penalty."
                    fix = "leave the penalty to the optimizer, or add it to the loss"
                    is_round = math.isclose(weight, float(f"{weight:.1e}"), rel_tol=1e-6)  # chosen, not fitted
                    yield Hypothesis(Fault.REGULARIZATION, gradients, explanation, fix, fitted=0 if is_round else 1)
                elif weight < 0:
                    missing = f"{-weight:.6g} {term[1:].strip()}"
                    explanation = (
                        f"It lacks {missing}: the term of a penalty is missing, or its factor or sign is wrong."
                    )
                    fix = f"add {missing}: λ/2 ‖θ‖² gives λθ, λ ‖θ‖² gives 2λθ, λ ‖θ‖₁ gives λ sign θ"
                    yield Hypothesis(Fault.REGULARIZATION, gradients, explanation, fix)


def other_penalty(context: Context) -> Iterator[Hypothesis]:
    r"""λθ for a loss with λ ‖θ‖₁, or λ sign θ for one with λ/2 ‖θ‖²: the gradient plus a θ + b sign θ, fitted."""
    for name, value, base in context.pairs(same_shape=True):
        leaf = context.graph.leaves[name].detach()
        a, b = fit_coefficients([leaf, leaf.sign()], value - base) or (0.0, 0.0)
        if value.numel() >= 4 and a * b < 0:
            gradients = {name: base + a * leaf + b * leaf.sign()}
            explanation = f"The penalty of another loss: {a:.6g} θ and {b:.6g} sign θ were added to the gradient."
            fitted = 0 if abs(a + b) <= 1e-6 * abs(a) else 2  # none if both have the same λ
            fix = "‖θ‖₁ has the gradient sign θ, ½ ‖θ‖² has θ"
            yield Hypothesis(Fault.REGULARIZATION, gradients, explanation, fix, fitted=fitted)
