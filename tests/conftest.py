import hypothesis
import pytest
import torch

# The same cases in every run: a failure can be had again, and a slow machine is no failure.
hypothesis.settings.register_profile("nnmath", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("nnmath")


@pytest.fixture(autouse=True)
def one_thread_one_seed():
    torch.manual_seed(0)
    torch.set_num_threads(1)
