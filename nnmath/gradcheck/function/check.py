r"""Is the backward of a torch.autograd.Function right, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.rounding import bound
from nnmath.gradcheck.diagnosis.diagnose import diagnose
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.function.call import Function, Outputs, bound_to, outputs, random_cotangent, validate_cotangent
from nnmath.gradcheck.function.reference import reference
from nnmath.gradcheck.graph.graph import Promotion, to_float64
from nnmath.gradcheck.report import Report


def check_function(
    apply: Callable[..., Any],
    inputs: Mapping[str, Any],
    forward: Callable[..., Any] | None = None,
    *,
    cotangent: Tensor | Sequence[Tensor] | None = None,
) -> Report:
    r"""Compares what a Function's backward returns with the gradient of the same mathematics in plain torch.

    Besides the numbers it looks at what a comparison of numbers misses: whether the gradient from above is used, left
    as it was, and the only thing that the result depends on; and at the shapes as backward returned them, for the
    engine silently sums a bias gradient that was not summed.

    Args:
        apply: the Function's apply, or a function that calls it.
        inputs: name ↦ argument, in the order of the arguments. Floating point tensors are differentiated with respect
            to: those that require a gradient if any does, otherwise all. Other arguments are handed on as they are.
        forward: the same mathematics in plain torch, with the same arguments; None compares with the Function's own
            forward, differentiated by autograd and by difference quotients.
        cotangent: the gradient from above, of the output's shape, a sequence for several outputs; None draws it at
            random, for ones would hide a gradient that is ignored.

    Returns:
        A report, as :func:`~nnmath.gradcheck.check_gradients` does.

    Raises:
        TypeError: apply or forward is no function, inputs no mapping, the output or cotangent no tensor.
        ValueError: an input, the output, the cotangent or a gradient is not finite; a tensor is on another device;
            cotangent has not the output's shape; apply, its backward or forward raises; without forward, an input is
            too large for difference quotients.

    Source: https://docs.pytorch.org/docs/stable/notes/extending.html (extending torch.autograd).

    >>> class Square(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**2
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad_output):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x
    >>> report = check_function(Square.apply, {"x": torch.randn(4)}, torch.square)
    >>> report.findings[0].fault
    <Fault.GRAD_OUTPUT_IGNORED: 'grad_output_ignored'>
    """
    validation.function("apply", apply, "inputs -> output")
    if forward is not None:
        validation.function("forward", forward, "inputs -> output")
    if not isinstance(inputs, Mapping):
        raise TypeError(f"inputs must map names to arguments, got {type(inputs).__name__}")
    if isinstance(apply, type) and issubclass(apply, torch.autograd.Function):
        raise TypeError(f"apply must be the Function's apply, got {apply.__name__}: give {apply.__name__}.apply")
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    validation.tensors(inputs=tensors)
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    names = [name for name in names if tensors[name].requires_grad] or names
    if not names:
        raise ValueError("inputs must have at least one floating point tensor to differentiate with respect to")
    with torch.random.fork_rng():
        return checked(Function(apply, dict(inputs), names), forward, cotangent)


def checked(
    function: Function, forward: Callable[..., Any] | None, cotangent: Tensor | Sequence[Tensor] | None
) -> Report:
    r"""What is to be said of a Function."""
    names = function.names
    above = (
        validate_cotangent(cotangent, function.outputs)
        if cotangent is not None
        else random_cotangent(function.outputs, seed=0)
    )
    gradients = function.gradients(copied(above))
    findings = check_backward_contract(function, above, gradients)
    comparison, in_graph = reference(function, forward, above, gradients)
    if forward is not None and not same_value(function, forward):
        findings.append(
            Finding(
                Fault.FORWARD_DIFFERS,
                names,
                "The Function's value is not that of forward: the two are not the same mathematics.",
                "compare the outputs first; the gradients belong to forward",
            )
        )
    told = {name for finding in findings for name in finding.names if finding.fault is Fault.GRAD_OUTPUT_IGNORED}
    entries = comparison.entries()
    comparison.wrong = [name for name in comparison.wrong if name not in told]
    return Report(entries, findings + (diagnose(comparison, in_graph=in_graph) if comparison.wrong else []))


def check_backward_contract(
    function: Function, above: Outputs, gradients: Mapping[str, Tensor | None]
) -> list[Finding]:
    r"""What can be wrong with a backward whatever its numbers are."""
    names, findings = function.names, []
    versions, copies = [g._version for g in above], [g.clone() for g in above]
    function.again().gradients(above)
    if versions != [g._version for g in above] or not all(map(torch.equal, copies, above)):
        for g, copy in zip(above, copies, strict=True):
            g.copy_(copy)
        findings.append(
            Finding(
                Fault.INPLACE_GRAD_OUTPUT,
                names,
                "backward changes the gradient that it is given, which others use too.",
                "work on a copy: an operation without the underscore, or grad_output.clone()",
            )
        )
    unequal = [
        name for name in names if not bitwise_equal(gradients[name], function.again().gradients(copied(above))[name])
    ]
    changed = mutates_saved_tensors(function, copied(above))
    if changed:
        findings.append(
            Finding(
                Fault.NONDETERMINISTIC,
                names,
                "backward changes a tensor that forward saved, in place: a second pass would find another one.",
                "work on a copy: an operation without the underscore",
            )
        )
    if unequal:
        findings.append(
            Finding(
                Fault.NONDETERMINISTIC,
                unequal,
                "Two passes with the same numbers differ: something is drawn at random, or left over from the first.",
                "draw in forward and save what was drawn",
            )
        )
    if unequal or changed:
        return findings
    other = function.again().gradients(random_cotangent(function.outputs, seed=1))
    nothing = function.again().gradients(tuple(torch.zeros_like(g) for g in above))
    ignored = [name for name in names if is_nonzero(gradients[name]) and bitwise_equal(gradients[name], other[name])]
    added = [name for name in names if name not in ignored and is_nonzero(nothing[name])]
    if ignored:
        findings.append(
            Finding(
                Fault.GRAD_OUTPUT_IGNORED,
                ignored,
                "The gradient from above makes no difference: this is the local derivative alone, which is right only "
                "if the output is the loss.",
                "multiply by grad_output",
            )
        )
    if added:
        findings.append(
            Finding(
                Fault.GRAD_OUTPUT_IGNORED,
                added,
                "With a gradient of 0 from above the result is not 0: part of it does not depend on grad_output.",
                "multiply every term by grad_output",
            )
        )
    return findings


def mutates_saved_tensors(function: Function, above: Outputs) -> bool:
    r"""Whether a second backward through the same graph finds a saved tensor changed."""
    once = function.again()
    once.gradients(above)
    try:
        once.gradients(above)
    except ValueError as error:  # that it cannot run twice is allowed, for what it saved may be gone
        return "modified by an inplace operation" in str(error)
    return False


def same_value(function: Function, forward: Callable[..., Any]) -> bool:
    r"""Whether apply and forward return the same numbers."""
    doubles = {name: to_float64(v) if isinstance(v, Tensor) else v for name, v in function.inputs.items()}
    with torch.no_grad(), Promotion():
        expected = outputs("forward", bound_to(forward, doubles)(**doubles))
    dtypes = [
        value.dtype for value in function.inputs.values() if isinstance(value, Tensor) and value.is_floating_point()
    ]
    coarsest = max([*dtypes, *(o.dtype for o in function.outputs)], key=lambda dtype: torch.finfo(dtype).eps)
    return all(
        not e.numel() or float((o.detach().double() - e.double()).abs().max()) <= bound(e.double(), coarsest)
        for o, e in zip(function.outputs, expected, strict=True)
    )


def copied(above: Outputs) -> Outputs:
    r"""Copies, for a backward that may change them."""
    return tuple(g.clone() for g in above)


def bitwise_equal(a: Tensor | None, b: Tensor | None) -> bool:
    r"""Whether two gradients are equal in every bit."""
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def is_nonzero(gradient: Tensor | None) -> bool:
    r"""Whether there is a gradient other than 0."""
    return gradient is not None and bool(gradient.any())
