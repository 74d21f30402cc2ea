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

from nnmath.data.batches import Batches
from nnmath.equations import Activation, Layer, backward, cosine_annealing, error, forward, sgd_step, zero_velocities
from nnmath.equations.cost import Reduction
from nnmath.runtime.distributed import ALONE, Processes

Schedule = Literal["constant", "cosine"]

CACHE = 3 << 19
r"""Bytes that the layers' values of a chunk may take: what a core keeps close at hand, by measurement."""
MEMORY = 1 << 28
r"""The same where there is no such cache, on a GPU."""
TOGETHER = 4
r"""Epochs at most that one call of a compiled function may comprise: it takes a second or more to compile each."""
POLL_SECONDS = 0.5
r"""Seconds from one look at the keyboard and the clock to the next."""

State = tuple[list[Layer], list[Layer]]
r"""layers and velocities"""


def steps(
    x: Tensor,
    target: Tensor,
    layers: Sequence[Layer],
    velocities: Sequence[Layer],
    learning_rates: Sequence[Tensor],
    momentum: Tensor,
    activations: Sequence[Activation],
    reduction: Reduction,
) -> tuple[list[Tensor], Sequence[Layer], Sequence[Layer]]:
    r"""An update by the equations for each of the learning rates; the output O from before each, too."""
    outputs = []
    for learning_rate in learning_rates:
        values = forward(x, layers, activations)
        gradients = backward(values, layers, activations, target, reduction)
        layers, velocities = sgd_step(layers, velocities, gradients, learning_rate, momentum)
        outputs.append(values[-1])
    return outputs, layers, velocities


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
    steps: Callable[..., tuple[list[Tensor], Sequence[Layer], Sequence[Layer]]] = steps
    epochs_per_call: int = 1
    r"""epochs in one call of ``steps``"""

    def learning_rate(self, t: int, eta: Tensor) -> Tensor:
        r"""η of each network for the updates of epoch t."""
        if self.schedule == "constant":
            return eta
        return self.eta_min + (eta - self.eta_min) * cosine_annealing(t, self.epochs, 1.0)

    def epoch_groups(self, start: int, stop: int, halts: bool) -> Iterator[range]:
        r"""The epochs of each call of ``steps``; ``halts`` says whether what is recorded needs the layers themselves.

        Start and stop are multiples of ``together``, or the last epoch: so the roundings do not depend on them.
        """
        for t in range(start, stop, self.epochs_per_call):
            several = range(t, min(t + self.epochs_per_call, stop))
            if len(several) < self.epochs_per_call or (halts and any(s in self.recorded for s in several[1:])):
                yield from (range(s, s + 1) for s in several)
            else:
                yield several

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
        plan = self.plan
        layers: Sequence[Layer]
        velocities: Sequence[Layer]
        layers, velocities = self.states[last]
        for epochs in plan.epoch_groups(start, stop, halts=self.validation is not None):
            if halt.is_set():
                return
            if epochs[0] in plan.recorded:
                self.record(plan.recorded[epochs[0]], layers, training=plan.batches is not None)
            rates = [plan.learning_rate(t, self.learning_rate) for t in epochs]
            for x, target in plan.batches_of(epochs[0], self.x, self.target):
                outputs, layers, velocities = plan.steps(
                    x, target, layers, velocities, rates, self.momentum, plan.activations, plan.reduction
                )
                if plan.batches is None:
                    for t, output in zip(epochs, outputs, strict=True):
                        if t in plan.recorded:
                            self.train_cost[plan.recorded[t]] = error(output, target)
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

    def results(self, last: int) -> list[Tensor]:
        r"""What training makes of it: the parameters, which are ``states[last]``, and the costs."""
        return [*(parameter for layer in self.states[last][0] for parameter in layer), self.train_cost, self.val_cost]


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
    room = CACHE if x.device.type == "cpu" else MEMORY
    count = -(-m // max(1, room // bytes_per_network(layers, x, validation)))
    size = -(-m // min(m, workers * -(-count // workers)))
    total = -(-m // size) * size

    def full(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor[-1:].expand(total - m, *tensor.shape[1:])])

    def samples(tensor: Tensor) -> Tensor:
        return full(tensor) if tensor.ndim == 3 and total > m else tensor

    def targets(tensor: Tensor) -> Tensor:
        return samples(tensor).expand(total, *tensor.shape[-2:])

    start = [Layer(full(weight), full(bias)) for weight, bias in layers]
    states = [(start if k == 0 else zero_velocities(start), zero_velocities(start)) for k in range(2)]
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
    return whole, [slice_networks(whole, slice(i, i + size)) for i in range(0, total, size)]


def bytes_per_network(layers: Sequence[Layer], x: Tensor, validation: tuple[Tensor, Tensor] | None) -> int:
    r"""Bytes that the values of one network's layers take."""
    neurons = layers[0].weight.shape[-1] + sum(bias.shape[-1] for _, bias in layers)
    n = max(x.shape[-1], 0 if validation is None else validation[0].shape[-1])
    return neurons * n * x.element_size()


def slice_networks(whole: Chunk, cut: slice) -> Chunk:
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


def chunks_of_rank(chunks: Sequence[Chunk], threads: Sequence[int], rank: int) -> dict[int, Chunk]:
    r"""The chunks that fall to one of several processes of so many threads each, with their numbers."""
    begin = sum(threads[:rank])
    turns = range(begin, begin + threads[rank])
    return {i: chunk for i, chunk in enumerate(chunks) if i % sum(threads) in turns}


def exchange(chunks: Sequence[Chunk], mine: dict[int, Chunk], last: int, processes: Processes) -> None:
    r"""Fills in what the other processes have made of their chunks."""
    if processes.size == 1:
        return
    made = {i: [tensor.clone() for tensor in chunk.results(last)] for i, chunk in mine.items()}  # no views
    for other, theirs in enumerate(processes.all_gather(made)):
        if other != processes.rank:
            for i, tensors in theirs.items():
                for tensor, value in zip(chunks[i].results(last), tensors, strict=True):
                    tensor.copy_(value)


def advance(
    chunks: Sequence[Chunk],
    epochs: int,
    epochs_per_call: int,
    workers: int,
    advanced_to: Callable[[int], None],
    processes: Processes = ALONE,
) -> tuple[int, int, bool]:
    r"""Trains all chunks, a stretch of epochs at a time; processes that share a stack are in the same stretch.

    Returns:
        The number of epochs done by all of them, which of their states that is, and whether Ctrl-C was pressed.
    """
    reached, halt = (0, 0), processes.interrupted or Event()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        stretch = 1
        try:
            while reached[0] < epochs:
                (done, last), begun = reached, time.perf_counter()
                until = min(epochs, done + -(-stretch // epochs_per_call) * epochs_per_call)
                for _ in pool.map(lambda chunk, args=(done, until, last, halt): chunk.advance(*args), chunks):
                    pass  # an error of a chunk's is raised here
                seconds, halted = zip(*processes.all_gather((time.perf_counter() - begun, halt.is_set())), strict=True)
                if any(halted):
                    return *reached, True
                reached = until, 1 - last
                advanced_to(until)
                quicker = POLL_SECONDS / max(*seconds, 1e-9)
                stretch = max(1, int(stretch * min(4.0, quicker)))
        except KeyboardInterrupt:
            halt.set()
            return *reached, True
    return *reached, False


@contextmanager
def single_threaded(workers: int) -> Iterator[None]:
    r"""Several workers take a thread each, instead of several threads all of one operation."""
    threads = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def compiled_steps(device: str) -> Callable[..., tuple[list[Tensor], Sequence[Layer], Sequence[Layer]]]:
    r"""The updates under torch.compile; one for all trainings, for it remembers the shapes that it has seen."""
    options: dict[str, Any] = {"cpp_wrapper": True} if device == "cpu" else {}
    return torch.compile(steps, fullgraph=True, dynamic=False, options=options)


def compile_steps(plan: Plan, chunk: Chunk, processes: Processes = ALONE) -> None:
    r"""Lets torch.compile fuse a chunk's updates, for all chunks are alike; without it where that does not work.

    Where it does not work for one of several processes, all go without.

    A call costs as much as some dozens of networks: several epochs of a chunk that is small share one.
    """
    function, (layers, velocities) = compiled_steps(chunk.x.device.type), chunk.states[0]
    if plan.batches is None:
        size = len(chunk.momentum) * bytes_per_network(layers, chunk.x, chunk.validation)
        plan.epochs_per_call = max(1, min(TOGETHER, CACHE // size))
    reason = ""
    try:
        with torch.no_grad():
            for k in {len(epochs) for epochs in plan.epoch_groups(0, plan.epochs, chunk.validation is not None)}:
                rates = [plan.learning_rate(t, chunk.learning_rate) for t in range(k)]
                for x, target in plan.batches_of(0, chunk.x, chunk.target):
                    function(x, target, layers, velocities, rates, chunk.momentum, plan.activations, plan.reduction)
    except Exception as error:  # whatever a compiler, or its absence, comes to
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    reason = next(filter(None, processes.all_gather(reason)), "")
    if not reason:
        plan.steps = function
        return
    plan.epochs_per_call = 1
    if processes.is_rank_zero:
        warnings.warn(f"compile=True: torch.compile does not work here ({reason}); going on without it", stacklevel=3)
