r"""Speed of the hand-written gradients beside torch's, NumPy's and JAX's: python scripts/benchmark.py."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse.typing import PositiveInt

from nnmath.runtime.cli import Parser, announce_loading, exit_on_error
from nnmath.runtime.errors import UsageError


class Run(NamedTuple):
    r"""What is measured: a call, and how many updates of a network, or epochs, it makes."""

    call: Callable[[], object]
    updates: int


def benchmark(
    rounds: PositiveInt = 15,
    steps: PositiveInt = 200,
    epochs: PositiveInt = 200,
    networks: PositiveInt = 1000,
    max_networks: PositiveInt = 100_000,
    threads: PositiveInt = 1,
    json: str = "",
) -> None:
    r"""Measure the competitors in turn on the CPU, each on the same cores.

    Args:
        rounds: measurements of each competitor; of the slow ones a third
        steps: training steps per measurement of one network, and of a stack
        epochs: epochs per measurement of the Lightning runs
        networks: networks in the stack that is compared
        max_networks: networks in the largest stack that is measured
        threads: cores for each competitor
        json: a file for the tables
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads > len(cores):
            raise UsageError(f"threads must be at most {len(cores)}, the number of cores, got {threads}")
        os.sched_setaffinity(0, cores[:threads])  # NumPy's, torch's and JAX's threads alike
    if json:
        write_json(Path(json), [])  # an error now, not after all measurements
    announce_loading("PyTorch")
    import torch

    torch.set_num_threads(threads)
    where, few = f"2-4-1 on 266 rows, float32, cores: {threads}", max(1, rounds // 3)
    tables = [
        print_table(f"an update of one network, µs ({where})", measure(network_runs(steps), rounds), 1e6),
        print_table(
            f"an update of a network of {networks:,}, µs ({where})", measure(stack_runs(networks, steps), few), 1e6
        ),
        print_table(
            f"the same for stacks of other sizes, µs ({where})", measure(size_runs(max_networks, steps), few), 1e6
        ),
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(f"peak memory of the process so far, torch included: {peak:.0f} MiB")
    runs = lightning_runs(epochs)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # Lightning's advice on data loaders, and its deprecations
    tables.append(print_table("an epoch of Lightning that logs the same curves, ms", measure(runs, few), 1e3))
    if json:
        write_json(Path(json), tables)


class Times(NamedTuple):
    r"""Seconds of the first call, which compiles, and of an update in each of the others."""

    first: float
    updates: list[float]


def measure(runs: Mapping[str, Run], rounds: int) -> dict[str, Times]:
    r"""The times of each competitor, measured in turn after one call of each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run.call()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(all_[0], [s / runs[name].updates for s in all_[1:]]) for name, all_ in seconds.items()}


def print_table(title: str, times: Mapping[str, Times], scale: float) -> dict[str, Any]:
    r"""Print the medians, their spread and their ratios to the first; return them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title, "median", "from", "to", "ratio", "first call, s")
    rows, reference = [], statistics.median(next(iter(times.values())).updates)
    for name, (first, updates) in times.items():
        median = statistics.median(updates)
        numbers = [*(scale * value for value in (median, min(updates), max(updates))), median / reference, first]
        table.add_row(name, *(f"{number:#.3g}".rstrip(".") for number in numbers))
        columns = ("median", "from", "to", "ratio", "first_call_seconds")
        rows.append({"name": name, **dict(zip(columns, numbers, strict=True))})
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return {"title": title, "rows": rows}


def write_json(path: Path, tables: list[dict[str, Any]]) -> None:
    try:
        path.write_text(json.dumps(tables, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"json: {path} cannot be written: {error.strerror}") from error


def problem() -> tuple[Any, Any]:
    r"""Samples in columns, and their targets."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 266, generator=generator), torch.randint(2, (1, 266), generator=generator).float()


RATE, MOMENTUM = 0.1, 0.9


def network_runs(steps: int) -> dict[str, Run]:
    r"""Training steps of one network from the same start: forward, backward, momentum."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F

    from nnmath.ensemble import init_stack, train
    from nnmath.ensemble.stack import unstack
    from nnmath.equations import SIGMOID, training_step, zero_velocities
    from nnmath.network import HalfMSELoss, Network

    x, y = problem()
    stack, steps_of_stack = init_stack((2, 4, 1), [0]), 10 * steps
    start = unstack(stack, 0)

    def bare_equations() -> None:
        layers, velocities = start, zero_velocities(start)
        for _ in range(steps):
            layers, velocities = training_step(x, y, layers, velocities, (SIGMOID, SIGMOID), RATE, MOMENTUM)

    def stack_of_one(compile: bool) -> Callable[[], object]:
        return lambda: train(stack, x, y, epochs=steps_of_stack, learning_rate=RATE, momentum=MOMENTUM, compile=compile)

    def by_numpy() -> None:
        (w_i, b_i), (w_o, b_o) = [(layer.weight.numpy(), layer.bias.numpy()[:, None]) for layer in start]
        theta, columns, target, n = [w_i, b_i, w_o, b_o], x.numpy(), y.numpy(), np.float32(x.shape[1])
        velocity, eta, m = [np.zeros_like(p) for p in theta], np.float32(RATE), np.float32(MOMENTUM)
        for _ in range(steps):
            w_i, b_i, w_o, b_o = theta
            h = 1 / (1 + np.exp(-(w_i @ columns + b_i)))
            output = 1 / (1 + np.exp(-(w_o @ h + b_o)))
            delta_o = (output - target) / n * output * (1 - output)
            delta_i = w_o.T @ delta_o * h * (1 - h)
            gradient = [
                delta_i @ columns.T,
                delta_i.sum(1, keepdims=True),
                delta_o @ h.T,
                delta_o.sum(1, keepdims=True),
            ]
            velocity = [m * v + g for v, g in zip(velocity, gradient, strict=True)]
            theta = [p - eta * v for p, v in zip(theta, velocity, strict=True)]

    def by_torch(network: nn.Module, loss: Callable[..., Any], **options: bool) -> Run:
        optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM, **options)
        rows, target = x.mT.contiguous(), y.mT.contiguous()

        def run() -> None:
            for _ in range(steps):
                optimizer.zero_grad()
                loss(network(rows), target).backward()
                optimizer.step()

        return Run(run, steps)

    def textbook(**options: bool) -> Run:
        network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
        return by_torch(network, lambda output, y: F.mse_loss(output, y) / 2, **options)

    runs = {
        "the stack, of one network": Run(stack_of_one(compile=False), steps_of_stack),
        "the equations in a loop": Run(bare_equations, steps),
        "NumPy, float32": Run(by_numpy, steps),
        "autograd and SGD(foreach=True)": textbook(foreach=True),
        "autograd and SGD(fused=True)": textbook(fused=True),
        "the Module's Functions and SGD": by_torch(Network(), HalfMSELoss()),
    }
    if can_compile():
        runs = {"the stack, of one network, torch.compile": Run(stack_of_one(compile=True), steps_of_stack), **runs}
    if importlib.util.find_spec("jax"):
        for name, by_hand in (("gradients by hand", True), ("jax.grad", False)):
            runs[f"JAX: lax.scan, {name}"] = Run(jax_run(stack, x, y, RATE, steps_of_stack, by_hand), steps_of_stack)
    return runs


def stack_runs(networks: int, steps: int) -> dict[str, Run]:
    r"""Training of many networks on the same data, each with a learning rate of its own."""
    import torch
    from torch.nn import functional as F

    from nnmath.ensemble import init_stack, train

    x, y = problem()
    stack, rates = init_stack((2, 4, 1), range(networks)), torch.linspace(0.01, 1, networks)
    updates = networks * steps

    def stack_run(compile: bool) -> Callable[[], object]:
        return lambda: train(stack, x, y, epochs=steps, learning_rate=rates, momentum=MOMENTUM, compile=compile)

    def loss(theta: list[Any]) -> Any:
        w_i, b_i, w_o, b_o = theta
        h = torch.sigmoid(w_i @ x + b_i[:, None])
        return F.mse_loss(torch.sigmoid(w_o @ h + b_o[:, None]), y) / 2

    def step(theta: list[Any], velocity: list[Any], eta: list[Any]) -> tuple[list[Any], list[Any]]:
        gradient = torch.func.vmap(torch.func.grad(loss))(theta)
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, gradient, strict=True)]
        return [p - rate * v for p, v, rate in zip(theta, velocity, eta, strict=True)], velocity

    def by_torch_func(step: Callable[..., Any]) -> Callable[[], None]:
        start = [parameter for layer in stack for parameter in layer]
        eta = [rates.view(-1, *[1] * (p.ndim - 1)) for p in start]

        def run() -> None:
            theta, velocity = start, [torch.zeros_like(p) for p in start]
            for _ in range(steps):
                theta, velocity = step(theta, velocity, eta)

        return run

    runs = {"the stack": Run(stack_run(compile=False), updates)}
    if can_compile():
        runs = {"the stack, torch.compile": Run(stack_run(compile=True), updates), **runs}
        compiled = torch.compile(step, dynamic=False)
        runs["torch.func: vmap of grad, torch.compile"] = Run(by_torch_func(compiled), updates)
    if importlib.util.find_spec("jax"):
        for name, by_hand in (("gradients by hand", True), ("jax.grad", False)):
            runs[f"JAX: vmap, lax.scan, {name}"] = Run(jax_run(stack, x, y, rates, steps, by_hand), updates)
    return runs


def jax_run(stack: Any, x: Any, y: Any, rates: Any, steps: int, by_hand: bool) -> Callable[[], object]:
    r"""The same training in JAX, samples in columns, jitted: vmap over the networks, scan over the steps."""
    import jax
    import jax.numpy as jnp

    columns, target = jnp.asarray(x.numpy()), jnp.asarray(y.numpy())

    def loss(theta: Any) -> Any:
        (w_i, b_i), (w_o, b_o) = theta
        h = jax.nn.sigmoid(w_i @ columns + b_i[:, None])
        return ((jax.nn.sigmoid(w_o @ h + b_o[:, None]) - target) ** 2).mean() / 2

    def hand_written(theta: Any) -> Any:
        (w_i, b_i), (w_o, b_o) = theta
        h = jax.nn.sigmoid(w_i @ columns + b_i[:, None])
        output = jax.nn.sigmoid(w_o @ h + b_o[:, None])
        delta_o = (output - target) * output * (1 - output) / target.size
        delta_i = w_o.T @ delta_o * h * (1 - h)
        return [(delta_i @ columns.T, delta_i.sum(1)), (delta_o @ h.T, delta_o.sum(1))]

    gradient = hand_written if by_hand else jax.grad(loss)

    def train_one(theta: Any, eta: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            theta, v = state
            v = jax.tree.map(lambda v, g: MOMENTUM * v + g, v, gradient(theta))
            return (jax.tree.map(lambda theta, v: theta - eta * v, theta, v), v), None

        return jax.lax.scan(step, (theta, jax.tree.map(jnp.zeros_like, theta)), length=steps)[0][0]

    theta = [(jnp.asarray(weight.numpy()), jnp.asarray(bias.numpy())) for weight, bias in stack]
    if isinstance(rates, float):  # one network needs no vmap
        one = jax.tree.map(lambda p: p[0], theta)
        run = jax.jit(train_one)
        return lambda: jax.block_until_ready(run(one, rates))
    runs, eta = jax.jit(jax.vmap(train_one)), jnp.asarray(rates.numpy())
    return lambda: jax.block_until_ready(runs(theta, eta))


def size_runs(max_networks: int, steps: int) -> dict[str, Run]:
    r"""Stacks of 100, 1,000 and so on."""
    from nnmath.ensemble import init_stack, train

    x, y = problem()

    def run(m: int) -> Run:
        stack, epochs = init_stack((2, 4, 1), range(m)), max(24, 1000 * steps // m)
        options: dict[str, Any] = {"learning_rate": RATE, "momentum": MOMENTUM, "compile": can_compile()}
        return Run(lambda: train(stack, x, y, epochs=epochs, **options), m * epochs)

    sizes = [10**k for k in range(2, 9) if 10**k <= max_networks]
    return {f"{m:,} networks{', torch.compile' * can_compile()}": run(m) for m in sizes}


def can_compile() -> bool:
    return shutil.which("g++") is not None


def lightning_runs(epochs: int) -> dict[str, Run]:
    r"""Lightning runs that log the same curves, one as in Lightning's documentation and one as in train.py."""
    import lightning as L
    import torch
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch import Tensor, nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader
    from torchmetrics import MetricCollection
    from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

    from nnmath.data.datamodule import DataModule
    from nnmath.data.datasets import load
    from nnmath.network import Network
    from nnmath.training.module import TrainingModule
    from nnmath.training.tensorboard.curves import GradientDiscrepancy, GradientNorm, gradient_discrepancy

    class Textbook(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = Network(backward="autograd")
            kinds = {"accuracy": BinaryAccuracy, "auroc": BinaryAUROC, "f1": BinaryF1Score}
            self.metrics = MetricCollection({name: kind() for name, kind in kinds.items()})

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            loss = F.mse_loss(self.network(x), y) / 2
            self.log("loss/train", loss, on_step=False, on_epoch=True)
            self.log(
                "training/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], on_step=False, on_epoch=True
            )
            if self.current_epoch % 10 == 0:
                discrepancy = gradient_discrepancy(self.network, batch)
                self.log("training/gradient_discrepancy", discrepancy, on_step=False, on_epoch=True)
            return loss

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            for i, layer in enumerate(self.network.linears, start=1):
                norm = nn.utils.get_total_norm([p.grad for p in layer.parameters() if p.grad is not None])
                self.log(f"training/gradient_norm/layer{i}", norm, on_step=False, on_epoch=True)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            output = self.network(x)
            self.log("loss/val", F.mse_loss(output, y) / 2)
            self.metrics.update(output, y.int())
            for name, metric in self.metrics.items():
                self.log(f"metrics/{name}", metric)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.3, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)]

    data = DataModule(load("breast_cancer"))
    loaders = [DataLoader(part, batch_size=len(part)) for part in (data.train, data.val)]
    folder = tempfile.TemporaryDirectory()

    def fit(module: L.LightningModule, *data: Any, **options: Any) -> None:
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=TensorBoardLogger(folder.name, name="", default_hp_metric=False),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            **options,
        )
        trainer.fit(module, *data)

    def train_script() -> None:
        fit(TrainingModule(), data, callbacks=[GradientNorm(), GradientDiscrepancy(10)])

    return {
        "train.py's: whole batches, one call per epoch": Run(train_script, epochs),
        "textbook: DataLoader over rows, a self.log per curve": Run(lambda: fit(Textbook(), *loaders), epochs),
    }


def main() -> None:
    parser = Parser("Compare the speed of the hand-written gradients with torch's, NumPy's and JAX's.")
    parser.add_function_arguments(benchmark, as_group=False)
    with exit_on_error():
        benchmark(**parser.parse_args())


if __name__ == "__main__":
    main()
