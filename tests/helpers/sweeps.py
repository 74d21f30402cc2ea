"""Small sweeps of every kind, in one process or, by torchrun, in several: tests/helpers/sweeps.py FOLDER."""

import pickle
import sys
from pathlib import Path

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons
from nnmath.ensemble.sweep import Architecture, Grid, retrain, sweep
from nnmath.runtime.distributed import ALONE, meet

KINDS = {
    "wide": (Grid([0.1, 1.0, 3.0], [0.0, 0.9], range(9), [5, 20]), Architecture([32]), None),
    "no hidden layer": (Grid([0.1, 1.0, 3.0], [0.0, 0.9], range(4), [5, 20]), Architecture([]), None),
    "cosine": (Grid([0.1, 1.0], [0.0, 0.9], [3, 8], [5, 20], "cosine", 0.01), Architecture([4, 3]), None),
    "batches": (Grid([0.1, 1.0], [0.0, 0.9], [3, 8], [5]), Architecture(), 100),
    "one seed": (Grid([0.1, 1.0, 3.0], [0.0, 0.9], [3], [5, 20]), Architecture([8]), None),
    "fewer networks than processes": (Grid([0.1], [0.0], [3], [5, 20]), Architecture([8]), None),
}
"""The bits of the first two depend on how the stack is split: one network's rows do not fill whole cache lines."""


def results(processes=ALONE, compile=False):
    """kind ↦ the rows, and the parameters of one configuration."""
    found = {}
    for kind, (grid, shape, batch_size) in KINDS.items():

        def data(seed, batch_size=batch_size):
            return DataModule(moons(samples=401, seed=seed), batch_size, seed=seed)

        rows, _ = sweep(grid, data, shape, compile, processes=processes)
        layers = retrain(grid, grid.learning_rates[-1], grid.momenta[-1], 5, data, shape, processes)
        found[kind] = rows.to_csv(), [[tensor.tolist() for layer in one for tensor in layer] for one in layers]
        if compile:
            break
    return found


if __name__ == "__main__":
    processes = meet()
    Path(sys.argv[1], str(processes.rank)).write_bytes(pickle.dumps(results(processes, "compile" in sys.argv)))
