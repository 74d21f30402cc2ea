r"""Tolerances, and the rounding noise that they allow for.

The noise is measured: the reference is computed again with every number rounded at random, as another order of
operations would round it, and once in the user's own types.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.autograd.graph import saved_tensors_hooks

from nnmath.gradcheck.comparison.errors import max_abs
from nnmath.gradcheck.comparison.kinks import Distances, Kinks, Threshold
from nnmath.gradcheck.graph.graph import Arguments, Forward, Gradients, map_tensors, tensors_in, to_float64

RTOL = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # of the largest entry
DRAWS = 6
JITTER = 0.5  # in eps: the largest error of rounding to nearest
SAFETY = 8  # safety factor: the maximum of a few samples underestimates the true maximum
QUANTA = 64  # smallest subnormal numbers: half of one may be lost in each of many terms


def lower_precision(a: torch.dtype, b: torch.dtype) -> torch.dtype:
    r"""The dtype with the larger rounding error."""
    return max(a, b, key=lambda dtype: torch.finfo(dtype).eps)


def underflow_allowance(dtype: torch.dtype) -> float:
    r"""The error that underflow alone may cause."""
    info = torch.finfo(dtype)
    return QUANTA * info.smallest_normal * info.eps


def bound(reference: Tensor, dtype: torch.dtype, noise: float = 0.0) -> float:
    r"""The largest error of an entry that passes: RTOL · max|reference| + noise + underflow.

    It is the same for all entries of a tensor, since an entry may be a small difference of large terms.
    """
    return RTOL[dtype] * max_abs(reference) + noise + underflow_allowance(dtype)


class Jitter(Kinks):
    r"""Multiplies the arguments of every function, and their gradients, by 1 + size · r with r uniform in −1 … 1.

    It also adds or subtracts a quantum, for underflow. An entry that would cross a kink is put back on the side where
    it is without jitter, as recorded in ``reference``.
    """

    def __init__(self, size: float, quantum: float, reference: Distances, generator: Generator) -> None:
        super().__init__()
        self.size, self.quantum, self.reference, self.generator = size, quantum, reference, generator
        self.moved = [torch.zeros_like(distance) for distance in reference.distances]
        self.reordered = [torch.zeros_like(tensor) for tensor in reference.chosen_from]

    def arguments(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        if name in UNROUNDED or not any(tensor.requires_grad for tensor in tensors_in((args, kwargs))):
            return args, kwargs  # no arithmetic, or data alone: labels are compared or cast to integers
        add_jitter = self.add_jitter if name in SUMS else self.add_jitter_to_result
        return map_tensors(add_jitter, args), map_tensors(add_jitter, kwargs)

    def add_jitter_to_result(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.is_leaf else self.add_jitter(tensor)  # the inputs are exact

    def add_jitter(self, tensor: Tensor) -> Tensor:
        if tensor.dtype is not torch.float64:
            return tensor
        r = 2 * torch.rand(tensor.shape, generator=self.generator, dtype=tensor.dtype, device=tensor.device) - 1
        return tensor * (1 + self.size * r) + self.quantum * r.sign() * (tensor != 0)

    def pack(self, tensor: Tensor) -> tuple[Tensor, bool]:
        r"""Hook: a tensor saved for backward, and whether backward compares it with another."""
        return tensor.detach(), self.deciding

    def unpack(self, packed: tuple[Tensor, bool]) -> Tensor:
        r"""Hook: the saved tensor, with jitter unless that could change a comparison."""
        tensor, is_compared = packed
        return tensor if is_compared else self.add_jitter(tensor)

    def at(self, call: int, tensor: Tensor, threshold: Threshold) -> Tensor:
        distance = (tensor - threshold).detach()
        distances = self.reference.distances
        if call >= len(distances) or distances[call].shape != distance.shape:
            return tensor
        before = distances[call]
        if bool(before.isinf().all()):
            return tensor
        self.moved[call] = (distance - before).abs()
        return tensor + torch.where(distance.sign() != before.sign(), before - distance, 0.0)

    def selected_from(self, call: int, tensor: Tensor) -> Tensor:
        chosen_from = self.reference.chosen_from
        if call >= len(chosen_from) or chosen_from[call].shape != tensor.shape:
            return tensor
        self.reordered[call] = (tensor.detach() - chosen_from[call]).abs()
        return chosen_from[call] + (tensor - tensor.detach())


# functions without arithmetic, or with kinks inside that cannot be observed
VIEWS = "view view_as reshape t transpose permute expand expand_as squeeze unsqueeze flatten select narrow chunk split"
OTHERS = "get getitem setitem set size dim unbind detach clone contiguous item tolist numel"
DECISIONS = "eq ne gt ge lt le greater less isclose long int bool to round floor ceil trunc sign sgn"
LOSSES = "hinge_embedding_loss margin_ranking_loss triplet_margin_loss multi_margin_loss cosine_embedding_loss"
UNROUNDED = frozenset(f"{VIEWS} {OTHERS} {DECISIONS} {LOSSES}".split())
# functions that round inside, depending on the order of their terms
PRODUCTS = "matmul mm bmm mv dot addmm addmv baddbmm linear bilinear einsum conv1d conv2d conv3d"
REDUCTIONS = (
    "sum mean var std cumsum norm vector_norm normalize cosine_similarity pairwise_distance logsumexp softmax "
    "log_softmax layer_norm batch_norm cross_entropy"
)
SUMS = frozenset(f"{PRODUCTS} conv_transpose1d conv_transpose2d scaled_dot_product_attention {REDUCTIONS}".split())


class Noise(NamedTuple):
    r"""Largest errors by rounding."""

    gradients: dict[str, float]  # name ↦ the error of an entry of its gradient
    jitter: dict[str, float]  # the same without the run in the user's types, which may select others of equal entries
    loss: float  # the error of the loss
    kinks: list[Tensor]  # for each call of a function with a kink: the error of each entry of its input
    distances: list[Tensor]  # for each such call: the distance of each entry of its input from the kink
    selections: list[Tensor]  # for each call that selects by order: the error of each entry of its input


def noise(forward: Forward, inputs: Mapping[str, Tensor], reference: Gradients, dtype: torch.dtype) -> Noise:
    r"""SAFETY times the largest error in DRAWS runs with random rounding in ``dtype``, and one in the user's types."""
    doubles = {name: to_float64(tensor) for name, tensor in inputs.items()}
    distances = Distances()
    losses = [loss_and_gradients(forward, doubles, reference, distances)[0]]
    generator = Generator(next(iter(reference.values())).device).manual_seed(0)
    errors = dict.fromkeys(reference, 0.0)
    kinks = [torch.zeros_like(distance) for distance in distances.distances]
    selections = [torch.zeros_like(tensor) for tensor in distances.chosen_from]
    for _ in range(DRAWS):
        jitter = Jitter(JITTER * torch.finfo(dtype).eps, underflow_allowance(dtype) / QUANTA, distances, generator)
        rounding = saved_tensors_hooks(jitter.pack, jitter.unpack)
        loss, gradients = loss_and_gradients(forward, doubles, reference, rounding, jitter)
        losses.append(loss)
        for name, gradient in gradients.items():
            errors[name] = max(errors[name], max_finite_abs(gradient - reference[name]))
        kinks = [torch.maximum(a, b) for a, b in zip(kinks, jitter.moved, strict=True)]
        selections = [torch.maximum(a, b) for a, b in zip(selections, jitter.reordered, strict=True)]
    jitter_alone = {name: SAFETY * error for name, error in errors.items()}
    in_own_dtypes: Gradients = {}
    with suppress(Exception):  # a function that the dtype does not support, for example
        in_own_dtypes = gradients_of(forward, inputs, reference)
    for name, gradient in in_own_dtypes.items():
        own_error = max_finite_abs(gradient.double() - reference[name])
        # limited, for a much larger error has another cause: a crossed kink, an overflow
        errors[name] = max(errors[name], min(own_error, 16 * errors[name]))
    widened = {name: SAFETY * error for name, error in errors.items()}
    return Noise(widened, jitter_alone, SAFETY * (max(losses) - min(losses)), kinks, distances.distances, selections)


def gradients_of(
    forward: Forward, inputs: Mapping[str, Tensor], names: Iterable[str], *modes: AbstractContextManager[Any]
) -> Gradients:
    r"""Gradients by autograd in the inputs' types; the forward pass runs inside the context managers ``modes``."""
    return loss_and_gradients(forward, inputs, names, *modes)[1]


def loss_and_gradients(
    forward: Forward, inputs: Mapping[str, Tensor], names: Iterable[str], *modes: AbstractContextManager[Any]
) -> tuple[float, Gradients]:
    names = list(names)
    copies = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    leaves = [copies[name].requires_grad_() for name in names]
    with torch.enable_grad():
        with ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            loss = forward(**copies)
        if not loss.requires_grad:
            return loss.item(), {name: torch.zeros_like(copies[name]) for name in names}
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return loss.item(), dict(zip(names, gradients, strict=True))


def max_finite_abs(tensor: Tensor) -> float:
    return max_abs(tensor[tensor.isfinite()])
