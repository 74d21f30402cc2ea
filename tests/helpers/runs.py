"""Training in a test: by a quiet Trainer, or by the script, in a process of its own or in this one; what came of it."""

import contextlib
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import torch
from helpers.scripts import run_here
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnmath.training.callbacks import GracefulStop

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


def fit(module, data, folder, ckpt_path=None, **options):
    """Trains on the CPU, from a checkpoint if one is given, logs to ``folder`` and gives the Trainer back."""
    options = {"enable_checkpointing": False, "enable_progress_bar": False} | options
    trainer = L.Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **options,
    )
    stops = [callback for callback in trainer.callbacks if isinstance(callback, GracefulStop)]
    with contextlib.ExitStack() as stack:
        for stop in stops:
            stack.enter_context(stop.handle_signals(trainer))
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def scalars(folder):
    """What lies in the event files: tag ↦ [(step, value), ...]."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def start(folder, *options, **more):
    """The training script as people start it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, options)], cwd=folder, **pipes, **more)


def train(folder, *options, timeout=120, **more):
    """The same, and waits for its end."""
    process = start(folder, *options, **more)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def train_here(folder, *options):
    """The same in this process."""
    return run_here(SCRIPT, folder, *options)


def checkpoint(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def epochs_done(run):
    return checkpoint(run)["lr_schedulers"][0]["last_epoch"]


def wait_for(file):
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


processes = multiprocessing.get_context("forkserver")  # imports once, for all tests, what takes seconds
processes.set_forkserver_preload(["nnmath.training.run"])


def machine(rank, machines, port, folder, options):
    """One of several machines, on each of which the script is started; here they are processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(rank)}
    process = train_here(folder, *options, "--num-nodes", machines, "--strategy", "ddp")
    (folder / f"errors-{rank}").write_text(process.stderr)
    raise SystemExit(process.returncode)


def train_on(machines, folder, *options):
    """Their exit codes, and what they said on stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        processes.Process(target=machine, args=(rank, machines, port, folder, options)) for rank in range(machines)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        if process.is_alive():
            process.kill()
    errors = [(folder / f"errors-{rank}").read_text() for rank in range(machines)]
    return [process.exitcode for process in started], errors
