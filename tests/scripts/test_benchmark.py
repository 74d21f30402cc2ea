import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nnmath.benchmarks import networks
from nnmath.ensemble import init_stack, train

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


@pytest.mark.parametrize("compiler", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_prints_a_ratio_for_each_competitor(tmp_path, compiler):
    sizes = ["--rounds", "1", "--steps", "3", "--epochs", "3", "--networks", "20", "--max_networks", "100"]
    sizes += ["--json", "times.json"]
    if not compiler:
        sizes += ["--tables", "network", "stack", "sizes", "gradients", "lightning"]  # whole runs take long
    environment = os.environ if compiler else os.environ | {"PATH": ""}
    process = subprocess.run(
        [sys.executable, SCRIPT, *sizes], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert process.returncode == 0, process.stderr
    names, medians, ratios = zip(
        *re.findall(r"│ ([^│]+?) +│ +([\d.e+]+) .*│ +([\d.e+]+) +│ +[\d.e+-]+ +│", process.stdout)
    )
    compiled = compiler and shutil.which("g++") is not None
    assert sum("torch.compile" in name for name in names) == 4 * compiled
    others = [name for name in names if "torch.compile" not in name and "JAX" not in name]
    assert others == [
        "the stack, of one network",
        "the equations in a loop",
        "NumPy, float32",
        "autograd and SGD(foreach=True)",
        "autograd and SGD(fused=True)",
        "the Module's Functions and SGD",
        "the stack",
        *["100 networks"] * (not compiled),
        "check_gradients, right",
        "forward and backward in float64",
        "check_gradients, right",
        "check_gradients, twice the gradient, with the diagnosis",
        "train.py's: whole batches, one call per epoch",
        "textbook: DataLoader over rows, a self.log per curve",
        *["train.py --pictures 0", "train.py"] * compiler,
    ]
    assert all(float(number) > 0 for number in (*medians, *ratios))
    assert re.search(r"peak memory of the process so far, torch included: \d+ MiB", process.stdout)
    tables = json.loads((tmp_path / "times.json").read_text())
    rows = [row for table in tables for row in table["rows"]]
    assert [row["name"] for row in rows] == list(names)
    assert [row["median"] for row in rows] == pytest.approx([float(median) for median in medians], rel=1e-2)
    assert all(row["from"] <= row["median"] <= row["to"] for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {"times.json"}


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.soak
def test_every_competitor_trains_the_same_network():
    """JAX's networks after 20 updates are those of the stack."""
    x, y = networks.problem()
    stack, rates = init_stack((2, 4, 1), range(3)), torch.linspace(0.01, 1, 3)
    expected = train(stack, x, y, epochs=20, learning_rate=rates, momentum=0.9).layers
    for by_hand in (True, False):
        result = networks.jax_run(stack, x, y, rates, 20, by_hand)()
        for layer, (weight, bias) in zip(expected, result):
            torch.testing.assert_close(torch.from_numpy(np.array(weight)), layer.weight, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(torch.from_numpy(np.array(bias)), layer.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "1000"], "threads must be at most"),
        (["--json", "no/folder.json"], "json: no/folder.json cannot be written"),
    ],
)
def test_refuses(tmp_path, options, message):
    environment = os.environ | {"PATH": ""}
    process = subprocess.run(
        [sys.executable, SCRIPT, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert process.returncode == 2
    assert process.stderr.startswith(f"benchmark.py: error: {message}")
