import re
from pathlib import Path

from nnmath.verification.catalogue import CATALOGUE, markdown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_list_of_equations_is_the_catalogues():
    assert markdown() in README, "put what `python -m nnmath.verification.catalogue` prints under The equations"


def test_each_link_to_a_line_is_that_functions():
    links = re.findall(r"\[(\w+)\]\(([\w/.]+)#L(\d+)\)", README)
    assert len(links) == sum(len(row.functions) for row in CATALOGUE)
    for name, file, line in links:
        assert (ROOT / file).read_text().splitlines()[int(line) - 1].startswith(f"def {name}(")


def test_each_linked_file_is_there():
    for path in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / path).exists(), path


def rounded(line):
    """A row without the rounding of a right gradient, which is another on other processors."""
    cells = line.split("|")
    return [*cells[:2], *cells[5:]] if len(cells) > 2 and cells[2].strip() in ("right", "exact") else cells


def test_the_python_in_it_runs():
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, namespace)
    assert [tuple(gradient.weight.shape) for gradient in namespace["gradients"]] == [(4, 2), (1, 4)]
    assert namespace["network"][0].weight.grad is not None
    (finding,) = namespace["report"].findings
    assert (finding.fault, finding.names) == ("activation_derivative_missing", ["weight_i"])
    (table,) = [block for block in README.split("```text\n") if block.startswith("gradients: ")]
    shown, made = table.splitlines()[:7], str(namespace["report"]).splitlines()[:7]
    assert [rounded(line) for line in shown] == [rounded(line) for line in made]


def test_every_wing_and_every_script_is_on_the_map():
    wings = {path.parent.name for path in (ROOT / "nnmath").glob("*/__init__.py")}
    assert all(f"(nnmath/{wing})" in README for wing in wings)
    assert all(path.name in README for path in (ROOT / "scripts").glob("*.py"))
