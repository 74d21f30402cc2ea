r"""Run folders and atomic writes."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path

from nnmath.runtime.cli import exit_on_write_error, exit_with_error


def run_folder(log_dir: str, name: str) -> Path:
    r"""A new folder for a run, log_dir/name/version_k with the next free k, or one line and exit code 1."""
    parent = Path(log_dir, name)
    with exit_on_write_error(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for k in count():
            with suppress(FileExistsError):  # another run's
                (parent / f"version_{k}").mkdir()
                break
    return parent / f"version_{k}"


def newest_run(log_dir: str) -> Path:
    r"""The folder of the run of scripts/train.py that was last written to, or one line and exit code 2."""
    runs = [
        (max(file.stat().st_mtime_ns for file in (config, *config.parent.glob("**/last.ckpt"))), config.parent)
        for config in Path(log_dir).glob("*/version_*/config.yaml")
        if not (config.parent / "results.csv").exists()  # a sweep's
    ]
    if not runs:
        exit_with_error(f"resume: there is no run in {log_dir}", code=2)
    return max(runs)[1]


def write_atomic(path: Path, content: bytes) -> None:
    r"""Writes a file so that, however the process ends, there is the old one or the new one, never a part of it.

    It is written under another name in the same folder, which is made if need be, and renamed.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as file:  # which does not follow a link
            file.write(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
