"""Right gradients pass, whatever the model, the type and the conditions."""

import pytest
from gradcheck.draws import right_gradients
from hypothesis import HealthCheck, given, note, settings

from nnmath.gradcheck import check_gradients

SETTINGS = settings(
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large]
)


def assert_passes(case):
    note(f"{case.family}, n = {case.n}: {case.description}")
    report = check_gradients(case.forward, case.inputs, case.gradients, n=case.n)
    assert report.passed, f"{case.family}: {case.description}\n{report}"


@given(right_gradients())
@settings(SETTINGS, max_examples=300)
def test_right_gradients_pass(case):
    assert_passes(case)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@given(right_gradients())
@settings(SETTINGS, max_examples=10_000)
def test_right_gradients_pass_in_a_long_run(case):
    assert_passes(case)
