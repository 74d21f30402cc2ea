r"""Trains the article's network and logs it to TensorBoard: python scripts/train.py --help."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, restricted_number_type

from nnmath.runtime.cli import Parser, exit_on_error, usage_errors
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.files import newest_run

Activation = Literal["sigmoid", "tanh", "relu", "identity"]
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
Momentum = restricted_number_type("Momentum", float, [(">=", 0), ("<", 1)])


def train(
    dataset: str = "breast_cancer",
    features: list[str] | None = None,
    target: str | None = None,
    samples: PositiveInt = 400,
    noise: NonNegativeFloat = 0.1,
    split: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.6, 0.2, 0.2),
    batch_size: PositiveInt | None = None,
    neurons: PositiveInt | list[PositiveInt] = 4,
    hidden: Activation = "sigmoid",
    output: Activation = "sigmoid",
    backward: Literal["manual", "autograd"] = "manual",
    epochs: PositiveInt = 1000,
    learning_rate: PositiveFloat = 0.3,
    momentum: Momentum = 0.9,  # type: ignore[valid-type]  # a type made at run time
    eta_min: NonNegativeFloat = 0.0,
    seed: Seed = 0,  # type: ignore[valid-type]  # likewise
    agreement_every: PositiveInt = 10,
    checkpoint_every: PositiveInt = 10,
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "cpu",
    devices: PositiveInt = 1,
    num_nodes: PositiveInt = 1,
    strategy: Literal["auto", "ddp"] = "auto",
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true",
    pictures: NonNegativeInt = 8,
    log_dir: str = "lightning_logs",
    resume: str | None = None,
    compare: Sequence[str] = (),
) -> None:
    r"""Trains a network on E = 1/(2n) Σ (O − y)² and logs it to TensorBoard.

    Args:
        dataset: breast_cancer, xor, moons, circles, spirals, gaussians or a .csv file
        features: columns to learn from, as '[a, b]'; for breast_cancer and .csv
        target: column to predict; for .csv
        samples: how many samples to draw; for xor to gaussians
        noise: how much noise to add to them
        split: shares of training, validation and test rows
        batch_size: rows of a batch, of all devices; all rows if not given
        neurons: neurons of the hidden layers, as 4 or '[8, 8]'; '[]' for no such layer
        hidden: activation of the hidden layers: sigmoid, tanh, relu or identity
        output: activation of the last layer, likewise
        backward: who computes the gradients: manual (the equations) or autograd
        epochs: length of the run and of the cosine
        learning_rate: η at the start
        momentum: m, from 0 to below 1
        eta_min: η that the cosine ends at
        seed: of the weights, the split, the batches and the noise
        agreement_every: epochs from one comparison of the two backwards to the next
        checkpoint_every: epochs from one checkpoint to the next; the best is the best of these
        accelerator: what to train on: cpu, gpu, cuda, mps or auto
        devices: how many of them; they share each batch
        num_nodes: how many machines with so many devices, on each of which this command is started
        strategy: how to share the work: auto or ddp
        precision: of the arithmetic: 32-true, 64-true or bf16-mixed
        pictures: how often in a run pictures are drawn at most, histograms four times as often; 0 for never
        log_dir: folder for the runs
        resume: folder of a run to go on with, as it was configured; last for the newest in log_dir
        compare: the backwards to train by, one after the other, in runs beside each other
    """
    options = {name: value for name, value in locals().items() if name != "resume"} | {"compare": list(compare)}
    with usage_errors(MemoryError, message=f"{dataset} with {samples=} does not fit into the memory"), usage_errors():
        if compare and (len(set(compare)) < 2 or devices * num_nodes > 1):
            got = f"{' '.join(compare)}, {devices=}, {num_nodes=}"
            raise ValueError(f"compare needs two different backwards, on one device, got {got}")
        if eta_min > learning_rate:
            raise ValueError(f"eta_min must not exceed the learning rate, got {eta_min=}, {learning_rate=}")
        if learning_rate > 1e30:
            raise ValueError(f"learning_rate must be at most 1e30, got {learning_rate}")
        if samples > 10**9:
            raise ValueError(f"samples must be at most a billion, got {samples}")
        check_environment(devices * num_nodes, num_nodes)
        from nnmath.data.datasets import load

        table = load(dataset, features, target, samples, noise, seed)
        if table.classes is None and output != "identity":
            raise ValueError(f"target {table.target!r} is a number, not one of two classes: add --output identity")

    import logging
    import warnings

    import lightning as L
    import torch

    from nnmath.data.datamodule import DataModule
    from nnmath.training import run

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # whole batches lie in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning's own
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # a run that is resumed has its folder
    if accelerator == "cpu":
        torch.set_num_threads(1)  # two threads would wait for each other most of the time
    with usage_errors():
        data = DataModule(table, batch_size, split, seed, torch.float64 if precision == "64-true" else torch.float32)
        data.validate_world_size(devices * num_nodes)
    folder, way = Path(resume) if resume else None, None
    for of_run in compare or (backward,):
        L.seed_everything(seed, workers=True, verbose=False)
        folder, way = run.train(options | {"backward": of_run}, data, folder, way)


def check_environment(processes: int, machines: int) -> None:
    r"""Refuse several machines that cannot find each other, and torchrun's processes where others are asked for.

    Raises:
        ValueError: an environment variable is missing, or is not what it should be.
    """
    if machines > 1 and not {"MASTER_ADDR", "SLURM_NTASKS"} & os.environ.keys():
        wanted = "set MASTER_ADDR, MASTER_PORT and, from 0 on, NODE_RANK in the environment of each"
        raise ValueError(f"{machines} machines cannot find each other: {wanted}")
    for name in ("MASTER_PORT", "NODE_RANK"):
        if processes > 1 and not os.environ.get(name, "0").isdecimal():
            raise ValueError(f"{name} in the environment must be a whole number, got {os.environ[name]!r}")
    size = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ and size != str(processes):
        raise ValueError(f"devices times num_nodes must be the {size} processes that torchrun starts, got {processes}")


def to_go_on(parser: Parser, options: Any) -> Any:
    r"""The options that a run was started with, or one line and exit code 2."""
    others = {word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")} - {"--resume"}
    if options.resume == "last":
        others -= {"--log_dir", "--log-dir"}
    if others:
        raise UsageError(f"resume goes on with a run as it was configured; leave {', '.join(sorted(others))} out")
    folder = newest_run(options.log_dir) if options.resume == "last" else Path(options.resume)
    if folder.name in ("", ".."):
        folder = folder.resolve()
    if folder.name in ("manual", "autograd") and (folder.parent / "config.yaml").is_file():
        folder = folder.parent  # a run that is compared goes on together with the other one
    config = folder / "config.yaml"
    if not config.is_file():
        raise UsageError(f"resume: {folder} is not the folder of a run: it has no config.yaml")
    options = parser.parse_file(config, exclude=("config", "resume"))
    if options.compare and sorted(options.compare) != ["autograd", "manual"]:
        raise UsageError(f"{config}: compare must be manual and autograd, got {options.compare!s:.60}")
    if all((folder / of_run / "results.yaml").is_file() for of_run in options.compare or ("",)):
        raise UsageError(f"{folder} is finished: all of its {options.epochs} epochs are done")
    options.resume = str(folder)
    sys.argv[1:] = ["--resume", options.resume]  # what further processes are started with
    return options


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the run itself listens
    parser = Parser("Trains the article's network, 2-4-1 unless told otherwise, and logs it to TensorBoard.")
    parser.add_argument("--config", action="config", help="a YAML file of these options")
    parser.add_function_arguments(train, as_group=False, skip={"compare"})
    parser.add_argument(
        "--compare", nargs=2, choices=["manual", "autograd"], help="train by both, in runs beside each other"
    )
    with usage_errors():
        options = parser.parse_args()
    if options.resume is not None:
        with usage_errors(OSError):
            options = to_go_on(parser, options)
    try:
        train(**yaml.safe_load(parser.dump(options)))  # int and float, not jsonargparse's own kinds of them
    except KeyboardInterrupt:
        raise RunError("interrupted") from None


if __name__ == "__main__":
    with exit_on_error():
        main()
