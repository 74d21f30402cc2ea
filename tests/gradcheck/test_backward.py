"""check_backward reads the code: the line, what it computes, the repair; what it does when it cannot."""

import importlib.util
import os
import runpy
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gradcheck import backwards
from gradcheck.backwards import BACKWARDS
from gradcheck.source_mutants import blank_file, build, definitions, measure
from scipy import special

from nnmath.gradcheck import Fault, assert_backward, check_backward, check_function, check_gradients, check_module
from nnmath.gradcheck.code import search
from nnmath.gradcheck.code.reading import perturb

CASES = {case.name: case for case in BACKWARDS}
REAL_CASES = os.environ.get("GRADIENT_CASES", "").replace("cases.py", "real_cases.py")

AT = "dtable[tokens] += ( dbag[:, None, :] / length)", "np.add.at(dtable, tokens, dbag[:, None, :] / length)"
# backward, old text, new text, the expression that is found, what to write instead
FAULTS = [
    ("article_network", "(o - y) * o", "(o + y) * o", "o + y", "o - y"),
    ("article_network", "delta_o @ h.T / n", "delta_o @ h.T", "delta_o @ h.T", "delta_o @ h.T / n"),
    ("three_layers", "(1 - h2**2)", "(1 - h2)", "1 - h2", "1 - h2 * h2"),
    (
        "columns_leaky",
        "np.dot(dZ1, X.T)",
        "np.dot(X, dZ1.T)",
        "np.dot(X, dZ1.T)",
        "np.dot(X, dZ1.T).T",
    ),
    ("three_layers", "dscores.sum(axis=0)", "dscores.sum(axis=1)", "dscores.sum(axis=1)", "dscores.sum(axis=0)"),
    ("three_layers_in_a_loop", "delta * (acts[i] > 0)", "delta", "delta = delta", "delta = delta * (acts[i] > 0)"),
    ("layer_objects", "grad.sum(axis=0)", "grad.mean(axis=0)", "grad.mean(axis=0)", "grad.sum(axis=0)"),
    ("character_rnn", "dWhh += np", "dWhh = np", "np.outer(dhraw, hs[t - 1])", "np.outer(dhraw, hs[t - 1]) + dWhh"),
    ("character_rnn", "Why.T @ dy + dhnext", "Why.T @ dy", "Why.T @ dy", "Why.T @ dy + dhnext"),
    ("attention", "p.T @ c", "p.T @ q @ k.T @ p.T @ c", "p.T @ q @ k.T @ p.T", "p.T"),
    ("bag_of_words", "np.add.at(dtable, tokens,", "dtable[tokens] += (", AT[0], AT[1]),
    ("numpy_both_ways", "2 * 0.01 * W", "0.01 * W", "0.01 * W", "0.02 * W"),
]


def broken(name, old, new):
    """A backward with a mistake in its source, and the line of the mistake."""
    case = CASES[name]
    source = blank_file(case)
    assert source.count(old), old
    start = source.index(old)
    return build(case, source.replace(old, new), definitions(case)), source[:start].count("\n") + 1


@pytest.mark.parametrize(("name", "old", "new", "code", "repair"), FAULTS)
def test_faults(name, old, new, code, repair):
    case, (backward, line) = CASES[name], broken(name, old, new)
    report = check_backward(case.forward, backward, case.inputs)
    assert not report.passed
    finding = report.findings[0]
    assert (finding.line, finding.code, finding.repair) == (line, code, repair), report
    explained = [name for finding in report.findings for name in finding.names]
    assert sorted(explained) == sorted(name for name, entry in report.entries.items() if not entry.passed)


def test_two_faults():
    case = CASES["article_network"]
    source = blank_file(case).replace("delta_o @ h.T / n", "h @ delta_o.T / n").replace("* h * (1 - h)", "* (1 - h)")
    report = check_backward(case.forward, build(case, source, definitions(case)), case.inputs)
    assert [(finding.names, finding.code, finding.repair) for finding in report.findings] == [
        (["bi", "wi"], "1 - h", "(1 - h) * h"),
        (["wo"], "h @ delta_o.T", "(h @ delta_o.T).T"),
    ]


def test_the_trace_names_what_each_value_equals():
    case = CASES["article_network"]
    backward, _ = broken("article_network", "delta_o @ h.T / n", "delta_o @ h.T")
    trace = check_backward(case.forward, backward, case.inputs).trace
    equals = {entry.target or entry.code: entry.equals for entry in trace}
    assert equals["h"] == "torch.sigmoid(wi @ x + bi)" or equals["h"] == "h"
    assert equals["delta_o"] == "6 · ∂E/∂(wo @ h)"
    assert equals["delta_o @ h.T"] == "6 · ∂E/∂wo"
    assert equals["1 - o"] == ""
    assert [entry.line for entry in trace] == sorted(entry.line for entry in trace if entry.code) or trace


@pytest.mark.skipif(not os.path.exists(REAL_CASES), reason="GRADIENT_CASES does not lie beside real_cases.py")
def test_real_cases():
    """Seventeen backwards that people asked about: every verdict, and of the 16 wrong ones the line and the repair."""
    spec = importlib.util.spec_from_file_location("real_cases", REAL_CASES)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    located = repaired = 0
    for case in module.CASES:
        if "apply" in case:
            report = check_function(case["apply"], case["inputs"], case["plain"], cotangent=case["cotangent"])
        else:
            report = check_backward(case["forward"], case["backward"], case["inputs"])
        wrong = {name for name, entry in report.entries.items() if not entry.passed}
        assert wrong == set(case["which"]), case["name"]
        found = report.findings and all(finding.line for finding in report.findings)
        located += bool(found)
        repaired += bool(found and all(finding.repair for finding in report.findings))
    assert (located, repaired) >= (16, 12)


@pytest.mark.parametrize("case", BACKWARDS, ids=lambda case: case.name)
def test_right_backwards_pass(case):
    report = check_backward(case.forward, case.backward, case.inputs)
    assert report.passed, report
    assert max(entry.relative for entry in report.entries.values()) < 1e-12


def assert_silent(draws):
    for seed in range(draws):
        case = BACKWARDS[seed % len(BACKWARDS)]
        inputs = perturb(case.inputs, [], seed)
        if seed // len(BACKWARDS) % 3 == 2:
            inputs = {name: t.float() if t.is_floating_point() else t for name, t in inputs.items()}
        report = check_backward(case.forward, case.backward, inputs)
        assert report.passed, f"{case.name}, draw {seed}\n{report}"


def test_right_backwards_pass_at_random_inputs():
    assert_silent(200)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_right_backwards_pass_in_a_long_run():
    assert_silent(10_000)


def test_mutants_are_located_and_repaired():
    """Of mutants drawn at random: see measure in source_mutants for the whole."""
    totals, count = measure(limit=2, seed=3, time_limit=10)
    assert "missed" not in totals
    assert "wrong" not in totals
    assert totals["line"] >= 0.9 * count
    assert totals["exact"] + totals["equal"] >= 0.75 * count


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_all_mutants_are_located_and_repaired():
    totals, count = measure(limit=10_000, seed=0, time_limit=10)
    assert "missed" not in totals
    assert totals.get("wrong", 0) <= 0.01 * count
    assert totals["line"] >= 0.9 * count
    assert totals["exact"] + totals["equal"] >= 0.75 * count


def relu_network(x, w, v):
    return (torch.relu(x @ w) @ v).sum()


INPUTS = {
    "x": np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]]),
    "w": np.array([[0.3, -0.7], [0.9, 0.2]]),
    "v": np.ones(2),
}


def relu_backward(x, w, v):
    z = x @ w
    h = np.maximum(0, z)
    dh = np.outer(np.ones(len(x)), v)
    return {"v": h.sum(0), "w": x.T @ (dh * (z > 0))}


def test_a_condition_is_not_swapped_with_a_value():
    def backward(x, w, v):
        z = x @ w
        d = np.where(z > 0, 1, 0.01) * v
        return {"w": x.T @ d, "v": np.maximum(z, 0).sum(0)}

    (finding,) = check_backward(relu_network, backward, INPUTS).findings
    assert "where(1" not in finding.repair  # with 1 as the condition, z > 0 would be the value


def test_what_a_transposed_sum_is_called():
    def forward(x, w, v):
        return ((x @ w).relu() @ v).square().sum()

    def backward(x, w, v):
        z = x @ w
        h = np.maximum(z, 0)
        d = 2 * h @ v
        return {"v": z.T @ d, "w": x.T @ (np.outer(d, v) * (z > 0))}

    (finding,) = check_backward(forward, backward, INPUTS).findings
    assert (finding.code, finding.computes, finding.should_be) == ("z.T", "(x @ w)ᵀ", "((x @ w).relu())ᵀ")


class TestConversion:
    def test_lists_and_other_names_of_gradients(self):
        def backward(x, w, v):
            gradients = relu_backward(x, w, v)
            return {"dv": gradients["v"].tolist(), "w_grad": gradients["w"]}

        report = check_backward(relu_network, backward, INPUTS)
        assert report.passed
        assert report.entries["v"].note == "given as dv"

    def test_a_tuple_in_the_order_of_names(self):
        def backward(x, w, v):
            gradients = relu_backward(x, w, v)
            return gradients["w"], -gradients["v"]

        report = check_backward(relu_network, backward, INPUTS, names=["w", "v"])
        assert {name for name, entry in report.entries.items() if not entry.passed} == {"v"}
        assert report.findings[0].fault == Fault.SIGN

    def test_a_numpy_forward(self):
        def forward(x, w, v):
            return np.sum(np.dot(np.maximum(0, np.dot(x, w)), v))

        assert_backward(forward, relu_backward, INPUTS)

    @pytest.mark.parametrize(
        ("sigmoid", "note"),
        [(special.expit, ""), (np.vectorize(special.expit), "torch cannot run forward (")],
    )
    def test_a_numpy_forward_that_torch_may_be_unable_to_run(self, sigmoid, note):
        def forward(x, w, v):
            return np.sum(sigmoid(np.dot(x, w)) * v)

        def backward(x, w, v):
            h = 1 / (1 + np.exp(-x @ w))
            return {"v": h.sum(0), "w": x.T @ (v * h * (1 - h))}

        report = check_backward(forward, backward, INPUTS)
        assert report.passed
        assert report.note.startswith(note)
        assert bool(report.note) is bool(note) is (report.entries["w"].note == "compared with difference quotients")
        gradients = backward(**INPUTS)
        assert check_gradients(forward, INPUTS, gradients).passed
        wrong = check_gradients(forward, INPUTS, {**gradients, "w": -gradients["w"]})
        assert [(finding.fault, finding.names) for finding in wrong.findings] == [(Fault.SIGN, ["w"])]

    def test_functions_of_scipy(self):
        def forward(x, w, v):
            return np.sum(special.expit(np.dot(x, w)) * v)

        def backward(x, w, v):
            h = special.expit(x @ w)
            return {"v": h.sum(0), "w": x.T @ (v * h)}

        report = check_backward(forward, backward, INPUTS)
        assert not report.note
        assert report.findings[0].repair == "v * h * (1 - h)"

    def test_a_numpy_forward_whose_arrays_are_not_those_of_torch(self):
        """torch._numpy would give another loss: autograd's gradient of it is not the reference."""

        def forward(x, w, v):
            return np.sum(np.tanh(x @ w) * v) * (1 if type(x).__module__ == "numpy" else 2)

        def backward(x, w, v):
            h = np.tanh(x @ w)
            return {"v": h.sum(0), "w": x.T @ (v * (1 - h * h))}

        report = check_backward(forward, backward, INPUTS, forward_takes="numpy")
        assert report.passed
        assert "its loss is" in report.note

    def test_tensors_for_a_backward_in_numpy(self):
        assert_backward(relu_network, relu_backward, {name: torch.from_numpy(value) for name, value in INPUTS.items()})

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"backward": 3}, TypeError, "backward must be a function"),
            ({"inputs": [1]}, TypeError, "inputs must map names to tensors or arrays, got list"),
            ({"backward": lambda x, w, v: {"wieght": w}}, ValueError, "'wieght'.*inputs has 'x', 'w', 'v'"),
            ({"backward": lambda x, w, v: {"b": w}}, ValueError, r"gradients\['b'\] names no input"),
            ({"backward": lambda x, w, v: {"W": w}}, ValueError, "did you mean 'w'"),
            ({"backward": lambda x, w, v: (w, v)}, TypeError, "tuple of 2 need names="),
            ({"backward": lambda x, w, v: w @ v[:1]}, ValueError, "backward raised ValueError"),
            ({"forward_takes": "jax"}, ValueError, "forward_takes must be 'torch' or 'numpy', got 'jax'"),
            ({"n": 0}, ValueError, "n must be the batch size"),
        ],
    )
    def test_invalid_arguments(self, changes, error, message):
        arguments = {"forward": relu_network, "backward": relu_backward, "inputs": INPUTS} | changes
        with pytest.raises(error, match=message):
            check_backward(**arguments)


class TestNonfinite:
    def test_the_line_of_the_first_nan_in_a_backward(self):
        def backward(x, w, v):
            with np.errstate(all="ignore"):
                e = np.exp(x * 1000)
                p = e / e.sum(1, keepdims=True)
            return {"w": x.T @ p @ np.ones((2, 2)), "v": v}

        report = check_backward(relu_network, backward, INPUTS)
        (finding,) = report.findings
        assert (finding.fault, finding.names, finding.code) == (Fault.NONFINITE, ["w"], "np.exp(x * 1000)")
        assert "subtract the largest entry" in finding.fix

    @pytest.mark.parametrize(
        ("forward", "message"),
        [
            (lambda x, w: torch.log(F.relu(x * w)).sum(), "finite loss"),
            (lambda x, w: torch.where(x * w > 9, torch.sqrt(x * w - 9), x).sum(), "sqrt in test_backward.py"),
        ],
    )
    def test_where_the_gradient_of_forward_is_not_finite(self, forward, message):
        x, w = torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([1.0, 1.0, 3.0]).double()
        with pytest.raises(ValueError, match=message):
            check_backward(forward, lambda x, w: {"w": x}, {"x": x, "w": w})


def mean_loss(n):
    """A loss over n = 4 rows of 4 entries, and a backward that divides once too often."""
    rng = np.random.default_rng(n)
    x, w = rng.normal(size=(n, 4)), rng.normal(size=4)

    def forward(w):
        return ((torch.from_numpy(x) @ w) ** 2).sum() / 2

    def backward(w):
        rows = x.shape[0]
        return {"w": x.T @ (x @ w) / rows}

    return forward, backward, {"w": w}


def test_rebuild_tells_the_batch_size_from_another_number():
    """4 is the number of rows and that of columns: only another batch size tells which one is meant."""
    forward, backward, inputs = mean_loss(4)
    report = check_backward(forward, backward, inputs, n=4, rebuild=mean_loss)
    assert report.findings[0].repair in ("x.T @ (x @ w)", "x.T @ (x @ w) / rows * rows")
    assert "4 points" in report.findings[0].fix


def test_code_without_source_is_compared_only():
    namespace = {}
    exec("def backward(x, w, v):\n    return {'v': -(x @ w).clip(0).sum(0)}", namespace)
    report = check_backward(relu_network, namespace["backward"], INPUTS, backward_takes="numpy")
    assert "source of backward was not found" in str(report)
    assert report.findings[0].fault == Fault.SIGN


def test_a_failing_assertion_shows_the_report():
    with pytest.raises(AssertionError, match="the hand-written backward is wrong\ngradients: 1 of 1 wrong"):
        assert_backward(lambda w: (w**2).sum(), lambda w: {"w": w}, {"w": torch.ones(3)})


def test_the_report_says_where_the_values_go_wrong_if_there_is_no_time_for_edits():
    name, old, new, code, _ = FAULTS[2]
    backward, line = broken(name, old, new)
    report = check_backward(CASES[name].forward, backward, CASES[name].inputs, time_limit=0)
    findings = [finding for finding in report.findings if finding.line is not None]
    assert {(finding.line, finding.code, finding.repair) for finding in findings} == {(line, code, "")}
    assert f"`{code}` is the first value that is not known" in findings[0].explanation
    assert "is still right, ∂E/∂" in findings[0].explanation


@pytest.mark.parametrize(("name", "old", "new", "code", "repair"), [FAULTS[2], FAULTS[5], FAULTS[8]])
def test_slow_code(name, old, new, code, repair, monkeypatch):
    """With few runs to spend, the edits of the steps next to the last right gradient come first."""
    monkeypatch.setattr(search, "MIN_RUNS", 1e9)
    case, (backward, line) = CASES[name], broken(name, old, new)
    report = check_backward(case.forward, backward, case.inputs)
    assert report.findings[0].line == line
    assert report.findings[0].repair


def test_the_time_limit_is_kept():
    case = CASES["character_rnn"]
    backward, _ = broken("character_rnn", "Why.T @ dy + dhnext", "Why.T @ dby")
    check_backward(case.forward, backward, case.inputs, time_limit=0.01)
    start = time.perf_counter()
    report = check_backward(case.forward, backward, case.inputs, time_limit=0.2)
    assert time.perf_counter() - start < 1.2
    assert not report.passed


def test_helpers_are_right():
    assert {case.name for case in BACKWARDS} == set(CASES)
    assert len(BACKWARDS) >= 25
    assert backwards.sigmoid(0.0) == 0.5


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        return grad_output @ weight.T, 2 * x.T @ grad_output


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return Doubling.apply(x, self.weight)


class TestModule:
    X = torch.linspace(-1, 1, 12).reshape(4, 3)

    def test_a_parameter_with_a_wrong_gradient(self):
        report = check_module(torch.nn.Sequential(Layer()), {"x": self.X})
        assert {name: entry.passed for name, entry in report.entries.items()} == {"x": True, "0.weight": False}
        assert report.findings[0].fault == Fault.FACTOR_2

    def test_a_right_module(self):
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        report = check_module(model, {"x": self.X})
        assert report.passed
        assert list(report.entries) == ["x", "0.weight", "0.bias", "2.weight", "2.bias"]

    def test_invalid_arguments(self):
        with pytest.raises(TypeError, match="module must be a torch.nn.Module, got function"):
            check_module(relu_network, {"x": self.X})
        with pytest.raises(ValueError, match="must not have the name of a parameter, got weight; rename it"):
            check_module(Layer(), {"weight": self.X})
        with pytest.raises(TypeError, match=r"use check_module\(module, inputs\)"):
            check_function(Layer(), {"x": self.X})


def test_an_edited_file_is_read_again(tmp_path):
    path = tmp_path / "backward.py"
    for code in ("w", "5 * w.sum()"):
        path.write_text(f"def backward(w):\n    gradient = {code}\n    return {{'w': gradient}}\n")
        backward = runpy.run_path(str(path))["backward"]
        report = check_backward(lambda w: (w**2).sum(), backward, {"w": np.array([1.0, 2.0])})
        assert not report.note
        assert report.trace[-1].code == "gradient"
        assert code in [entry.code for entry in report.trace]
