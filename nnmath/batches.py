r"""The order in which a training run sees its rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler


class Batches(Sampler[Tensor]):
    r"""Row numbers of one batch after another; in an order that depends on the seed and the epoch and nothing else.

    A run that is interrupted and resumed therefore sees the batches that it would have seen.

    Args:
        n: the number of rows.
        batch_size: the rows of a batch; the last batch of an epoch has what is left.
        seed: None leaves the rows as they are.

    >>> [batch.tolist() for batch in Batches(5, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, n: int, batch_size: int, seed: int | None = None) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        r"""Lightning calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        order = np.arange(self.n)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        yield from torch.from_numpy(order).split(self.batch_size)

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)
