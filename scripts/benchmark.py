r"""Speed of the hand-written gradients compared with torch's: python scripts/benchmark.py."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import resource
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from nnmath.ensemble import init_stack, train
from nnmath.equations import SIGMOID, Layer, cosine_annealing, training_step, zero_velocities
from nnmath.network import HalfMSELoss, Network
from nnmath.runtime.cli import Parser, exit_on_error


def benchmark(
    rounds: PositiveInt = 15,
    steps: PositiveInt = 200,
    epochs: PositiveInt = 200,
    networks: PositiveInt = 1000,
    max_networks: PositiveInt = 100_000,
) -> None:
    r"""Measure the medians of several interleaved rounds on the CPU; stacks use all cores, everything else one.

    Args:
        rounds: measurements of each competitor, in turn
        steps: training steps per measurement of the steps
        epochs: epochs per measurement of the Lightning runs, which take a third of the rounds
        networks: networks in the stack that is compared
        max_networks: networks in the largest stack that is measured
    """
    title = f"an epoch of a network, 2-4-1 on 266 rows, float32, of {networks} in a stack"
    competitors = stack_competitors(networks, steps)
    seconds = medians({name: run for name, (run, _) in competitors.items()}, max(1, rounds // 3))
    print_table(title, "µs", {name: seconds[name] / updates for name, (_, updates) in competitors.items()}, 1e6)
    measure_stack_sizes(max_networks, steps, max(1, rounds // 5))

    torch.set_num_threads(1)
    print_table("a step of 2-4-1 on 266 rows, float32", "µs", medians(step_competitors(steps), rounds), 1e6 / steps)
    runs, rounds = lightning_competitors(epochs), max(1, rounds // 3)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # Lightning's advice on data loaders, and its deprecations
    print_table("an epoch of Lightning that logs the same curves", "ms", medians(runs, rounds), 1e3 / epochs)


def print_table(title: str, unit: str, seconds: Mapping[str, float], scale: float) -> None:
    r"""Print the scaled seconds and their ratios to the first."""
    table = Table(title, unit, "ratio")
    first = next(iter(seconds.values()))
    for name, value in seconds.items():
        table.add_row(name, f"{scale * value:.3g}", f"{value / first:.2f}")
    Console().print(table)


def medians(competitors: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    r"""Median seconds of a call of each competitor, measured in turn after one warm-up call."""
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for round_ in range(rounds + 1):
        for name, run in competitors.items():
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def stack_competitors(networks: int, steps: int) -> dict[str, tuple[Callable[[], object], int]]:
    r"""Training of many networks: name ↦ a run, and its number of epochs times networks."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 266, generator=generator), torch.randint(2, (1, 266), generator=generator).float()
    stack, rates = init_stack((2, 4, 1), range(networks)), torch.linspace(0.01, 1, networks)
    epochs = 2 * steps
    threads = torch.get_num_threads()

    def train_by_numpy() -> None:
        (w_i, b_i), (w_o, b_o) = [(weight[0].numpy().T, bias[0].numpy()) for weight, bias in stack]
        rows, target, eta = x.numpy().T.copy(), y.numpy().T.copy(), np.float32(0.01)
        for _ in range(steps):
            h = 1 / (1 + np.exp(-(rows @ w_i + b_i)))
            output = 1 / (1 + np.exp(-(h @ w_o + b_o)))
            delta_o = (output - target) * output * (1 - output)
            delta_i = delta_o @ w_o.T * h * (1 - h)
            w_o, b_o = w_o - eta * (h.T @ delta_o), b_o - eta * delta_o.sum(0)
            w_i, b_i = w_i - eta * (rows.T @ delta_i), b_i - eta * delta_i.sum(0)

    def train_by_autograd() -> None:
        torch.set_num_threads(1)
        network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        rows, target = x.mT.contiguous(), y.mT.contiguous()
        for _ in range(steps):
            optimizer.zero_grad()
            (F.mse_loss(network(rows), target) / 2).backward()
            optimizer.step()
        torch.set_num_threads(threads)

    def stack_run(compile: bool) -> Callable[[], object]:
        return lambda: train(stack, x, y, epochs=epochs, learning_rate=rates, momentum=0.9, compile=compile)

    competitors: dict[str, tuple[Callable[[], object], int]] = {
        "the notebook's procedure in NumPy, a network at a time": (train_by_numpy, steps),
        "autograd and torch's SGD, a network at a time": (train_by_autograd, steps),
        "the stack": (stack_run(compile=False), networks * epochs),
    }
    if shutil.which("g++"):
        competitors["the stack, torch.compile"] = stack_run(compile=True), networks * epochs
    if importlib.util.find_spec("jax"):
        competitors["jax.vmap and lax.scan"] = jax_run(stack, x, y, rates, epochs), networks * epochs
    return competitors


def jax_run(stack: Any, x: Tensor, y: Tensor, rates: Tensor, epochs: int) -> Callable[[], object]:
    r"""The same training in JAX, jitted: vmap over the networks, scan over the epochs."""
    import jax
    import jax.numpy as jnp

    rows, target = jnp.asarray(x.numpy().T), jnp.asarray(y.numpy().T)

    def loss(parameters: Any) -> Any:
        (w_i, b_i), (w_o, b_o) = parameters
        h = jax.nn.sigmoid(rows @ w_i.T + b_i)
        return ((jax.nn.sigmoid(h @ w_o.T + b_o) - target) ** 2).mean() / 2

    def train_one(parameters: Any, eta: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            theta, v = state
            v = jax.tree.map(lambda v, g: 0.9 * v + g, v, jax.grad(loss)(theta))
            return (jax.tree.map(lambda theta, v: theta - eta * v, theta, v), v), None

        return jax.lax.scan(step, (parameters, jax.tree.map(jnp.zeros_like, parameters)), length=epochs)[0][0]

    run = jax.jit(jax.vmap(train_one))
    parameters = [(jnp.asarray(weight.numpy()), jnp.asarray(bias.numpy())) for weight, bias in stack]
    eta = jnp.asarray(rates.numpy())
    return lambda: jax.block_until_ready(run(parameters, eta))


def measure_stack_sizes(max_networks: int, steps: int, rounds: int) -> None:
    r"""Print the time per network in stacks of 100, 1,000 and so on, and the peak memory."""
    x, y = torch.randn(2, 266), torch.randint(2, (1, 266)).float()
    compile = shutil.which("g++") is not None
    sizes = [10**k for k in range(2, 9) if 10**k <= max_networks]
    epochs = {m: max(24, 2000 * steps // m) for m in sizes}
    stacks = {m: init_stack((2, 4, 1), range(m)) for m in sizes}

    def run(m: int) -> Callable[[], object]:
        return lambda: train(stacks[m], x, y, epochs=epochs[m], learning_rate=0.1, momentum=0.9, compile=compile)

    seconds = medians({f"{m:,}": run(m) for m in sizes}, rounds)
    per_update = {f"{m:,}": seconds[f"{m:,}"] / (m * epochs[m]) for m in sizes}
    print_table(f"networks in a stack{', torch.compile' * compile}", "µs an epoch of a network", per_update, 1e6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(f"peak memory of the process so far, torch included: {peak:.0f} MiB")


def step_competitors(steps: int) -> dict[str, Callable[[], None]]:
    r"""Training steps from the same start on the same data: forward, backward, momentum, cosine."""
    x, y = torch.randn(266, 2), torch.randint(2, (266, 1)).float()
    start = Network()
    rate, momentum, T = 0.1, 0.9, 1_000_000

    def torch_run(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
        network.load_state_dict(start.state_dict())
        optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T)

        def run() -> None:
            for _ in range(steps):
                optimizer.zero_grad()
                loss(network(x), y).backward()
                optimizer.step()
                scheduler.step()

        return run

    def manual_run(step: Callable[..., Any], rate_of: Callable[[float], Any]) -> Callable[[], None]:
        layers = [Layer(linear.weight.detach().clone(), linear.bias.detach().clone()) for linear in start.linears]
        state = [layers, zero_velocities(layers)]
        epoch = itertools.count()

        def run() -> None:
            layers, velocities = state
            for t in itertools.islice(epoch, steps):
                layers, velocities = step(layers, velocities, rate_of(cosine_annealing(t, T, rate)))
            state[:] = layers, velocities

        return run

    columns, targets = x.mT.contiguous(), y.mT.contiguous()

    def step(layers: list[Layer], velocities: list[Layer], eta: Any) -> tuple[list[Layer], list[Layer]]:
        return training_step(columns, targets, layers, velocities, (SIGMOID, SIGMOID), eta, momentum)

    plain = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
    competitors = {
        "autograd, torch's SGD and CosineAnnealingLR": torch_run(plain, lambda output, y: F.mse_loss(output, y) / 2),
        "the Module's Functions, the same optimizer": torch_run(Network(), HalfMSELoss()),
        "the bare equations": manual_run(step, float),
    }
    if shutil.which("g++"):
        compiled = torch.compile(step, fullgraph=True, options={"cpp_wrapper": True})
        competitors["the bare equations, torch.compile"] = manual_run(compiled, torch.scalar_tensor)
    else:
        print("torch.compile needs a C++ compiler (g++), which was not found; skipping it")
    return competitors


def lightning_competitors(epochs: int) -> dict[str, Callable[[], None]]:
    r"""Lightning runs that log the same curves, one as in Lightning's documentation and one as in train.py."""
    import lightning as L
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader
    from torchmetrics import MetricCollection
    from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

    from nnmath.data.datamodule import DataModule
    from nnmath.data.datasets import load
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

    return {
        "textbook: DataLoader over rows, a self.log per curve": lambda: fit(Textbook(), *loaders),
        "train.py's: whole batches, one call per epoch": lambda: fit(
            TrainingModule(), data, callbacks=[GradientNorm(), GradientDiscrepancy(10)]
        ),
    }


def main() -> None:
    parser = Parser("Compare the speed of the hand-written gradients, the stacks and the Lightning run with torch's.")
    parser.add_function_arguments(benchmark, as_group=False)
    with exit_on_error():
        benchmark(**parser.parse_args())


if __name__ == "__main__":
    main()
