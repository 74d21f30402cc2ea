r"""Constant factors that a gradient may wrongly have, with their names: −0.125 may be −1/n for a batch of n = 8."""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import product
from statistics import multimode
from typing import NamedTuple

from torch import Tensor

from nnmath.gradcheck.faults import Fault
from nnmath.gradcheck.graph.graph import Graph


class Constant(NamedTuple):
    fault: Fault
    value: float
    meaning: str  # a human-readable description
    fix: str


FOR_ANY_BATCH = (
    Constant(Fault.SIGN, -1, "−1 times the gradient", "flip the sign; a squared error gives output − target"),
    Constant(Fault.FACTOR_2, 2, "twice the gradient", "halve it: a ½ in the loss cancels the 2, or it was added twice"),
    Constant(Fault.FACTOR_HALF, 0.5, "half the gradient", "double it: the 2 of a square is missing, or a ½ is extra"),
    Constant(Fault.FACTOR, -2, "−2 times the gradient", "flip the sign and halve it"),
    Constant(Fault.FACTOR, -0.5, "−½ times the gradient", "flip the sign and double it"),
)


def common_constants(
    batch_sizes: Mapping[int, str], learning_rate: float | None, divisors: Mapping[float, str] | None = None
) -> Iterator[Constant]:
    r"""The constants to try: for any batch, for the learning rate, for each n in batch_sizes (n ↦ its meaning), and for
    each other number by which the forward pass divides (number ↦ where).
    """
    yield from FOR_ANY_BATCH
    for d, where in (divisors or {}).items():
        yield Constant(Fault.FACTOR, d, f"{d:g} times the gradient, the divisor in {where}", f"divide by {d:g} too")
        yield Constant(
            Fault.FACTOR, 1 / d, f"1/{d:g} of the gradient, with the divisor in {where}", f"multiply by {d:g}"
        )
    if learning_rate is not None and learning_rate != 1:
        for sign, c in (("", learning_rate), ("−", -learning_rate)):
            meaning = f"{sign}η times the gradient, with the learning rate η = {learning_rate:g}"
            yield Constant(Fault.FACTOR, c, meaning, "leave the learning rate to the update")
    for n, why in batch_sizes.items():
        if n < 2:
            continue
        where = f"with n = {n}, {why}"
        too_large = f"divide by n = {n}: the loss averages over the samples, the gradient sums"
        too_small = f"multiply by n = {n}: the gradient was divided by n once too often"
        yield Constant(Fault.FACTOR_N, n, f"n times the gradient, {where}", too_large)
        yield Constant(Fault.FACTOR_N, 1 / n, f"1/n of the gradient, {where}", too_small)
        fault = Fault.SIGN_AND_FACTOR_N
        yield Constant(fault, -n, f"−n times the gradient, {where}", f"flip the sign, and {too_large}")
        yield Constant(fault, -1 / n, f"−1/n of the gradient, {where}", f"flip the sign, and {too_small}")
        if n > 2:  # for n = 2 these are the factors 2 and ½
            for ratio, mistake, c in (
                ("n/(n − 1)", "n − 1 instead of n", n / (n - 1)),
                ("(n − 1)/n", "n instead of n − 1", (n - 1) / n),
            ):
                fix = f"multiply by {1 / c:.6g}: divide by the number that the loss divides by"
                yield Constant(Fault.BESSEL, c, f"{ratio} times the gradient, {where}: divided by {mistake}", fix)


AVERAGES = {"mean", "mseloss", "l1loss", "smoothl1loss", "huberloss", "nllloss", "std", "var"}
AVERAGES |= {"binarycrossentropy", "binarycrossentropywithlogits"}


def batch_sizes_in_graph(graph: Graph) -> dict[int, str]:
    r"""Candidate batch sizes, and why: what the forward pass averages over or divides by."""
    sizes: dict[int, str] = {}
    for node in graph.nodes:
        name, value, before = graph.function(node), graph.value(node), graph.input(node)
        before = getattr(node, "_saved_self", None) if before is None else before
        if before is not None and before.ndim and name in AVERAGES:
            for n in (before.numel() // (1 if value is None else max(1, value.numel())), before.shape[0]):
                sizes.setdefault(n, f"the number that {graph.describe(node)} averages over")
    dimensions = {size for tensor in graph.inputs.values() for size in (*tensor.shape, tensor.numel())}
    for divisor, where in divisors_in_graph(graph, averages=True).items():
        if divisor in dimensions:
            sizes.setdefault(int(divisor), f"the number that {where} divides by")
    return sizes


def divisors_in_graph(graph: Graph, averages: bool = False) -> dict[float, str]:
    r"""The numbers by which the forward pass divides, and where; only those that may be averages, if asked for.

    An average divides a sum, or rows by their number.
    """
    divisors: dict[float, str] = {}
    for node in graph.nodes:
        divisor = getattr(node, "_saved_other", None) if graph.function(node) == "div" else None
        value = graph.value(node)
        if (
            isinstance(divisor, Tensor)
            and divisor.ndim == 0
            and not divisor.requires_grad
            and abs(divisor) not in (0, 1)
            and (not averages or value is None or value.numel() == 1 or value.shape[0] == divisor)
        ):
            divisors.setdefault(float(divisor), graph.describe(node))
    return divisors


def batch_sizes_in_data(data: Mapping[str, Tensor]) -> dict[int, str]:
    r"""Candidate batch sizes, and why: the most frequent first dimension of the data, and the most frequent last."""
    sizes: dict[int, str] = {}
    for position, dim in (("first", 0), ("last", -1)):
        size_of = {name: tensor.shape[dim] for name, tensor in data.items() if tensor.ndim}
        for size in multimode(size_of.values()):
            names = [name for name in size_of if size_of[name] == size]
            if dim == 0 or len(names) > 1:
                sizes.setdefault(size, f"the {position} dimension of {' and '.join(names)}")
    return sizes


MAX_PLAIN = 10  # a ratio of whole numbers up to this one needs no further evidence


def counts(inputs: Mapping[str, Tensor]) -> dict[int, str]:
    r"""Whole numbers that a gradient may wrongly be multiplied or divided by, and what they count."""
    found: dict[int, str] = {}
    for name, tensor in inputs.items():
        for size in tensor.shape:
            found.setdefault(size, f"{size} is a dimension of {name}")
    for name, tensor in inputs.items():
        nonzero = int(tensor.count_nonzero())
        if 1 < nonzero < tensor.numel() and bool(((tensor == 0) | (tensor == 1)).all()):
            found.setdefault(nonzero, f"{name} has {nonzero} ones")
        found.setdefault(tensor.numel(), f"{name} has {tensor.numel()} entries")
    return {count: what for count, what in found.items() if count > 1}


def name_ratio(c: float, inputs: Mapping[str, Tensor]) -> str:
    r"""A constant as a ratio of counts, or of small whole numbers; empty if it is neither."""
    known = {1: "", **counts(inputs)}
    sign = "−" if c < 0 else ""
    for root, power in (("", 1.0), ("√", 0.5)):
        for (p, top), (q, bottom) in sorted(product(known.items(), known.items()), key=lambda pair: bool(pair[0][1])):
            is_square = math.isqrt(p * q) ** 2 == p * q  # its root is a ratio without a root
            if (
                math.gcd(p, q) == 1
                and not (root and is_square)
                and math.isclose(abs(c), (p / q) ** power, rel_tol=1e-7)
            ):
                text = f"{root}{p}" if q == 1 else f"{root}({p}/{q})" if root and p > 1 else f"{p}/{root}{q}"
                return f"{sign}{text}: {' and '.join(filter(None, (top, bottom)))}"
    fraction = Fraction(abs(c)).limit_denominator(MAX_PLAIN)
    is_plain = 0 < fraction.numerator <= MAX_PLAIN and math.isclose(abs(c), fraction, rel_tol=1e-7)
    return f"{sign}{fraction}" if is_plain else ""


def describe_constant(c: float, inputs: Mapping[str, Tensor]) -> str:
    r"""A human-readable name for any other constant, with the counts that it may come from."""
    ratio = name_ratio(c, inputs)
    if ":" in ratio:
        return f"{c:.6g} times the gradient, perhaps {ratio}"
    return f"{c:.6g}{f' ({ratio})' if '/' in ratio else ''} times the gradient"
