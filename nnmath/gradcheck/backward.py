r"""Checks a hand-written backward, and reads its code to find the line that is wrong."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.code.numpy_forward import library, numpy_to_torch
from nnmath.gradcheck.code.program import Program
from nnmath.gradcheck.code.reading import Reading
from nnmath.gradcheck.comparison.errors import is_finite
from nnmath.gradcheck.conversion import name_gradients, native, to_floating, to_tensors
from nnmath.gradcheck.diagnosis.diagnose import diagnose
from nnmath.gradcheck.gradients import check_determinism, compare_with_forward
from nnmath.gradcheck.nonfinite import trace_backward
from nnmath.gradcheck.report import Entry, Report

LIBRARIES = ("torch", "numpy")


def check_backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Mapping[str, Any],
    *,
    names: Sequence[str] | None = None,
    n: int | None = None,
    rebuild: Callable[[int], tuple[Any, Any, Mapping[str, Any]]] | None = None,
    time_limit: float = 30.0,
    forward_takes: str | None = None,
    backward_takes: str | None = None,
) -> Report:
    r"""Checks the gradients of a hand-written backward, and looks for the edit of its code that makes them right.

    The gradients are compared as by :func:`~nnmath.gradcheck.check_gradients`. If some are wrong, the code of
    ``backward``, and of the user's functions that it calls, is run operation by operation: what each value equals is
    in ``report.trace``. Then one expression after another is edited: another operator, sign, constant, axis, variable
    or transpose, a factor or a term more or less, the backward of an operation of the forward pass. An edit is accepted
    only if gradients that were wrong become right to rounding, and none becomes wrong, at the given inputs and at two
    random ones. Of several accepted edits the plainest one is reported. What no edit repairs is diagnosed as by
    check_gradients.

    Args:
        forward: the scalar loss E(**inputs), in plain torch or in NumPy.
        backward: the hand-written code, backward(**inputs) ↦ {name: ∂E/∂(that input)}, or a tuple or list in the order
            of ``names``; in torch or in NumPy. It is called many times, on copies of the inputs.
        inputs: name ↦ tensor, array or number, everything that E depends on.
        names: of which inputs a tuple or list has the gradients.
        n: the batch size; it distinguishes a forgotten 1/n from other constants.
        rebuild: n ↦ (forward, backward, inputs) for a batch of n: an edit has to be right there too, so that n is not
            taken for a constant of equal value.
        time_limit: seconds after which the search ends and what was found is reported.
        forward_takes: "torch" or "numpy"; by default that of the two which the code uses.
        backward_takes: the same for backward.

    Returns:
        The report. Its findings have ``file``, ``line``, ``code``, what it ``computes``, what it ``should_be``, and
        the ``repair``: the code to write instead, empty if there is only a description.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: forward or backward raises; an input is not finite; a gradient names no input.

    >>> import numpy as np
    >>> def forward(x, w):
    ...     return torch.tanh(x @ w).sum()
    >>> def backward(x, w):
    ...     h = np.tanh(x @ w)
    ...     return {"w": x.T @ (1 - h)}
    >>> x, w = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0.5, -0.3])
    >>> finding = check_backward(forward, backward, {"x": x, "w": w}).findings[0]
    >>> finding.line, finding.code, finding.repair
    (3, '1 - h', '1 - h * h')
    """
    start = time.monotonic()
    validation.function("forward", forward, "inputs -> loss")
    validation.function("backward", backward, "inputs -> {name: gradient}")
    for argument, value in (("forward_takes", forward_takes), ("backward_takes", backward_takes)):
        if value not in (None, *LIBRARIES):
            raise ValueError(f"{argument} must be 'torch' or 'numpy', got {value!r}")
    validation.options(n, None, rebuild)
    tensors = to_tensors("inputs", inputs)
    validation.tensors(inputs=tensors)
    given = "torch" if any(isinstance(value, Tensor) for value in inputs.values()) else "numpy"
    takes = backward_takes or library(backward) or given

    forward_takes = forward_takes or library(forward)

    def in_torch(forward: Callable[..., Any]) -> Callable[..., Tensor]:
        return numpy_to_torch(forward) if forward_takes == "numpy" else forward

    def gradients_of(function: Callable[..., Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
        return name_gradients(function(**values), tensors, names)[0]

    returned = validation.call("backward", lambda: backward(**native(tensors, takes)))
    named, notes = name_gradients(returned, tensors, names)
    gradients = {name: to_floating(gradient) for name, gradient in to_tensors("gradients", named).items()}
    nonfinite = {name: g for name, g in gradients.items() if isinstance(g, Tensor) and not is_finite(g)}
    if nonfinite:
        entries = {
            name: Entry(passed=name not in nonfinite, note="not finite" * (name in nonfinite)) for name in gradients
        }
        program = Program(backward, gradients_of)
        return Report(entries, trace_backward(program, native(tensors, takes), list(nonfinite)))
    validation.gradients(tensors, gradients)
    with torch.random.fork_rng():
        comparison, note = compare_with_forward(forward, tensors, gradients, forward_takes)
        for name, note in notes.items():
            comparison.notes.setdefault(name, note)
        if findings := check_determinism(comparison):
            comparison.wrong = list(gradients)
        if note and not findings:
            findings = diagnose(comparison, n, in_graph=False) if comparison.wrong else []
        if not comparison.wrong or findings or note:
            return Report(comparison.entries(), findings, note=note)
        entries, wrong = comparison.entries(), sorted(comparison.wrong, key=lambda k: comparison.graph.depth[k])
        program, deadline, rebuilt = Program(backward, gradients_of), start + time_limit, None
        if rebuild is not None:
            other = 2 * (n or len(next(iter(tensors.values())).reshape(-1))) + 3
            forward_n, backward_n, inputs_n = validation.call(f"rebuild({other})", lambda: tuple(rebuild(other)))
            rebuilt = (in_torch(forward_n), backward_n, to_tensors("inputs", inputs_n))
        options = takes == "torch", deadline, comparison.has_ties, rebuilt
        reading = Reading(in_torch(forward), program, tensors, wrong, *options)
        with progress(f"{len(wrong)} of {len(gradients)} gradients are wrong ({', '.join(wrong)}): reading the code"):
            reading.run()
            findings = reading.complete(comparison, n)
        return Report(entries, findings, reading.trace, reading.note)


@contextmanager
def progress(message: str) -> Iterator[None]:
    r"""Shows the message on a terminal while the search runs."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{message} (Ctrl-C ends the search)"):
        yield


def assert_backward(*args: Any, **kwargs: Any) -> None:
    r"""Asserts that a hand-written backward is right, for tests. The arguments are those of :func:`check_backward`.

    Raises:
        AssertionError: a gradient is wrong; the message is the report.
        TypeError, ValueError: as from check_backward.

    >>> w = torch.tensor([1.0, 2.0])
    >>> assert_backward(lambda w: (w**2).sum(), lambda w: {"w": 2 * w}, {"w": w})
    """
    __tracebackhide__ = True
    report = check_backward(*args, **kwargs)
    if not report.passed:
        raise AssertionError(f"the hand-written backward is wrong\n{report}")
