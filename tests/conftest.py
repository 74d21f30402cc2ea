import os

import hypothesis
import pytest
import torch

# The same cases in every run: a failure can be had again, and a slow machine is no failure.
hypothesis.settings.register_profile("nnmath", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("nnmath")

# With a worker on each core, the scripts that tests start take a thread each: threads in one another's way take twice
# as long. Without workers they take what people's do.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def one_thread_one_seed():
    torch.manual_seed(0)
    torch.set_num_threads(1)
