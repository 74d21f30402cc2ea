r"""The known mistakes, a function each, that tells what the gradients would be.

To add one: write a function of a :class:`~nnmath.check.story.Case` that yields stories, and put it into RULES, the more
plausible ones first. It need not look at whether its story is true; that is tested for every story alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nnmath.check.rules import activations, data, layout, paths, penalty, scale, sums, tensors, zeros
from nnmath.check.story import Case, Story

LOCAL: tuple[Callable[[Case], Iterator[Story]], ...] = (
    zeros.detached,
    scale.clipped_to_a_norm,
    scale.constant,
    layout.not_summed,
    layout.transposed,
    layout.flipped,
    layout.swapped,
    layout.other_shape,
    scale.clipped_to_a_value,
    penalty.regularization,
)
r"""Those that need no graph: the reference is enough."""

RULES = (
    *LOCAL,
    activations.derivative_missing,
    activations.derivative_at_the_output,
    activations.derivative_wrong,
    activations.derivative_extra,
    activations.slope_wrong,
    paths.missing_path,
    paths.jacobian_in_part,
    tensors.updated_weights,
    tensors.wrong_tensor,
    sums.one_use,
    sums.repeated_index,
    sums.one_sample,
    data.broadcast_n_by_n,
    data.target_missing,
    data.bessel,
    paths.upstream_ignored,
    layout.permuted,
)
r"""All, the more plausible ones first."""
