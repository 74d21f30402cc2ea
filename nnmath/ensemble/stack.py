r"""Thousands of networks of one shape trained at once, by the equations alone.

A stack of M networks is one more dimension in front: weight (M, out, in), bias (M, out). The equations take it as it
is, and no network sees another. What is added here is what makes that fast: the stack is split into chunks whose values
stay in the processor's cache, and the chunks are spread over its cores.

    >>> from nnmath.equations import SIGMOID
    >>> x, y = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    >>> stack = init_stack((2, 4, 1), seeds=range(100))
    >>> trained = train(stack, x, y, epochs=200, learning_rate=torch.linspace(0.1, 10, 100), momentum=0.9)
    >>> trained.train_cost.shape  # one epoch recorded, the last, of 100 networks
    torch.Size([1, 100])
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor

from nnmath.data.batches import Batches
from nnmath.ensemble.chunks import (
    Plan,
    Schedule,
    advance,
    chunks_of_rank,
    compile_steps,
    exchange,
    single_threaded,
    split,
)
from nnmath.equations import (
    SIGMOID,
    Activation,
    Layer,
    number_of_parameters,
    validate,
)
from nnmath.equations.cost import Reduction
from nnmath.runtime.distributed import ALONE, Processes
from nnmath.runtime.progress import epochs_bar


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


def init_stack(sizes: Sequence[int], seeds: Iterable[int], dtype: torch.dtype = torch.float32) -> list[Layer]:
    r"""Initial values of a stack: network i is :class:`~nnmath.network.Network` after torch.manual_seed(seeds[i]).

    Weights and biases are uniform on (−1/√in, 1/√in).

    Args:
        sizes: the neurons of each layer, the inputs first.
        seeds: M seeds, one for each network.
        dtype: of the parameters; the numbers drawn depend on it.

    Raises:
        ValueError: there are no seeds, or the sizes are none.

    Source: torch.nn.Linear.

    >>> first, last = init_stack((2, 4, 1), seeds=[0, 1, 2])
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


def repeat_network(layers: Sequence[Layer], m: int) -> list[Layer]:
    r"""A stack of ``m`` copies of a single network; the copies share its memory.

    >>> (layer,) = repeat_network([Layer(torch.zeros(4, 2), torch.zeros(4))], 3)
    >>> tuple(layer.weight.shape), tuple(layer.bias.shape)
    ((3, 4, 2), (3, 4))
    """
    return [Layer(weight.expand(m, -1, -1), bias.expand(m, -1)) for weight, bias in layers]


def unstack(layers: Sequence[Layer], i: int) -> list[Layer]:
    r"""Network i of a stack, by itself."""
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
    processes: Processes = ALONE,
) -> Trained:
    r"""Trains each network of a stack as if it were alone: forward, Case 1, Case 2, then v ← m v + g, θ ← θ − η v.

    The cost of the training samples after t epochs comes for free, out of the forward pass of the update that follows;
    that of the validation samples takes a forward pass of theirs.

    A network alone differs from itself in a stack by the order in which a product's terms are added, and from one
    trained by :mod:`nnmath.training.module` by that and by how σ rounds: by 1e-12 (float64) and 1e-5 (float32) of the
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
        processes: those that share the stack, from :func:`nnmath.runtime.distributed.meet`; each must call this with
            the same arguments, and each gets all of it. To the last bit it is what one process of as many threads in
            all would get, since the chunks are the same; with another number of threads they are others, and so may be
            the last bits, for a matrix product's depend on where in its chunk a network is.

    Returns:
        The stack, and the costs. Networks that diverge are in it too, and disturb no other.

    Raises:
        ValueError: a number is out of range, or shapes, types or devices do not go together.
        Interrupted: by Ctrl-C; it has what there was by then.
        Lost: another process has ended.

    Source: article, "Backpropagation" (B7), with momentum (G4) and cosine annealing (G5).
    """
    m, dtype, device = validate_stack(layers, x, target, validation)
    if len(activations) != len(layers):
        raise ValueError(f"activations must be one for each of the {len(layers)} layers, got {len(activations)}")
    if schedule not in ("constant", "cosine"):
        raise ValueError(f"schedule must be 'constant' or 'cosine', got {schedule!r}")
    validate.in_interval(0, math.inf, closed="left", epochs=epochs, eta_min=eta_min)
    if batches is not None and (batches.n != x.shape[-1] or batches.batch_size < 1):
        raise ValueError(f"batches must be of the {x.shape[-1]} samples, got {batches.n=}, {batches.batch_size=}")
    rates = per_network(m, dtype, device, math.inf, learning_rate=learning_rate)
    momenta = per_network(m, dtype, device, 1.0, momentum=momentum)
    if schedule == "cosine" and bool((rates < eta_min).any()):
        raise ValueError(f"eta_min must not exceed the learning rate, got {eta_min=}, {float(rates.min())=}")
    recorded = sorted({epochs} if record is None else set(record))
    fractions = [t for t in (epochs, *recorded) if t % 1]
    if fractions:
        raise ValueError(f"epochs and record must be whole numbers, got {fractions[0]}")
    if recorded and not 0 <= recorded[0] <= recorded[-1] <= epochs:
        raise ValueError(f"record must lie in 0 ... epochs = {epochs}, got {recorded[0]} to {recorded[-1]}")

    plan = Plan(
        epochs, schedule, eta_min, tuple(activations), reduction, batches, {t: k for k, t in enumerate(recorded)}
    )
    threads = processes.all_gather(torch.get_num_threads() if device.type == "cpu" else 1)
    workers = sum(threads)
    whole, chunks = split(plan, layers, x, target, validation, rates, momenta, workers)
    mine = chunks_of_rank(chunks, threads, processes.rank)
    with single_threaded(workers), epochs_bar(epochs, shown=progress) as advanced_to:
        if compile and epochs:
            compile_steps(plan, chunks[0], processes)
        done, last, interrupted = advance(
            list(mine.values()), epochs, plan.epochs_per_call, threads[processes.rank], advanced_to, processes
        )
    at = [*(t for t in recorded if t < done), *([done] if done in recorded or interrupted else [])]
    if at and at[-1] == done:
        for chunk in mine.values():
            chunk.record(len(at) - 1, chunk.states[last][0])
    exchange(chunks, mine, last, processes)
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


def validate_stack(
    layers: Sequence[Layer], x: Tensor, target: Tensor, validation: tuple[Tensor, Tensor] | None
) -> tuple[int, torch.dtype, torch.device]:
    r"""The number M of networks, the type and the device of everything.

    Raises:
        ValueError: they are not all the same, or the shapes do not fit.
    """
    if not layers or layers[0].weight.ndim != 3:
        raise ValueError("layers must be a stack: weights of shape (M, out, in), biases of shape (M, out)")
    m, _, n_in = layers[0].weight.shape
    if m == 0:
        raise ValueError("layers must be a stack of at least one network, got none")
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


def per_network(m: int, dtype: torch.dtype, device: torch.device, end: float, **rates: float | Tensor) -> Tensor:
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
