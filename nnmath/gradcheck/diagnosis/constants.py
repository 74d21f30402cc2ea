r"""A constant by its name: is −0.125 the minus and 1/n of a batch of 8, or just a number?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from nnmath.gradcheck.faults import Fault


@dataclass(frozen=True)
class Constant:
    r"""What a gradient has been multiplied by.

    Args:
        fault: its name.
        value: the constant.
        meaning: what it is, for a person.
        fix: what to do about it.
    """

    fault: Fault
    value: float
    meaning: str
    fix: str


def common_constants(n: int | None, guesses: Mapping[int, str], learning_rate: float | None) -> Iterator[Constant]:
    r"""The constants that gradients are multiplied by by mistake.

    Args:
        n: the batch size, if it is known.
        guesses: otherwise the numbers that may be it, and why.
        learning_rate: η, if it is known.
    """
    yield Constant(Fault.SIGN, -1, "−1 times the gradient", "turn the sign; a squared error gives output − target")
    yield Constant(
        Fault.FACTOR_2,
        2,
        "twice the gradient",
        "halve it: does the loss have the ½ whose derivative cancels the 2, or was the gradient added up twice?",
    )
    yield Constant(
        Fault.FACTOR_HALF,
        0.5,
        "half the gradient",
        "double it: a 2 is missing, as the one that a square brings, or a ½ is too much",
    )
    yield Constant(Fault.FACTOR, -2, "−2 times the gradient", "turn the sign and halve it")
    yield Constant(Fault.FACTOR, -0.5, "−½ times the gradient", "turn the sign and double it")
    if learning_rate is not None and learning_rate != 1:
        for sign in (1, -1):
            yield Constant(
                Fault.FACTOR,
                sign * learning_rate,
                f"{'−' if sign < 0 else ''}η times the gradient, η = {learning_rate:g} being the learning rate",
                "leave the learning rate to the update",
            )
    sizes = {n: "the batch size"} if n is not None else dict(guesses)
    for size, why in sizes.items():
        if size > 1:
            yield from _of_batch(size, why)


def _of_batch(n: int, why: str) -> Iterator[Constant]:
    too_large = f"divide by n = {n}: the loss averages over the samples, the gradient sums"
    too_small = f"multiply by n = {n}: the gradient has been divided by it once too often"
    yield Constant(Fault.FACTOR_N, n, f"n times the gradient, n = {n} being {why}", too_large)
    yield Constant(Fault.FACTOR_N, 1 / n, f"1/n of the gradient, n = {n} being {why}", too_small)
    yield Constant(
        Fault.SIGN_AND_FACTOR_N, -n, f"−n times the gradient, n = {n} being {why}", f"turn the sign, and {too_large}"
    )
    yield Constant(
        Fault.SIGN_AND_FACTOR_N, -1 / n, f"−1/n of the gradient, n = {n} being {why}", f"turn the sign, and {too_small}"
    )
    if n == 2:
        return  # to divide by n − 1 = 1 is not to divide
    for c, text in (
        (n / (n - 1), f"n/(n − 1) times the gradient, n = {n} being {why}: divided by n − 1 instead of n"),
        ((n - 1) / n, f"(n − 1)/n times the gradient, n = {n} being {why}: divided by n instead of n − 1"),
    ):
        yield Constant(Fault.BESSEL, c, text, f"multiply by {1 / c:.6g}: divide by the number that the loss divides by")


def sizes_in(inputs: Mapping[str, Tensor], gradients: Mapping[str, object]) -> dict[int, str]:
    r"""The sizes that may be the batch's: what most of the data has for its first dimension, or for its last.

    The data are the inputs without a gradient.
    """
    data = {name: tensor for name, tensor in inputs.items() if name not in gradients and tensor.ndim}
    found: dict[int, str] = {}
    for which, dim in (("first", 0), ("last", -1)):
        sizes: dict[int, list[str]] = {}
        for name, tensor in data.items():
            sizes.setdefault(tensor.shape[dim], []).append(name)
        most = max((len(names) for names in sizes.values()), default=0)
        if dim == 0 or most > 1:
            for size, names in sizes.items():
                if len(names) == most:
                    found.setdefault(size, f"the {which} dimension of {' and '.join(names)}")
    return found


def described(c: float, inputs: Mapping[str, Tensor]) -> str:
    r"""A constant without a name, and what it may come from."""
    for name, tensor in inputs.items():
        for size in tensor.shape:
            for value, text in ((size, f"{size}"), (math.sqrt(size), f"√{size}")):
                for power, spelled in ((value, text), (1 / value, f"1/{text}")):
                    if size > 1 and math.isclose(abs(c), power, rel_tol=1e-7):
                        minus = "−" if c < 0 else ""
                        return f"{c:.6g} times the gradient, perhaps {minus}{spelled}: {size} is a dimension of {name}"
    return f"{c:.6g} times the gradient"
