r"""Trains the article's network and logs it to TensorBoard: python scripts/train.py --help."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, restricted_number_type

from nnmath.command_line import Parser, run_folder, stop, usage

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
    strategy: Literal["auto", "ddp", "ddp_fork"] = "auto",
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
        batch_size: rows of a batch; all of them if not given
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
        devices: how many of them; each takes batches of its own, or all of the one full batch
        strategy: how to share the work: auto, ddp or ddp_fork
        precision: of the arithmetic: 32-true, 64-true or bf16-mixed
        pictures: how often in a run pictures are drawn at most, histograms four times as often; 0 for never
        log_dir: folder for the runs
        resume: folder of a run to go on with, as it was configured
        compare: the backwards to train by, one after the other, in runs beside each other
    """
    options = {name: value for name, value in locals().items() if name not in ("resume", "compare")}
    with usage(MemoryError), usage():
        if compare and (len(set(compare)) < 2 or devices > 1):
            raise ValueError(
                f"compare needs two different backwards, on one device, got {' '.join(compare)}, {devices=}"
            )
        if eta_min > learning_rate:
            raise ValueError(f"eta_min must not exceed the learning rate, got {eta_min=}, {learning_rate=}")
        from nnmath.datasets import load

        table = load(dataset, features, target, samples, noise, seed)
        if table.classes is None and output != "identity":
            raise ValueError(f"target {table.target!r} is a number, not one of two classes: add --output identity")

    import logging
    import warnings

    import lightning as L
    import torch

    from nnmath.data import DataModule

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # whole batches lie in memory
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning's own
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # a run that is resumed has its folder
    if accelerator == "cpu":
        torch.set_num_threads(1)  # two threads would wait for each other most of the time
    with usage():
        data = DataModule(table, batch_size, split, seed, torch.float64 if precision == "64-true" else torch.float32)
    sizes = [len(table.features), *([neurons] if isinstance(neurons, int) else neurons), 1]
    path = run = None
    for of_run in compare or (backward,):
        L.seed_everything(seed, workers=True, verbose=False)
        run, path = fit(options | {"backward": of_run}, sizes, data, resume, bool(compare), run, path)


def fit(
    options: dict[str, Any],
    sizes: list[int],
    data: Any,
    resume: str | None,
    compared: bool,
    first: Path | None,
    reference: Any,
) -> tuple[Path, Any]:
    r"""One run, new or resumed; returns its folder, and the way that its parameters took.

    Runs that are ``compared`` lie in one folder; ``first`` and ``reference`` are what the first one returned.
    """
    import shlex

    import lightning as L
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.loggers import TensorBoardLogger

    from nnmath import checkpoints
    from nnmath.training import TrainingModule

    with usage(RuntimeError), usage():  # torch's word for too little memory is RuntimeError
        module = TrainingModule(
            sizes,
            options["hidden"],
            options["output"],
            options["backward"],
            options["learning_rate"],
            options["momentum"],
            options["eta_min"],
            task="regression" if data.classes is None else "binary",
            y_std=data.y_std,
        )
    epochs, run = options["epochs"], Path(resume) if resume else None
    last = run / "checkpoints" / "last.ckpt" if run else None
    with usage():
        for file in (last.with_name("best.ckpt"), last) if last else ():
            checkpoint = checkpoints.read(file, module.hparams)
    done = checkpoint["epoch"] + 1 if last else 0
    if run and done >= epochs:
        stop(f"{run} is finished: all of its {epochs} epochs are done", code=2)
    callbacks, path = callbacks_of(options, compared, reference)
    with usage(MisconfigurationException), usage():
        trainer = L.Trainer(
            accelerator=options["accelerator"],
            devices=options["devices"],
            strategy=options["strategy"],
            precision=options["precision"],
            max_epochs=epochs,
            logger=False,
            callbacks=callbacks,
            deterministic=True,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
    if not run:
        run = folder_of(options, compared, first)
    trainer.logger = TensorBoardLogger(
        run.parent.parent,
        run.parent.name,
        version=run.name,
        default_hp_metric=False,
        purge_step=done + 1 if last else None,  # what was logged after the checkpoint is logged again
    )
    if trainer.is_global_zero:
        try:
            run.mkdir(parents=True, exist_ok=True)
            (run / "config.yaml").write_text(yaml.safe_dump(options, sort_keys=False))
        except OSError as error:
            stop(f"log_dir: nothing can be written to {run}: {error.strerror}", code=1)
        parameters = module.network.number_of_parameters
        print(f"{'-'.join(map(str, sizes))}: {parameters} parameters, {options['backward']} backward")
        parts = f"{len(data.train)} training, {len(data.val)} validation, {len(data.test)} test rows"
        print(f"{Path(options['dataset']).stem}: {parts}" + (f", 1 is {data.classes[1]}" if data.classes else ""))
    goes_on = f"--resume {shlex.quote(str(run))} goes on"
    try:
        trainer.fit(module, data, ckpt_path=last, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        stop(f"interrupted; {goes_on} from the last checkpoint", code=1)
    best = callbacks[-3].best_model_path
    loss = trainer.callback_metrics["loss/val"]
    if not loss.isfinite():
        rate = f"{module.curves.get('training/learning_rate', options['learning_rate']):.3g}"
        kept = f"; {best} is from before" if best else ""
        stop(
            f"after epoch {trainer.current_epoch} the loss is {loss} (η = {rate}): try a smaller learning_rate{kept}", 1
        )
    if callbacks[0].asked and trainer.current_epoch < epochs:
        stop(f"interrupted after epoch {trainer.current_epoch} of {epochs}; {goes_on}", code=1)
    trainer.test(module, data, ckpt_path=best, weights_only=True, verbose=False)
    if trainer.is_global_zero:
        for name, value in trainer.callback_metrics.items():
            if name.startswith("test/"):
                print(f"{name:<24} {value:.4f}")
        if reference:
            print(f"{'training/difference':<24} {path.difference:.1e}")
        print(f"run: {run}")
        logs = options["log_dir"] if not resume else str(run.parent.parent)
        print(f"look at it: tensorboard --logdir {shlex.quote(logs)}")
    return run, path


def folder_of(options: dict[str, Any], compared: bool, first: Path | None) -> Path:
    r"""A new run's folder; two that are compared share one, version_0/manual and version_0/autograd."""
    if "LOCAL_RANK" in os.environ:
        return Path(
            options["log_dir"], Path(options["dataset"]).stem, "version"
        )  # not the first process: writes nothing
    folder = first.parent if first else run_folder(options["log_dir"], Path(options["dataset"]).stem)
    return folder / options["backward"] if compared else folder


def callbacks_of(options: dict[str, Any], compared: bool, reference: Any) -> tuple[list[Any], Any]:
    r"""What happens beside the training, and the memory of its way."""
    import shlex

    from nnmath.callbacks import Checkpoint, EpochProgress, GradientAgreement, GradientNorm, Stop, Trajectory
    from nnmath.dashboard import Histograms, Overview, Pictures, PrecisionRecall

    epochs, pictures = options["epochs"], options["pictures"]
    path = Trajectory(-(-epochs // 200), reference)
    callbacks = [
        Stop(),
        GradientNorm(),
        GradientAgreement(options["agreement_every"]),
        *([path] if pictures or compared else []),
        Overview(options, shlex.join(["python", *sys.argv])),
    ]
    if pictures:
        k = -(-epochs // pictures)
        callbacks += [
            Pictures(k, path, Path(options["log_dir"], "article")),
            PrecisionRecall(k),
            Histograms(-(-epochs // (4 * pictures))),
        ]
    best = Checkpoint("best", options["checkpoint_every"], monitor="loss/val")
    return [*callbacks, best, Checkpoint("last", options["checkpoint_every"]), EpochProgress()], path


def configured(parser: Parser, run: str) -> Any:
    r"""The options that a run was started with."""
    config, checkpoint = Path(run, "config.yaml"), Path(run, "checkpoints", "last.ckpt")
    for file in (config, checkpoint):
        if not file.is_file():
            stop(f"resume: {run} is not the folder of a run that can go on: it has no {file.relative_to(run)}", code=2)
    options = parser.parse_path(config)
    options.resume = run
    return options


def main() -> None:
    parser = Parser("Trains the article's network, 2-4-1 unless told otherwise, and logs it to TensorBoard.")
    parser.add_argument("--config", action="config", help="a YAML file of these options")
    parser.add_function_arguments(train, as_group=False, skip={"compare"})
    parser.add_argument(
        "--compare", nargs=2, choices=["manual", "autograd"], help="train by both, in runs beside each other"
    )
    with usage():
        options = parser.parse_args()
    if options.resume:
        others = [word for word in sys.argv[1:] if word.startswith("--") and not word.startswith("--resume")]
        if others:
            stop(f"resume goes on with a run as it was configured; leave {', '.join(others)} out", code=2)
        options = configured(parser, options.resume)
    train(**yaml.safe_load(parser.dump(options)))  # int and float, not jsonargparse's own kinds of them


if __name__ == "__main__":
    main()
