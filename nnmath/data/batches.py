r"""The order in which a training run sees its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler


class Batches(DistributedSampler[Tensor]):
    r"""Row numbers of one batch after another; in an order that depends on the seed and the epoch and nothing else.

    A run that is interrupted and resumed therefore sees the batches that it would have seen. Several processes share
    each batch, whose rows are dealt out in turn: none is left out, and none is there twice, as torch's own
    DistributedSampler would have it where they do not come out even. Lightning leaves such a sampler as it is.

    Args:
        n: the number of rows.
        batch_size: the rows of a batch, of all processes; the last batch of an epoch has what is left.
        seed: None leaves the rows as they are.
        rank: which of the processes this one is, from 0; it takes rows rank, rank + processes, ... of each batch, which
            may be none of a last batch.
        processes: how many there are.

    >>> [batch.tolist() for batch in Batches(5, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> [batch.tolist() for batch in Batches(5, batch_size=2, rank=1, processes=2)]
    [[1], [3], []]
    """

    def __init__(self, n: int, batch_size: int, seed: int | None = None, rank: int = 0, processes: int = 1) -> None:
        rows: Any = range(n)  # of the data set it asks for the length alone
        super().__init__(rows, processes, rank, shuffle=seed is not None, seed=seed or 0)
        self.n, self.batch_size = n, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        order = np.arange(self.n)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        for batch in torch.from_numpy(order).split(self.batch_size):
            yield batch[self.rank :: self.num_replicas]

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)


Batch = tuple[Tensor, Tensor]
