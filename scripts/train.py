r"""Trains the article's network and logs it to TensorBoard: python scripts/train.py --help."""

import logging
import signal
import sys
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from nnmath.data.dataset import Dataset
from nnmath.runtime.cli import Parser, announce_loading, echo, exit_at_once, exit_on_error, one_line, usage_errors
from nnmath.runtime.distributed import is_rank_zero
from nnmath.runtime.files import newest_run
from nnmath.training.options import TrainOptions, build_options, resume_options


def parse() -> tuple[TrainOptions, Path | None]:
    r"""The options, and the folder of the run if one is to be resumed."""
    parser = Parser("Trains the article's network, 2-4-1 by default, and logs it to TensorBoard.")
    parser.add_argument("--config", action="config", help="a YAML file of these options")
    parser.add_options(TrainOptions, skip={"compare"})
    parser.add_argument("--resume", help="folder of a run to resume with its own options, or last for the newest")
    backwards = ["manual", "autograd"]
    parser.add_argument("--compare", nargs=2, choices=backwards, help="train by both, in runs beside each other")
    values = parser.parse_args()
    if values.resume is None:
        options = build_options(parser, values)
        if options.start_from == "last":
            with usage_errors(OSError):
                options = replace(options, start_from=str(newest_run(options.log_dir)))
        return options, None
    with usage_errors(OSError):
        options, folder = resume_options(parser, values.resume, values.log_dir, sys.argv[1:])
    sys.argv[1:] = ["--resume", str(folder)]  # Lightning starts further processes with it
    return options, folder


def load(options: TrainOptions) -> Dataset:
    r"""The data set of the run."""
    too_large = f"{options.dataset} with samples={options.samples} does not fit into the memory"
    with usage_errors(MemoryError, message=too_large), usage_errors():
        options.check_environment()
        dataset = options.load(options.seed)
        options.output_for(dataset)
    return dataset


def summary(options: TrainOptions, dataset: Dataset) -> list[str]:
    r"""What is about to be done, in lines that need neither torch nor lightning."""
    sizes = options.sizes(dataset)
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    lines = [
        f"{options.name}: {len(dataset.y)} rows, {len(dataset.features)} features",
        f"{'-'.join(map(str, sizes))}: {parameters} parameters",
    ]
    if dataset.classes:
        counts = [f"{name} {int((dataset.y == k).sum())}" for k, name in enumerate(dataset.classes)]
        lines.insert(1, f"classes of {dataset.target}: {', '.join(counts)}")
    return [*lines, dataset.note] if dataset.note else lines


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # until the run handles them, and after it
        signal.signal(number, lambda *_: exit_at_once("interrupted"))
    options, folder = parse()
    dataset = load(options)

    if is_rank_zero():
        echo(*map(one_line, summary(options, dataset)))
    announce_loading("PyTorch and Lightning")
    import torch

    from nnmath.data.datamodule import DataModule
    from nnmath.training import run

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # whole batches lie in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # inside Lightning
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a column's name; it is drawn as a box
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # the checkpoints of a resumed run
    if options.accelerator == "cpu":
        torch.set_num_threads(1)  # the matrices are so small that two threads mostly wait for each other
    start = run.starting_point(options, folder)
    with usage_errors():
        dtype = torch.float64 if options.precision == "64-true" else torch.float32
        scaling = start.preprocessing if start else None
        data = DataModule(dataset, options.batch_size, options.split, options.seed, dtype, scaling)
        data.validate_world_size(options.devices * options.num_nodes)
    if options.compare:
        run.compare(options, data, folder, start)
    else:
        run.train(options, data, folder, start=start)


if __name__ == "__main__":
    with exit_on_error():
        main()
