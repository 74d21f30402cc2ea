r"""Processes started by torchrun: rank, world size and a gather. Without torchrun there is one process, rank 0."""

import atexit
import os
from datetime import timedelta
from typing import TypeVar

from nnmath.runtime.errors import RunError

T = TypeVar("T")


def is_rank_zero() -> bool:
    r"""Whether this is the first process of its machine, which prints errors; known before :func:`init_distributed`."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "SLURM_LOCALID"))


def by_torchrun() -> bool:
    r"""Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def init_distributed() -> None:
    r"""Join the process group if torchrun has started this process."""
    if by_torchrun():
        from torch import distributed

        distributed.init_process_group("gloo", timeout=timedelta(days=365))  # ranks may finish hours apart
        atexit.register(distributed.destroy_process_group)  # otherwise its threads may abort the process at exit


def rank() -> int:
    r"""The number of this process, from 0."""
    from torch import distributed

    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    r"""The number of processes."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_initialized() else 1


def gather(value: T) -> list[T]:
    r"""The values of all processes, in the order of their ranks, on rank 0; an empty list on the other ranks.

    A RunError says that another process has ended.
    """
    from torch import distributed

    values = [value] * world_size()
    try:
        if len(values) > 1:
            distributed.gather_object(value, values if rank() == 0 else None)
    except RuntimeError as error:
        raise RunError("another process has ended") from error
    return values if rank() == 0 else []
