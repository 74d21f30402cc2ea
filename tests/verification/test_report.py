"""The evidence for an equation as JSON, as a table for the terminal and in Markdown."""

from types import SimpleNamespace

import pytest

from nnmath.gradcheck import Entry, Report
from nnmath.verification.report import HEADINGS, to_dict, to_markdown, to_table

GRADIENTS = Report({"w": Entry(passed=True, relative=2e-16), "b": Entry(passed=True, relative=3e-15)}, [])


def evidence(passed=True, **fields):
    equation = SimpleNamespace(id="A1", formula="σ(z)")
    absent = dict.fromkeys(("value", "autograd", "finite_differences", "proof", "ulps"))
    return SimpleNamespace(equation=equation, passed=passed, **absent | fields)


FULL = evidence(value=0.0, autograd=GRADIENTS, finite_differences=1e-9, proof=True, ulps=(0.5, 1.0))


def test_json():
    row = to_dict(FULL)
    assert row["gradients"] == GRADIENTS.to_dict()
    assert (row["id"], row["passed"], row["value"], row["quotients"], row["proved"]) == ("A1", True, 0.0, 1e-9, True)
    assert row["ulps"] == {"by_hand": 0.5, "by_torch": 1.0}
    assert [to_dict(evidence())[key] for key in ("gradients", "quotients", "proved", "ulps")] == [None] * 4


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (FULL, "| A1 | σ(z) | exact | 3.0e-15 | 1.0e-09 | proved | 0.5 ulp | right |"),
        (evidence(passed=False, proof=False), "| A1 | σ(z) |  |  |  | DISPROVED |  | WRONG |"),
    ],
)
def test_markdown(row, line):
    heading, rule, cells = to_markdown([row]).splitlines()
    assert cells == line
    assert heading.count("|") == rule.count("|") == line.count("|") == len(HEADINGS) + 1


def test_the_verdict_is_coloured():
    verdicts = list(to_table([FULL, evidence(passed=False)]).columns[-1].cells)
    assert [(str(v), [str(span.style) for span in v.spans] or str(v.style)) for v in verdicts] == [
        ("right", ["green"]),
        ("WRONG", ["bold red"]),
    ]
