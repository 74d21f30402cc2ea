r"""The known mistakes. Each rule yields hypotheses, with the gradients that its mistake would give.

To add a mistake in the graph, write a function that yields the ways to make it, decorate it as a
:func:`~.graph_rule.graph_rule`, and add it to RULES. To add any other, add a function of a
:class:`~nnmath.gradcheck.diagnosis.hypothesis.Context` that yields hypotheses. They are all tested in the same way.
"""

from nnmath.gradcheck.diagnosis.hypothesis import Rule
from nnmath.gradcheck.diagnosis.rules import activations, jacobians, layout, loss, paths, scale, sums, tensors

LOCAL: tuple[Rule, ...] = (  # those that need the reference alone, not the graph
    scale.detached,
    scale.clipped_to_a_norm,
    scale.constant,
    layout.not_summed,
    layout.transposed,
    layout.flipped,
    layout.swapped,
    layout.other_shape,
    scale.clipped_to_a_value,
    loss.penalty,
    loss.other_penalty,
)

RULES: tuple[Rule, ...] = (  # all of them, the more plausible ones first
    *LOCAL,
    jacobians.incomplete_jacobian,
    sums.last_iteration_only,
    paths.missing_path,
    paths.without_factor,
    activations.without_derivative,
    activations.with_derivative_at_output,
    activations.with_other_derivative,
    activations.with_derivative_at_other_tensor,
    activations.with_extra_derivative,
    activations.derivative_on_one_side,
    loss.wrong_data,
    tensors.updated_weights,
    tensors.wrong_tensor,
    tensors.wrong_tensor_each_time,
    activations.with_polynomial_of_output,
    sums.with_repeated_index_assigned,
    sums.subset_of_samples,
    paths.transposed_path,
    paths.tensor_missing,
    loss.bessel,
    paths.with_ones_for_grad_output,
    layout.permuted,
)
