"""scripts/check_gradients.py from the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts import run_here
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import nnmath.equations as eq
from nnmath.verification.catalogue import CATALOGUE

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_gradients.py"


def run(tmp_path, *options):
    return run_here(SCRIPT, tmp_path, *options)


def assert_usage_error(process, message):
    assert process.returncode == 2, process.stdout
    assert message in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.fixture
def template(tmp_path):
    """A function that writes the template to a file, with a replacement, and returns the file's name."""
    text = run(tmp_path, "--template").stdout

    def write(old="", new=""):
        assert old in text
        (tmp_path / "gradients.py").write_text(text.replace(old, new))
        return "gradients.py"

    return write


def test_table_has_a_row_for_each_equation(tmp_path):
    command = [sys.executable, SCRIPT]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    lines = [line for line in process.stdout.splitlines() if line.endswith("│") and "right" in line]
    assert [line.split()[1] for line in lines] == [row.id for row in CATALOGUE]
    assert process.stdout.count("proved") == sum(row.gradients is not None for row in CATALOGUE)
    assert "exact" in process.stdout
    assert "ulp" in process.stdout
    assert not list(tmp_path.iterdir())


def test_json_and_tensorboard_text(tmp_path):
    process = run(tmp_path, "--json", "--log", "--log_dir", "runs")
    assert process.returncode == 0, process.stderr
    rows = json.loads(process.stdout)
    assert [row["id"] for row in rows] == [row.id for row in CATALOGUE]
    assert all(row["passed"] for row in rows)
    logged = EventAccumulator(str(tmp_path / "runs" / "check_gradients" / "version_0"))
    logged.Reload()
    (tag,) = logged.Tags()["tensors"]
    text = logged.Tensors(tag)[0].tensor_proto.string_val[0].decode()
    assert text.count("| right |") == len(CATALOGUE)
    assert "∂E/∂wₒ" in text


def test_failing_row_sets_the_exit_code(tmp_path, monkeypatch):
    """With a mistake in the sigmoid's derivative."""
    monkeypatch.setattr(eq, "sigmoid_derivative_from_output", lambda h: h * (1 + h))
    process = run(tmp_path, "--json")
    assert process.returncode == 1, process.stderr
    failed = {row["id"]: row for row in json.loads(process.stdout) if not row["passed"]}
    assert set(failed) == {"B2", "B4", "B5"}
    assert all(row["proved"] is False for row in failed.values())


def test_template_passes(tmp_path, template):
    process = run(tmp_path, "--file", template())
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("| right |") + process.stdout.count("| exact |") == 4
    assert process.stdout.startswith("gradients: all right\n")


def test_a_wrong_gradient_is_named(tmp_path, template):
    file = template("delta_o @ weight_o * h * (1 - h)", "delta_o @ weight_o")
    process = run(tmp_path, "--file", file)
    assert process.returncode == 1
    assert process.stdout.count("WRONG") == 2
    assert "activation_derivative_missing in bias_i, weight_i" in process.stdout
    assert "gradients.py:33: `delta_o @ weight_o`, which is ∂E/∂h, should be ∂E/∂(x @ weight_i.T)." in " ".join(
        process.stdout.split()
    )
    assert "→ write `delta_o @ weight_o * h * (1 - h)`: with this edit" in process.stdout
    as_json = json.loads(run(tmp_path, "--file", file, "--json").stdout)
    finding = as_json["findings"][0]
    assert (finding["fault"], finding["line"]) == ("activation_derivative_missing", 33)
    assert finding["repair"] == "delta_o @ weight_o * h * (1 - h)"
    assert {"file", "line", "target", "code", "equals"} == set(as_json["trace"][0])


def test_gradients_instead_of_a_backward(tmp_path, template):
    file = template("n = 8", "gradients = backward(**inputs)\ngradients['bias_o'] = -gradients['bias_o']\nn = 8")
    process = run(tmp_path, "--file", file)
    assert process.returncode == 1
    assert "sign in bias_o" in process.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def backward(", "def other(", "gradients.py must define backward; --template prints a file"),
        ("n = 8", "n = 1 / 0", "gradients.py:42: ZeroDivisionError: division by zero"),
        ("n = 8", "n = (", "gradients.py:42: SyntaxError: '(' was never closed"),
        ("n = 8", "n = 0", "n must be the batch size, at least 1, got 0"),
        ("n = 8", "raise SystemExit(3)", "gradients.py:42: SystemExit: 3"),
        ("n = 8", "inputs['x'][0, 0] = torch.nan", "inputs['x'] must be finite, got nan at index (0, 0)"),
        (").mean() / 2", ")", "forward must return a scalar loss, got shape (8, 1)"),
        ("inputs = {", "inputs = 3\nother = {", "inputs must map names to tensors or arrays, got int"),
    ],
)
def test_invalid_file_is_reported_in_one_line(tmp_path, template, old, new, message):
    assert_usage_error(run(tmp_path, "--file", template(old, new)), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--file", "missing.py"), "--file: there is no file missing.py"),
        (("--file", "."), "--file: there is no file ."),
        (("--fyle", "x"), "fyle"),
    ],
)
def test_invalid_options_are_reported_in_one_line(tmp_path, options, message):
    assert_usage_error(run(tmp_path, *options), message)
