r"""Kinks: where a function has no derivative, a gradient may take any value between its one-sided ones.

ReLU at 0 is the classic: 0, 1 and ½ are all in use. Here the inputs of the functions with a kink are moved off it, to
one side or the other, so that autograd takes that side's derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nnmath.gradcheck.graph.graph import factory_to_float64, in_place, promote_to_float64

Threshold = float | Tensor
TINY = 1e-200


def _bounds(args: tuple[Any, ...], kwargs: dict[str, Any], *names: str) -> Iterator[Threshold]:
    for position, name in enumerate(names, start=1):
        bound = args[position] if len(args) > position else kwargs.get(name)
        if bound is not None:
            yield bound


def _tensors(bounds: Iterator[Threshold]) -> Iterator[Threshold]:
    return (bound for bound in bounds if isinstance(bound, Tensor))  # x.max(1) is about a dimension


def _at_zero(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Threshold]:
    yield 0.0


THRESHOLDS: dict[str, Callable[[tuple[Any, ...], dict[str, Any]], Iterator[Threshold]]] = {
    **dict.fromkeys(("relu", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "abs", "absolute"), _at_zero),
    **dict.fromkeys(
        ("maximum", "minimum", "fmax", "fmin", "max", "min"), lambda a, k: _tensors(_bounds(a, k, "other"))
    ),
    **dict.fromkeys(("gt", "ge", "lt", "le", "greater", "less"), lambda a, k: _bounds(a, k, "other")),
    **dict.fromkeys(("clamp", "clip"), lambda a, k: _bounds(a, k, "min", "max")),
    "clamp_min": lambda a, k: _bounds(a, k, "min"),
    "clamp_max": lambda a, k: _bounds(a, k, "max"),
    "threshold": lambda a, k: _bounds(a, k, "threshold"),
    "l1_loss": lambda a, k: _bounds(a, k, "target"),
    "relu6": lambda a, k: iter((0.0, 6.0)),
    "hardtanh": lambda a, k: iter(list(_bounds(a, k, "min_val", "max_val")) or (-1.0, 1.0)),
    "hardsigmoid": lambda a, k: iter((-3.0, 3.0)),
    "hardswish": lambda a, k: iter((-3.0, 3.0)),
}
r"""function ↦ where along its first argument it has a kink"""

LARGEST = "max min amax amin aminmax argmax argmin cummax cummin max_pool1d max_pool2d max_pool3d"
ORDERED = "sort argsort topk kthvalue median nanmedian unique searchsorted bucketize"
SELECTING = frozenset(f"{LARGEST} adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d {ORDERED}".split())
r"""Functions that pick entries by their order, which rounding must not change."""


class Kinks(TorchFunctionMode):
    r"""Shows the input of every function with a kink to :meth:`at`, in the order in which they are called.

    ``deciding`` is set while a function runs that compares numbers, and saves them to compare them again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.selections = 0
        self.deciding = False

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if in_place(function, kwargs):
            return function(*args, **kwargs)
        name = getattr(function, "__name__", "").removeprefix("__").removesuffix("__")
        args, kwargs = self.arguments(name, *promote_to_float64(function, args, kwargs))
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        thresholds = THRESHOLDS.get(name)
        if not (args and isinstance(args[0], Tensor) and args[0].is_floating_point()):
            return factory_to_float64(function, kwargs, function(*args, **kwargs))
        tensor, found = args[0], list(thresholds(args, kwargs)) if thresholds else []
        for threshold in found:
            if not isinstance(threshold, Tensor) or threshold.is_floating_point():
                tensor = self.at(self.calls, tensor, threshold)
                self.calls += 1
        if not found and name in SELECTING:
            tensor = self.selected(self.selections, tensor)
            self.selections += 1
        self.deciding = bool(found) or name in SELECTING
        try:
            return function(tensor, *args[1:], **kwargs)
        finally:
            self.deciding = False

    def arguments(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        r"""The arguments that the function of that name gets."""
        return args, kwargs

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        r"""What the call gets in the place of the tensor that has a kink at the threshold."""
        return tensor

    def selected(self, call: int, tensor: Tensor) -> Tensor:
        r"""What the call gets in the place of the tensor from which it selects."""
        return tensor


class Distances(Kinks):
    r"""Notes how far from its kink each entry is, in ``seen``: call ↦ tensor − threshold.

    And in ``chosen_from`` the tensors from which entries are selected.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.chosen_from: list[Tensor] = []

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        distance = (tensor - threshold).detach()
        moves = tensor.requires_grad or (isinstance(threshold, Tensor) and threshold.requires_grad)
        self.seen.append(distance if moves else torch.full_like(distance, torch.inf))  # a comparison of data is no kink
        return tensor

    def selected(self, call: int, tensor: Tensor) -> Tensor:
        self.chosen_from.append(tensor.detach().clone())
        return tensor


class Moved(Kinks):
    r"""Moves entries off their kinks.

    Args:
        moves: call ↦ by how much, 0 for an entry that stays; an entry that moves ends there, seen from its threshold.
    """

    def __init__(self, moves: dict[int, Tensor]) -> None:
        super().__init__()
        self.moves = moves

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        if call not in self.moves or self.moves[call].shape != (tensor - threshold).shape:
            return tensor
        move = self.moves[call]
        there = threshold + move
        there = torch.where(there == threshold, threshold + move.sign() * 4 * spacing(threshold), there)
        return tensor + torch.where(move == 0, 0.0, there - tensor).detach()


def spacing(threshold: Threshold) -> Threshold:
    r"""The spacing of float64 at a threshold."""
    eps = torch.finfo(torch.float64).eps
    return threshold.abs() * eps if isinstance(threshold, Tensor) else abs(threshold) * eps
