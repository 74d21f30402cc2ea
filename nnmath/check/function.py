r"""Is the backward of a torch.autograd.Function right, and if not, why."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import BackwardCFunction

from nnmath.check import validation
from nnmath.check.comparison import STEPS, Comparison, at_leaf, compare
from nnmath.check.diagnosis import diagnose
from nnmath.check.differences import sides
from nnmath.check.faults import Fault, Finding
from nnmath.check.graph import Graph, Promotion, doubled
from nnmath.check.report import Report
from nnmath.check.tolerance import bound

Outputs = tuple[Tensor, ...]
MOST_ENTRIES = 20_000
r"""More than that are too many for difference quotients."""
QUOTIENTS = 1e-6
r"""How close difference quotients come, of the largest entry."""


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
        A report, as :func:`~nnmath.check.check_gradients` does.

    Raises:
        TypeError: apply or forward is no function, inputs no mapping, the output no tensor.
        ValueError: an input is not finite, or on another device; apply, its backward or forward raises; without
            forward, an input is too large for difference quotients.

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
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    validation.tensors(inputs=tensors)
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    names = [name for name in names if tensors[name].requires_grad] or names
    if not names:
        raise ValueError("inputs must have at least one floating point tensor to differentiate with respect to")
    function = Function(apply, dict(inputs), names)
    above = given(cotangent, function.outputs) if cotangent is not None else drawn(function.outputs, seed=0)
    gradients = function.gradients(copied(above))
    findings = conduct(function, above, gradients)
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


class Function:
    r"""A call of apply, whose backward can be run again and again.

    Args:
        apply: the Function's apply, or a function that calls it.
        inputs: name ↦ argument.
        names: of the inputs to differentiate with respect to.
    """

    def __init__(self, apply: Callable[..., Any], inputs: dict[str, Any], names: list[str]) -> None:
        self.apply, self.inputs, self.names = apply, inputs, names
        self.leaves = {
            name: value.detach().clone().requires_grad_(name in names) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        with torch.enable_grad():
            self.outputs = outputs(
                "apply", validation.called("apply", lambda: bound_to(apply, self.leaves)(**self.leaves))
            )

    def again(self) -> Function:
        r"""The same call once more."""
        return Function(self.apply, self.inputs, self.names)

    def gradients(self, above: Outputs) -> dict[str, Tensor | None]:
        r"""What backward returns, in the shapes in which it returns it where they can be had.

        Raises:
            ValueError: backward raises.
        """

        def backward() -> dict[str, Tensor | None]:
            returned = self.returned(above)
            return self.engine(above) if returned is None else returned

        return validation.called("the backward of apply", backward)

    def engine(self, above: Outputs) -> dict[str, Tensor | None]:
        r"""The gradients as autograd's engine hands them on."""
        pairs = [(output, g) for output, g in zip(self.outputs, above, strict=True) if output.requires_grad]
        if not pairs:
            return dict.fromkeys(self.names)
        leaves = [self.leaves[name] for name in self.names]
        some, theirs = [output for output, _ in pairs], [g for _, g in pairs]
        gradients = torch.autograd.grad(some, leaves, theirs, retain_graph=True, allow_unused=True)
        return dict(zip(self.names, gradients, strict=True))

    def returned(self, above: Outputs) -> dict[str, Tensor | None] | None:
        r"""The gradients as backward returns them; None if apply is not a Function's own apply."""
        nodes: set[Any] = {output.grad_fn for output in self.outputs}
        node = next(iter(nodes))
        owner = getattr(self.apply, "__self__", None)
        if len(nodes) > 1 or not isinstance(node, BackwardCFunction) or owner is not getattr(node, "_forward_cls", ...):
            return None
        with torch.no_grad():
            result = node.apply(*above)
        result = result if isinstance(result, tuple) else (result,)
        if len(result) < len(self.inputs):
            raise ValueError(f"it returned {len(result)} gradients for {len(self.inputs)} arguments")
        return {name: g for name, g in zip(self.inputs, result, strict=False) if name in self.names}


def conduct(function: Function, above: Outputs, gradients: Mapping[str, Tensor | None]) -> list[Finding]:
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
    unequal = [name for name in names if not same(gradients[name], function.again().gradients(copied(above))[name])]
    changed = changes_what_it_saved(function, copied(above))
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
    other = function.again().gradients(drawn(function.outputs, seed=1))
    nothing = function.again().gradients(tuple(torch.zeros_like(g) for g in above))
    ignored = [name for name in names if some(gradients[name]) and same(gradients[name], other[name])]
    added = [name for name in names if name not in ignored and some(nothing[name])]
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


def changes_what_it_saved(function: Function, above: Outputs) -> bool:
    r"""Whether a second backward through the same graph finds a saved tensor changed."""
    once = function.again()
    once.gradients(above)
    try:
        once.gradients(above)
    except ValueError as error:  # that it cannot run twice is allowed, for what it saved may be gone
        return "modified by an inplace operation" in str(error)
    return False


def reference(
    function: Function, forward: Callable[..., Any] | None, above: Outputs, gradients: Mapping[str, Tensor | None]
) -> tuple[Comparison, bool]:
    r"""The comparison with autograd or, without forward, with difference quotients; and whether it has a real graph."""
    tensors = {name: value.detach() for name, value in function.inputs.items() if isinstance(value, Tensor)}
    if forward is not None:
        return compare(contracted(function, forward, above), tensors, gradients), True
    quotients = by_quotients(function, above)
    own = plain(function.apply)
    if own is not None:
        try:
            comparison = compare(contracted(function, own, above), tensors, gradients)
        except (TypeError, ValueError):  # its forward is not for autograd: difference quotients will do
            pass
        else:
            if agree(comparison, quotients):
                return comparison, True
    return with_quotients(tensors, gradients, quotients), False


def agree(comparison: Comparison, quotients: dict[str, tuple[Tensor, float]]) -> bool:
    r"""Whether autograd and difference quotients give the same."""
    return all(
        float((comparison.graph.gradients()[name] - value).abs().max()) <= error
        for name, (value, error) in quotients.items()
        if value.numel()
    )


def with_quotients(
    tensors: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None], quotients: dict[str, tuple[Tensor, float]]
) -> Comparison:
    r"""The comparison with difference quotients; its graph is that of Σ q x, which has them for gradients."""

    def linear(**inputs: Tensor) -> Tensor:
        return torch.stack([(quotients[name][0] * inputs[name]).sum() for name in gradients]).sum()

    graph = Graph(linear, tensors, list(gradients))
    values = {name: gradient.detach().double() for name, gradient in gradients.items() if gradient is not None}
    comparison = Comparison(linear, tensors, gradients, values, graph.gradients(), graph, bounds={})
    for name, (quotient, error) in quotients.items():
        comparison.noise[name] = error
        comparison.bounds[name] = bound(quotient, comparison.dtype(name), error)
        value = values.get(name)
        if value is not None and value.shape == quotient.shape:
            comparison.notes[name] = "compared with difference quotients"
    comparison.wrong = [name for name in gradients if not comparison.fits(name)]
    return comparison


def by_quotients(function: Function, above: Outputs) -> dict[str, tuple[Tensor, float]]:
    r"""Name ↦ the gradient by difference quotients, and by how much it may be off.

    At a kink it is the middle of the one-sided derivatives, off by half their difference.

    Raises:
        ValueError: an input has too many entries.
    """
    tensors = {name: value for name, value in function.inputs.items() if isinstance(value, Tensor)}
    for name in function.names:
        if tensors[name].numel() > MOST_ENTRIES:
            raise ValueError(
                f"inputs[{name!r}] has {tensors[name].numel()} entries, too many for difference quotients; pass forward"
            )
    contraction = contracted(function, function.apply, above)
    doubles = {name: doubled(tensor) for name, tensor in tensors.items()}
    found = {}
    for name in function.names:
        loss, leaf = at_leaf(contraction, doubles, name)
        loss = guarded(loss)
        quotient, error = torch.zeros_like(leaf), 0.0
        scale = float(leaf.abs().max()) if leaf.numel() else 0.0
        for index in (
            torch.cartesian_prod(*map(torch.arange, leaf.shape)).view(-1, leaf.ndim).tolist() if leaf.ndim else [()]
        ):
            left, right, off = sides(loss, leaf, tuple(index), STEPS[2] * (scale or 1.0))
            quotient[tuple(index)] = (left + right) / 2
            error = max(error, off + abs(left - right) / 2)
        found[name] = (quotient, error + QUOTIENTS * float(quotient.abs().max() if quotient.numel() else 0))
    return found


def guarded(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    r"""What apply raises in float64 is one line."""
    return lambda: validation.called("apply in float64", loss)


def contracted(function: Function, forward: Callable[..., Any], above: Outputs) -> Callable[..., Tensor]:
    r"""The scalar Σ output · cotangent, whose gradient is what backward returns."""
    above = tuple(g.detach().double() for g in above)

    def loss(**tensors: Tensor) -> Tensor:
        result = outputs("forward", bound_to(forward, function.inputs)(**{**function.inputs, **tensors}))
        if [output.shape for output in result] != [g.shape for g in above]:
            shapes = [tuple(output.shape) for output in result], [tuple(g.shape) for g in above]
            raise ValueError(f"it returns shapes {shapes[0]}, apply returns {shapes[1]}")
        return torch.stack([(output * g).sum() for output, g in zip(result, above, strict=True)]).sum()

    return loss


def same_value(function: Function, forward: Callable[..., Any]) -> bool:
    r"""Whether apply and forward return the same numbers."""
    doubles = {name: doubled(v) if isinstance(v, Tensor) else v for name, v in function.inputs.items()}
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


def plain(apply: Callable[..., Any]) -> Callable[..., Any] | None:
    r"""A Function's own forward as plain torch; None if apply is not a Function's."""
    owner = getattr(apply, "__self__", None)
    if not (isinstance(owner, type) and issubclass(owner, torch.autograd.Function)):
        return None
    separate = owner.setup_context is not torch.autograd.Function.setup_context
    return lambda *args: owner.forward(*args) if separate else owner.forward(Context(), *args)


class Context:
    r"""Stands in for a Function's ctx where nothing is differentiated by it."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def bound_to(function: Callable[..., Any], names: Mapping[str, Any]) -> Callable[..., Any]:
    r"""The function by keyword: by its own parameters' names if they are these, otherwise by position."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # built-in functions may have none
        parameters = {}  # type: ignore[assignment]
    if set(names) <= set(parameters) and all(
        parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY for name in names
    ):
        return function
    return lambda **arguments: function(*arguments.values())


def outputs(argument: str, result: Any) -> Outputs:
    r"""One tensor or several, as a tuple.

    Raises:
        TypeError: something else, or not of floating point.
    """
    result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    for output in result:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(f"{argument} must return a floating point tensor or a tuple of them, got {kind}")
    return result


def given(cotangent: Tensor | Sequence[Tensor], outputs: Outputs) -> Outputs:
    r"""The user's cotangents, one for each output.

    Raises:
        TypeError: no tensor.
        ValueError: another number of them, another shape, not finite.
    """
    above = (cotangent,) if isinstance(cotangent, Tensor) else tuple(cotangent)
    if len(above) != len(outputs):
        raise ValueError(f"cotangent must be one tensor for each of the {len(outputs)} outputs, got {len(above)}")
    for g, output in zip(above, outputs, strict=True):
        if not isinstance(g, Tensor):
            raise TypeError(f"cotangent must be a tensor, got {type(g).__name__}")
        if g.shape != output.shape:
            raise ValueError(f"cotangent must have the output's shape {tuple(output.shape)}, got {tuple(g.shape)}")
        validation.finite("cotangent", g)
    return tuple(g.detach().to(output.dtype, copy=True) for g, output in zip(above, outputs, strict=True))


def drawn(outputs: Outputs, seed: int) -> Outputs:
    r"""A random cotangent for each output, the same each time."""
    generator = Generator().manual_seed(seed)
    return tuple(torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in outputs)


def copied(above: Outputs) -> Outputs:
    r"""Copies, for a backward that may change them."""
    return tuple(g.clone() for g in above)


def same(a: Tensor | None, b: Tensor | None) -> bool:
    r"""Whether two gradients are equal in every bit."""
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def some(gradient: Tensor | None) -> bool:
    r"""Whether there is a gradient other than 0."""
    return gradient is not None and bool(gradient.any())
