"""Hand-written gradients, right and wrong: every verdict, the names of the mistakes, and no story that is not true."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

from nnmath.gradcheck import Fault, check_gradients

NO_STORY = {Fault.UNKNOWN, Fault.PARTIAL, Fault.LOCALIZED, Fault.SMALL_RELATIVE}


def load(path):
    """A file of cases as a module."""
    spec = importlib.util.spec_from_file_location(f"cases_of_{path.parent.name.replace('-', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CASES = load(Path(__file__).with_name("cases.py")).CASES
NOT_NAMED = {  # mistakes that no rule makes: what is said of them must be no story
    "brier, plus": "p (1 + p) of a sigmoid in six steps, too few entries for a fit",
    "gated, z h for h in Uc": "a product that the forward pass does not compute",
    "conv1d, x assigned": "windows that overlap, assigned one after the other",
    "cosine, 1/|u| forgotten": "in one of two terms, which the forward pass has not",
    "relu′(0) = 3": "a kink with a slope beyond its one-sided ones",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdicts_and_names(case):
    report = check_gradients(case.forward, case.inputs, case.gradients, n=case.n, learning_rate=case.learning_rate)
    assert {name for name, entry in report.entries.items() if not entry.passed} == set(case.wrong), report
    assert report.passed is not bool(case.wrong)
    told = {finding.fault for finding in report.findings}
    assert told <= case.faults | NO_STORY, report
    assert {name for finding in report.findings for name in finding.names} == set(case.wrong)
    if case.name in NOT_NAMED:
        assert told <= NO_STORY, f"now named: {told}"
    elif case.faults:
        assert told & case.faults, report


def test_there_are_enough_and_all_kinds():
    assert len(CASES) >= 60
    named = {fault for case in CASES for fault in case.faults}
    of_functions = {"nondeterministic", "inplace_grad_output", "forward_differs", "grad_output_ignored"}
    assert named | of_functions == {fault.value for fault in Fault}
    dtypes = {tensor.dtype for case in CASES for tensor in case.inputs.values()}
    assert dtypes >= {torch.float64, torch.float32, torch.float16, torch.bfloat16}


ALIASES = {
    "factor_1_over_n": Fault.FACTOR_N,
    "factor_1_over_k": Fault.FACTOR,
    "softmax_diagonal": Fault.MISSING_PATH,
}
OPEN_CASES = os.environ.get("GRADIENT_CASES")


@pytest.mark.skipif(not OPEN_CASES, reason="GRADIENT_CASES does not name a file of further cases")
def test_cases_from_elsewhere():
    """Twenty cases of another author's: verdicts and names all right, each mistake named, no other story."""
    cases = load(Path(OPEN_CASES)).CASES
    assert len(cases) == 20
    for case in cases:
        hints = case["hints"]
        report = check_gradients(
            case["forward"], case["inputs"], case["gradients"], n=hints.get("n"), learning_rate=hints.get("lr")
        )
        wrong = [name for name, entry in report.entries.items() if not entry.passed]
        assert set(wrong) == set(case["which"]), case["name"]
        labels = {case["fault"], *case.get("accept", ())} - {None}
        expected = {ALIASES.get(label, label) for label in labels}
        told = {finding.fault for finding in report.findings}
        assert told <= expected, (case["name"], told)
        assert bool(told) is bool(expected)
