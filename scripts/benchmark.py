r"""How fast the hand-written gradients are, side by side with torch's: python scripts/benchmark.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt

from nnmath.runtime.cli import Parser

if TYPE_CHECKING:
    from torch import Tensor


def benchmark(
    rounds: PositiveInt = 15,
    steps: PositiveInt = 200,
    epochs: PositiveInt = 200,
    networks: PositiveInt = 1000,
    most: PositiveInt = 100_000,
) -> None:
    r"""Measures, interleaved and as the median of several rounds, on the CPU: stacks on all cores, the rest on one.

    Args:
        rounds: how often each competitor is measured, in turn
        steps: training steps a measurement of the steps takes
        epochs: epochs a measurement of the Lightning runs takes, a third as often
        networks: networks of the stack that is compared
        most: networks of the largest stack that is measured
    """
    import logging
    import warnings

    import torch

    stacks = stacks_by(networks, steps)
    seconds = medians({name: run for name, (run, _) in stacks.items()}, max(1, rounds // 3))
    per_update = {name: seconds[name] / work for name, (_, work) in stacks.items()}
    show(f"an epoch of a network, 2-4-1 on 266 rows, float32, of {networks} in a stack", "µs", 1e6, per_update)
    sizes_of_stacks(most, steps, max(1, rounds // 5))

    torch.set_num_threads(1)
    show("a step of 2-4-1 on 266 rows, float32", "µs", 1e6 / steps, medians(steps_by(steps), rounds))
    competitors, rounds = epochs_by(epochs), max(1, rounds // 3)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # Lightning's advice about data loaders and its own deprecations
    show("an epoch of Lightning that logs the same curves", "ms", 1e3 / epochs, medians(competitors, rounds))


def show(what: str, unit: str, scale: float, seconds: dict[str, float]) -> None:
    r"""A table of the times and of their ratios to the first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(what, unit, "ratio")
    first = next(iter(seconds.values()))
    for name, value in seconds.items():
        table.add_row(name, f"{scale * value:.3g}", f"{value / first:.2f}")
    Console().print(table)


def medians(competitors: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    r"""Median seconds of a call of each, after a call to warm up, measured in turn."""
    from statistics import median
    from time import perf_counter

    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for round_ in range(rounds + 1):
        for name, run in competitors.items():
            start = perf_counter()
            run()
            if round_:
                seconds[name].append(perf_counter() - start)
    return {name: median(measured) for name, measured in seconds.items()}


def stacks_by(networks: int, steps: int) -> dict[str, tuple[Callable[[], object], int]]:
    r"""Ways to train many networks: name ↦ one round of it, and how many epochs of a network that is."""
    import importlib.util
    import shutil

    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional as F

    from nnmath.ensemble.stack import init_stack, train

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 266, generator=generator), torch.randint(2, (1, 266), generator=generator).float()
    stack, rates = init_stack((2, 4, 1), range(networks)), torch.linspace(0.01, 1, networks)
    epochs = 2 * steps
    threads = torch.get_num_threads()

    def by_numpy() -> None:
        (w_i, b_i), (w_o, b_o) = [(weight[0].numpy().T, bias[0].numpy()) for weight, bias in stack]
        rows, target, eta = x.numpy().T.copy(), y.numpy().T.copy(), np.float32(0.01)
        for _ in range(steps):
            h = 1 / (1 + np.exp(-(rows @ w_i + b_i)))
            output = 1 / (1 + np.exp(-(h @ w_o + b_o)))
            delta_o = (output - target) * output * (1 - output)
            delta_i = delta_o @ w_o.T * h * (1 - h)
            w_o, b_o = w_o - eta * (h.T @ delta_o), b_o - eta * delta_o.sum(0)
            w_i, b_i = w_i - eta * (rows.T @ delta_i), b_i - eta * delta_i.sum(0)

    def by_autograd() -> None:
        torch.set_num_threads(1)
        network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        rows, target = x.mT.contiguous(), y.mT.contiguous()
        for _ in range(steps):
            optimizer.zero_grad()
            (F.mse_loss(network(rows), target) / 2).backward()
            optimizer.step()
        torch.set_num_threads(threads)

    def by_stack(compile: bool) -> Callable[[], object]:
        return lambda: train(stack, x, y, epochs=epochs, learning_rate=rates, momentum=0.9, compile=compile)

    competitors: dict[str, tuple[Callable[[], object], int]] = {
        "the notebook's procedure in NumPy, a network at a time": (by_numpy, steps),
        "autograd and torch's SGD, a network at a time": (by_autograd, steps),
        "the stack": (by_stack(compile=False), networks * epochs),
    }
    if shutil.which("g++"):
        competitors["the stack, torch.compile"] = by_stack(compile=True), networks * epochs
    if importlib.util.find_spec("jax"):
        competitors["jax.vmap and lax.scan"] = by_jax(stack, x, y, rates, epochs), networks * epochs
    return competitors


def by_jax(stack: Any, x: Tensor, y: Tensor, rates: Tensor, epochs: int) -> Callable[[], object]:
    r"""The same training by JAX, jitted: vmap over the networks, scan over the epochs."""
    import jax
    import jax.numpy as jnp

    rows, target = jnp.asarray(x.numpy().T), jnp.asarray(y.numpy().T)

    def loss(parameters: Any) -> Any:
        (w_i, b_i), (w_o, b_o) = parameters
        h = jax.nn.sigmoid(rows @ w_i.T + b_i)
        return ((jax.nn.sigmoid(h @ w_o.T + b_o) - target) ** 2).mean() / 2

    def trained(parameters: Any, eta: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            theta, v = state
            v = jax.tree.map(lambda v, g: 0.9 * v + g, v, jax.grad(loss)(theta))
            return (jax.tree.map(lambda theta, v: theta - eta * v, theta, v), v), None

        return jax.lax.scan(step, (parameters, jax.tree.map(jnp.zeros_like, parameters)), length=epochs)[0][0]

    run = jax.jit(jax.vmap(trained))
    parameters = [(jnp.asarray(weight.numpy()), jnp.asarray(bias.numpy())) for weight, bias in stack]
    eta = jnp.asarray(rates.numpy())
    return lambda: jax.block_until_ready(run(parameters, eta))


def sizes_of_stacks(most: int, steps: int, rounds: int) -> None:
    r"""A table of what a network costs in stacks of 100, 1,000 and so on, and of the memory that they take."""
    import resource
    import shutil
    import sys

    import torch
    from rich.console import Console
    from rich.table import Table

    from nnmath.ensemble.stack import init_stack, train

    x, y = torch.randn(2, 266), torch.randint(2, (1, 266)).float()
    sizes = [10**k for k in range(2, 9) if 10**k <= most]
    epochs = {m: max(24, 2000 * steps // m) for m in sizes}
    stacks = {m: init_stack((2, 4, 1), range(m)) for m in sizes}

    compile = shutil.which("g++") is not None

    def run(m: int) -> Callable[[], object]:
        return lambda: train(stacks[m], x, y, epochs=epochs[m], learning_rate=0.1, momentum=0.9, compile=compile)

    seconds = medians({str(m): run(m) for m in sizes}, rounds)
    table = Table(f"networks in a stack{', torch.compile' * compile}", "µs an epoch of a network", "ratio")
    each = {m: 1e6 * seconds[str(m)] / (m * epochs[m]) for m in sizes}
    for m in sizes:
        table.add_row(f"{m:,}", f"{each[m]:.3g}", f"{each[m] / each[sizes[0]]:.2f}")
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(f"peak memory of the process so far, torch included: {peak:.0f} MiB")


def steps_by(steps: int) -> dict[str, Callable[[], None]]:
    r"""Training steps on the same data from the same start: forward, backward, momentum, cosine."""
    import itertools
    import shutil

    import torch
    from torch import nn
    from torch.nn import functional as F

    from nnmath.equations import SIGMOID, Layer, cosine_annealing, training_step, zero_velocities
    from nnmath.network import HalfMSELoss, Network

    x, y = torch.randn(266, 2), torch.randint(2, (266, 1)).float()
    start = Network()
    rate, momentum, T = 0.1, 0.9, 1_000_000

    def by_torch(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
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

    def by_hand(step: Callable[..., Any], rate_of: Callable[[float], Any]) -> Callable[[], None]:
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
        "autograd, torch's SGD and CosineAnnealingLR": by_torch(plain, lambda output, y: F.mse_loss(output, y) / 2),
        "the Module's Functions, the same optimizer": by_torch(Network(), HalfMSELoss()),
        "the bare equations": by_hand(step, float),
    }
    if shutil.which("g++"):
        compiled = torch.compile(step, fullgraph=True, options={"cpp_wrapper": True})
        competitors["the bare equations, torch.compile"] = by_hand(compiled, torch.scalar_tensor)
    else:
        print("torch.compile needs a C++ compiler (g++), which is not found: it is left out")
    return competitors


def epochs_by(epochs: int) -> dict[str, Callable[[], None]]:
    r"""Lightning runs that leave the same curves in TensorBoard, one the usual way, one ours."""
    import tempfile

    import lightning as L
    import torch
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader

    from nnmath.data.datamodule import DataModule
    from nnmath.data.datasets import breast_cancer
    from nnmath.network import Network
    from nnmath.training.module import TrainingModule, build_metrics
    from nnmath.training.tensorboard.curves import GradientDiscrepancy, GradientNorm, gradient_discrepancy

    class Textbook(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = Network(backward="autograd")
            self.metrics = build_metrics("binary")

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

    data = DataModule(breast_cancer())
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
    parser = Parser("Measures the hand-written gradients against torch's, and the Lightning run against the usual one.")
    parser.add_function_arguments(benchmark, as_group=False)
    benchmark(**parser.parse_args())


if __name__ == "__main__":
    main()
