r"""Where the first nan or inf arises, in a forward pass and its gradients, or in a hand-written backward."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nnmath.gradcheck.code.forward import Operation, RecordedForward
from nnmath.gradcheck.code.known import as_array
from nnmath.gradcheck.code.program import Program
from nnmath.gradcheck.faults import Fault, Finding

REMEDIES = {
    "log": "keep its argument above 0, or use log_softmax, logsigmoid or logsumexp",
    "sqrt": "its derivative at 0 is infinite: add a small number under the root",
    "norm": "its derivative at 0 is not defined: add a small number to the squares",
    "where": "torch.where passes 0 · inf = nan back: replace the argument before the operation, not its result after",
    "exp": "subtract the largest entry before exp",
    "div": "keep the divisor away from 0",
    "truediv": "keep the divisor away from 0",
    "pow": "a power below 1 has an infinite derivative at 0",
}


def trace_forward(forward: Callable[..., Tensor], inputs: Mapping[str, Tensor]) -> str:
    r"""Where the forward pass, or else its gradient by autograd, is first not finite; empty if nowhere."""
    operations = RecordedForward(forward, inputs).operations
    for operation in operations:
        if not bool(operation.value.isfinite().all()):
            return f"{place(operation)} is the first value that is not finite{remedy(operation)}"
    for number, operation in reversed(list(enumerate(operations))):
        if operation.gradient is not None and not bool(operation.gradient.isfinite().all()):
            after = [o for o in operations[number + 1 :] if o.uses(operation.value)] or [operation]
            return f"the backward of {place(after[0])} is the first that is not finite{remedy(after[0])}"
    return ""


def place(operation: Operation) -> str:
    file = f"{Path(operation.site.file).name}:{operation.line}: " if operation.site else ""
    return f"{operation.name} in {file}`{operation.text}`"


def remedy(operation: Operation) -> str:
    return f"; {REMEDIES[operation.name]}" if operation.name in REMEDIES else ""


def trace_backward(program: Program, inputs: Mapping[str, Any], names: Sequence[str]) -> list[Finding]:
    r"""The expression of a hand-written backward at which the first nan or inf arises, as a finding."""
    with np.errstate(all="ignore"):
        steps = program.trace(inputs)[0] if program.expressions else []
    for step in steps:
        value, e = as_array(step.value), step.expression
        if value is not None and not np.isfinite(value).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            where = f" at index {list(index)}" if index else ""
            text = f"{Path(e.file).name}:{e.line}: `{e.code}` is {value[index]}{where}, the first that is not finite."
            words = [word for word in REMEDIES if f"{word}(" in e.code or (word == "div" and "/" in e.code)]
            fix = REMEDIES[words[0]] if words else "look at the operands of this expression"
            return [Finding(Fault.NONFINITE, list(names), text, fix, e.file, e.line, e.code)]
    return []
