"""scripts/lesson.py: its cells, what they compute, and its exercises, as they are and mended."""

import linecache
import re
from pathlib import Path

import pytest
import torch

LESSON = Path(__file__).parents[2] / "scripts" / "lesson.py"
SOURCE = LESSON.read_text()
MISTAKES = {  # the mistake, its fault and line, and what the reader has to write instead
    1: ("delta_o = o - y", "activation_derivative_missing", "delta_o = (o - y) * o * (1 - o)"),
    2: ("* mu * (1 - mu)", "activation_derivative_wrong_tensor", "* h * (1 - h)"),
    3: ("delta_h.mean(1", "factor_n", "delta_h.sum(1"),
    4: ("w2 = w2 - 0.1 * grad_w2", "updated_weights", "w2 = w2"),
}


def run(source, capsys):
    """Executes the lesson and returns its output."""
    torch.set_num_threads(1)
    linecache.cache["lesson.py"] = (len(source), None, source.splitlines(keepends=True), "lesson.py")
    exec(compile(source, "lesson.py", "exec"), {})
    return capsys.readouterr().out


def test_has_ten_cells_on_the_article_and_four_exercises():
    cells = re.split(r"^# %%(?: \[markdown\])?\n", SOURCE, flags=re.MULTILINE)[1:]
    headings = [line for cell in cells for line in cell.splitlines() if line.startswith("# #")]
    numbers = [heading.split(".")[0] for heading in headings if re.match(r"# ## \d", heading)]
    assert numbers == [f"# ## {k}" for k in range(1, 11)]
    assert [heading for heading in headings if "Exercise " in heading] == [f"# ## Exercise {k}" for k in range(1, 5)]
    kinds = re.findall(r"^# %%(.*)$", SOURCE, flags=re.MULTILINE)
    for kind, cell in zip(kinds, cells, strict=True):
        assert (kind == " [markdown]") == all(line.startswith("#") for line in cell.split("\n") if line)


def test_cells_compute_what_they_say(capsys):
    out = run(SOURCE, capsys)
    tensors = re.findall(r"^tensor\(\[(0\.0177.*)\]\)$", out, re.MULTILINE)
    assert tensors == ["0.0177, 0.1966, 0.2500, 0.1966, 0.0177"] * 2
    first, second = re.findall(r"θ after 100 steps is \[(\S+), (\S+)\]", out)
    assert [*map(float, first)] == pytest.approx([1, 2], abs=1e-3)
    assert float(second[1]) < -1e6
    assert float(re.search(r"largest difference: (\S+)", out)[1]) < 1e-7
    outputs = [float(o) for o in re.search(r"^O = \[([^\[\]]*)\]$", out, re.MULTILINE)[1].split(",")]
    assert outputs == pytest.approx([0, 1, 1, 0], abs=0.1)
    lines = SOURCE.splitlines()
    for report, (mistake, fault, _) in zip(out.split("gradients: ")[1:], MISTAKES.values(), strict=True):
        assert f"{fault} in " in report
        number = int(re.search(r"lesson\.py:(\d+)", report)[1])
        assert mistake in lines[number - 1]


def test_mended_exercises_are_right(capsys):
    source = SOURCE
    for k, (mistake, _, mended) in MISTAKES.items():
        before, start, rest = source.partition(f"# ## Exercise {k}")
        assert mistake in rest
        source = before + start + rest.replace(mistake, mended, 1)
    out = run(source, capsys)
    assert re.findall(r"^gradients: (.*)$", out, re.MULTILINE) == ["all right"] * 4
