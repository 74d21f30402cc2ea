r"""The known mistakes, a function each, that tells what the gradients would be.

To add one, write a function of a :class:`~nnmath.gradcheck.diagnosis.hypothesis.Context` that yields hypotheses, and
put it into RULES, the more plausible ones first. It need not test its hypotheses: every hypothesis is tested alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis
from nnmath.gradcheck.diagnosis.rules import (
    activations,
    data,
    jacobians,
    layout,
    paths,
    regularization,
    scale,
    slopes,
    sums,
    tensors,
    zeros,
)

LOCAL: tuple[Callable[[Context], Iterator[Hypothesis]], ...] = (
    zeros.detached,
    scale.clipped_to_a_norm,
    scale.constant,
    layout.not_summed,
    layout.transposed,
    layout.flipped,
    layout.swapped,
    layout.other_shape,
    scale.clipped_to_a_value,
    regularization.regularization,
    regularization.other_penalty,
)
r"""Those that need no graph: the reference is enough."""

RULES = (
    *LOCAL,
    jacobians.incomplete_jacobian,
    sums.last_iteration_only,
    paths.missing_path,
    paths.missing_factor,
    activations.derivative_missing,
    activations.derivative_at_the_output,
    activations.derivative_wrong,
    activations.derivative_at_another,
    activations.derivative_extra,
    slopes.derivative_on_one_side,
    data.broadcast_n_by_n,
    data.target_missing,
    data.target_transposed,
    tensors.subtrahend_missing,
    tensors.updated_weights,
    tensors.wrong_tensor,
    tensors.wrong_tensor_each_time,
    slopes.polynomial_of_the_value,
    sums.one_of_several_uses,
    sums.repeated_index,
    sums.subset_of_samples,
    paths.transposed_path,
    paths.transposed_above,
    paths.tensor_missing,
    data.bessel,
    paths.upstream_ignored,
    layout.permuted,
)
r"""All, the more plausible ones first."""
