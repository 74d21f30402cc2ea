r"""Thousands of networks of the same sizes trained at once, by the equations alone.

A stack of M networks has one more dimension in front: weight (M, out, in), bias (M, out). The equations take it as it
is, and the networks do not interact. This module adds speed: the stack is split into chunks whose values stay in the
processor's cache, and the chunks are spread over its cores.

    >>> from nnmath.equations import SIGMOID
    >>> x, y = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    >>> stack = init_stack((2, 4, 1), seeds=range(100))
    >>> trained = train(stack, x, y, epochs=200, learning_rate=torch.linspace(0.1, 10, 100), momentum=0.9)
    >>> trained.train_cost.shape  # the last epoch is recorded, for 100 networks
    torch.Size([1, 100])
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor

from nnmath.data.batches import Batches
from nnmath.ensemble.chunks import Plan, Schedule, advance, compile_steps, single_threaded, split
from nnmath.equations import SIGMOID, Activation, Layer, number_of_parameters, validate
from nnmath.equations.cost import Reduction
from nnmath.runtime.progress import epochs_bar


@dataclass(frozen=True)
class Trained:
    r"""A stack after training.

    Args:
        layers: w (M, out, in) and b (M, out) of each layer after ``done`` epochs.
        epochs: the K epochs after which the costs were recorded, in ascending order.
        train_cost: C = 1/(2n) Σ (O − y)² of the training samples, shape (K, M).
        val_cost: C of the validation samples, shape (K, M), if there are any.
        done: the number of epochs done, smaller than requested if the training was interrupted.
    """

    layers: list[Layer]
    epochs: list[int]
    train_cost: Tensor
    val_cost: Tensor | None
    done: int

    @property
    def diverged(self) -> Tensor:
        r"""Which networks have non-finite parameters or costs, shape (M,)."""
        finite = [parameter.flatten(1).isfinite().all(1) for layer in self.layers for parameter in layer]
        return ~torch.stack([*finite, *self.train_cost.isfinite()]).all(0)


class Interrupted(KeyboardInterrupt):
    r"""Ctrl-C during training; ``trained`` is the stack so far, all networks after the same epoch."""

    def __init__(self, trained: Trained) -> None:
        super().__init__(f"after {trained.done} epochs")
        self.trained = trained


def init_stack(sizes: Sequence[int], seeds: Iterable[int], dtype: torch.dtype = torch.float32) -> list[Layer]:
    r"""Initial parameters; network i equals :class:`~nnmath.network.Network` after torch.manual_seed(seeds[i]).

    Weights and biases are uniform on (−1/√in, 1/√in).

    Args:
        sizes: the neurons of each layer, the inputs first.
        seeds: M seeds, one for each network.
        dtype: of the parameters; the random numbers depend on it.

    Raises:
        ValueError: there are no seeds, or a size is not a positive integer.

    Source: torch.nn.Linear.

    >>> first, last = init_stack((2, 4, 1), seeds=[0, 1, 2])
    >>> tuple(first.weight.shape), tuple(last.bias.shape)
    ((3, 4, 2), (3, 1))
    """
    number_of_parameters(sizes)  # validates the sizes
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
    return [Layer(*map(torch.stack, zip(*layers, strict=True))) for layers in zip(*networks, strict=True)]


def repeat_network(layers: Sequence[Layer], m: int) -> list[Layer]:
    r"""A stack of ``m`` copies of a single network; the copies share its memory.

    >>> (layer,) = repeat_network([Layer(torch.zeros(4, 2), torch.zeros(4))], 3)
    >>> tuple(layer.weight.shape), tuple(layer.bias.shape)
    ((3, 4, 2), (3, 4))
    """
    return [Layer(weight.expand(m, -1, -1), bias.expand(m, -1)) for weight, bias in layers]


def unstack(layers: Sequence[Layer], i: int) -> list[Layer]:
    r"""Network i of a stack."""
    return [Layer(weight[i], bias[i]) for weight, bias in layers]


@torch.no_grad()
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
    r"""Train the networks of a stack independently: forward, Case 1, Case 2, then v ← m v + g, θ ← θ − η v.

    The training cost after t epochs is taken from the forward pass of the next update; the validation cost takes a
    forward pass of its own.

    A network equals the same network trained alone, or by :mod:`nnmath.training.module`, up to rounding: after a
    hundred epochs to 1e-12 (float64) or 1e-5 (float32) of the largest parameter; the difference grows with the epochs.

    Args:
        layers: w (M, out, in) and b (M, out) of each layer, as from :func:`init_stack`; they are not modified.
        x: the samples in columns, shape (in, n) for all networks, or (M, in, n) for one set per network.
        target: y, shape (out, n) or (M, out, n).
        epochs: the number of epochs, at least 0.
        learning_rate: η ≥ 0, a number or one per network, shape (M,).
        momentum: m in [0, 1), a number or one per network, shape (M,).
        schedule: "constant", or "cosine": η falls to η_min along half a cosine wave over all epochs.
        eta_min: η_min ≥ 0, the final learning rate of the cosine.
        activations: f of each layer.
        reduction: whether the gradient is the "mean" over the samples or their "sum". The recorded costs are always
            means.
        batches: the mini-batches of each epoch, the same for all networks; None takes all samples at once.
        validation: x and y of the validation samples, shaped like the training samples.
        record: the epochs after which to record the costs, 0 being the start; None records the last one only.
        compile: whether torch.compile fuses the equations, which takes some seconds first and is then 3 times as fast.
            Without a C++ compiler, for example, a warning is given and the training continues uncompiled.
        progress: whether to show a progress bar; only if stderr is a terminal.

    Returns:
        The stack and the costs. Diverged networks stay in the stack and do not affect the others.

    Raises:
        ValueError: a number is out of range, or shapes, dtypes or devices do not match.
        Interrupted: Ctrl-C; it holds the stack so far.

    Source: article, "Backpropagation" (B7), with momentum (G4) and cosine annealing (G5).
    """
    validate_stack(layers, x, target, validation)
    if len(activations) != len(layers):
        raise ValueError(f"activations must be one for each of the {len(layers)} layers, got {len(activations)}")
    if schedule not in ("constant", "cosine"):
        raise ValueError(f"schedule must be 'constant' or 'cosine', got {schedule!r}")
    validate.in_interval(0, math.inf, closed="left", eta_min=eta_min)
    if batches is not None and (batches.n != x.shape[-1] or batches.batch_size < 1):
        raise ValueError(f"batches must be of the {x.shape[-1]} samples, got {batches.n=}, {batches.batch_size=}")
    rates = per_network(layers[0].bias, math.inf, learning_rate=learning_rate)
    momenta = per_network(layers[0].bias, 1.0, momentum=momentum)
    if schedule == "cosine" and bool((rates < eta_min).any()):
        raise ValueError(f"eta_min must not exceed the learning rate, got {eta_min=}, {float(rates.min())=}")
    recorded = sorted({epochs} if record is None else set(record))
    for t in (epochs, *recorded):
        if t % 1 or not 0 <= t <= epochs:
            raise ValueError(f"epochs and record must be integers, record from 0 to {epochs=}, got {t}")

    m = len(rates)
    rows = {t: k for k, t in enumerate(recorded)}
    plan = Plan(epochs, schedule, eta_min, tuple(activations), reduction, batches, rows)
    workers = torch.get_num_threads() if x.device.type == "cpu" else 1
    chunks = split(plan, layers, x, target, validation, rates, momenta, workers)
    with single_threaded(workers), epochs_bar(epochs, shown=progress) as advanced_to:
        if compile and epochs:
            compile_steps(plan, chunks[0])
        done, index, interrupted = advance(chunks, epochs, plan.epochs_per_call, workers, advanced_to)
    at = [t for t in recorded if t < done]
    if done in recorded or interrupted:
        at.append(done)
        for chunk in chunks:
            chunk.record(len(at) - 1, chunk.states[index][0])
    final = zip(*(chunk.states[index][0] for chunk in chunks), strict=True)  # each layer of all chunks
    trained = Trained(
        [Layer(*(torch.cat(parts)[:m] for parts in zip(*layer, strict=True))) for layer in final],
        at,
        torch.cat([chunk.train_cost for chunk in chunks], 1)[: len(at), :m],
        None if validation is None else torch.cat([chunk.val_cost for chunk in chunks], 1)[: len(at), :m],
        done,
    )
    if interrupted:
        raise Interrupted(trained)
    return trained


def validate_stack(
    layers: Sequence[Layer], x: Tensor, target: Tensor, validation: tuple[Tensor, Tensor] | None
) -> None:
    r"""Check the shapes, dtypes and devices of a stack and of its samples; raise ValueError if they do not match."""
    if not layers or layers[0].weight.ndim != 3 or len(layers[0].weight) == 0:
        raise ValueError("layers must be a stack of at least one network: weights (M, out, in), biases (M, out)")
    first = layers[0].weight
    m, sizes = len(first), [first.shape[-1], *(bias.shape[-1] for _, bias in layers)]
    expected: dict[str, tuple[Tensor, list[tuple[int, ...]]]] = {}
    for i, ((weight, bias), n_in, n_out) in enumerate(zip(layers, sizes[:-1], sizes[1:], strict=True)):
        expected[f"layers[{i}].weight"] = weight, [(m, n_out, n_in)]
        expected[f"layers[{i}].bias"] = bias, [(m, n_out)]
    for prefix, samples in (("", (x, target)), ("validation ", validation)):
        if samples is not None:
            n = max(1, samples[0].shape[-1])
            expected[f"{prefix}x"] = samples[0], [(sizes[0], n), (m, sizes[0], n)]
            expected[f"{prefix}target"] = samples[1], [(sizes[-1], n), (m, sizes[-1], n)]
    for name, (tensor, shapes) in expected.items():
        if tensor.shape not in shapes:
            alternatives = " or ".join(map(str, shapes))
            raise ValueError(f"{name} must have shape {alternatives}, samples in columns, got {tuple(tensor.shape)}")
        if tensor.dtype != first.dtype or tensor.device != first.device or not first.is_floating_point():
            required = f"floating point, all of the same dtype and device, {first.dtype} on {first.device}"
            raise ValueError(f"{name} must be {required}, got {tensor.dtype} on {tensor.device}")


def per_network(like: Tensor, end: float, **rates: float | Tensor) -> Tensor:
    r"""One number in [0, end) per network, shape (M,), with the dtype and device of ``like``, shape (M, out)."""
    ((name, rate),) = rates.items()
    values = torch.as_tensor(rate, dtype=like.dtype, device=like.device)
    if values.ndim > 1 or values.numel() not in (1, len(like)):
        raise ValueError(f"{name} must be a number or one per network, shape ({len(like)},), got {tuple(values.shape)}")
    invalid = values[~((values >= 0) & (values < end))]
    if len(invalid):
        raise ValueError(f"{name} must lie in [0, {end}), got {float(invalid[0])}")
    return values.expand(len(like)).contiguous()
