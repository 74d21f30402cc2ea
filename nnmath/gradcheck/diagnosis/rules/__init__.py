r"""The known mistakes. Each rule yields hypotheses, with the gradients that its mistake would give.

To add a mistake in the graph, write the ways to make it at a node, and add a :class:`~.graph_rule.GraphRule` to RULES.
To add any other, write a function of a :class:`~nnmath.gradcheck.diagnosis.hypothesis.Context` that yields hypotheses,
and add it. A rule does not test its hypotheses; all of them are tested in the same way.
"""

from nnmath.gradcheck.diagnosis.hypothesis import Rule
from nnmath.gradcheck.diagnosis.rules import activations, jacobians, layout, loss, paths, scale, sums, tensors
from nnmath.gradcheck.diagnosis.rules.graph_rule import GraphRule
from nnmath.gradcheck.faults import Fault

LOCAL: tuple[Rule, ...] = (
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
r"""Those that need no graph: the reference is enough."""

RULES: tuple[Rule, ...] = (
    *LOCAL,
    jacobians.incomplete_jacobian,
    sums.last_iteration_only,
    paths.missing_path,
    GraphRule(
        Fault.MISSING_FACTOR,
        paths.without_factor,
        "The factor or divisor that goes with {kind} of {place} was left out of its gradient.",
        "multiply by the other factor: the derivative of a b with respect to a is b",
    ),
    GraphRule(
        Fault.ACTIVATION_DERIVATIVE_MISSING,
        activations.without_derivative,
        "The derivative of {place} is missing: the gradient of its output was taken for that of its input.",
        "multiply by the function's derivative",
    ),
    GraphRule(
        Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
        activations.with_derivative_at_output,
        "The derivative of {place} was evaluated at the wrong tensor: {kind}, where z is its input and h its output.",
        "evaluate f′ at the function's input, or its formula in h at the function's output",
    ),
    GraphRule(
        Fault.ACTIVATION_DERIVATIVE_WRONG,
        activations.with_other_derivative,
        "The derivative of {place} was taken to be {kind}, which it is not.",
        "multiply by the derivative of the function that the forward pass applies",
    ),
    GraphRule(
        Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR,
        activations.with_derivative_at_other_tensor,
        "The derivative of {place} was taken to be {kind}.",
        "evaluate it at the function's own input or output",
    ),
    GraphRule(
        Fault.ACTIVATION_DERIVATIVE_EXTRA,
        activations.with_extra_derivative,
        "The gradient of the value of {place} was multiplied by a derivative that does not belong there: {kind}, where "
        "z or h is that value.",
        "remove it: it is already applied, or the loss cancels it, as cross-entropy does with the sigmoid",
    ),
    activations.derivative_on_one_side,
    loss.wrong_data,
    tensors.subtrahend_missing,
    tensors.updated_weights,
    tensors.wrong_tensor,
    tensors.wrong_tensor_each_time,
    GraphRule(
        Fault.ACTIVATION_DERIVATIVE_WRONG,
        activations.with_polynomial_of_output,
        "The derivative of {place} was taken to be {kind}, where h is its value.",
        "multiply by the derivative of the function that the forward pass applies",
    ),
    sums.one_of_several_uses,
    GraphRule(
        Fault.OVERWRITTEN,
        sums.with_repeated_index_assigned,
        "An index occurs several times in {place}, but the gradient is that of its {kind} occurrence alone.",
        "add instead of assigning: index_add_, or index_put_ with accumulate=True",
    ),
    sums.subset_of_samples,
    paths.transposed_path,
    GraphRule(
        Fault.TRANSPOSE,
        paths.with_transposed_grad_output,
        "The gradient that arrives at {place} was transposed in the gradient of its {kind}.",
        "for S = A B the gradients are dS Bᵀ and Aᵀ dS",
    ),
    paths.tensor_missing,
    loss.bessel,
    GraphRule(
        Fault.GRAD_OUTPUT_IGNORED,
        paths.with_ones_for_grad_output,
        "The gradient that arrives at {place} was not used: this is the local derivative alone.",
        "multiply by grad_output, the gradient that arrives from the loss",
    ),
    layout.permuted,
)
r"""All of them, the more plausible ones first."""
