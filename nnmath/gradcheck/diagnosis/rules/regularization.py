r"""Weight decay that is in the gradient and not in the loss, or the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, fit_coefficients, fit_scale
from nnmath.gradcheck.faults import Fault


def regularization(case: Context) -> Iterator[Hypothesis]:
    r"""G + λθ, the gradient of a penalty λ/2 ‖θ‖², or g + λ sign θ, that of λ ‖θ‖₁."""
    leaves = {name: leaf.detach() for name, leaf in case.graph.leaves.items()}
    signs = {name: leaf.sign() for name, leaf in leaves.items()}
    signs = {name: sign for name, sign in signs.items() if sign.unique().numel() > 1}  # else a mere constant is added
    for term, penalties in (("λθ", leaves), ("λ sign θ", signs)):
        for c in [1.0, *(constant.value for constant in case.constants)]:
            seen: list[float] = []
            for name in (name for name in case.remaining if name in penalties):
                weight = fitted(case, name, penalties[name], c)
                if weight is None or any(abs(weight - other) <= 1e-6 * abs(other) for other in seen):
                    continue
                seen.append(weight)
                yield Hypothesis(
                    Fault.REGULARIZATION,
                    {key: case.base[key] + weight * penalty for key, penalty in penalties.items()},
                    f"The gradient plus {term} with λ = {weight:.6g}: a penalty on the weights that the loss does not "
                    "have."
                    if weight > 0
                    else f"Of the loss's penalty on the weights, {term} with λ = {-weight:.6g} is missing.",
                    "leave the penalty to the optimizer, or add it to the loss" if weight > 0 else f"add {term}",
                    free=int(weight > 0 and not is_round(weight)),  # the loss has a λ < 0, and people write round ones
                )


def other_penalty(case: Context) -> Iterator[Hypothesis]:
    r"""λθ where the loss has λ ‖θ‖₁, or λ sign θ where it has λ/2 ‖θ‖²: v = g + a θ + b sign θ."""
    for name in case.remaining:
        value, base, leaf = case.value(name), case.base[name], case.graph.leaves[name].detach()
        if value.shape != base.shape or value.numel() < 4:
            continue
        a, b = fit_coefficients([leaf, leaf.sign()], value - base) or (0.0, 0.0)
        if a * b < 0:
            yield Hypothesis(
                Fault.REGULARIZATION,
                {name: base + a * leaf + b * leaf.sign()},
                f"The penalty of another loss: {a:.6g} θ and {b:.6g} sign θ added to the gradient.",
                "‖θ‖₁ has the gradient sign θ, ½ ‖θ‖² has θ",
                free=0 if abs(a + b) <= 1e-6 * abs(a) else 2,  # the same λ
            )


def is_round(number: float) -> bool:
    r"""Whether a number has no more than two digits."""
    return abs(number - float(f"{number:.1e}")) <= 1e-6 * abs(number)


def fitted(case: Context, name: str, penalty: Tensor, c: float) -> float | None:
    r"""λ, if the gradient is c (g + λθ) to rounding."""
    value, base = case.value(name), case.base[name]
    least = 5 if torch.equal(penalty, penalty.sign()) else 3  # of signs there are only a few patterns
    if value.shape != base.shape or value.numel() < least:
        return None
    weight = fit_scale(penalty, value / c - base)
    return weight if weight and case.fits(name, c * (base + weight * penalty)) else None
