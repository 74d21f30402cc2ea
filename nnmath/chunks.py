r"""A stack of networks in chunks whose values stay in the processor's cache, each worked on by one of its cores."""

from __future__ import annotations

import copy
import functools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

import torch
from torch import Tensor

from nnmath.batches import Batches
from nnmath.equations import Activation, Layer, at_rest, backward, cosine_annealing, descend, error, forward
from nnmath.equations.cost import Reduction

Schedule = Literal["constant", "cosine"]

CACHE = 3 << 19
r"""Bytes that the layers' values of a chunk may take: what a core keeps close at hand, by measurement."""
MEMORY = 1 << 28
r"""The same where there is no such cache, on a GPU."""
GLANCE = 0.2
r"""Seconds from one look at the keyboard and the clock to the next."""

State = tuple[list[Layer], list[Layer]]
r"""layers and velocities"""


def step(
    x: Tensor,
    target: Tensor,
    layers: Sequence[Layer],
    velocities: Sequence[Layer],
    learning_rate: Tensor,
    momentum: Tensor,
    activations: Sequence[Activation],
    reduction: Reduction,
) -> tuple[Tensor, list[Layer], list[Layer]]:
    r"""One update by the equations; the output O from before it, too."""
    values = forward(x, layers, activations)
    gradients = backward(values, layers, activations, target, reduction)
    return values[-1], *descend(layers, velocities, gradients, learning_rate, momentum)


@dataclass
class Plan:
    r"""What is the same for all networks of a stack; see :func:`train`."""

    epochs: int
    schedule: Schedule
    eta_min: float
    activations: tuple[Activation, ...]
    reduction: Reduction
    batches: Batches | None
    recorded: dict[int, int]
    step: Callable[..., tuple[Tensor, list[Layer], list[Layer]]] = step

    def learning_rate(self, t: int, eta: Tensor) -> Tensor:
        r"""η of each network for the updates of epoch t."""
        if self.schedule == "constant":
            return eta
        return self.eta_min + (eta - self.eta_min) * cosine_annealing(t, self.epochs, 1.0)

    def batches_of(self, t: int, x: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        r"""The batches of epoch t."""
        if self.batches is None:
            yield x, target
            return
        order = copy.copy(self.batches)  # the chunks' threads are not in the same epoch
        order.set_epoch(t)
        for samples in order:
            samples = samples.to(x.device)
            yield x[..., samples], target[..., samples]


@dataclass
class Chunk:
    r"""Some networks of a stack, and how far they are: views of the whole stack's tensors, which is a chunk as well."""

    plan: Plan
    x: Tensor
    target: Tensor
    validation: tuple[Tensor, Tensor] | None
    learning_rate: Tensor
    momentum: Tensor
    states: tuple[State, State]
    r"""one is read while the other is written"""
    train_cost: Tensor
    val_cost: Tensor

    @torch.no_grad()
    def advance(self, start: int, stop: int, last: int, halt: Event) -> None:
        r"""Takes ``states[last]`` from epoch start to stop, into the other; the costs are recorded on the way."""
        plan, (layers, velocities) = self.plan, self.states[last]
        for t in range(start, stop):
            if halt.is_set():
                return
            row = plan.recorded.get(t)
            eta = plan.learning_rate(t, self.learning_rate)
            if row is not None:
                self.record(row, layers, training=plan.batches is not None)
            for x, target in plan.batches_of(t, self.x, self.target):
                output, layers, velocities = plan.step(
                    x, target, layers, velocities, eta, self.momentum, plan.activations, plan.reduction
                )
                if row is not None and plan.batches is None:
                    self.train_cost[row] = error(output, target)
        for parts, others in zip((layers, velocities), self.states[1 - last], strict=True):
            for layer, other in zip(parts, others, strict=True):
                other.weight.copy_(layer.weight)
                other.bias.copy_(layer.bias)

    @torch.no_grad()
    def record(self, row: int, layers: Sequence[Layer], training: bool = True) -> None:
        r"""Measures the costs: those of the validation samples and, unless they come for free, of those to train on."""
        if training:
            self.train_cost[row] = error(forward(self.x, layers, self.plan.activations)[-1], self.target)
        if self.validation is not None:
            x, target = self.validation
            self.val_cost[row] = error(forward(x, layers, self.plan.activations)[-1], target)


def split(
    plan: Plan,
    layers: Sequence[Layer],
    x: Tensor,
    target: Tensor,
    validation: tuple[Tensor, Tensor] | None,
    rates: Tensor,
    momenta: Tensor,
    workers: int,
) -> tuple[Chunk, list[Chunk]]:
    r"""The whole stack, and chunks of it of equal size that fit the cache, as many for each worker.

    The last network is there several times, if need be, to fill up the last chunk.
    """
    m = len(rates)
    neurons = layers[0].weight.shape[-1] + sum(bias.shape[-1] for _, bias in layers)
    n = max(x.shape[-1], 0 if validation is None else validation[0].shape[-1])
    room = CACHE if x.device.type == "cpu" else MEMORY
    count = -(-m // max(1, room // (neurons * n * x.element_size())))
    size = -(-m // min(m, workers * -(-count // workers)))
    total = -(-m // size) * size

    def full(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor[-1:].expand(total - m, *tensor.shape[1:])])

    def samples(tensor: Tensor) -> Tensor:
        return full(tensor) if tensor.ndim == 3 and total > m else tensor

    def targets(tensor: Tensor) -> Tensor:
        return samples(tensor).expand(total, *tensor.shape[-2:])

    start = [Layer(full(weight), full(bias)) for weight, bias in layers]
    states = [(start if k == 0 else at_rest(start), at_rest(start)) for k in range(2)]
    costs = torch.full((2, len(plan.recorded) + 1, total), math.nan, dtype=x.dtype, device=x.device)
    whole = Chunk(
        plan,
        samples(x),
        targets(target),
        None if validation is None else (samples(validation[0]), targets(validation[1])),
        full(rates),
        full(momenta),
        (states[0], states[1]),
        *costs,
    )
    return whole, [part(whole, slice(i, i + size)) for i in range(0, total, size)]


def part(whole: Chunk, cut: slice) -> Chunk:
    r"""Some of the networks, as views."""

    def of_stack(tensor: Tensor) -> Tensor:
        return tensor[cut] if tensor.ndim == 3 else tensor

    def of_layers(layers: Sequence[Layer]) -> list[Layer]:
        return [Layer(weight[cut], bias[cut]) for weight, bias in layers]

    (first, v), (second, w) = whole.states
    return Chunk(
        whole.plan,
        of_stack(whole.x),
        whole.target[cut],
        None if whole.validation is None else (of_stack(whole.validation[0]), whole.validation[1][cut]),
        whole.learning_rate[cut],
        whole.momentum[cut],
        ((of_layers(first), of_layers(v)), (of_layers(second), of_layers(w))),
        whole.train_cost[:, cut],
        whole.val_cost[:, cut],
    )


def advance(
    chunks: Sequence[Chunk], epochs: int, workers: int, advanced_to: Callable[[int], None]
) -> tuple[int, int, bool]:
    r"""Trains all chunks, a stretch of epochs at a time.

    Returns:
        The number of epochs done by all of them, which of their states that is, and whether Ctrl-C was pressed.
    """
    reached, halt = (0, 0), Event()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        stretch = 1
        try:
            while reached[0] < epochs:
                (done, last), begun = reached, time.perf_counter()
                until = min(epochs, done + stretch)
                for _ in pool.map(lambda chunk, args=(done, until, last, halt): chunk.advance(*args), chunks):
                    pass  # an error of a chunk's is raised here
                reached = until, 1 - last
                advanced_to(until)
                quicker = GLANCE / max(time.perf_counter() - begun, 1e-9)
                stretch = max(1, int(stretch * min(4.0, quicker)))
        except KeyboardInterrupt:
            halt.set()
            return *reached, True
    return *reached, False


@contextmanager
def one_thread_each(workers: int) -> Iterator[None]:
    r"""Several workers take a thread each, instead of several threads all of one operation."""
    threads = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def fused(device: str) -> Callable[..., tuple[Tensor, list[Layer], list[Layer]]]:
    r"""The update under torch.compile; one for all trainings, for it remembers the shapes that it has seen."""
    options: dict[str, Any] = {"cpp_wrapper": True} if device == "cpu" else {}
    return torch.compile(step, fullgraph=True, dynamic=False, options=options)


def compile_step(plan: Plan, chunk: Chunk) -> None:
    r"""Lets torch.compile fuse a chunk's update, for all chunks are alike; without it where that does not work."""
    function, (layers, velocities) = fused(chunk.x.device.type), chunk.states[0]
    try:
        with torch.no_grad():
            for x, target in plan.batches_of(0, chunk.x, chunk.target):
                rates = chunk.learning_rate, chunk.momentum
                function(x, target, layers, velocities, *rates, plan.activations, plan.reduction)
    except Exception as error:  # whatever a compiler, or its absence, comes to
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        warnings.warn(f"compile=True: torch.compile does not work here ({reason}); going on without it", stacklevel=3)
        return
    plan.step = function
