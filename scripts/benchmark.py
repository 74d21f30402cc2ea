r"""How fast the hand-written gradients are, side by side with torch's: python scripts/benchmark.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt

from nnmath.command_line import Parser

if TYPE_CHECKING:
    from torch import Tensor


def benchmark(rounds: PositiveInt = 15, steps: PositiveInt = 200, epochs: PositiveInt = 200) -> None:
    r"""Measures, interleaved and as the median of several rounds, on one thread of the CPU.

    Args:
        rounds: how often each competitor is measured, in turn
        steps: training steps a measurement of the steps takes
        epochs: epochs a measurement of the Lightning runs takes, a third as often
    """
    import logging
    import warnings

    import torch

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


def medians(competitors: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
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


def steps_by(steps: int) -> dict[str, Callable[[], None]]:
    r"""Training steps on the same data from the same start: forward, backward, momentum, cosine."""
    import itertools
    import shutil

    import torch
    from torch import nn
    from torch.nn import functional as F

    from nnmath.equations import SIGMOID, Layer, at_rest, cosine_annealing, training_step
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
        state = [layers, at_rest(layers)]
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

    from nnmath.callbacks import GradientAgreement, GradientNorm, agreement
    from nnmath.data import DataModule
    from nnmath.datasets import breast_cancer
    from nnmath.network import Network
    from nnmath.training import TrainingModule, binary_metrics

    class Textbook(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = Network(backward="autograd")
            self.metrics = binary_metrics()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            loss = F.mse_loss(self.network(x), y) / 2
            self.log("loss/train", loss, on_step=False, on_epoch=True)
            self.log(
                "training/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], on_step=False, on_epoch=True
            )
            if self.current_epoch % 10 == 0:
                self.log("training/agreement", agreement(self.network, batch), on_step=False, on_epoch=True)
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
            TrainingModule(), data, callbacks=[GradientNorm(), GradientAgreement()]
        ),
    }


def main() -> None:
    parser = Parser("Measures the hand-written gradients against torch's, and the Lightning run against the usual one.")
    parser.add_function_arguments(benchmark, as_group=False)
    benchmark(**parser.parse_args())


if __name__ == "__main__":
    main()
