r"""Run folders, atomic writes, and errors while a log is written."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from nnmath.runtime.errors import RunError, UsageError


@contextmanager
def log_errors(folder: Path, remedy: str = "") -> Iterator[None]:
    r"""Turn an OSError raised while a log is written to a folder into a RunError, which ends with a remedy.

    TensorBoard writes in a thread of its own. It passes an OSError on to the calling thread, so the traceback of the
    thread itself is suppressed.
    """

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            previous_hook(args)

    previous_hook, threading.excepthook = threading.excepthook, hook
    try:
        yield
    except OSError as error:
        path = Path(str(error.filename or folder)).absolute()
        inside = path.is_relative_to(folder.absolute()) or folder.absolute().is_relative_to(path)
        where = f"log_dir: cannot write to {folder}" if inside else f"cannot write to {error.filename}"
        message = f"{where}: {error.strerror or error}"
        raise RunError(f"{message}; {remedy}" if remedy else message) from error
    finally:
        threading.excepthook = previous_hook


def data_name(dataset: str) -> str:
    r"""The name of a data set in the log folder, from its name or its file's.

    ``article`` is the run with the article's own figures, so a data set of this name becomes ``article_data``.

    >>> data_name("moons"), data_name("data/iris.csv"), data_name("./...csv"), data_name("article.csv")
    ('moons', 'iris', 'data', 'article_data')
    """
    stem = "".join(letter if letter.isprintable() else "_" for letter in Path(dataset).stem).strip(". ")
    return {"": "data", "article": "article_data"}.get(stem, stem)


def run_folder(log_dir: str, name: str) -> Path:
    r"""Create the folder of a new run: log_dir/name/version_k with the next free k; a RunError if that fails."""
    parent = Path(log_dir, name)
    with log_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for k in count():
            with suppress(FileExistsError):
                (parent / f"version_{k}").mkdir()
                break
    return parent / f"version_{k}"


def newest_run(log_dir: str) -> Path:
    r"""Return the folder of the training run that was written to last; a UsageError if there is none."""
    runs = [
        (max(file.stat().st_mtime_ns for file in (config, *config.parent.glob("**/last.ckpt"))), config.parent)
        for config in Path(log_dir).glob("*/version_*/config.yaml")
        if not (config.parent / "results.csv").exists()  # written by sweeps
    ]
    if not runs:
        raise UsageError(f"resume: there is no run in {log_dir}")
    return max(runs)[1]


def order_event_files(run: Path) -> None:
    r"""Rename event files so that TensorBoard reads one that is opened now after them.

    It reads the files of a folder in the order of their names, events.out.tfevents.<seconds>.<host>.... A file of the
    same second, or of a clock that has been set back since, would come too early. In that case, the seconds of the old
    files become 0, 1, ....
    """
    files = sorted(run.glob("events.out.tfevents.*"))
    if files and int(files[-1].name.split(".")[3]) >= int(time.time()):
        for k, path in enumerate(files):
            *parts, _, host = path.name.split(".", 4)
            path.rename(path.with_name(".".join([*parts, f"{k:010d}", host])))


def write_atomic(path: Path, content: bytes) -> None:
    r"""Write a file in one step: if the process is killed, either the old file or the new one is there.

    The content goes to another name in the same folder, which is created if necessary, and is then renamed.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as file:  # "x" does not follow links
            file.write(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
