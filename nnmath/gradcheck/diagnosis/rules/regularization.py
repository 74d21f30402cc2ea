r"""Weight decay that is in the gradient and not in the loss, or the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients
from nnmath.gradcheck.faults import Fault


def regularization(context: Context) -> Iterator[Hypothesis]:
    r"""The gradient plus λθ, from a penalty λ/2 ‖θ‖², or plus λ sign θ, from λ ‖θ‖₁; a constant times all of this."""
    leaves = {name: leaf.detach() for name, leaf in context.graph.leaves.items()}
    signs = {name: leaf.sign() for name, leaf in leaves.items()}
    signs = {name: sign for name, sign in signs.items() if sign.unique().numel() > 1}  # else only a constant is added
    for term, penalties in (("λθ", leaves), ("λ sign θ", signs)):
        for c in [1.0, *(constant.value for constant in context.constants)]:
            start = {name: c * base for name, base in context.base.items()}
            direction = {name: c * penalty for name, penalty in penalties.items() if has_enough_entries(penalty)}
            for _, weight in context.fit_steps(start, direction):
                if weight == 0:
                    continue
                if weight > 0:
                    explanation = (
                        f"The gradient has the term {term} with λ = {weight:.6g}, which the loss does not have."
                    )
                    fix = "leave the penalty to the optimizer, or add it to the loss"
                else:
                    explanation = f"The term {term} with λ = {-weight:.6g}, of the penalty in the loss, is missing."
                    fix = f"add {term}"
                yield Hypothesis(
                    Fault.REGULARIZATION,
                    {name: context.base[name] + weight * penalty for name, penalty in penalties.items()},
                    explanation,
                    fix,
                    fitted=int(weight > 0 and not is_round(weight)),  # a λ < 0 is the loss's; people choose round ones
                )


def other_penalty(context: Context) -> Iterator[Hypothesis]:
    r"""λθ where the loss has λ ‖θ‖₁, or λ sign θ where it has λ/2 ‖θ‖²: v = g + a θ + b sign θ."""
    for name, value, base in context.pairs(same_shape=True):
        if value.numel() < 4:
            continue
        leaf = context.graph.leaves[name].detach()
        a, b = fit_coefficients([leaf, leaf.sign()], value - base) or (0.0, 0.0)
        if a * b < 0:
            yield Hypothesis(
                Fault.REGULARIZATION,
                {name: base + a * leaf + b * leaf.sign()},
                f"The penalty of another loss: {a:.6g} θ and {b:.6g} sign θ were added to the gradient.",
                "‖θ‖₁ has the gradient sign θ, ½ ‖θ‖² has θ",
                fitted=0 if abs(a + b) <= 1e-6 * abs(a) else 2,  # the same λ
            )


def has_enough_entries(penalty: Tensor) -> bool:
    r"""Whether a fit to this penalty says something; there are only a few patterns of three signs."""
    return penalty.numel() >= (5 if torch.equal(penalty, penalty.sign()) else 3)


def is_round(number: float) -> bool:
    r"""Whether a number has no more than two digits."""
    return abs(number - float(f"{number:.1e}")) <= 1e-6 * abs(number)
