"""Custom Functions: the gradients and the side effects of their backward."""

import pytest
import torch
from gradcheck.models.base import normal, vector
from torch import Tensor
from torch.nn import functional as F

from nnmath.gradcheck import Fault, check_function
from nnmath.network import ManualHalfMSE, ManualLayer


def function(forward, backward):
    """A Function with ctx.saved_tensors = its inputs."""

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx, *grad_outputs):
            return backward(ctx.saved_tensors, *grad_outputs)

    return Custom.apply


def linear(x, weight, bias):
    return x @ weight.T + bias


def linear_backward(saved, g):
    x, weight, _ = saved
    return g @ weight, g.T @ x, g.sum(0)


draw = normal(0)
LINEAR = {"x": draw(7, 3), "weight": draw(2, 3), "bias": draw(2)}
TANH = {"x": draw(3, 4)}
WITH_FORWARD = pytest.mark.parametrize("with_forward", [True, False], ids=["forward", "forward=None"])


def faults(report):
    return [finding.fault for finding in report.findings]


@WITH_FORWARD
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_right(with_forward, dtype):
    inputs = {name: tensor.to(dtype) for name, tensor in LINEAR.items()}
    report = check_function(function(linear, linear_backward), inputs, linear if with_forward else None)
    assert report.passed, report
    assert list(report.entries) == ["x", "weight", "bias"]


def test_functions_of_the_network():
    def half_mse(output, target):
        return ((output - target) ** 2).sum() / (2 * len(output))

    def layer(x, weight, bias):
        return torch.sigmoid(x @ weight.T + bias)

    y = {"output": draw(7, 2).requires_grad_(), "target": draw(7, 2)}
    assert check_function(lambda output, target: ManualHalfMSE.apply(output, target, "mean"), y, half_mse).passed
    report = check_function(lambda x, weight, bias: ManualLayer.apply(x, weight, bias, "sigmoid"), LINEAR, layer)
    assert report.passed, report


WRONG = {
    "sign": (lambda s, g: -g * (1 - s[0].tanh() ** 2), Fault.SIGN),
    "derivative missing": (lambda s, g: g.clone(), Fault.ACTIVATION_DERIVATIVE_MISSING),
    "at the wrong tensor": (lambda s, g: g * (1 - s[0] ** 2), Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR),
    "rows in reverse": (lambda s, g: (g * (1 - s[0].tanh() ** 2)).flip(0), Fault.FLIP),
    "half": (lambda s, g: g * (1 - s[0].tanh() ** 2) / 2, Fault.FACTOR_HALF),
    "None": (lambda s, g: None, Fault.DETACHED),
    "grad_output ignored": (lambda s, g: 1 - s[0].tanh() ** 2, Fault.GRAD_OUTPUT_IGNORED),
    "constant added": (lambda s, g: g * (1 - s[0].tanh() ** 2) + 1e-3, Fault.GRAD_OUTPUT_IGNORED),
    "grad_output changed in place": (lambda s, g: g.mul_(1 - s[0].tanh() ** 2), Fault.INPLACE_GRAD_OUTPUT),
    "random": (lambda s, g: g * (1 - s[0].tanh() ** 2) * (1 + 1e-3 * torch.rand(())), Fault.NONDETERMINISTIC),
    "saved tensor changed in place": (lambda s, g: g * (1 - s[0].tanh_() ** 2), Fault.NONDETERMINISTIC),
}


@WITH_FORWARD
@pytest.mark.parametrize("mistake", WRONG)
def test_wrong(mistake, with_forward):
    backward, fault = WRONG[mistake]
    report = check_function(function(torch.tanh, backward), TANH, torch.tanh if with_forward else None)
    assert not report.passed
    assert faults(report)[0] == fault, report
    assert report.findings[0].names == ["x"]


GATHER = {"table": draw(5, 3), "index": torch.tensor([4, 1, 1, 0])}
SEVERAL_INPUTS = {  # apply, inputs, forward, fault, the name of the wrong gradient
    "flipped kernel": (
        function(F.conv1d, lambda s, g: (F.conv_transpose1d(g, s[1].flip(2)), F.conv1d(s[0], g))),
        {"x": draw(1, 1, 9), "w": draw(1, 1, 4)},
        F.conv1d,
        Fault.FLIP,
        "x",
    ),
    "rows overwritten": (
        function(Tensor.__getitem__, lambda s, g: (torch.zeros_like(s[0]).index_put((s[1],), g), None)),
        GATHER,
        lambda table, index: table[index],
        Fault.OVERWRITTEN,
        "table",
    ),
}


@pytest.mark.parametrize("mistake", SEVERAL_INPUTS)
def test_wrong_in_one_of_several_inputs(mistake):
    apply, inputs, forward, fault, name = SEVERAL_INPUTS[mistake]
    report = check_function(apply, inputs, forward)
    assert not report.entries[name].passed
    assert [(finding.fault, finding.names) for finding in report.findings] == [(fault, [name])]
    assert "call.py" not in str(report)


def test_a_bias_gradient_that_the_engine_sums_is_right():
    report = check_function(function(linear, lambda s, g: (*linear_backward(s, g)[:2], g)), LINEAR, linear)
    assert report.passed
    assert "which autograd's engine sums" in report.entries["bias"].note
    wrong = check_function(function(linear, lambda s, g: (*linear_backward(s, g)[:2], -g)), LINEAR, linear)
    assert [(finding.fault, finding.names) for finding in wrong.findings] == [(Fault.SIGN, ["bias"])]


def test_integer_inputs():
    gather = function(Tensor.__getitem__, lambda s, g: (torch.zeros_like(s[0]).index_add(0, s[1], g), None))
    assert check_function(gather, GATHER).passed


def test_forward_differs():
    report = check_function(function(lambda x: x.tanh() + 1, lambda s, g: g * (1 - s[0].tanh() ** 2)), TANH, torch.tanh)
    assert faults(report) == [Fault.FORWARD_DIFFERS]


def test_ignored_grad_output_is_found_with_a_cotangent_of_ones():
    backward = WRONG["grad_output ignored"][0]
    report = check_function(function(torch.tanh, backward), TANH, torch.tanh, cotangent=torch.ones(3, 4).double())
    assert report.entries["x"].passed
    assert faults(report) == [Fault.GRAD_OUTPUT_IGNORED]


def test_setup_context_several_outputs_and_other_arguments():
    class Polar(torch.autograd.Function):
        @staticmethod
        def forward(r, phi, unit):
            return r * torch.cos(phi * unit), r * torch.sin(phi * unit)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs[:2])
            ctx.unit = inputs[2]

        @staticmethod
        def backward(ctx, gx, gy):
            r, phi = ctx.saved_tensors
            c, s = torch.cos(phi * ctx.unit), torch.sin(phi * ctx.unit)
            return gx * c + gy * s, (gy * c - gx * s) * r * ctx.unit, None

    inputs = {"r": draw(4).exp(), "phi": draw(4), "unit": 0.5}
    assert check_function(Polar.apply, inputs).passed
    assert check_function(Polar.apply, inputs, Polar.forward).passed
    right = (torch.zeros(4).double(), torch.ones(4).double())
    assert check_function(Polar.apply, inputs, cotangent=right).passed
    report = check_function(Polar.apply, {"phi": inputs["phi"], "r": inputs["r"], "unit": 0.5}, Polar.forward)
    assert not report.passed  # in another order, r and φ are swapped


def test_only_what_requires_a_gradient_is_checked():
    inputs = {"output": draw(5).requires_grad_(), "target": draw(5)}
    squared = function(lambda o, y: ((o - y) ** 2).sum(), lambda s, g: (2 * g * (s[0] - s[1]), None))
    assert check_function(squared, inputs).passed
    report = check_function(squared, {name: tensor.detach() for name, tensor in inputs.items()})
    assert report.findings[0].fault == Fault.DETACHED
    assert report.findings[0].names == ["target"]


def test_kinks():
    x = {"x": vector(-1, 0, 0, 2)}
    for at_zero in (0.0, 0.5, 1.0):
        relu = function(torch.relu, lambda s, g, a=at_zero: g * torch.where(s[0] == 0, a, (s[0] > 0).double()))
        assert check_function(relu, x, torch.relu).passed
        assert check_function(relu, x).passed


def test_a_kink_in_one_entry_does_not_excuse_the_others():
    def relu(x):
        return torch.from_numpy(x.detach().numpy().clip(min=0))  # autograd cannot follow

    right, wrong = function(relu, lambda s, g: g * (s[0] > 0)), function(relu, lambda s, g: -g * (s[0] > 0))
    x, cotangent = {"x": vector(0, 1, -1, 2, 3)}, vector(2, 0.4, 0.4, 0.4, 0.4)
    assert check_function(right, x, cotangent=cotangent).passed
    assert not check_function(wrong, x, cotangent=cotangent).passed
    assert not check_function(lambda x: wrong(x), x, cotangent=cotangent).passed


def test_inputs_are_unchanged():
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in LINEAR.items()}
    before = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    check_function(function(linear, linear_backward), inputs, linear)
    for name, tensor in inputs.items():
        assert torch.equal(tensor.detach(), before[name])
        assert tensor.grad is None
        assert tensor.requires_grad


def test_forward_without_autograd():
    def cube(x):
        return torch.from_numpy(x.detach().numpy() ** 3)

    right, wrong = function(cube, lambda s, g: 3 * g * s[0] ** 2), function(cube, lambda s, g: -3 * g * s[0] ** 2)
    report = check_function(right, TANH)
    assert report.passed, report
    assert "difference quotients" in report.entries["x"].note
    assert faults(check_function(wrong, TANH)) == [Fault.SIGN]
    with pytest.raises(ValueError, match=r"inputs\['x'\] has 30000 entries, too many .* pass forward"):
        check_function(right, {"x": torch.zeros(30000)})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, TANH), TypeError, "apply must be a function"),
        ((ManualLayer, TANH), TypeError, "the Function's apply, got ManualLayer: give ManualLayer.apply"),
        ((torch.tanh, TANH, 3), TypeError, "forward must be a function"),
        ((torch.tanh, [draw(3)]), TypeError, "inputs must map names to arguments, got list"),
        ((torch.tanh, {"x": torch.tensor([1.0, torch.nan])}), ValueError, r"inputs\['x'\] must be finite, got nan"),
        ((torch.tanh, {"x": torch.tensor([1])}), ValueError, "at least one floating point tensor"),
        ((lambda x: x.shape, TANH), TypeError, "apply must return a floating point tensor"),
        ((lambda x: x @ x, TANH), ValueError, "apply raised RuntimeError: "),
        ((torch.tanh, TANH, lambda x: x @ x), ValueError, "forward raised RuntimeError: "),
        ((torch.tanh, TANH, torch.sum), ValueError, r"returns shapes \[\(\)\], apply returns \[\(3, 4\)\]"),
    ],
)
def test_invalid_arguments(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        check_function(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cotangent", "error", "message"),
    [
        (draw(2, 2), ValueError, r"cotangent must have the output's shape \(3, 4\), got \(2, 2\)"),
        ([draw(3, 4), draw(3, 4)], ValueError, "one tensor for each of the 1 outputs, got 2"),
        ([3.0], TypeError, "cotangent must be a tensor, got float"),
        (torch.full((3, 4), torch.inf), ValueError, "cotangent must be finite, got inf"),
    ],
)
def test_invalid_cotangent(cotangent, error, message):
    with pytest.raises(error, match=message):
        check_function(torch.tanh, TANH, cotangent=cotangent)


@pytest.mark.parametrize(
    ("forward", "inputs", "backward", "message"),
    [
        (torch.tanh, TANH, lambda s, g: 1 / 0, "the backward of apply raised ZeroDivisionError: division by zero"),
        (linear, LINEAR, lambda s, g: g, "the backward of apply raised ValueError: it returned 1 gradients for 3"),
        (torch.tanh, TANH, lambda s, g: g * torch.nan, "that backward returned must be finite, got nan"),
        (torch.tanh, TANH, lambda s, g: 3.0, "it returned float for x, not a gradient"),
        (torch.tanh, TANH, lambda s, g: g.int(), "it returned torch.int32 for x, not a gradient"),
    ],
)
def test_invalid_backward(forward, inputs, backward, message):
    with pytest.raises(ValueError, match=message):
        check_function(function(forward, backward), inputs)


@pytest.mark.parametrize(
    ("value", "backward", "forward", "text"),
    [
        (torch.round, lambda s, g: g, lambda x: x + (torch.round(x) - x).detach(), "straight-through"),
        (torch.clone, lambda s, g: -0.5 * g, lambda x: -0.5 * x + (1.5 * x).detach(), "gradient reversal"),
    ],
)
def test_surrogates_are_recognized(value, backward, forward, text):
    apply, inputs = function(value, backward), {"x": torch.tensor([0.3, 1.7, -2.2], dtype=torch.float64)}
    report = check_function(apply, inputs, value)
    assert [finding.fault for finding in report.findings] == [Fault.SURROGATE]
    assert text in report.findings[0].explanation
    assert check_function(apply, inputs, forward).passed
