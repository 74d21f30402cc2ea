r"""Checks the hand-written gradients of a scalar loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.code.numpy_forward import library, numpy_to_torch, why_not_in_torch
from nnmath.gradcheck.comparison.compare import compare
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.quotients import compare_with_quotients, finite_differences
from nnmath.gradcheck.conversion import name_gradients, native, to_tensors
from nnmath.gradcheck.diagnosis.diagnose import Rebuild, diagnose
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.graph.graph import Promotion, to_float64
from nnmath.gradcheck.report import Report


def check_gradients(
    forward: Callable[..., Tensor],
    inputs: Mapping[str, Any],
    gradients: Mapping[str, Any] | Sequence[Any],
    *,
    names: Sequence[str] | None = None,
    n: int | None = None,
    learning_rate: float | None = None,
    rebuild: Rebuild | None = None,
) -> Report:
    r"""Compares hand-written gradients with autograd's in float64, and diagnoses those that differ.

    Args:
        forward: E, a scalar loss in plain torch or NumPy, of the tensors of ``inputs`` by keyword. It is called many
            times, mostly on copies in float64; its side effects, such as batch norm's running mean, happen each time.
        inputs: name ↦ tensor or array, everything that E depends on: parameters, data, intermediate values. None is
            changed.
            To check an intermediate gradient δ, add an input ``dz`` of zeros to the pre-activation,
            ``h = torch.sigmoid(x @ w.T + dz)``; its gradient is δ.
        gradients: name ↦ ∂E/∂(that input), hand-written, for some of the inputs; None for one that is missing. ``dW``
            and ``W_grad`` name the gradient of ``W`` too; after a backward by torch, give ``p.grad`` of the parameters.
        names: of which inputs a tuple or list has the gradients.
        n: the batch size; it distinguishes a forgotten 1/n from other constants.
        learning_rate: η, if a step was taken; it identifies weights that were updated too early.
        rebuild: n ↦ (forward, inputs, gradients) for a batch of n; it distinguishes n from a constant of equal value,
            for example a factor n from a factor 2 if n = 2.

    Returns:
        A report, which ``print`` shows as a table. A gradient passes if no entry's error exceeds the type's tolerance
        (float64 1e-9, float32 1e-4, float16 1e-2, bfloat16 5e-2) times the largest entry, plus rounding; at a kink,
        such as ReLU at 0, any value between the one-sided derivatives passes. If no known mistake reproduces a wrong
        gradient, the fault is ``unknown``.

    Raises:
        TypeError: an argument, or an item of one, has the wrong type.
        ValueError: a name is not that of an input; a tensor is on another device, of integers, or not finite; forward
            raises or does not return a finite scalar.

    Source: torch's own check compares with finite differences,
    https://docs.pytorch.org/docs/stable/notes/gradcheck.html.

    >>> x, w, y = torch.tensor([1.0, 2.0]), torch.tensor(3.0), torch.tensor([1.0, 1.0])
    >>> def forward(x, w, y):
    ...     return ((w * x - y) ** 2).mean() / 2
    >>> report = check_gradients(forward, {"x": x, "w": w, "y": y}, {"w": ((w * x - y) * x).mean()})
    >>> report.passed
    True
    >>> report = check_gradients(forward, {"x": x, "w": w, "y": y}, {"w": ((y - w * x) * x).mean()})
    >>> report.findings[0].fault
    <Fault.SIGN: 'sign'>
    """
    validation.function("forward", forward, "inputs -> loss")
    tensors = to_tensors("inputs", inputs)
    named, notes = name_gradients(gradients, tensors, names)
    named = to_tensors("gradients", named)
    validation.gradients(tensors, named)
    validation.options(n, learning_rate, rebuild)
    with torch.random.fork_rng():
        comparison, note = compare_with_forward(forward, tensors, named, library(forward))
        comparison.notes = {**notes, **comparison.notes}
        findings = check_determinism(comparison)
        if findings:
            comparison.wrong = list(named)
        elif comparison.wrong:
            findings = diagnose(comparison, n, learning_rate, rebuild, in_graph=not note)
        return Report(comparison.entries(), findings, note=note)


def compare_with_forward(
    forward: Callable[..., Any], inputs: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None], takes: str | None
) -> tuple[Comparison, str]:
    r"""The comparison with autograd, and an empty note.

    If ``forward`` takes arrays and torch cannot run it, the comparison with difference quotients, and a note that says
    why.
    """
    if takes != "numpy":
        return compare(forward, inputs, gradients), ""
    reason = why_not_in_torch(forward, inputs)
    if not reason:
        return compare(numpy_to_torch(forward), inputs, gradients), ""

    def loss(**tensors: Tensor) -> Tensor:
        return torch.as_tensor(forward(**native(tensors, "numpy")), dtype=torch.float64)

    quotients = finite_differences(loss, inputs, list(gradients))
    note = f"torch cannot run forward ({reason}): compared with difference quotients, without reading code"
    return compare_with_quotients(inputs, gradients, quotients), note


def check_determinism(comparison: Comparison) -> list[Finding]:
    r"""Returns a finding if a second evaluation gives another loss: such a loss has no gradient."""
    copies = {name: to_float64(tensor) for name, tensor in comparison.inputs.items()}
    with torch.no_grad(), Promotion():
        again = validation.call("forward", lambda: comparison.forward(**copies))
    if torch.allclose(again.reshape(()), comparison.graph.loss.detach().reshape(()), rtol=1e-9, atol=0):
        return []
    losses = f"{comparison.graph.loss.item():.9g} and then {again.item():.9g}"
    explanation = f"forward gives {losses} for the same inputs: there is no gradient to compare with."
    fix = "draw random numbers outside of forward and pass them in, or seed them inside"
    return [Finding(Fault.NONDETERMINISTIC, list(comparison.gradients), explanation, fix)]


def assert_gradients(*args: Any, **kwargs: Any) -> None:
    r"""Asserts that gradients are right, for tests. The arguments are those of :func:`check_gradients`.

    Raises:
        AssertionError: a gradient is wrong; the message is the report.
        TypeError, ValueError: as from check_gradients.

    >>> w = torch.tensor([1.0, 2.0])
    >>> assert_gradients(lambda w: (w**2).sum(), {"w": w}, {"w": 2 * w})
    """
    __tracebackhide__ = True
    report = check_gradients(*args, **kwargs)
    if not report.passed:
        raise AssertionError(f"hand-written gradients are wrong\n{report}")
