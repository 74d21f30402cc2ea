import importlib
import signal
import subprocess
from pathlib import Path

import hypothesis
import pytest
import torch

# The same cases in every run: a failure can be had again, and a slow machine is no failure.
hypothesis.settings.register_profile("nnmath", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("nnmath")


# Processes that tests start would inherit an ignored SIGINT, as from nohup, and then Ctrl-C would not end them.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(autouse=True)
def no_child_outlives_its_test(monkeypatch):
    """Ends the processes that a test has started and that still run; fixtures of a module end their own."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    yield
    for process in started:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
