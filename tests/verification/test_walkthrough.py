"""Each line of the walkthrough is recomputed from the numbers that it shows, which are those of the lines above."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from nnmath.equations import RELU, SIGMOID, TANH, Layer
from nnmath.verification.walkthrough import MAX_CHARACTERS, Equation, train_on_samples, walkthrough

FUNCTIONS = {"σ": lambda z: 1 / (1 + math.exp(-z)), "tanh": math.tanh, "ReLU": lambda z: max(z, 0.0), "id": float}
FUNCTIONS["step"] = lambda z: float(z > 0)
WORKED_EXAMPLE = (
    ([0.05, 0.10], [0.01, 0.99]),
    [([[0.15, 0.20], [0.25, 0.30]], [0.35, 0.35]), ([[0.40, 0.45], [0.50, 0.55]], [0.60, 0.60])],
)
NUMBER = re.compile(r"(?<![\w.\]])-?\d+\.?\d*(?:e[-+]\d+)?")
NAME = re.compile(r"(?:∂E[₁-₉]*/∂|∂)?[a-zA-Zμ][ᵢₒ₁-₉]*(?:\d+)?(?:\[[\d,]+\])?(?:/∂μ[₁-₉](?:\[\d+\])?)?")


def as_tensors(sample, layers):
    x, y = (torch.atleast_2d(torch.tensor(part, dtype=torch.float64)).mT for part in sample)  # samples are columns
    return x, y, [Layer(*(torch.tensor(part, dtype=torch.float64) for part in layer)) for layer in layers]


def drawn(sizes, samples=1, seed=0):
    rng = np.random.default_rng(seed)
    layers = [(rng.normal(size=(n, m)), rng.normal(size=n)) for m, n in pairwise(sizes)]
    return as_tensors((rng.normal(size=(samples, sizes[0])), rng.normal(size=(samples, sizes[-1]))), layers)


def evaluate(numbers):
    """The value of a line's numbers, by Python."""
    text = numbers.replace("·", "*").replace("½", "0.5 *").replace("²", "**2")
    return eval(text, {"__builtins__": {}}, FUNCTIONS)


def recompute(parts, digits):
    """Checks each line; returns the last value of each name."""
    known, before = {}, {}
    for title, equations in parts.items():
        for line in equations:
            assert evaluate(line.numbers) == pytest.approx(float(line.value), rel=20 * 10.0**-digits, abs=10.0**-digits)
            shown = [float(number) for number in NUMBER.findall(line.numbers)]
            for name in NAME.findall(line.formula):  # what has been computed above is used as it was shown there
                value = known.get(name, before.get(name))
                assert value is None or value in shown or title == "Update", (title, str(line))
            known[line.name] = float(line.value)
            if line.check:
                assert f"autograd {line.value}," in line.check
                assert float(line.check.split()[-1].rstrip(")")) < 1e-14
        if title == "Update":
            before = {name: value for name, value in known.items() if re.fullmatch(r"[wb].*", name)}
            known = dict(before)
    return known


@pytest.fixture
def worked_example():
    x, y, layers = as_tensors(*WORKED_EXAMPLE)
    return walkthrough(x, y, layers, [SIGMOID, SIGMOID], learning_rate=0.5, digits=9, update_biases=False)


def value(parts, title, name):
    (line,) = [line for line in parts[title] if line.name == name]
    return float(line.value)


def test_the_published_worked_example(worked_example):
    parts = worked_example
    published = {"h[1]": 0.593269992, "h[2]": 0.596884378, "O[1]": 0.75136507, "O[2]": 0.772928465, "E": 0.298371109}
    assert {name: value(parts, "Forward", name) for name in published} == published
    assert value(parts, "Case 1: the output layer", "∂E/∂wₒ[1,1]") == pytest.approx(0.082167041, abs=5e-10)
    weights = [float(line.value) for line in parts["Update"]]
    assert weights == pytest.approx(
        [0.149780716, 0.19956143, 0.24975114, 0.29950229, 0.35891648, 0.408666186, 0.511301270, 0.561370121], abs=5e-9
    )
    # 0.291027924 is widely quoted, but those weights give this error
    assert value(parts, "Forward, after the update", "E") == 0.291027774


def test_the_error_of_the_worked_example_after_ten_thousand_updates():
    x, y, layers = as_tensors(*WORKED_EXAMPLE)
    options = {"learning_rate": 0.5, "update_biases": False}
    layers = train_on_samples(x, y, layers, [SIGMOID, SIGMOID], updates=9999, **options)
    parts = walkthrough(x, y, layers, [SIGMOID, SIGMOID], digits=9, **options)
    # 0.0000351085 is widely quoted; plain NumPy gives this one too
    x, target = map(np.array, WORKED_EXAMPLE[0])
    w1, b1, w2, b2 = (np.array(part) for layer in WORKED_EXAMPLE[1] for part in layer)
    for _ in range(10_001):
        h = 1 / (1 + np.exp(-(w1 @ x + b1)))
        o = 1 / (1 + np.exp(-(w2 @ h + b2)))  # in the end, after 10,000 updates
        delta = (o - target) * o * (1 - o)
        gradients = np.outer((w2.T @ delta) * h * (1 - h), x), np.outer(delta, h)
        w1, w2 = w1 - 0.5 * gradients[0], w2 - 0.5 * gradients[1]
    assert value(parts, "Forward, after the update", "E") == pytest.approx(0.5 * ((o - target) ** 2).sum(), rel=1e-8)
    assert f"{value(parts, 'Forward, after the update', 'E'):.10f}" == "0.0000351019"


@pytest.mark.parametrize(
    ("sizes", "activations"),
    [((2, 4, 1), [SIGMOID, SIGMOID]), ((3, 2, 3, 2), [TANH, RELU, SIGMOID]), ((2, 1), [SIGMOID])],
    ids=["2-4-1", "3-2-3-2", "2-1"],
)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("digits", [6, 12])
def test_each_line_follows_from_the_lines_above(sizes, activations, digits, samples):
    x, y, layers = drawn(sizes, samples)
    parts = walkthrough(x, y, layers, activations, learning_rate=0.5, digits=digits)
    known = recompute(parts, digits)
    parameters = sum(p.numel() for layer in layers for p in layer)
    assert len(parts["Update"]) == parameters
    passes = samples + (samples > 1)  # one for each sample, and the means
    assert sum(bool(line.check) for lines in parts.values() for line in lines) == passes * parameters
    torch_network = torch.nn.Sequential()
    for line, activation in zip(layers, activations, strict=True):
        linear = torch.nn.Linear(*reversed(line.weight.shape), dtype=torch.float64)
        linear.load_state_dict(line._asdict())
        torch_network.extend([linear, activation.module()])
    loss = 0.5 * ((torch_network(x.mT) - y.mT) ** 2).sum() / samples
    loss.backward()
    before = value(parts, "Forward" if samples == 1 else "Means over the samples", "E")
    assert before == pytest.approx(loss.item(), rel=10.0 ** (1 - digits))
    torch.optim.SGD(torch_network.parameters(), lr=0.5).step()
    loss = 0.5 * ((torch_network(x.mT) - y.mT) ** 2).sum().item() / samples
    assert known["E"] == pytest.approx(loss, rel=10.0 ** (1 - digits))


def test_titles_of_several_samples():
    x, y, layers = drawn((2, 2, 1), samples=2)
    parts = walkthrough(x, y, layers, [SIGMOID, SIGMOID], learning_rate=0.5)
    passes = "Forward", "Case 1: the output layer", "Case 2: the hidden layer"
    assert list(parts) == [
        *(f"Sample {k}: {title}" for k in (1, 2) for title in passes),
        *("Means over the samples", "Update"),
        *(f"Sample {k}: Forward, after the update" for k in (1, 2)),
        "Error, after the update",
    ]
    assert parts["Sample 2: Forward"][-1].name == "E₂"
    assert parts["Sample 2: Case 2: the hidden layer"][0].name == "∂E₂/∂h[1]"
    assert parts["Means over the samples"][1].formula == "(∂E₁/∂wᵢ[1,1] + ∂E₂/∂wᵢ[1,1]) / 2"


def test_lines_fit_into_100_columns():
    x, y, layers = drawn((12, 3, 2))
    parts = walkthrough(x, y, layers, [SIGMOID, SIGMOID], learning_rate=0.5, digits=17)
    lines = [part for equations in parts.values() for line in equations for part in str(line).splitlines()]
    assert max(map(len, lines)) <= MAX_CHARACTERS
    text = " ".join(str(parts["Forward"][0]).split())
    assert text.startswith("μ₁[1] = wᵢ[1,1] x[1] + wᵢ[1,2] x[2]")
    assert text.endswith(f" = {parts['Forward'][0].value}")


def test_titles_and_names_of_a_network_with_two_hidden_layers():
    x, y, layers = drawn((2, 1, 2, 1))
    parts = walkthrough(x, y, layers, [SIGMOID] * 3, learning_rate=0.5)
    titles = ["Case 1: the output layer", "Case 2: hidden layer 2", "Case 2: hidden layer 1"]
    assert list(parts) == ["Forward", *titles, "Update", "Forward, after the update"]
    assert [line.name for line in parts[titles[1]]][:4] == ["∂E/∂h₂[1]", "∂E/∂h₂[2]", "∂h₂[1]/∂μ₂[1]", "∂E/∂μ₂[1]"]
    assert parts[titles[2]][0].name == "∂E/∂h₁"
    assert [line.name for line in parts["Update"]][:3] == ["wᵢ₁[1,1]", "wᵢ₁[1,2]", "bᵢ₁"]


def test_negative_factors_are_in_parentheses():
    x, y, layers = as_tensors(([-1.0], [0.5]), [([[-2.0]], [-3.0])])
    parts = walkthrough(x, y, layers, [SIGMOID], learning_rate=0.5)
    assert str(parts["Forward"][0]) == "μ₁ = wₒ[1,1] x + bₒ = (-2) · (-1) + (-3) = -1"


def test_text_of_an_equation():
    assert str(Equation("O", "σ(μ₂)", "σ(0)", "0.5")) == "O = σ(μ₂) = σ(0) = 0.5"
    assert str(Equation("w", "w - η ∂E/∂w", "1 - 0.5 · 0.1", "0.95")) == "w ← w - η ∂E/∂w = 1 - 0.5 · 0.1 = 0.95"
    check = "   (autograd -0.1, difference 0)"  # the number is not repeated where it is the value
    assert str(Equation("∂E/∂bₒ", "∂E/∂μ₂", "-0.1", "-0.1", check)) == f"∂E/∂bₒ = ∂E/∂μ₂ = -0.1{check}"
    terms = " + ".join(["w x"] * 20)
    text = str(Equation("μ", terms, "1 · 2", "2")).splitlines()
    assert text == [f"μ = {' + '.join(['w x'] * 16)} +", f"    {' + '.join(['w x'] * 4)}", "    = 1 · 2", "    = 2"]
    edge = Equation("a", "b" * 88, "c", "d")
    assert len(str(edge)) == 100
    assert "\n" not in str(edge)
    assert str(Equation("a", "b" * 89, "c", "d")) == f"a = {'b' * 89}\n    = c\n    = d"


def test_digits_by_default():
    x, y, layers = as_tensors(([1.0], [0.5]), [([[1 / 3]], [0.0])])
    assert walkthrough(x, y, layers, [SIGMOID], learning_rate=0.5)["Forward"][0].value == "0.333333"
