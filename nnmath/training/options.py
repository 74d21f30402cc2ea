r"""The options of a training run, and those of a run that is resumed.

Neither torch nor lightning is imported here, so that scripts/train.py validates its options before it waits for them.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from nnmath.data.options import DataOptions, Momentum, NetworkOptions, Seed
from nnmath.runtime.cli import Parser, usage_errors
from nnmath.runtime.errors import UsageError
from nnmath.runtime.files import data_name, newest_run

MAX_LEARNING_RATE, MAX_SAMPLES = 1e30, 10**9


@dataclass(frozen=True)
class TrainOptions(NetworkOptions, DataOptions):
    r"""All options of a run.

    Args:
        backward: what computes the gradients: manual or autograd
        epochs: length of the run and of the cosine
        learning_rate: η at the start
        momentum: m, from 0 to below 1
        eta_min: η that the cosine ends at
        seed: of the weights, the split, the batches and the noise
        discrepancy_every: epochs from one comparison of the two backwards to the next
        checkpoint_every: epochs between checkpoints; the best is the best of these
        accelerator: what to train on: cpu, gpu, cuda, mps or auto
        devices: how many of them; they share each batch
        num_nodes: how many such machines; start this command on each
        strategy: how to share the work: auto or ddp
        precision: of the arithmetic: 32-true, 64-true or bf16-mixed
        pictures: how often in a run pictures are drawn at most, histograms four times as often; 0 for never
        animate: a file for the pictures of the network as an animated GIF, such as out.gif
        export_pictures: a folder for all pictures of the run as PNG files
        log_dir: folder for the runs
        start_from: a run to start from its weights and scaling, or last
        compare: the backwards to train by, one after the other

    Raises:
        ValueError: options contradict each other, or are out of range.
    """

    backward: Literal["manual", "autograd"] = "manual"
    epochs: PositiveInt = 1000
    learning_rate: PositiveFloat = 0.3
    momentum: Momentum = 0.9
    eta_min: NonNegativeFloat = 0.0
    seed: Seed = 0
    discrepancy_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 10
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "cpu"
    devices: PositiveInt = 1
    num_nodes: PositiveInt = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"
    pictures: NonNegativeInt = 8
    animate: str = ""
    export_pictures: str = ""
    log_dir: str = "lightning_logs"
    start_from: str = ""
    compare: Sequence[Literal["manual", "autograd"]] = ()

    def __post_init__(self) -> None:
        processes = self.devices * self.num_nodes
        if self.compare and (sorted(self.compare) != ["autograd", "manual"] or processes > 1):
            got = f"{' '.join(self.compare):.60}, devices={self.devices}, num_nodes={self.num_nodes}"
            raise ValueError(f"compare needs manual and autograd, on one device, got {got}")
        if self.animate and Path(self.animate).suffix.lower() != ".gif":
            raise ValueError(f"animate must be the name of a .gif file, got {self.animate}")
        if (self.animate or self.export_pictures) and (self.compare or not self.pictures):
            raise ValueError("animate and export_pictures need pictures above 0, and a run without compare")
        if self.eta_min > self.learning_rate:
            got = f"eta_min={self.eta_min}, learning_rate={self.learning_rate}"
            raise ValueError(f"eta_min must not exceed the learning rate, got {got}")
        if self.learning_rate > MAX_LEARNING_RATE:
            raise ValueError(f"learning_rate must be at most {MAX_LEARNING_RATE:g}, got {self.learning_rate}")
        if self.samples > MAX_SAMPLES:
            raise ValueError(f"samples must be at most {MAX_SAMPLES}, got {self.samples}")

    @property
    def name(self) -> str:  # of the data set
        return data_name(self.dataset)

    def as_dict(self) -> dict[str, Any]:  # as in config.yaml
        unless_empty = "compare", "start_from", "animate", "export_pictures"
        return {name: value for name, value in asdict(self).items() if name not in unless_empty or value}

    def check_environment(self) -> None:
        r"""Raise a ValueError unless the folders of pictures can be written and the processes fit those of torchrun.

        Machines must be able to find each other.
        """
        for name, path in (("animate", self.animate), ("export_pictures", self.export_pictures)):
            folder = Path(path).parent if name == "animate" else Path(path)
            if path:  # an error now, not after the training
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise ValueError(f"{name}: cannot write to {folder}: {error.strerror}") from error
                if not os.access(folder, os.W_OK) or (name == "animate" and Path(path).is_dir()):
                    raise ValueError(f"{name}: cannot write to {path}")
        processes = self.devices * self.num_nodes
        if self.num_nodes > 1 and not {"MASTER_ADDR", "SLURM_NTASKS"} & os.environ.keys():
            variables = "MASTER_ADDR, MASTER_PORT and, counting from 0, NODE_RANK"
            raise ValueError(f"{self.num_nodes} machines cannot find each other: set {variables} on each of them")
        for name in ("MASTER_PORT", "NODE_RANK"):
            if processes > 1 and not os.environ.get(name, "0").isdecimal():
                raise ValueError(f"{name} in the environment must be a whole number, got {os.environ[name]!r}")
        size = os.environ.get("WORLD_SIZE", "1")
        if "TORCHELASTIC_RUN_ID" in os.environ and size != str(processes):
            raise ValueError(f"devices times num_nodes must be the {size} processes of torchrun, got {processes}")


def build_options(parser: Parser, values: Any) -> TrainOptions:
    r"""The parsed values, as plain int and float; a UsageError if they contradict each other."""
    plain = yaml.safe_load(parser.dump(values))
    plain.pop("resume", None)
    with usage_errors():
        return TrainOptions(**plain | {"compare": tuple(plain.get("compare") or ())})


def resume_options(parser: Parser, resume: str, log_dir: str, words: Iterable[str]) -> tuple[TrainOptions, Path]:
    r"""The options of the run that is to be resumed, and its folder.

    ``resume`` is this folder, or "last" for the newest one in log_dir. ``words`` is the command line, which must not
    have further options.

    Raises:
        UsageError: there is no such run, its config.yaml is invalid, or the run is finished.
        OSError: the folder cannot be read.
    """
    allowed = {"--resume", "--log_dir", "--log-dir"} if resume == "last" else {"--resume"}
    others = {word.partition("=")[0] for word in words if word.startswith("--")} - allowed
    if others:
        raise UsageError(f"a run is resumed with its own options; omit {', '.join(sorted(others))}")
    folder = newest_run(log_dir) if resume == "last" else Path(resume)
    if folder.name in ("", ".."):
        folder = folder.resolve()
    if folder.name in ("manual", "autograd") and (folder.parent / "config.yaml").is_file():
        folder = folder.parent  # compared runs are resumed together
    config = folder / "config.yaml"
    if not config.is_file():
        raise UsageError(f"resume: {folder} is not the folder of a run: it has no config.yaml")
    values = parser.parse_file(config, exclude=("config", "resume"))
    values.log_dir = str(folder.parent.parent)  # the folder may have been moved
    try:
        options = build_options(parser, values)
    except UsageError as error:
        raise UsageError(f"{config}: {error}") from error
    if all((folder / backward / "results.yaml").is_file() for backward in options.compare or ("",)):
        raise UsageError(f"{folder} is finished: all of its {options.epochs} epochs are done")
    return options, folder
