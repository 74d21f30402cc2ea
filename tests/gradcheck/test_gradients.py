"""check_gradients: verdicts, figures, error messages, and that it changes nothing of the user's."""

import json
import math
import os
import subprocess
import sys
import timeit
from itertools import pairwise

import pytest
import torch
from gradcheck.models.base import normal, vector
from torch import nn
from torch.nn import functional as F

from nnmath.gradcheck import Fault, assert_gradients, check_gradients

draw = normal(5)


def forward(x, y, w, b):
    return ((torch.tanh(x @ w + b) - y) ** 2).sum() / (2 * len(x))


def manual(x, y, w, b):
    h = torch.tanh(x @ w + b)
    delta = (h - y) / len(x) * (1 - h * h)
    return {"w": x.T @ delta, "b": delta.sum(0)}


INPUTS = {"x": draw(6, 3), "y": draw(6, 2), "w": draw(3, 2), "b": draw(2)}
RIGHT = manual(**INPUTS)


def check(gradients, **options):
    return check_gradients(forward, INPUTS, gradients, **options)


def passes(forward, inputs, **gradients):
    return check_gradients(forward, inputs, gradients).passed


class TestEntries:
    def test_right_gradient(self):
        report = check(RIGHT)
        assert report.passed
        assert not report.findings
        assert list(report.entries) == ["w", "b"]
        for entry in report.entries.values():
            assert entry.passed
            assert entry.shape_ok
            assert entry.relative <= 1e-15
            assert entry.ulps <= 8
            assert entry.cosine == pytest.approx(1)
            assert entry.ratio == pytest.approx(1)

    def test_exact_means_bitwise_equal(self):
        leaf = INPUTS["w"].clone().requires_grad_()
        (autograd,) = torch.autograd.grad(forward(**INPUTS | {"w": leaf}), leaf)
        assert check({"w": autograd}).entries["w"].exact
        autograd[2, 1] = math.nextafter(autograd[2, 1], math.inf)
        entry = check({"w": autograd}).entries["w"]
        assert entry.passed
        assert not entry.exact
        assert entry.worst_index == (2, 1)

    def test_wrong_gradient(self):
        wrong = RIGHT["w"].clone()
        wrong[1, 0] += 0.5
        entry = check({"w": wrong}).entries["w"]
        largest = float(RIGHT["w"].abs().max())
        assert not entry.passed
        assert entry.max_abs == pytest.approx(0.5)
        assert entry.relative == pytest.approx(0.5 / largest)
        assert entry.worst_index == (1, 0)
        assert entry.manual == pytest.approx(RIGHT["w"][1, 0] + 0.5)
        assert entry.reference == pytest.approx(RIGHT["w"][1, 0])
        assert entry.ulps == pytest.approx(0.5 / math.ulp(largest))

    def test_ratio_and_cosine_of_minus_twice_the_gradient(self):
        entry = check({"w": -2 * RIGHT["w"]}).entries["w"]
        assert entry.ratio == pytest.approx(-2)
        assert entry.cosine == pytest.approx(-1)

    @pytest.mark.parametrize("scale", [1e-200, 1e200])
    def test_figures_of_numbers_whose_squares_underflow_or_overflow(self, scale):
        x, w = draw(4, 3), draw(3)
        right = scale * x.sum(0)
        entry = check_gradients(lambda w: (x @ w).sum() * scale, {"w": w}, {"w": -3 * right}).entries["w"]
        assert entry.ratio == pytest.approx(-3)
        assert entry.cosine == pytest.approx(-1)

    def test_wrong_shape_has_no_figures(self):
        entry = check({"b": RIGHT["b"][None]}).entries["b"]
        assert not entry.passed
        assert not entry.shape_ok
        assert math.isnan(entry.relative)
        assert entry.note == "shape (1, 2), the input has (2,)"


class TestRebuild:
    @staticmethod
    def build(n, factor):
        x, y, w = torch.randn(n, 3).double(), torch.randn(n).double(), torch.ones(3).double()
        gradient = factor(n) * x.T @ (x @ w - y) / n
        return lambda x, y, w: ((x @ w - y) ** 2).sum() / (2 * n), {"x": x, "y": y, "w": w}, {"w": gradient}

    @pytest.mark.parametrize(
        ("factor", "fault"), [(lambda n: n, Fault.FACTOR_N), (lambda n: 2, Fault.FACTOR_2)], ids=["n", "2"]
    )
    def test_distinguishes_n_from_2(self, factor, fault):
        report = check_gradients(*self.build(2, factor), n=2)
        assert {finding.fault for finding in report.findings} == {Fault.FACTOR_N, Fault.FACTOR_2}
        assert "rebuild=" in report.findings[0].explanation
        report = check_gradients(*self.build(2, factor), n=2, rebuild=lambda n: self.build(n, factor))
        assert [finding.fault for finding in report.findings] == [fault]

    def test_error_in_rebuild(self):
        with pytest.raises(ValueError, match=r"rebuild\(7\) raised ZeroDivisionError"):
            check_gradients(*self.build(2, lambda n: n), n=2, rebuild=lambda n: 1 / 0)


class TestReport:
    report = check({"w": -RIGHT["w"], "b": RIGHT["b"]}, n=6)

    def test_json(self):
        as_json = json.loads(json.dumps(self.report.to_dict(), allow_nan=False))
        assert as_json["passed"] is False
        assert as_json["entries"]["w"]["ratio"] == pytest.approx(-1)
        assert as_json["findings"] == [self.report.findings[0].to_dict()]
        assert as_json["findings"][0]["fault"] == "sign"
        wrong_shape = check({"w": RIGHT["w"].T})
        assert json.loads(json.dumps(wrong_shape.to_dict(), allow_nan=False))["entries"]["w"]["relative"] is None

    def test_text(self, capsys):
        print(self.report)
        text = capsys.readouterr().out
        assert "WRONG" in text
        assert "sign in w" in text
        assert "-1 " in text
        assert "\x1b" not in text  # no colours where there is no terminal
        assert max(map(len, text.splitlines())) <= 120

    def test_colours_on_a_terminal(self, monkeypatch):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm-256color")
        assert "\x1b[" in str(self.report)

    def test_names_the_line_of_the_forward(self):
        h = torch.tanh(INPUTS["x"] @ INPUTS["w"] + INPUTS["b"])
        delta = (h - INPUTS["y"]) / 6
        report = check({"w": INPUTS["x"].T @ delta, "b": delta.sum(0)}, n=6)
        assert report.findings[0].fault is Fault.ACTIVATION_DERIVATIVE_MISSING
        assert "tanh in `torch.tanh(x @ w + b)` (test_gradients.py:23)" in report.findings[0].explanation
        assert "test_gradients.py:" in report.findings[0].explanation


NAN = vector(1, 2, torch.nan, 3, 1, 1).reshape(3, 2)
INTEGERS = torch.ones(3, 2).int()
INVALID = [
    ({"gradients": {"v": RIGHT["w"]}}, ValueError, r"gradients\['v'\] names no input; inputs has 'x', 'y', 'w'"),
    ({"gradients": {}}, ValueError, "gradients is empty"),
    ({"gradients": [RIGHT["w"]]}, TypeError, r"gradients in a list of 1 need names=\[…\], got no names"),
    ({"gradients": 3.0}, TypeError, "gradients must map names of inputs to gradients, got float"),
    ({"gradients": {"w": "3"}}, TypeError, r"gradients\['w'\] must be a tensor, got str"),
    ({"gradients": {"dw": RIGHT["w"], "w": RIGHT["w"]}}, ValueError, r"gradients\['w'\] names no input"),
    ({"gradients": {"w": INTEGERS}}, TypeError, "must be one of .* got torch.int32"),
    ({"gradients": {"w": NAN}}, ValueError, r"gradients\['w'\] must be finite, got nan at index \(1, 0\)"),
    ({"gradients": {"w": NAN / 0}}, ValueError, r"gradients\['w'\] must be finite, got inf"),
    ({"gradients": {"w": RIGHT["w"].to("meta")}}, ValueError, r"gradients\['w'\] is on the meta device"),
    ({"gradients": {"w": RIGHT["w"].to_sparse()}}, ValueError, "must be a dense tensor of real numbers"),
    ({"gradients": {"w": RIGHT["w"] * 1j}}, ValueError, "must be a dense tensor of real numbers"),
    ({"inputs": INPUTS | {"w": NAN}}, ValueError, r"inputs\['w'\] must be finite, got nan"),
    ({"inputs": INPUTS | {"w": INTEGERS}}, ValueError, r"inputs\['w'\] has a gradient and must"),
    ({"inputs": INPUTS | {"w": [[1.0], [2.0, 3.0]]}}, TypeError, r"inputs\['w'\] must be a tensor, got list"),
    ({"inputs": INPUTS | {1: draw(1)}}, TypeError, "inputs must have strings for names, got 1"),
    ({"inputs": [draw(1)]}, TypeError, "inputs must map names to tensors or arrays, got list"),
    ({"inputs": INPUTS | {"x": INPUTS["x"].to("meta")}}, ValueError, "meta"),
    ({"forward": 3}, TypeError, "forward must be a function inputs -> loss, got int"),
    ({"forward": lambda x, y, w: x.sum()}, ValueError, "forward raised TypeError: .*unexpected keyword"),
    ({"forward": lambda **_: 1 / 0}, ValueError, "forward raised ZeroDivisionError: division by zero"),
    ({"forward": lambda x, **_: x}, ValueError, r"forward must return a scalar loss, got shape \(6, 3\)"),
    ({"forward": lambda **_: 3.0}, TypeError, "forward must return a scalar tensor, the loss, got float"),
    ({"forward": lambda **_: torch.tensor(3)}, TypeError, "must return a floating point loss, got torch.int64"),
    ({"forward": lambda w, **_: w.sum() / 0}, ValueError, "finite loss at the given inputs, got -?inf"),
    ({"n": 0}, ValueError, "n must be the batch size, at least 1, got 0"),
    ({"n": 2.5}, TypeError, "n must be the batch size, a whole number, got 2.5"),
    ({"learning_rate": -0.1}, ValueError, "learning_rate must be above 0 and finite, got -0.1"),
    ({"learning_rate": math.nan}, ValueError, "learning_rate must be above 0 and finite, got nan"),
    ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, got '0.1'"),
    ({"rebuild": 3}, TypeError, "rebuild must be a function"),
]


class TestErrors:
    @pytest.mark.parametrize(("changes", "error", "message"), INVALID)
    def test_invalid_arguments(self, changes, error, message):
        arguments = {"forward": forward, "inputs": INPUTS, "gradients": RIGHT} | changes
        with pytest.raises(error, match=message) as caught:
            check_gradients(**arguments)
        assert "\n" not in str(caught.value)

    def test_infinite_gradient_of_forward(self):
        x = vector(0)
        with pytest.raises(ValueError, match=r"gradient of forward must be finite, got inf for inputs\['x'\]"):
            check_gradients(lambda x: x.sqrt().sum(), {"x": x}, {"x": x})

    def test_nondeterministic_loss(self):
        report = check_gradients(lambda x: F.dropout(x).sum(), {"x": draw(50)}, {"x": torch.ones(50).double()})
        assert [finding.fault for finding in report.findings] == [Fault.NONDETERMINISTIC]
        assert not report.passed


class TestSideEffects:
    @pytest.mark.parametrize("factor", [1, 2], ids=["right", "wrong"])
    def test_inputs_and_gradients_are_unchanged(self, factor):
        inputs = {name: tensor.clone().requires_grad_(name in "wx") for name, tensor in INPUTS.items()}
        gradients = {name: factor * tensor for name, tensor in RIGHT.items()}
        tensors = [*inputs.values(), *gradients.values()]
        before = [(tensor.detach().clone(), tensor._version) for tensor in tensors]
        check_gradients(forward, inputs, gradients, n=6)
        for (copy, version), tensor in zip(before, tensors):
            assert torch.equal(copy, tensor.detach())
            assert tensor._version == version
            assert tensor.grad is None
        assert [name for name, tensor in inputs.items() if tensor.requires_grad] == ["x", "w"]

    def test_forward_that_modifies_its_inputs(self):
        def doubling(x, w):
            x.mul_(2)
            return (x @ w).sum()

        x, w = draw(4, 3), draw(3)
        before = x.clone()
        assert passes(doubling, {"x": x, "w": w}, w=2 * x.sum(0))
        assert torch.equal(x, before)

    def test_random_numbers_are_unchanged(self):
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        check({"w": 2 * RIGHT["w"], "b": RIGHT["b"]})
        assert torch.equal(torch.rand(3), expected)

    def test_float32_in_a_closure(self):
        x, y, w = draw(5, 3).float(), draw(5).float(), draw(3).float()
        gradient = x.T @ (x @ w - y) / 5

        def loss(w):
            return ((x @ w - y + torch.zeros(5)) ** 2).mean() / 2

        assert passes(loss, {"w": w}, w=gradient)
        assert not passes(loss, {"w": w}, w=-gradient)


class TestAssertGradients:
    def test_returns_none_for_right_gradients(self):
        assert assert_gradients(forward, INPUTS, RIGHT) is None

    def test_the_message_is_the_report(self):
        with pytest.raises(AssertionError, match=r"(?s)hand-written gradients are wrong.*\| w .*WRONG.*factor_2 in w"):
            assert_gradients(forward, INPUTS, {"w": 2 * RIGHT["w"]}, n=6)


def sigmoid_network(sizes, n):
    """forward, inputs and autograd's gradients."""
    layers = (layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Sigmoid()))
    module = nn.Sequential(*layers).double()
    inputs = {"x": draw(n, sizes[0]), "y": draw(n, sizes[-1])}
    inputs |= {name.replace(".", "_"): p.detach() for name, p in module.named_parameters()}

    def forward(x, y, **parameters):
        named = {name.replace("_", "."): tensor for name, tensor in parameters.items()}
        return F.mse_loss(torch.func.functional_call(module, named, x), y) / 2

    (F.mse_loss(module(inputs["x"]), inputs["y"]) / 2).backward()
    return forward, inputs, {name.replace(".", "_"): p.grad for name, p in module.named_parameters()}


class TestCost:
    def test_time_for_2_4_1(self):
        forward, inputs, gradients = sigmoid_network((2, 4, 1), 266)
        noise = {name: torch.randn_like(gradient) for name, gradient in gradients.items()}

        def seconds(gradients):
            return min(timeit.repeat(lambda: check_gradients(forward, inputs, gradients, n=266), number=1))

        assert check_gradients(forward, inputs, gradients).passed
        assert seconds(gradients) <= 0.05
        assert seconds(noise) <= 1  # no rule explains noise, so that all are tried

    @pytest.mark.soak
    @pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the peak is read from Linux's /proc")
    @pytest.mark.parametrize("factor", [1, 2], ids=["right", "wrong"])
    def test_memory_for_a_million_parameters(self, factor):
        program = f"""
import sys, torch
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_gradients import sigmoid_network
from nnmath.gradcheck import check_gradients

def megabytes(key):
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key))) / 1024

def peak(function):
    open("/proc/self/clear_refs", "w").write("5")
    before = megabytes("VmRSS")
    result = function()
    return megabytes("VmHWM") - before, result

autograd, (forward, inputs, gradients) = peak(lambda: sigmoid_network((500, 1000, 500), 1000))
gradients = {{name: {factor} * gradient for name, gradient in gradients.items()}}
check, report = peak(lambda: check_gradients(forward, inputs, gradients, n=1000))
assert report.passed is ({factor} == 1), report
print(autograd, check)
"""
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        autograd, check = map(float, process.stdout.split())
        assert 30 < autograd < 300  # megabytes; the Jacobian of an output alone would take 4,000
        assert check <= 6 * autograd


def squared_error(x, w, y, mask):
    return (((x @ w - y) ** 2) * mask).sum() / mask.sum() / 2


class TestConstants:
    """Two entries times a constant: their ratio is the only evidence."""

    @pytest.mark.parametrize(
        ("factor", "text"),
        [
            (3, "This is 3 times the gradient."),
            (4, "This is 4 times the gradient."),
            (2.5, "This is 2.5 times the gradient, perhaps 5/2: mask has 5 ones and 2 is a dimension of x."),
            (5 / 8, "This is 0.625 times the gradient, perhaps 5/8: mask has 5 ones and 8 is a dimension of x."),
            (1.2345678, None),
        ],
    )
    def test_ratios_of_counts(self, factor, text):
        x, w, y, mask = draw(8, 2), draw(2), draw(8), torch.tensor([1, 1, 0, 1, 0, 1, 1, 0]).double()
        right = x.T @ ((x @ w - y) * mask) / 5
        report = check_gradients(squared_error, {"x": x, "w": w, "y": y, "mask": mask}, {"w": factor * right})
        if text is None:
            assert report.findings[0].fault is Fault.UNKNOWN
        else:
            assert (report.findings[0].fault, report.findings[0].explanation) == (Fault.FACTOR, text)

    @pytest.mark.parametrize("size", [64, 16, 9])
    def test_a_divisor_of_the_forward_is_no_batch_size(self, size):
        """√size is the last dimension of v too."""
        root = math.isqrt(size)
        inputs = {"q": draw(5, size), "k": draw(5, size), "v": draw(5, root)}

        def attention(q, k, v):
            return ((torch.softmax(q @ k.T / root, -1) @ v) ** 2).sum()

        leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
        gradient = torch.autograd.grad(attention(**leaves), leaves["q"])[0]
        (finding,) = check_gradients(attention, inputs, {"q": root * gradient}).findings
        assert finding.fault is Fault.FACTOR
        assert f"{root} times the gradient, the divisor in div in `q @ k.T / root`" in finding.explanation


class TestEndOfTheGraph:
    """Where autograd's graph ends before it reaches an input, by line."""

    def test_detached(self):
        def forward(x, w):
            h = (x @ w).detach()
            return (h**2).sum()

        x, w = draw(3, 2), draw(2)
        (finding,) = check_gradients(forward, {"x": x, "w": w}, {"w": 2 * x.T @ x @ w}).findings
        assert "The graph ends at `(x @ w).detach()` (test_gradients.py:" in finding.explanation

    def test_item(self):
        def forward(w):
            return (w**2).sum().item()

        message = r"got float; do not convert the loss by item\(\) or float\(\), as in `\(w\*\*2\).sum\(\).item\(\)` \("
        with pytest.raises(TypeError, match=message):
            check_gradients(forward, {"w": draw(2)}, {"w": draw(2)})


@pytest.mark.parametrize(
    ("rows", "some", "fault", "fix"),
    [
        (slice(0, 1), "the first", "overwritten", "use += instead of ="),
        (slice(7, 8), "the last", "overwritten", "use += instead of ="),
        (slice(4, 8), "the last 4", "overwritten", "use += instead of ="),
        (slice(0, 7), "the first 7", "missing_path", "the loop must end at the last one"),
        (slice(1, 8), "the last 7", "missing_path", "the loop must begin at the first one"),
    ],
)
def test_samples_that_a_loop_leaves_out(rows, some, fault, fix):
    x, w = draw(8, 3), draw(3)
    gradient = 2 * x[rows].T @ x[rows] @ w
    (finding,) = check_gradients(lambda x, w: ((x @ w) ** 2).sum(), {"x": x, "w": w}, {"w": gradient}).findings
    assert finding.fault == fault
    assert finding.explanation == f"This is the gradient of {some} of 8 samples alone."
    assert finding.fix == f"add the gradients of all samples: {fix}"


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.softplus, F.mish, torch.erf])
def test_derivative_at_the_output_of_any_function(function):
    inputs = {"x": draw(6, 3), "w": draw(3, 4), "c": draw(6, 4)}
    output = function(inputs["x"] @ inputs["w"]).requires_grad_()
    (derivative,) = torch.autograd.grad(function(output).sum(), output)
    gradients = {"w": inputs["x"].T @ (inputs["c"] * derivative)}
    (finding,) = check_gradients(lambda x, w, c: (function(x @ w) * c).sum(), inputs, gradients).findings
    assert finding.fault is Fault.ACTIVATION_DERIVATIVE_WRONG_TENSOR
    assert "f′(h)" in finding.explanation


@pytest.mark.parametrize("loss", [F.binary_cross_entropy, F.binary_cross_entropy_with_logits])
def test_a_cross_entropy_of_data_that_are_not_inputs_averages_over_them(loss):
    x = torch.linspace(-1, 1, 14, dtype=torch.float64).reshape(7, 2)
    y = torch.tensor([0.0, 1, 1, 0, 1, 0, 0], dtype=torch.float64)
    w = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)

    def forward(w):
        return loss(torch.sigmoid(x @ w), y)

    (gradient,) = torch.autograd.grad(forward(w), w)
    (finding,) = check_gradients(forward, {"w": w.detach()}, {"w": 7 * gradient}).findings
    assert finding.fault.value == "factor_n"
    assert "n = 7" in finding.explanation
