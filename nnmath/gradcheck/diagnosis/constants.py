r"""Constant factors that a gradient may wrongly have: is −0.125 the sign and 1/n of a batch of 8, or any number?"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.graph import Graph


class Constant(NamedTuple):
    r"""A constant factor that a gradient may wrongly have."""

    fault: Fault
    value: float
    meaning: str  # a human-readable name
    fix: str


FOR_ANY_BATCH = (
    Constant(Fault.SIGN, -1, "−1 times the gradient", "flip the sign; a squared error gives output − target"),
    Constant(Fault.FACTOR_2, 2, "twice the gradient", "halve it: a ½ in the loss cancels the 2, or it was added twice"),
    Constant(Fault.FACTOR_HALF, 0.5, "half the gradient", "double it: the 2 of a square is missing, or a ½ is extra"),
    Constant(Fault.FACTOR, -2, "−2 times the gradient", "flip the sign and halve it"),
    Constant(Fault.FACTOR, -0.5, "−½ times the gradient", "flip the sign and double it"),
)


def common_constants(batch_sizes: Mapping[int, str], learning_rate: float | None) -> Iterator[Constant]:
    r"""The constants to try, given the candidate batch sizes, with why they are candidates, and η if it is known."""
    yield from FOR_ANY_BATCH
    if learning_rate is not None and learning_rate != 1:
        for sign, c in (("", learning_rate), ("−", -learning_rate)):
            meaning = f"{sign}η times the gradient, with the learning rate η = {learning_rate:g}"
            yield Constant(Fault.FACTOR, c, meaning, "leave the learning rate to the update")
    for n, why in batch_sizes.items():
        if n > 1:
            yield from batch_constants(n, why)


def batch_constants(n: int, why: str) -> Iterator[Constant]:
    r"""The constants of an average over n samples that is missing, extra, or over n − 1."""
    where = f"with n = {n}, {why}"
    too_large = f"divide by n = {n}: the loss averages over the samples, the gradient sums"
    too_small = f"multiply by n = {n}: the gradient was divided by n once too often"
    yield Constant(Fault.FACTOR_N, n, f"n times the gradient, {where}", too_large)
    yield Constant(Fault.FACTOR_N, 1 / n, f"1/n of the gradient, {where}", too_small)
    yield Constant(Fault.SIGN_AND_FACTOR_N, -n, f"−n times the gradient, {where}", f"flip the sign, and {too_large}")
    yield Constant(Fault.SIGN_AND_FACTOR_N, -1 / n, f"−1/n of the gradient, {where}", f"flip the sign, and {too_small}")
    if n > 2:  # n − 1 = 1 is no divisor
        for ratio, mistake, c in (
            ("n/(n − 1)", "n − 1 instead of n", n / (n - 1)),
            ("(n − 1)/n", "n instead of n − 1", (n - 1) / n),
        ):
            fix = f"multiply by {1 / c:.6g}: divide by the number that the loss divides by"
            yield Constant(Fault.BESSEL, c, f"{ratio} times the gradient, {where}: divided by {mistake}", fix)


AVERAGES = frozenset(("mean", "mseloss", "l1loss", "smoothl1loss", "huberloss", "nllloss", "std", "var"))


def batch_sizes_in_graph(graph: Graph) -> dict[int, str]:
    r"""Candidate batch sizes, and why: what the forward pass averages over or divides by."""
    sizes: dict[int, str] = {}
    for node in graph.nodes:
        name, value, before = graph.function(node), graph.value(node), graph.input(node)
        before = getattr(node, "_saved_self", None) if before is None else before
        if before is not None and before.ndim and (name in AVERAGES or name.startswith("binarycrossentropy")):
            for n in (before.numel() // (1 if value is None else max(1, value.numel())), before.shape[0]):
                sizes.setdefault(n, f"the number that {graph.describe(node)} averages over")
        divisor = getattr(node, "_saved_other", None) if name == "div" else None
        if isinstance(divisor, Tensor) and divisor.ndim == 0 and not divisor.requires_grad and divisor % 1 == 0:
            sizes.setdefault(int(divisor), f"the number that {graph.describe(node)} divides by")
    return sizes


def batch_sizes_in_data(data: Mapping[str, Tensor]) -> dict[int, str]:
    r"""Candidate batch sizes, and why: the most frequent first dimension of the data, and the most frequent last."""
    sizes: dict[int, str] = {}
    for position, dim in (("first", 0), ("last", -1)):
        names_of: dict[int, list[str]] = {}
        for name, tensor in data.items():
            if tensor.ndim:
                names_of.setdefault(tensor.shape[dim], []).append(name)
        most = max((len(names) for names in names_of.values()), default=0)
        if dim == 0 or most > 1:
            for size, names in names_of.items():
                if len(names) == most:
                    sizes.setdefault(size, f"the {position} dimension of {' and '.join(names)}")
    return sizes


def describe_constant(c: float, inputs: Mapping[str, Tensor]) -> str:
    r"""A human-readable name for any other constant, with the dimension of an input that it may come from."""
    for name, tensor in inputs.items():
        for size in tensor.shape:
            for power, text in ((1, f"{size}"), (-1, f"1/{size}"), (0.5, f"√{size}"), (-0.5, f"1/√{size}")):
                if size > 1 and math.isclose(abs(c), size**power, rel_tol=1e-7):
                    minus = "−" if c < 0 else ""
                    return f"{c:.6g} times the gradient, perhaps {minus}{text}: {size} is a dimension of {name}"
    return f"{c:.6g} times the gradient"
