r"""Reads checkpoints as untrusted input: torch loads them without executing code. Lightning is not needed for it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nnmath.runtime.errors import UsageError

MAX_BYTES = 1 << 30
MAX_MESSAGE_CHARACTERS = 200


class InvalidCheckpoint(Exception):
    r"""Why a run cannot be resumed from a checkpoint."""


def ensure(condition: object, message: str) -> None:
    if not condition:
        raise InvalidCheckpoint(message)


def read_checkpoint(path: Path) -> dict[str, Any]:
    r"""The content of a file, which torch loads without executing code."""
    ensure(path.is_file() or not path.exists(), "it is not a regular file")
    size = path.stat().st_size
    ensure(size <= MAX_BYTES, f"it has {size >> 20} MiB, more than {MAX_BYTES >> 20}")
    with warnings.catch_warnings(action="ignore"):
        # stated explicitly: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD would override a default
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint


@contextmanager
def load_untrusted(path: Path) -> Iterator[dict[str, Any]]:
    r"""The content of a checkpoint; whatever fails while it is used becomes a UsageError about the file."""
    try:
        yield read_checkpoint(path)
    except Exception as error:  # an invalid checkpoint can fail anywhere in torch
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:MAX_MESSAGE_CHARACTERS]
        missing = isinstance(error, FileNotFoundError)
        message = f"{path} does not exist: has the run been trained?" if missing else f"cannot load {path}: {reason}"
        raise UsageError(message) from error
