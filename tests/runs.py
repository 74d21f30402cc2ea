"""Training in a test: a quiet Trainer, and what it logged."""

import logging

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


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
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def scalars(folder):
    """What lies in the event files: tag ↦ [(step, value), ...]."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
