r"""Zero, or missing."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.faults import Fault


def detached(case: Context) -> Iterator[Hypothesis]:
    r"""No gradient at all, where there is one."""
    zero = {name: torch.zeros_like(case.value(name)) for name in case.remaining if not case.value(name).any()}
    if zero:
        yield Hypothesis(
            Fault.DETACHED,
            zero,
            "There is no gradient: it is zero or missing, though the loss depends on this input.",
            "let the gradient through: a detach, a no_grad, a None, or a term of the chain rule that was forgotten",
        )
