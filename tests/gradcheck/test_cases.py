"""Hand-written gradients, right and wrong: every verdict, the names of the mistakes, and no false explanation."""

import importlib.util
import os
import sys

import pytest
import torch
from gradcheck.cases import CASES

from nnmath.gradcheck import Fault, check_gradients

UNEXPLAINED = {Fault.UNKNOWN, Fault.PARTIAL, Fault.LOCALIZED, Fault.SMALL_RELATIVE}
NOT_NAMED = {  # no rule makes these mistakes, so the report must not explain them
    "Brier score, p (1 + p)": "p (1 + p) of a sigmoid in six steps, too few entries for a fit",
    "gated, z h for h in Uc": "a product that the forward pass does not compute",
    "conv1d, x assigned": "windows that overlap, assigned one after the other",
    "cosine, 1/|x| forgotten": "in one of two terms, which the forward pass does not compute",
    "relu′(0) = 3.0, beyond the one-sided derivatives": "a kink with a derivative beyond its one-sided ones",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdicts_and_names(case):
    report = check_gradients(case.forward, case.inputs, case.gradients, n=case.n, learning_rate=case.learning_rate)
    assert {name for name, entry in report.entries.items() if not entry.passed} == set(case.wrong), report
    assert report.passed is not bool(case.wrong)
    faults = {finding.fault for finding in report.findings}
    assert faults <= case.faults | UNEXPLAINED, report
    assert {name for finding in report.findings for name in finding.names} == set(case.wrong)
    if case.name in NOT_NAMED:
        assert faults <= UNEXPLAINED, f"now named: {faults}"
    elif case.faults:
        assert faults & case.faults, report


def test_cases_cover_every_fault_and_type():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 257
    assert set(names) >= NOT_NAMED.keys()
    of_code = ["nondeterministic", "inplace_grad_output", "forward_differs", "grad_output_ignored"]
    of_code += ["expression", "nonfinite", "surrogate"]
    assert {fault for case in CASES for fault in case.faults} | set(map(Fault, of_code)) == set(Fault)
    dtypes = {tensor.dtype for case in CASES for tensor in case.inputs.values()}
    assert dtypes >= {torch.float64, torch.float32, torch.float16, torch.bfloat16}


ALIASES = {"factor_1_over_n": "factor_n", "factor_1_over_k": "factor", "softmax_diagonal": "missing_path"}
FURTHER_CASES = os.environ.get("GRADIENT_CASES")


@pytest.mark.skipif(not FURTHER_CASES, reason="GRADIENT_CASES does not name a file of further cases")
def test_further_cases():
    """Twenty cases by another author: every verdict is right, every mistake is named, no explanation is false."""
    spec = importlib.util.spec_from_file_location("further_cases", FURTHER_CASES)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.CASES) == 20
    for case in module.CASES:
        hints = case["hints"]
        report = check_gradients(
            case["forward"], case["inputs"], case["gradients"], n=hints.get("n"), learning_rate=hints.get("lr")
        )
        assert {name for name, entry in report.entries.items() if not entry.passed} == set(case["which"]), case["name"]
        expected = {ALIASES.get(label, label) for label in {case["fault"], *case.get("accept", ())} - {None}}
        faults = {finding.fault for finding in report.findings}
        assert faults <= expected, (case["name"], faults)
        assert bool(faults) is bool(expected)
