r"""Kinks: points without a derivative, where any value between the one-sided derivatives is allowed.

For ReLU at 0, for example, 0, 1 and ½ are all in use. The classes observe the inputs of functions with a kink, or move
them to one side of it, so that autograd takes that side's derivative.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nnmath.gradcheck.graph.graph import Arguments, Promotion, in_place

TINY = 1e-200  # the smallest distance by which an input is moved off a kink
Threshold = float | Tensor
Select = Callable[[Tensor], Any]
Thresholds = Callable[[tuple[Any, ...], dict[str, Any]], list[Threshold]]


def arguments(*names: str) -> Thresholds:
    r"""Reads the thresholds from the arguments after the first; optional ones may be missing."""

    def thresholds(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Threshold]:
        values = (args[i] if len(args) > i else kwargs.get(name) for i, name in enumerate(names, start=1))
        return [value for value in values if value is not None]

    return thresholds


AT_ZERO = ("relu", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "abs", "absolute")
# function ↦ the values of its first argument at which it has a kink
THRESHOLDS: dict[str, Thresholds] = {
    **dict.fromkeys(AT_ZERO, lambda args, kwargs: [0.0]),
    **dict.fromkeys(
        ("maximum", "minimum", "fmax", "fmin", "max", "min"),  # the second argument of max may be a dimension
        lambda args, kwargs: [other for other in arguments("other")(args, kwargs) if isinstance(other, Tensor)],
    ),
    **dict.fromkeys(("gt", "ge", "lt", "le", "greater", "less"), arguments("other")),
    **dict.fromkeys(("clamp", "clip"), arguments("min", "max")),
    "clamp_min": arguments("min"),
    "clamp_max": arguments("max"),
    "threshold": arguments("threshold"),
    "l1_loss": arguments("target"),
    "relu6": lambda args, kwargs: [0.0, 6.0],
    "hardtanh": lambda args, kwargs: arguments("min_val", "max_val")(args, kwargs) or [-1.0, 1.0],
    "hardsigmoid": lambda args, kwargs: [-3.0, 3.0],
    "hardswish": lambda args, kwargs: [-3.0, 3.0],
}

# functions that select entries by their order, which rounding must not change
LARGEST = "max min amax amin aminmax argmax argmin cummax cummin max_pool1d max_pool2d max_pool3d"
ORDERED = "sort argsort topk kthvalue median nanmedian unique searchsorted bucketize"
SELECTING = frozenset(f"{LARGEST} adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d {ORDERED}".split())


class Kinks(Promotion):
    r"""Passes the input of every function with a kink to :meth:`at`, numbered in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.selections = 0
        self.deciding = False  # whether the running function compares numbers; its backward compares them again

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if in_place(function, kwargs):
            return function(*args, **kwargs)
        name = getattr(function, "__name__", "").removeprefix("__").removesuffix("__")
        args, kwargs = self.arguments(name, args, kwargs)
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        if not (args and isinstance(args[0], Tensor) and args[0].is_floating_point()):
            return function(*args, **kwargs)
        tensor, at_kink = args[0], THRESHOLDS[name](args, kwargs) if name in THRESHOLDS else []
        for threshold in at_kink:
            if not isinstance(threshold, Tensor) or threshold.is_floating_point():
                tensor = self.at(self.calls, tensor, threshold)
                self.calls += 1
        self.deciding = bool(at_kink) or name in SELECTING
        try:
            if at_kink or name not in SELECTING:
                return function(tensor, *args[1:], **kwargs)
            self.selections += 1
            tensor = self.selected_from(self.selections - 1, tensor)
            return self.selected(self.selections - 1, tensor, lambda tensor: function(tensor, *args[1:], **kwargs))
        finally:
            self.deciding = False

    def arguments(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        r"""The arguments with which the function of that name is called."""
        return args, kwargs

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        r"""The tensor that replaces the input of a call with a kink at the threshold."""
        return tensor

    def selected_from(self, call: int, tensor: Tensor) -> Tensor:
        r"""The tensor that replaces the one from which a call selects."""
        return tensor

    def selected(self, call: int, tensor: Tensor, select: Select) -> Any:
        r"""The result of a call that selects."""
        return select(tensor)


class Distances(Kinks):
    r"""Records the distances from the kinks, and the tensors from which entries are selected."""

    def __init__(self) -> None:
        super().__init__()
        self.distances: list[Tensor] = []  # for each call: tensor − threshold
        self.chosen_from: list[Tensor] = []

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        distance = (tensor - threshold).detach()
        varies = tensor.requires_grad or (isinstance(threshold, Tensor) and threshold.requires_grad)
        self.distances.append(distance if varies else torch.full_like(distance, torch.inf))  # data has no kinks
        return tensor

    def selected_from(self, call: int, tensor: Tensor) -> Tensor:
        self.chosen_from.append(tensor.detach().clone())
        return tensor


class Moved(Kinks):
    r"""Moves entries off their kinks."""

    def __init__(self, moves: dict[int, Tensor]) -> None:
        super().__init__()
        self.moves = moves  # call ↦ the new distance of each entry from its threshold; 0 leaves the entry unchanged

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        if call not in self.moves or self.moves[call].shape != (tensor - threshold).shape:
            return tensor
        move = self.moves[call]
        kink = threshold + torch.zeros_like(move)
        spacing = torch.finfo(torch.float64).eps * kink.abs()
        target = torch.where(kink + move == kink, kink + move.sign() * 4 * spacing, kink + move)
        moved = tensor.clone()  # adding a tiny distance to the tensor would round it away
        moved.data.copy_(torch.where(move == 0, tensor, target))
        return moved
