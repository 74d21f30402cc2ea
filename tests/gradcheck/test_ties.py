"""At ties, any choice of the equal entries passes, and nothing else does."""

import numpy as np
import pytest
import torch
from gradcheck.models.base import vector
from gradcheck.ties import MISTAKES, tie_cases
from hypothesis import HealthCheck, given, note, settings
from torch.nn import functional as F

from nnmath.gradcheck import check_backward, check_function, check_gradients

SETTINGS = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def assert_verdict(case, expected):
    note(case.description)
    report = check_gradients(case.forward, case.inputs, case.gradients)
    assert report.passed is expected, f"{case.description}\n{report}"


@given(tie_cases())
@settings(SETTINGS, max_examples=200)
def test_any_choice_passes(case):
    assert_verdict(case, True)
    assert check_backward(case.forward, lambda x, w: case.gradients, case.inputs).passed


@given(tie_cases(MISTAKES))
@settings(SETTINGS, max_examples=100)
def test_mistakes_fail(case):
    assert_verdict(case, False)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@given(tie_cases())
@settings(SETTINGS, max_examples=5000)
def test_any_choice_passes_in_a_long_run(case):
    assert_verdict(case, True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@given(tie_cases(MISTAKES))
@settings(SETTINGS, max_examples=2000)
def test_mistakes_fail_in_a_long_run(case):
    assert_verdict(case, False)


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        ([1.5, 0, 0], True),
        ([0, 1.5, 0], True),
        ([0.75, 0.75, 0], True),
        ([0.25, 1.25, 0], True),
        ([1.5, 1.5, 0], False),
        ([0, 0, 1.5], False),
        ([3, 0, 0], False),
        ([-1.5, 3, 0], False),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_largest_of_two_equal_entries(gradient, expected, dtype):
    inputs = {"x": torch.tensor([[2.0, 2.0, 1.0]], dtype=dtype), "w": torch.tensor([1.5], dtype=dtype)}
    gradients = {"x": torch.tensor([gradient], dtype=dtype)}
    report = check_gradients(lambda x, w: (x.max(1).values * w).sum(), inputs, gradients)
    assert report.passed is expected, report


@pytest.mark.parametrize(
    ("gradient", "expected"), [([1, 3], True), ([3, 1], True), ([2, 2], True), ([4, 0], False), ([0, 4], False)]
)
def test_an_entry_that_is_sorted_goes_to_one_place(gradient, expected):
    inputs = {"x": vector(2, 2), "w": vector(1, 3)}
    report = check_gradients(lambda x, w: (x.sort().values * w).sum(), inputs, {"x": vector(*gradient)})
    assert report.passed is expected, report


def test_repair_of_a_backward_with_equal_shares():
    def forward(x, w):
        return (torch.tanh(x.amax(1)) * w).sum()

    def backward(x, w):
        m = x.max(1, keepdims=True)
        mask = (x == m) / (x == m).sum(1, keepdims=True)
        return {"x": mask * (w * (1 + np.tanh(m[:, 0]) ** 2))[:, None]}

    x, w = np.array([[2.0, 2, 1], [1, 3, 3], [1, 1, 1]]), np.array([1.5, -0.7, 0.3])
    finding = check_backward(lambda x, w: (torch.tanh(x.max(1).values) * w).sum(), backward, {"x": x, "w": w}).findings[
        0
    ]
    assert finding.repair == "1 - np.tanh(m[:, 0]) ** 2"


def check(forward, x, w, gradient):
    return check_gradients(forward, {"x": x, "w": w}, {"x": torch.as_tensor(gradient).to(x)})


@pytest.mark.parametrize(
    ("gradient", "expected"), [([2, 0, 0], True), ([0, 2, 0], True), ([0, 0, 2], False), ([0, 1.2, 0], False)]
)
def test_entries_that_are_equal_in_the_type_of_the_inputs_alone(gradient, expected):
    """1.5625 and 1.5703125 times 1.296875 are the same number in bfloat16, but the choice is not part of the noise."""
    x, w = (torch.tensor(v, dtype=torch.bfloat16) for v in ([1.5625, 1.5703125, 1.0], [1.296875]))
    assert len((x * w).unique()) == 2
    report = check(lambda x, w: (x * w).max() * 2 / 1.296875, x, w, gradient)
    assert report.passed is expected, report


@pytest.mark.parametrize(
    ("gradient", "expected"), [([0.5, 0.5, 1, 2], True), ([3, 0, 1, 0], False), ([4, 0, 0, 0], False)]
)
def test_windows_select_from_their_own_entries(gradient, expected):
    x, w = torch.full((1, 4), 2.0).double(), vector(1, 3)
    report = check(lambda x, w: (F.max_pool1d(x, 2) * w).sum(), x, w, [gradient])
    assert report.passed is expected, report


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        ([1, 0, 0, 0, 0, 0, 0, 0], True),
        ([0, 0, 0, 0, 0, 0, 0, 1], True),
        ([1 / 8] * 8, True),
        ([0, 0, 0, 0, 0, 0, 0, 2], False),
    ],
)
def test_ties_in_two_layers(gradient, expected):
    """The same choice in all three; autograd takes the first in each."""
    x, w = torch.full((1, 8), 2.0).double(), vector(1)
    report = check(lambda x, w: (F.max_pool1d(F.max_pool1d(F.max_pool1d(x, 2), 2), 2) * w).sum(), x, w, [gradient])
    assert report.passed is expected, report


def test_ties_of_data():
    """A selection without a gradient, and one with two results, are left as they are."""

    def forward(x, w):
        least, most = x.aminmax(dim=1)
        return (x.max(1).values * w.max() + least * most).sum()

    x, w = torch.tensor([[1.0, 2.0, 2.0]]).double(), vector(3, 3, 1)
    for gradient, expected in (([2, 0.5, 3.5], True), ([2, 4, 4], False)):
        report = check(forward, x, w, [gradient])
        assert report.passed is expected, report


@pytest.mark.parametrize("forward", [lambda x: x.detach().max() + 0.0, lambda x: x.max().detach() + 0.0])
def test_a_tie_on_which_the_loss_does_not_depend(forward):
    (finding,) = check_gradients(forward, {"x": vector(1, 1)}, {"x": vector(1, 1)}).findings
    assert "The graph ends at" in finding.explanation
    assert check_gradients(forward, {"x": vector(1, 1)}, {"x": vector(0, 0)}).passed


def test_a_function_at_a_tie_is_read_at_random_inputs():
    """The hand-written choice is the second entry, autograd's the first."""

    class Largest(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x.max(1).values * w

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            rows, last = torch.arange(len(x)), x.shape[1] - 1 - x.flip(1).max(1).indices
            grad_x = torch.zeros_like(x)
            grad_x[rows, last] = -g * w
            return grad_x, g * x[rows, last]

    inputs = {"x": torch.tensor([[2.0, 2, 1], [0, 3, 3]]), "w": torch.tensor([1.5, -0.7])}
    report = check_function(Largest.apply, inputs, lambda x, w: x.max(1).values * w)
    (finding,) = report.findings
    assert (finding.code, finding.repair) == ("-g", "g")
