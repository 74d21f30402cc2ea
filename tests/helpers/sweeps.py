"""Small sweeps of several kinds, in one process or, by torchrun, in several: tests/helpers/sweeps.py FOLDER."""

import pickle
import sys
from pathlib import Path

import torch

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons
from nnmath.data.options import NetworkOptions
from nnmath.ensemble.sweep import Grid, sweep
from nnmath.runtime.distributed import init_distributed, rank

KINDS = {
    "wide": (Grid([0.1, 1.0, 3.0], [0.0, 0.9], range(9), [5, 20]), NetworkOptions([32]), None),
    "no hidden layer": (Grid([0.1, 1.0, 3.0], [0.0, 0.9], range(4), [5, 20]), NetworkOptions([]), None),
    "cosine": (Grid([0.1, 1.0], [0.0, 0.9], [3, 8], [5, 20], "cosine", 0.01), NetworkOptions([4, 3]), None),
    "batches": (Grid([0.1, 1.0], [0.0, 0.9], [3, 8], [5]), NetworkOptions(), 100),
    "one seed": (Grid([0.1, 1.0, 3.0], [0.0, 0.9], [3], [5, 20]), NetworkOptions([8]), None),
    "fewer networks than processes": (Grid([0.1], [0.0], [3], [5, 20]), NetworkOptions([8]), None),
}


def sweep_kinds(compile=False):
    """Kind ↦ the rows of the sweep; with ``compile`` of the first kind only."""
    results = {}
    for kind, (grid, network, batch_size) in list(KINDS.items())[: 1 if compile else None]:

        def data(seed, batch_size=batch_size):
            return DataModule(moons(samples=401, seed=seed), batch_size, seed=seed, dtype=torch.float64)

        results[kind], _ = sweep(grid, data, network, compile)
    return results


if __name__ == "__main__":
    init_distributed()
    Path(sys.argv[1], str(rank())).write_bytes(pickle.dumps(sweep_kinds("compile" in sys.argv)))
