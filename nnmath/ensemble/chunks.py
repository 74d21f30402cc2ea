r"""A stack of networks in chunks whose values fit the processor's cache, trained by one thread each."""

import copy
import functools
import math
import signal
import threading
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
from torch.utils._pytree import tree_leaves

from nnmath.data.batches import Batches
from nnmath.equations import Activation, Layer, backward, cosine_annealing, error, forward, sgd_step, zero_velocities
from nnmath.equations.cost import Reduction

Schedule = Literal["constant", "cosine"]

CPU_CHUNK_BYTES = 3 << 21  # for the layers' values of a chunk: what the caches hold, measured
GPU_CHUNK_BYTES = 1 << 28  # only memory limits it
MAX_EPOCHS_PER_CALL = 4  # of a compiled function; compiling each of them takes a second or more
POLL_SECONDS = 0.5  # aimed at for a block of epochs, after which the progress bar advances

State = tuple[Sequence[Layer], Sequence[Layer]]  # layers and velocities
Steps = Callable[..., tuple[list[Tensor], State]]  # the type of sgd_steps


def sgd_steps(
    x: Tensor,
    target: Tensor,
    state: State,
    learning_rates: Sequence[Tensor],
    momentum: Tensor,
    activations: Sequence[Activation],
    reduction: Reduction,
) -> tuple[list[Tensor], State]:
    r"""One update for each learning rate; returns the output O before each update, and the new state."""
    outputs = []
    for learning_rate in learning_rates:
        layers, velocities = state
        values = forward(x, layers, activations)
        gradients = backward(values, layers, activations, target, reduction)
        state = sgd_step(layers, velocities, gradients, learning_rate, momentum)
        outputs.append(values[-1])
    return outputs, state


@dataclass
class Plan:
    r"""What all networks of a stack have in common; the arguments of :func:`~nnmath.ensemble.stack.train`."""

    epochs: int
    schedule: Schedule
    eta_min: float
    activations: tuple[Activation, ...]
    reduction: Reduction
    batches: Batches | None
    recorded: dict[int, int]  # epoch ↦ row of the cost table
    steps: Steps = sgd_steps
    epochs_per_call: int = 1  # of ``steps``

    def learning_rate(self, t: int, eta: Tensor) -> Tensor:
        r"""η of each network in epoch t."""
        if self.schedule == "constant":
            return eta
        return self.eta_min + (eta - self.eta_min) * cosine_annealing(t, self.epochs, 1.0)

    def epoch_groups(self, start: int, stop: int, needs_layers: bool) -> Iterator[range]:
        r"""The epochs of each call of ``steps``; ``needs_layers`` says whether recording a cost needs the layers.

        Start and stop are multiples of ``epochs_per_call``, or the last epoch, so rounding does not depend on them.
        """
        k = self.epochs_per_call
        for t in range(start, stop, k):
            if t + k > stop or (needs_layers and any(s in self.recorded for s in range(t + 1, t + k))):
                yield from (range(s, s + 1) for s in range(t, min(t + k, stop)))
            else:
                yield range(t, t + k)

    def batches_of(self, t: int, x: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        r"""The batches of epoch t."""
        if self.batches is None:
            yield x, target
            return
        batches = copy.copy(self.batches)  # the threads are at different epochs
        batches.set_epoch(t)
        for rows in batches:
            rows = rows.to(x.device)
            yield x[..., rows], target[..., rows]


@dataclass
class Chunk:
    r"""Some networks of a stack: their samples, rates, states and costs."""

    plan: Plan
    x: Tensor
    target: Tensor
    validation: tuple[Tensor, Tensor] | None
    learning_rate: Tensor
    momentum: Tensor
    states: tuple[State, State]  # one is read while the other is written; the first is the initial state
    train_cost: Tensor
    val_cost: Tensor

    @torch.no_grad()
    def advance(self, source: int, start: int, stop: int, cancelled: Event) -> None:
        r"""Train ``states[source]`` from epoch start to stop, into the other buffer, and record the costs.

        Once cancelled, it returns early and leaves the other buffer incomplete.
        """
        plan, state = self.plan, self.states[source]
        for epochs in plan.epoch_groups(start, stop, needs_layers=self.validation is not None):
            if cancelled.is_set():
                return
            if epochs[0] in plan.recorded:
                self.record(plan.recorded[epochs[0]], state[0], training=plan.batches is not None)
            rates = [plan.learning_rate(t, self.learning_rate) for t in epochs]
            for x, target in plan.batches_of(epochs[0], self.x, self.target):
                outputs, state = plan.steps(x, target, state, rates, self.momentum, plan.activations, plan.reduction)
                for t, output in zip(epochs, outputs, strict=True):
                    if plan.batches is None and t in plan.recorded:
                        self.train_cost[plan.recorded[t]] = error(output, target)
        # Keeping the new tensors instead would fragment the heap: they lie among the large temporaries.
        for buffer, result in zip(tree_leaves(self.states[1 - source]), tree_leaves(state), strict=True):
            buffer.copy_(result)

    @torch.no_grad()
    def record(self, row: int, layers: Sequence[Layer], training: bool = True) -> None:
        r"""Record the validation cost and, if ``training``, the training cost, which an update gives for free."""
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
) -> list[Chunk]:
    r"""Chunks of equal size that fit the cache, the same number for each worker.

    The last network is repeated to fill up the last chunk.
    """
    m = len(rates)
    max_bytes = CPU_CHUNK_BYTES if x.device.type == "cpu" else GPU_CHUNK_BYTES
    count = -(-m // max(1, max_bytes // bytes_per_network(layers, x, validation)))
    size = -(-m // min(m, workers * -(-count // workers)))

    def chunk(networks: Tensor) -> Chunk:
        def samples(inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            inputs, target = (tensor[networks] if tensor.ndim == 3 else tensor for tensor in (inputs, target))
            return inputs, target.expand(size, *target.shape[-2:])

        members = [Layer(weight[networks], bias[networks]) for weight, bias in layers]
        costs = torch.full((2, len(plan.recorded) + 1, size), math.nan, dtype=x.dtype, device=x.device)
        return Chunk(
            plan,
            *samples(x, target),
            None if validation is None else samples(*validation),
            rates[networks],
            momenta[networks],
            ((members, zero_velocities(members)), (zero_velocities(members), zero_velocities(members))),
            *costs,
        )

    return [chunk(torch.arange(i, i + size, device=x.device).clamp(max=m - 1)) for i in range(0, m, size)]


def bytes_per_network(layers: Sequence[Layer], x: Tensor, validation: tuple[Tensor, Tensor] | None) -> int:
    r"""Bytes that the values of one network's layers take."""
    neurons = layers[0].weight.shape[-1] + sum(bias.shape[-1] for _, bias in layers)
    n = max(x.shape[-1], 0 if validation is None else validation[0].shape[-1])
    return neurons * n * x.element_size()


def advance(
    chunks: Sequence[Chunk], epochs: int, epochs_per_call: int, workers: int, advanced_to: Callable[[int], None]
) -> tuple[int, int, bool]:
    r"""Train all chunks, a block of epochs at a time.

    Returns:
        The number of epochs done by all chunks, the index of their states after it, and whether Ctrl-C ended the
        training.
    """
    done, index, block, cancelled = 0, 0, 1, Event()
    with cancel_on_ctrl_c(cancelled), ThreadPoolExecutor(workers, "", torch.set_num_threads, (1,)) as pool:
        while done < epochs:
            begin, stop = time.perf_counter(), min(epochs, done + -(-block // epochs_per_call) * epochs_per_call)
            arguments = index, done, stop, cancelled
            list(pool.map(lambda chunk, args=arguments: chunk.advance(*args), chunks))  # raises a chunk's error
            if cancelled.is_set():
                break
            done, index = stop, 1 - index
            advanced_to(stop)
            block = max(1, int(block * min(4.0, POLL_SECONDS / max(time.perf_counter() - begin, 1e-9))))
    return done, index, cancelled.is_set()


@contextmanager
def cancel_on_ctrl_c(cancelled: Event) -> Iterator[None]:
    r"""Set the event on Ctrl-C. A KeyboardInterrupt could leave a lock of the thread pool locked, and hang."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: cancelled.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def single_threaded(workers: int) -> Iterator[None]:
    r"""Run each operation on one thread while several workers share the cores."""
    threads = torch.get_num_threads()
    if workers > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def compiled_steps(device: str) -> Steps:
    r""":func:`sgd_steps` under torch.compile, which is kept since it remembers the shapes that it has compiled."""
    options: dict[str, Any] = {"cpp_wrapper": True} if device == "cpu" else {}
    # fullgraph=True counts compiled frames for all threads together and fails now and then when several threads call it
    return torch.compile(sgd_steps, dynamic=False, options=options)


def compile_steps(plan: Plan, chunk: Chunk) -> None:
    r"""Make the plan use compiled steps, compiled on one chunk since all have the same shapes; warn if that fails.

    A call costs as much as some dozens of networks, so several epochs of a small chunk share one.
    """
    steps = compiled_steps(chunk.x.device.type)
    if plan.batches is None:
        size = len(chunk.momentum) * bytes_per_network(chunk.states[0][0], chunk.x, chunk.validation)
        plan.epochs_per_call = max(1, min(MAX_EPOCHS_PER_CALL, CPU_CHUNK_BYTES // size))
    try:
        with torch.no_grad():
            for k in {len(epochs) for epochs in plan.epoch_groups(0, plan.epochs, chunk.validation is not None)}:
                rates = [plan.learning_rate(t, chunk.learning_rate) for t in range(k)]
                for x, target in plan.batches_of(0, chunk.x, chunk.target):
                    steps(x, target, chunk.states[0], rates, chunk.momentum, plan.activations, plan.reduction)
        plan.steps = steps
    except Exception as error:  # a missing or broken compiler raises all kinds
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        plan.epochs_per_call = 1
        warnings.warn(f"compile=True: torch.compile failed ({reason}); training without it", stacklevel=3)
