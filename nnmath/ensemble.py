r"""Thousands of networks of one shape trained at once, by the equations alone.

A stack of M networks is one more dimension in front: weight (M, out, in), bias (M, out). The equations take it as it
is, and no network sees another. What is added here is what makes that fast: the stack is split into chunks whose values
stay in the processor's cache, and the chunks are spread over its cores.

    >>> from nnmath.equations import SIGMOID
    >>> x, y = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    >>> stack = initial((2, 4, 1), seeds=range(100))
    >>> trained = train(stack, x, y, epochs=200, learning_rate=torch.linspace(0.1, 10, 100), momentum=0.9)
    >>> trained.train_cost.shape  # one epoch recorded, the last, of 100 networks
    torch.Size([1, 100])
"""

from __future__ import annotations

import copy
import functools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Event
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from nnmath.batches import Batches
from nnmath.equations import (
    SIGMOID,
    Activation,
    Layer,
    at_rest,
    backward,
    cosine_annealing,
    descend,
    error,
    forward,
    number_of_parameters,
    require,
)
from nnmath.equations.cost import Reduction
from nnmath.progress import epochs_bar

Schedule = Literal["constant", "cosine"]

CACHE = 1 << 21
r"""Bytes that the layers' values of a chunk may take: what a core keeps close at hand, by measurement."""
MEMORY = 1 << 28
r"""The same where there is no such cache, on a GPU."""
GLANCE = 0.2
r"""Seconds from one look at the keyboard and the clock to the next."""


@dataclass(frozen=True)
class Trained:
    r"""A stack after its training."""

    layers: list[Layer]
    r"""w (M, out, in) and b (M, out) of each layer after ``done`` epochs"""
    epochs: list[int]
    r"""K numbers of epochs after which the costs were recorded, in ascending order"""
    train_cost: Tensor
    r"""C = 1/(2n) Σ (O − y)² of the training samples, shape (K, M)"""
    val_cost: Tensor | None
    r"""the same of the validation samples, if there were any"""
    done: int
    r"""the number of epochs done; fewer than asked for if the training was interrupted"""

    @property
    def diverged(self) -> Tensor:
        r"""Which networks have left the finite numbers, shape (M,): their costs are inf, nan or mean nothing."""
        finite = [parameter.flatten(1).isfinite().all(1) for layer in self.layers for parameter in layer]
        return ~torch.stack([*finite, *self.train_cost.isfinite()]).all(0)


class Interrupted(KeyboardInterrupt):
    r"""Ctrl-C during a training; what there was by then is in ``trained``, all networks after the same epoch."""

    def __init__(self, trained: Trained) -> None:
        super().__init__(f"after {trained.done} epochs")
        self.trained = trained


def initial(sizes: Sequence[int], seeds: Iterable[int], dtype: torch.dtype = torch.float32) -> list[Layer]:
    r"""Initial values of a stack: network i is :class:`~nnmath.network.Network` after torch.manual_seed(seeds[i]).

    Weights and biases are uniform on (−1/√in, 1/√in).

    Args:
        sizes: the neurons of each layer, the inputs first.
        seeds: M seeds, one for each network.
        dtype: of the parameters; the numbers drawn depend on it.

    Raises:
        ValueError: there are no seeds, or the sizes are none.

    Source: torch.nn.Linear.

    >>> first, last = initial((2, 4, 1), seeds=[0, 1, 2])
    >>> tuple(first.weight.shape), tuple(last.bias.shape)
    ((3, 4, 2), (3, 1))
    """
    number_of_parameters(sizes)  # refuses sizes that are none
    generator = Generator()
    networks = []
    for seed in seeds:
        generator.manual_seed(seed)
        layers = []
        for n_in, n_out in pairwise(sizes):
            bound = math.sqrt(3) * (math.sqrt(2 / (1 + math.sqrt(5) ** 2)) / math.sqrt(n_in))  # 1/√in, rounded as torch
            weight = torch.empty(n_out, n_in, dtype=dtype).uniform_(-bound, bound, generator=generator)
            bound = 1 / math.sqrt(n_in)
            layers.append(Layer(weight, torch.empty(n_out, dtype=dtype).uniform_(-bound, bound, generator=generator)))
        networks.append(layers)
    if not networks:
        raise ValueError("seeds must have at least one seed, got none")
    return stacked(networks)


def stacked(networks: Sequence[Sequence[Layer]]) -> list[Layer]:
    r"""A stack of single networks of the same sizes."""
    return [Layer(*map(torch.stack, zip(*layers, strict=True))) for layers in zip(*networks, strict=True)]


def member(layers: Sequence[Layer], i: int) -> list[Layer]:
    r"""Network i of a stack, by itself."""
    return [Layer(weight[i], bias[i]) for weight, bias in layers]


def train(
    layers: Sequence[Layer],
    x: Tensor,
    target: Tensor,
    *,
    epochs: int,
    learning_rate: float | Tensor,
    momentum: float | Tensor = 0.0,
    schedule: Schedule = "constant",
    eta_min: float = 0.0,
    activations: Sequence[Activation] = (SIGMOID, SIGMOID),
    reduction: Reduction = "mean",
    batches: Batches | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    record: Iterable[int] | None = None,
    compile: bool = False,
    progress: bool = False,
) -> Trained:
    r"""Trains each network of a stack as if it were alone: forward, Case 1, Case 2, then v ← m v + g, θ ← θ − η v.

    The cost of the training samples after t epochs comes for free, out of the forward pass of the update that follows;
    that of the validation samples takes a forward pass of theirs.

    A network alone differs from itself in a stack by the order in which a product's terms are added, and from one
    trained by :mod:`nnmath.training` by that and by how σ rounds: by 1e-12 (float64) and 1e-5 (float32) of the
    largest parameter after a hundred epochs, until rounding has grown with the epochs.

    Args:
        layers: w (M, out, in) and b (M, out) of each layer, as :func:`initial` makes them; they stay as they are.
        x: the samples in columns, shape (in, n) for all networks, or (M, in, n) for each its own.
        target: y, shape (out, n) or (M, out, n).
        epochs: how many, from 0.
        learning_rate: η ≥ 0, a number or one for each network, shape (M,).
        momentum: m in [0, 1), likewise.
        schedule: "constant", or "cosine": η falls to η_min along half a wave as long as the run.
        eta_min: η_min ≥ 0, where the cosine ends.
        activations: f of each layer.
        reduction: whether the gradient is that of the "mean" over the samples, or of their "sum". The costs that are
            recorded are means in any case.
        batches: the mini-batches of each epoch, the same for all networks; None takes all samples at once.
        validation: x and y of further samples, shaped like those to train on.
        record: numbers of epochs after which to record the costs, 0 being the start; None is the last alone.
        compile: whether to let torch.compile fuse the equations: some seconds at the start, then 3 times as fast. Where
            that is not possible, for want of a C++ compiler say, a warning says so and the training goes on without.
        progress: whether to show a bar; only where stderr is a terminal.

    Returns:
        The stack, and the costs. Networks that diverge are in it too, and disturb no other.

    Raises:
        ValueError: a number is out of range, or shapes, types or devices do not go together.
        Interrupted: by Ctrl-C; it has what there was by then.

    Source: article, "Backpropagation" (B7), with momentum (G4) and cosine annealing (G5).
    """
    m, dtype, device = of_one_kind(layers, x, target, validation)
    if len(activations) != len(layers):
        raise ValueError(f"activations must be one for each of the {len(layers)} layers, got {len(activations)}")
    if schedule not in ("constant", "cosine"):
        raise ValueError(f"schedule must be 'constant' or 'cosine', got {schedule!r}")
    require.between(0, math.inf, below=True, epochs=epochs, eta_min=eta_min)
    rates = of_each(m, dtype, device, math.inf, learning_rate=learning_rate)
    momenta = of_each(m, dtype, device, 1.0, momentum=momentum)
    if schedule == "cosine" and bool((rates < eta_min).any()):
        raise ValueError(f"eta_min must not exceed the learning rate, got {eta_min=}, {float(rates.min())=}")
    recorded = sorted({epochs} if record is None else set(record))
    if recorded and not 0 <= recorded[0] <= recorded[-1] <= epochs:
        raise ValueError(f"record must lie in 0 ... epochs = {epochs}, got {recorded[0]} to {recorded[-1]}")

    plan = Plan(
        epochs, schedule, eta_min, tuple(activations), reduction, batches, {t: k for k, t in enumerate(recorded)}
    )
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    whole, chunks = split(plan, layers, x, target, validation, rates, momenta, workers)
    with one_thread_each(workers), epochs_bar(epochs, shown=progress) as advanced_to:
        if compile and epochs:
            compile_step(plan, chunks[0])
        done, last, interrupted = advance(chunks, epochs, workers, advanced_to)
    at = [*(t for t in recorded if t < done), *([done] if done in recorded or interrupted else [])]
    if at and at[-1] == done:
        for chunk in chunks:
            chunk.record(len(at) - 1, chunk.states[last][0])
    trained = Trained(
        [Layer(weight[:m].clone(), bias[:m].clone()) for weight, bias in whole.states[last][0]],
        at,
        whole.train_cost[: len(at), :m].clone(),
        None if validation is None else whole.val_cost[: len(at), :m].clone(),
        done,
    )
    if interrupted:
        raise Interrupted(trained)
    return trained


# --- what is refused -------------------------------------------------------------------------------------------------


def of_one_kind(
    layers: Sequence[Layer], x: Tensor, target: Tensor, validation: tuple[Tensor, Tensor] | None
) -> tuple[int, torch.dtype, torch.device]:
    r"""The number M of networks, the type and the device of everything.

    Raises:
        ValueError: they are not all the same, or the shapes do not fit.
    """
    if not layers or layers[0].weight.ndim != 3:
        raise ValueError("layers must be a stack: weights of shape (M, out, in), biases of shape (M, out)")
    m, _, n_in = layers[0].weight.shape
    dtype, device = layers[0].weight.dtype, layers[0].weight.device
    if not dtype.is_floating_point:
        raise ValueError(f"layers must be of floating point, got {dtype}")
    n_out = n_in
    for i, (weight, bias) in enumerate(layers):
        if tuple(weight.shape) != (m, weight.shape[1], n_out) or tuple(bias.shape) != tuple(weight.shape[:2]):
            shapes = f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)}"
            raise ValueError(f"layers[{i}] must have weight ({m}, out, {n_out}) and bias ({m}, out), got {shapes}")
        n_out = weight.shape[1]
    tensors = {"x": (x, n_in), "target": (target, n_out)}
    if validation is not None:
        tensors |= {"validation x": (validation[0], n_in), "validation target": (validation[1], n_out)}
    for name, (tensor, rows) in tensors.items():
        if tuple(tensor.shape[:-1]) not in ((rows,), (m, rows)) or tensor.shape[-1] == 0:
            raise ValueError(
                f"{name} must have shape ({rows}, n) or ({m}, {rows}, n), samples in columns, got {tuple(tensor.shape)}"
            )
    for a, b in (("x", "target"), ("validation x", "validation target")):
        if a in tensors and tensors[a][0].shape[-1] != tensors[b][0].shape[-1]:
            numbers = f"{tensors[a][0].shape[-1]} and {tensors[b][0].shape[-1]}"
            raise ValueError(f"{a} and {b} must have as many samples, got {numbers}")
    every = {f"layers[{i}]": parameter for i, layer in enumerate(layers) for parameter in layer}
    for name, tensor in (every | {name: tensor for name, (tensor, _) in tensors.items()}).items():
        if tensor.dtype != dtype or tensor.device != device:
            raise ValueError(f"{name} must be {dtype} on {device} as the layers, got {tensor.dtype} on {tensor.device}")
    return m, dtype, device


def of_each(m: int, dtype: torch.dtype, device: torch.device, end: float, **rates: float | Tensor) -> Tensor:
    r"""A number for each network, shape (M,).

    Raises:
        ValueError: one of them is outside [0, end), or there are not M.
    """
    ((name, rate),) = rates.items()
    values = torch.as_tensor(rate, dtype=dtype, device=device)
    if values.ndim > 1 or values.numel() not in (1, m):
        raise ValueError(f"{name} must be a number or one for each of the {m} networks, got {tuple(values.shape)}")
    wrong = ~((values >= 0) & (values < end)).flatten()
    if bool(wrong.any()):
        raise ValueError(f"{name} must lie in [0, {end}), got {float(values.flatten()[wrong][0])}")
    return values.expand(m).contiguous()


# --- chunks of a stack -----------------------------------------------------------------------------------------------

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
    n = x.shape[-1] if plan.batches is None else min(plan.batches.batch_size, x.shape[-1])
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


# --- running them ----------------------------------------------------------------------------------------------------


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
