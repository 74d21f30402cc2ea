r"""Is the backward of a torch.autograd.Function right, and if not, why."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.errors import max_abs
from nnmath.gradcheck.comparison.rounding import bound, lower_precision
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.function.call import (
    FunctionCall,
    Outputs,
    accept_keywords,
    output_tuple,
    random_cotangent,
    validate_cotangent,
)
from nnmath.gradcheck.function.read import is_summed_by_engine, read_function
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
    r"""Compares the result of a Function's backward with the gradient of the same mathematics in plain torch.

    It also checks what a comparison of numbers misses: that backward is deterministic, uses grad_output in every term,
    does not change it, and returns the right shapes (autograd's engine silently sums a bias gradient that was not
    summed).

    Args:
        apply: the Function's apply, or a function that calls it.
        inputs: name ↦ argument, in the order of the arguments. The gradients are with respect to the floating point
            tensors that require a gradient, or to all of them if none does.
        forward: the same mathematics in plain torch, with the same arguments. By default, the Function's own forward
            is differentiated by autograd and by finite differences.
        cotangent: the grad_output of backward, in the shape of the output; a sequence for several outputs. Random by
            default: ones would hide a backward that ignores it.

    Returns:
        A report, as from :func:`~nnmath.gradcheck.check_gradients`.

    Raises:
        TypeError: an argument, the output or a gradient has the wrong type.
        ValueError: an input, the output, the cotangent or a gradient is not finite; a tensor is on another device;
            the shapes of cotangent and output differ; apply, its backward or forward raises; without forward, an
            input is too large for finite differences.

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
    if isinstance(apply, torch.nn.Module) and any(p.requires_grad for p in apply.parameters()):
        raise TypeError("apply is a Module, whose parameters have gradients too: use check_module(module, inputs)")
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    validation.tensors(inputs=tensors)
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    names = [name for name in names if tensors[name].requires_grad] or names
    if not names:
        raise ValueError("inputs must have at least one floating point tensor to differentiate with respect to")
    with torch.random.fork_rng():
        function = FunctionCall(apply, dict(inputs), names)
        if cotangent is None:
            grad_output = random_cotangent(function.outputs, seed=0)
        else:
            grad_output = validate_cotangent(cotangent, function.outputs)
        gradients, notes = function.gradients(grad_output), {}
        findings = check_backward_contract(function, grad_output, gradients)
        for name, gradient in gradients.items():
            if gradient is not None and is_summed_by_engine(gradient, tensors[name]):
                notes[name] = f"backward returns the shape {tuple(gradient.shape)}, which autograd's engine sums"
                gradients[name] = gradient.sum_to_size(tensors[name].shape)
        comparison, in_graph = reference(function, forward, grad_output, gradients)
        if forward is not None and not same_value(function, forward):
            explanation = "The Function's value is not that of forward: the two are not the same mathematics."
            fix = "compare the outputs first; the gradients belong to forward"
            findings.append(Finding(Fault.FORWARD_DIFFERS, names, explanation, fix))
        for name, note in notes.items():
            comparison.notes.setdefault(name, note)
        entries = comparison.entries()
        findings += surrogates(function, grad_output, gradients, comparison)
        of_whole = (Fault.GRAD_OUTPUT_IGNORED, Fault.SURROGATE)
        explained = {name for f in findings if f.fault in of_whole for name in f.names}
        comparison.wrong = [name for name in comparison.wrong if name not in explained]
        reading = read_function(function, grad_output, comparison)
        findings += reading.complete(comparison, in_graph=in_graph)
        return Report(entries, findings, reading.trace, reading.note)


def check_backward_contract(
    function: FunctionCall, grad_output: Outputs, gradients: Mapping[str, Tensor | None]
) -> list[Finding]:
    r"""Contract checks that do not depend on the values of the gradients."""
    names, findings = function.names, []
    if function.mutates_grad_output:
        explanation = "backward changes the gradient that it is given, which others use too."
        fix = "work on a copy: an operation without the underscore, or grad_output.clone()"
        findings.append(Finding(Fault.INPLACE_GRAD_OUTPUT, names, explanation, fix))
    mutates_saved = mutates_saved_tensors(function, grad_output)
    if mutates_saved:
        explanation = "backward changes a tensor that forward saved, in place: a second pass would find another one."
        fix = "work on a copy: an operation without the underscore"
        findings.append(Finding(Fault.NONDETERMINISTIC, names, explanation, fix))
    repeated = function.rerun().gradients(grad_output)
    differing = [name for name in names if not bitwise_equal(gradients[name], repeated[name])]
    if differing:
        explanation = (
            "Two passes with the same numbers differ: something is drawn at random, or left over from the first."
        )
        fix = "draw in forward and save what was drawn"
        findings.append(Finding(Fault.NONDETERMINISTIC, differing, explanation, fix))
    if mutates_saved or differing:
        return findings
    other = function.rerun().gradients(random_cotangent(function.outputs, seed=1))
    at_zero = function.rerun().gradients(tuple(torch.zeros_like(g) for g in grad_output))
    ignoring = [name for name in names if is_nonzero(gradients[name]) and bitwise_equal(gradients[name], other[name])]
    if ignoring:
        explanation = (
            "The gradient from above makes no difference: this is the local derivative alone, which is right only if "
            "the output is the loss."
        )
        findings.append(Finding(Fault.GRAD_OUTPUT_IGNORED, ignoring, explanation, "multiply by grad_output"))
    independent = [name for name in names if name not in ignoring and is_nonzero(at_zero[name])]
    if independent:
        explanation = "With a gradient of 0 from above the result is not 0: part of it does not depend on grad_output."
        findings.append(
            Finding(Fault.GRAD_OUTPUT_IGNORED, independent, explanation, "multiply every term by grad_output")
        )
    return findings


def surrogates(
    function: FunctionCall, grad_output: Outputs, gradients: Mapping[str, Tensor | None], comparison: Comparison
) -> list[Finding]:
    r"""Gradients that are wrong on purpose, it seems: grad_output as it is, or with the opposite sign."""
    findings = []
    output, above = function.outputs[0].detach(), grad_output[0]
    for name in comparison.wrong if len(grad_output) == 1 else ():
        gradient = gradients[name]
        if gradient is None or gradient.shape != above.shape or not above.any():
            continue
        c = float((gradient * above).sum() / (above * above).sum())
        if not torch.allclose(gradient, c * above):
            continue
        if c > 0 and not comparison.reference[name].any():
            explanation = (
                "The derivative is 0, and backward passes grad_output on: is this a straight-through estimator?"
            )
            fix = "if so, compare with forward=lambda x: x + (f(x) - x).detach(), where f is the same in plain torch"
            findings.append(Finding(Fault.SURROGATE, [name], explanation, fix))
        elif c < 0 and torch.equal(output, function.inputs[name].detach()):
            explanation = (
                f"The output is the input, and backward returns {c:.6g} · grad_output: is this gradient reversal?"
            )
            fix = f"if so, compare with forward=lambda x: {c:.6g} * x + ({1 - c:.6g} * x).detach()"
            findings.append(Finding(Fault.SURROGATE, [name], explanation, fix))
    return findings


def mutates_saved_tensors(function: FunctionCall, grad_output: Outputs) -> bool:
    r"""Whether a second backward through the same graph finds a saved tensor changed."""
    call = function.rerun()
    call.gradients(grad_output)
    try:
        call.gradients(grad_output)
    except ValueError as error:  # a backward that frees its saved tensors can run only once
        return "modified by an inplace operation" in str(error)
    return False


def same_value(function: FunctionCall, forward: Callable[..., Any]) -> bool:
    r"""Whether apply and forward return the same numbers, to the precision of the least precise dtype."""
    inputs = {name: to_float64(v) if isinstance(v, Tensor) else v for name, v in function.inputs.items()}
    with torch.no_grad(), Promotion():
        expected = output_tuple("forward", accept_keywords(forward, inputs)(**inputs))
    tensors = [*(value for value in function.inputs.values() if isinstance(value, Tensor)), *function.outputs]
    dtype = functools.reduce(lower_precision, (tensor.dtype for tensor in tensors if tensor.is_floating_point()))
    return all(
        max_abs(output.detach().double() - value.double()) <= bound(value.double(), dtype)
        for output, value in zip(function.outputs, expected, strict=True)
    )


def bitwise_equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def is_nonzero(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())
