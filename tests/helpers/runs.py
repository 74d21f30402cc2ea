"""Training in a test: by a quiet Trainer or by the script, in another process or in this one; and its results."""

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
    """Trains on the CPU, from a checkpoint if there is ``ckpt_path``; logs to ``folder`` and returns the Trainer."""
    options = {"enable_checkpointing": False} | options
    trainer = L.Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **options,
    )
    with contextlib.ExitStack() as stack:
        for callback in trainer.callbacks:
            if isinstance(callback, GracefulStop):
                stack.enter_context(callback.handle_signals(trainer))
        trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


def scalars(folder):
    """The curves in the event files: tag ↦ [(step, value), ...]."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def start(folder, *options, **more):
    """Starts the training script in a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, options)], cwd=folder, **pipes, **more)


def train(folder, *options, timeout=120, **more):
    """Runs the training script in a process of its own."""
    process = start(folder, *options, **more)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def train_here(folder, *options):
    """Runs the training script in this process."""
    return run_here(SCRIPT, folder, *options)


def checkpoint(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def epochs_done(run):
    return checkpoint(run)["lr_schedulers"][0]["last_epoch"]


def wait_for(file):
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


processes = multiprocessing.get_context("forkserver")  # its slow imports are shared by all tests
processes.set_forkserver_preload(["nnmath.training.run"])


def run_machine(rank, machines, port, folder, options):
    """Runs the script as one of several machines, which are processes here."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(rank)}
    process = train_here(folder, *options, "--num-nodes", machines, "--strategy", "ddp")
    (folder / f"errors-{rank}").write_text(process.stderr)
    raise SystemExit(process.returncode)


def train_on(machines, folder, *options):
    """Runs the script on several machines; returns their exit codes and their stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        processes.Process(target=run_machine, args=(rank, machines, port, folder, options)) for rank in range(machines)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        if process.is_alive():
            process.kill()
    errors = [(folder / f"errors-{rank}").read_text() for rank in range(machines)]
    return [process.exitcode for process in started], errors
