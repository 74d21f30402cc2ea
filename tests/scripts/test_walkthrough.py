"""scripts/walkthrough.py: where the network and the sample come from, and what it prints and logs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.runs import train_here
from helpers.scripts import run_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import moons
from nnmath.training import load

SCRIPT = Path(__file__).parents[2] / "scripts" / "walkthrough.py"
README = SCRIPT.parents[1] / "README.md"
WEIGHTS = """
x: [0.05, 0.10]
y: [0.01, 0.99]
layers:
  - {weight: [[0.15, 0.20], [0.25, 0.30]], bias: [0.35, 0.35]}
  - {weight: [[0.40, 0.45], [0.50, 0.55]], bias: [0.60, 0.60]}
"""


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "weights.yaml").write_text(WEIGHTS)
    return ["--weights", "weights.yaml"]


def walk(folder, *options):
    process = run_here(SCRIPT, folder, *options)
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def errors(text):
    return [float(number) for number in re.findall(r"^E = [^E]*?= (\S+)$", text, re.MULTILINE)]


def test_by_default_a_row_of_the_default_data(tmp_path):
    process = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert process.stderr == ""
    assert process.stdout.startswith("2-4-1, one update: x = ")
    assert process.stdout.count("(autograd ") == process.stdout.count(" ← ") == 17
    before, after = errors(process.stdout)
    assert after < before
    assert max(map(len, process.stdout.splitlines())) <= 100
    assert not any(tmp_path.iterdir())
    (shown,) = re.findall("```text\n(∂E/∂O.*?\n)```", README.read_text(), re.DOTALL)
    lines, expected = ({*re.sub(r"difference \S+\)", "", text).splitlines()} for text in (process.stdout, shown))
    assert expected < lines  # but for rounding, which depends on the processor


def test_weights_and_sample_of_a_file(tmp_path, weights):
    text = walk(tmp_path, *weights, "--fixed_biases", "--digits", 9)
    assert text.startswith("2-2-2, one update: x = 0.05, 0.1; y = 0.01, 0.99; η = 0.5\n")
    assert errors(text) == [0.298371109, 0.291027774]
    assert text.count(" ← ") == 8
    text = walk(tmp_path, *weights, "--fixed_biases", "--after", 9999)
    assert text.startswith("2-2-2, one update after 9,999: x = 0.05, 0.1;")
    assert errors(text)[1] == 3.51019e-05


def test_a_batch_of_a_file_and_of_the_data(tmp_path):
    (tmp_path / "weights.yaml").write_text(
        "{layers: [{weight: [[1, 2]], bias: [3]}], x: [[1, 2], [3, 4]], y: [[1], [0]]}"
    )
    text = walk(tmp_path, "--weights", "weights.yaml")
    assert text.startswith("2-1, one update: x = 1, 2; 3, 4; y = 1; 0; η = 0.5\n")
    assert "E = (E₁ + E₂) / 2 = " in text
    x, y = DataModule(moons(400, 0.1), dtype=torch.float64).train[[5, 0, 7]]
    text = walk(tmp_path, "--dataset", "moons", "--sample", 5, 0, 7, "--after", 20)
    shown = re.search("x = (.*); y = (.*); η", text)
    assert shown[1] == "; ".join(", ".join(f"{v:.6g}" for v in row) for row in x.tolist())
    assert shown[2] == "; ".join(f"{v:g}" for (v,) in y.tolist())
    before, after = (float(number) for number in re.findall(r"^E = .* = (\S+)$", text, re.MULTILINE))
    assert after < before


def test_weights_of_a_file_with_a_row_of_the_data(tmp_path):
    (tmp_path / "weights.yaml").write_text("layers: [{weight: [[1, 2]], bias: [3]}]")
    text = walk(tmp_path, "--weights", "weights.yaml", "--dataset", "moons", "--sample", 5, "--digits", 17)
    x, y = DataModule(moons(400, 0.1), dtype=torch.float64).train[5]
    inputs = [float(number) for number in re.search("x = (.*?);", text)[1].split(",")]
    assert inputs == x.tolist()
    assert f"y = {y.item():g};" in text


def test_network_and_data_of_a_run(tmp_path):
    options = ["--dataset", "moons", "--samples", 60, "--neurons", 3, "--hidden", "tanh", "--epochs", 5, "--seed", 2]
    assert train_here(tmp_path, *options, "--pictures", 0).returncode == 0
    text = walk(tmp_path, "--run", "last", "--digits", 17)
    network = load(tmp_path / "lightning_logs" / "moons" / "version_0").network.double()
    x, y = DataModule(moons(60, 0.1, seed=2), seed=2, dtype=torch.float64).train[0]
    assert errors(text)[0] == pytest.approx(0.5 * ((network(x[None]) - y) ** 2).item(), rel=1e-12)
    assert "h[1] = tanh(μ₁[1])" in text


def test_one_run_of_a_comparison(tmp_path):
    options = ["--compare", "manual", "autograd", "--dataset", "xor", "--samples", 40, "--epochs", 2, "--pictures", 0]
    assert train_here(tmp_path, *options).returncode == 0
    assert "2-4-1, one update" in walk(tmp_path, "--run", "lightning_logs/xor/version_0/autograd")


def test_markdown_and_log(tmp_path, weights):
    text = walk(tmp_path, *weights, "--markdown", "--log")
    markdown, _, run = text.removesuffix("\n").rpartition("\nrun: ")
    assert markdown.startswith("# 2-2-2, one update")
    assert markdown.count("## ") == 5
    assert markdown.count("```text\n") == 5
    events = EventAccumulator(str(tmp_path / run)).Reload()
    tags = sorted(events.Tags()["tensors"])  # TensorBoard shows them in this order, each in a card
    titles = ["00", "01_Forward", "02_Case_1:_the_output_layer", "03_Case_2:_the_hidden_layer", "04_Update"]
    titles.append("05_Forward,_after_the_update")
    assert tags == [f"walkthrough/{title}/text_summary" for title in titles]
    texts = [events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags]
    assert "\n\n".join([f"# {texts[0]}", *texts[1:]]) == markdown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--sample", "0", "240", "--dataset", "moons"],
            "sample must be different numbers below the 240 training rows, got 0 240",
        ),
        (
            ["--sample", "1", "1", "--dataset", "moons"],
            "sample must be different numbers below the 240 training rows, got 1 1",
        ),
        (["--digits", "18"], "digits must be at most 17, those of float64, got 18"),
        (["--run", "last", "--weights", "w.yaml"], "run and weights both give the weights: use one of them"),
        (
            ["--run", "x", "--seed=1", "--dataset", "moons"],
            "run gives the data and the network; omit --dataset, --seed",
        ),
        (["--weights", "missing.yaml"], "weights: missing.yaml cannot be read"),
        (["--run", "missing"], "missing/checkpoints/best.ckpt does not exist: has the run been trained?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors(tmp_path, options, message):
    process = run_here(SCRIPT, tmp_path, *options)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == f"walkthrough.py: error: {message}\n"


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "layers: []", "layers: 3", "layers: [{weight: [[1, 2]]}]"),
        "layers: [{weight: [[1, 2]], bias: [1, 2]}]",
        "layers: [{weight: [[1, two]], bias: [1]}]",
        "layers: [{weight: [[1, .nan]], bias: [1]}]",
        "{layers: [{weight: [[1, 2]], bias: [1]}], x: [1, 2]}",
        "{layers: [{weight: [[1, 2]], bias: [1]}], x: [1, 2, 3], y: [1]}",
        "{layers: [{weight: [[1, 2]], bias: [1]}], x: [[1, 2], [3, 4]], y: [1]}",
        "{layers: [{weight: [[1, 2]], bias: [1]}], x: [], y: []}",
        "layers: [{weight: [[1, 2]], bias: [1]}, {weight: [[1, 2]], bias: [1]}]",
    ],
)
def test_files_without_a_network(tmp_path, content):
    (tmp_path / "w.yaml").write_text(content)
    process = run_here(SCRIPT, tmp_path, "--weights", "w.yaml")
    assert process.returncode == 2
    assert process.stderr.startswith("walkthrough.py: error: w.yaml must hold layers: [{weight: ")
    assert process.stderr.count("\n") == 1


def test_weights_that_do_not_fit_the_data(tmp_path):
    (tmp_path / "w.yaml").write_text("layers: [{weight: [[1, 2, 3]], bias: [3]}]")
    process = run_here(SCRIPT, tmp_path, "--weights", "w.yaml")
    assert process.returncode == 2
    assert process.stderr.endswith("w.yaml has a network 3-1, but the data have 2 features and 1 target\n")
