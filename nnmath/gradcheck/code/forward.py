r"""Records a forward pass operation by operation, with fused operations decomposed, and the true gradient of each."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck.code.decompositions import DECOMPOSITIONS
from nnmath.gradcheck.graph.graph import Promotion, map_tensors, to_float64
from nnmath.gradcheck.graph.site import Site, user_site


@dataclass(eq=False)
class Operation:
    r"""One operation of the forward pass."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Tensor  # its result
    site: Site | None
    part: int | None = None  # the place among the steps of a fused function
    gradient: Tensor | None = None  # ∂E/∂value; None if the loss does not depend on it
    graphs: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        name = getattr(self.function, "__name__", "")
        if name == "__get__":  # a property's getter is named by its property
            return str(getattr(self.function, "__self__", self.function).__name__)
        return str(name).strip("_")

    @property
    def operands(self) -> list[int]:
        r"""The positions of its arguments that are floating point tensors."""
        return [i for i, a in enumerate(self.args) if isinstance(a, Tensor) and a.is_floating_point()]

    @property
    def text(self) -> str:
        r"""The variable to which the user's code assigns the result, or the expression that computes it."""
        if self.site is None:
            return self.name
        return self.site.name if self.part is None else f"{self.name} inside {self.site.text}"

    @property
    def line(self) -> int | None:
        return self.site.line if self.site else None

    def uses(self, value: Tensor) -> bool:
        r"""Whether an argument has this value."""
        return any(isinstance(a, Tensor) and a.shape == value.shape and torch.equal(a, value) for a in self.args)

    def vjp(self, operand: int, grad_output: Tensor) -> Tensor:
        r"""The gradient with respect to an operand, for this gradient of the result."""
        if operand not in self.graphs:
            args = [a.clone() if isinstance(a, Tensor) else a for a in self.args]
            leaf = args[operand].requires_grad_()
            with torch.enable_grad():
                result = self.function(*args, **self.kwargs)
            self.graphs[operand] = (result[0] if isinstance(result, (tuple, list)) else result, leaf)
        result, leaf = self.graphs[operand]
        # a scalar loss, since torch imports SymPy for a gradient from grad_output
        (gradient,) = torch.autograd.grad((result * grad_output.reshape(result.shape)).sum(), leaf, retain_graph=True)
        return gradient


class Recorder(Promotion):
    r"""Lists the operations whose result depends on a leaf, and where the user's code called them."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Operation, Tensor, int]] = []

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        decomposition = DECOMPOSITIONS.get(function)
        if decomposition is not None:
            return self.decompose(function, decomposition, args, kwargs)
        before = map_tensors(snapshot, args)
        result = function(*args, **kwargs)
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(first, Tensor) and first.requires_grad and first.is_floating_point():
            operation = Operation(function, before, kwargs, snapshot(first), user_site())
            self.operations.append((operation, first, first._version))
        return result

    def decompose(self, function: Callable[..., Any], decomposition: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        r"""The result of a fused function by its parts; by itself if that is not the same."""
        count, result = len(self.operations), function(*args, **kwargs)
        with suppress(Exception), self:
            by_parts = decomposition(*args, **kwargs)
            if torch.allclose(by_parts, result, rtol=1e-9, atol=0):
                for place, (operation, _, _) in enumerate(self.operations[count:-1]):
                    operation.part = place
                return by_parts
        del self.operations[count:]
        return result


class RecordedForward:
    r"""The operations of a forward pass in float64, and the gradients of the loss."""

    def __init__(self, forward: Callable[..., Tensor], inputs: Mapping[str, Tensor]) -> None:
        copies = {name: to_float64(tensor) for name, tensor in inputs.items()}
        self.leaves = {name: tensor for name, tensor in copies.items() if tensor.is_floating_point()}
        for leaf in self.leaves.values():
            leaf.requires_grad_()
        recorder = Recorder()
        with torch.enable_grad(), recorder:
            loss = forward(**copies)
        results = [result for _, result, _ in recorder.operations]
        gradients = torch.autograd.grad(loss, [*self.leaves.values(), *results], allow_unused=True)
        self.gradients = {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(self.leaves.items(), gradients, strict=False)
        }
        self.operations = [operation for operation, _, _ in recorder.operations]
        self.groups: dict[Any, list[Operation]] = {}
        for (operation, result, version), gradient in zip(
            recorder.operations, gradients[len(self.leaves) :], strict=True
        ):
            operation.gradient = gradient if result._version == version else None  # it was changed in place afterwards
            self.groups.setdefault((operation.site, operation.part, operation.name), []).append(operation)

    def values(self) -> Iterator[tuple[str, bool, Tensor]]:
        r"""The values of the forward pass and the gradients: text, whether it is a gradient, value."""
        for name, leaf in self.leaves.items():
            yield name, False, leaf.detach()
            yield f"∂E/∂{name}", True, self.gradients[name]
        for operations in self.groups.values():
            for place, operation in enumerate(operations):
                text = operation.text + (f" [{place}]" if len(operations) > 1 else "")
                yield text, False, operation.value
                if operation.gradient is not None:
                    yield f"∂E/∂{text}" if text.isidentifier() else f"∂E/∂({text})", True, operation.gradient


def snapshot(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
