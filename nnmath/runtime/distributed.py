r"""Processes that work together, most of all those that torchrun started: what they share, which of them speaks."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from dataclasses import dataclass
from itertools import count
from threading import Event
from typing import Any, TypeVar

T = TypeVar("T")

LOCAL_RANKS = "LOCAL_RANK", "SLURM_LOCALID"
r"""Variables by which processes that work together on a machine are told apart; the first one's is 0, or not there."""

PATIENCE = {2: (2.0, 10.0), 1: (0.2, 1.0)}
r"""Exit code ↦ seconds that the first leaves the others, and they the first: of bad options some learn sooner."""

PRESSED = Event()
r"""Set by Ctrl-C in one of several processes, for a KeyboardInterrupt might come in the middle of an exchange."""


class Lost(Exception):
    r"""Another process has ended before its time."""


@dataclass(frozen=True)
class Processes:
    r"""The processes that share a stack, as one of them sees it; by default this one alone."""

    rank: int = 0
    size: int = 1
    interrupted: Event | None = None
    r"""set by Ctrl-C, where that is not a KeyboardInterrupt"""

    @property
    def is_rank_zero(self) -> bool:
        r"""Whether this is the process that prints and writes."""
        return self.rank == 0

    def all_gather(self, value: T) -> list[T]:
        r"""The values of all processes, in their order; each must ask for them, and each gets them.

        Raises:
            Lost: another process has ended.
        """
        values: list[Any] = [value] * self.size
        if self.size > 1:
            from torch import distributed

            try:
                distributed.all_gather_object(values, value)
            except RuntimeError as error:
                raise Lost("another process has ended") from error
        return values


ALONE = Processes()


def is_rank_zero() -> bool:
    r"""Whether this is the first process of its machine, which says what is wrong; known before they have met."""
    return all(os.environ.get(name, "0") == "0" for name in LOCAL_RANKS)


def by_torchrun() -> bool:
    r"""Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def ctrl_c() -> None:
    r"""From here on Ctrl-C sets PRESSED, so that all processes end together; one alone leaves it as it is."""
    if by_torchrun():
        signal.signal(signal.SIGINT, lambda *_: PRESSED.set())


def meet() -> Processes:
    r"""Waits for the other processes that torchrun started, if it did.

    Raises:
        KeyboardInterrupt: Ctrl-C before all of them are there.
        Lost: another process has ended.
    """
    if not by_torchrun():
        return ALONE
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, size = next(rendezvous("env://"))
        for attempt in count():
            if PRESSED.is_set():
                raise KeyboardInterrupt
            if store.add("there", int(attempt == 0)) == size:
                break
            time.sleep(0.05)
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
        atexit.register(distributed.destroy_process_group)  # otherwise its threads may abort the process as it ends
    except RuntimeError as error:
        raise Lost("another process has ended") from error
    return Processes(rank, size, PRESSED)


def end_together(code: int) -> None:
    r"""Lets all processes come to the same end: torchrun ends all as soon as it has seen one of them fail.

    The first, which says why, is left the time to say it, and the others that to come this far.
    """
    if not by_torchrun():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
    time.sleep(PATIENCE[code][not is_rank_zero()])
