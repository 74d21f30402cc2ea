import importlib
from pathlib import Path

import hypothesis
import pytest
import torch

# The same cases in every run: a failure can be had again, and a slow machine is no failure.
hypothesis.settings.register_profile("nnmath", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("nnmath")


ROOT = Path(__file__).parents[1]


def pytest_sessionstart(session):
    """Imports the files of nnmath that are named on the command line: pytest would import them a second time."""
    for argument in session.config.args:
        path = Path(argument.partition("::")[0]).resolve()
        if path.suffix == ".py" and path.is_relative_to(ROOT / "nnmath"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.fixture(autouse=True)
def one_thread_one_seed():
    torch.manual_seed(0)
    torch.set_num_threads(1)
