import linecache
import re
import subprocess
import sys
from pathlib import Path

from nnmath.verification.catalogue import CATALOGUE, markdown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_table_of_equations_is_the_catalogue():
    command = [sys.executable, "-m", "nnmath.verification.catalogue"]
    table = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, encoding="utf-8").stdout
    assert table.strip() == markdown()
    assert table.strip() in README, f"replace the table by the output of `python {' '.join(command[1:])}`"


def test_links_to_lines_lead_to_the_functions():
    links = re.findall(r"\[(\w+)\]\(([\w/.]+)#L(\d+)\)", README)
    assert len(links) == sum(len(row.functions) for row in CATALOGUE)
    for name, file, line in links:
        assert (ROOT / file).read_text().splitlines()[int(line) - 1].startswith(f"def {name}(")


def test_linked_files_exist():
    for path in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / path).exists(), path


def without_rounding(line):
    """A row without what depends on the processor: the rounding of a right gradient, and the widths of columns."""
    cells = "+" if line.startswith("+--") else [cell.strip() for cell in line.split("|")]
    return [*cells[:2], *cells[5:7]] if len(cells) > 2 and cells[2].strip() in ("right", "exact") else cells


def test_python_examples_run_and_print_the_report():
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        linecache.cache["mine.py"] = (len(block), None, block.splitlines(keepends=True), "mine.py")
        exec(compile(block, "mine.py", "exec"), namespace)
    assert [tuple(layer.weight.shape) for layer in namespace["layers"]] == [(4, 2), (1, 4)]
    assert namespace["network"][0].weight.grad is not None
    (finding,) = namespace["report"].findings
    assert (finding.names, finding.repair) == (["w1"], "d @ w2.T * (1 - h ** 2)")
    (shown,) = [block for block in README.split("```text\n") if block.startswith("gradients: ")]
    lines, expected = (text.rstrip("\n`").splitlines() for text in (str(namespace["report"]), shown.split("```")[0]))
    assert list(map(without_rounding, lines)) == list(map(without_rounding, expected))


def test_every_wing_and_every_script_is_on_the_map():
    wings = {path.parent.name for path in (ROOT / "nnmath").glob("*/__init__.py")}
    assert all(f"(nnmath/{wing})" in README for wing in wings)
    assert all(path.name in README for path in (ROOT / "scripts").glob("*.py"))
