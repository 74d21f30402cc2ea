r"""The order in which training sees the rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

Batch = tuple[Tensor, Tensor]


class Batches(DistributedSampler[Tensor]):
    r"""Row indices, one tensor per batch, in an order that depends only on the seed and the epoch.

    A resumed run therefore sees the same batches as an uninterrupted one. Processes share each batch, and each row goes
    to exactly one of them. This is a DistributedSampler because Lightning replaces others; torch's repeats some rows.

    Args:
        n: number of rows.
        batch_size: rows per batch, in all processes together; the last batch of an epoch can be smaller.
        seed: None keeps the rows in order.
        rank: the process that takes rows rank, rank + world_size, ... of each batch.
        world_size: number of processes.

    >>> [batch.tolist() for batch in Batches(5, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> [batch.tolist() for batch in Batches(5, batch_size=2, rank=1, world_size=2)]
    [[1], [3], []]
    """

    def __init__(self, n: int, batch_size: int, seed: int | None = None, rank: int = 0, world_size: int = 1) -> None:
        rows: Any = range(n)  # only the length of the data set is used
        super().__init__(rows, world_size, rank, shuffle=seed is not None, seed=seed or 0)
        self.n, self.batch_size = n, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        order = np.arange(self.n)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        for batch in torch.from_numpy(order).split(self.batch_size):
            yield batch[self.rank :: self.num_replicas]

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)
