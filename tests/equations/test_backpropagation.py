"""The forward pass, the gradients of all nodes and parameters, and whole training trajectories."""

from functools import partial
from itertools import pairwise, product

import mpmath
import pytest
import sympy
import torch
from helpers.tolerances import TOLERANCE, assert_close, relative_difference, ulps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnmath import equations as eq
from nnmath.verification.exact_arithmetic import SigmoidSymbols, symbols
from nnmath.verification.torch_reference import flatten

TORCH = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda z: z}
SIGMOIDS = (eq.SIGMOID, eq.SIGMOID)


def draw_layers(sizes, stack=(), dtype=torch.float64, generator=None):
    """Initial values as in torch.nn.Linear: uniform in ±1/√n_in."""

    def uniform(n_in, *shape):
        return (2 * torch.rand(*stack, *shape, dtype=dtype, generator=generator) - 1) / n_in**0.5

    return [eq.Layer(uniform(n_in, n_out, n_in), uniform(n_in, n_out)) for n_in, n_out in pairwise(sizes)]


def torch_forward(x, layers, names):
    values = [x]
    for (weight, bias), name in zip(layers, names, strict=True):
        values.append(TORCH[name](torch.matmul(weight, values[-1]) + bias.unsqueeze(-1)))
    return values


@st.composite
def cases(draw):
    """Everything that the gradients depend on: x, layers, names of activations, target, reduction."""
    sizes = draw(st.lists(st.integers(1, 16), min_size=2, max_size=5))
    stack = draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    n = draw(st.integers(1, 64))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    hidden, last = (draw(st.sampled_from(sorted(eq.ACTIVATIONS))) for _ in range(2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 30.0, 1e3]))
    x = scale * torch.randn(sizes[0], n, dtype=dtype, generator=generator)
    target = torch.rand(*stack, sizes[-1], n, dtype=dtype, generator=generator)
    layers = draw_layers(sizes, stack, dtype, generator)
    return x, layers, [hidden] * (len(sizes) - 2) + [last], target, draw(st.sampled_from(["mean", "sum"]))


def test_rates_and_momenta_of_each_network_of_a_stack():
    layers = draw_layers([3, 4, 2], stack=(2, 3))
    velocities, gradients = draw_layers([3, 4, 2], stack=(2, 3)), draw_layers([3, 4, 2], stack=(2, 3))
    rates, momenta = torch.rand(2, 3).double(), torch.rand(2, 3).double()
    result = eq.sgd_step(layers, velocities, gradients, rates, momenta)
    for index in product(range(2), range(3)):
        one = [[eq.Layer(*(p[index] for p in layer)) for layer in each] for each in (layers, velocities, gradients)]
        expected = eq.sgd_step(*one, float(rates[index]), float(momenta[index]))
        for stacked, alone in zip(result, expected, strict=True):
            for layer, expected_layer in zip(stacked, alone, strict=True):
                torch.testing.assert_close(tuple(p[index] for p in layer), tuple(expected_layer))


def test_step_without_momentum_by_default():
    layers, velocities, gradients = draw_layers([1, 1]), draw_layers([1, 1]), draw_layers([1, 1])
    new, _ = eq.sgd_step(layers, velocities, gradients, 0.5)
    torch.testing.assert_close(new[0].weight, layers[0].weight - 0.5 * gradients[0].weight)


@given(cases())
@settings(max_examples=300)
def test_forward_matches_torch(case):
    x, layers, names, _, _ = case
    reference = torch_forward(x, layers, names)
    for value, expected in zip(eq.forward(x, layers, [eq.ACTIVATIONS[name] for name in names]), reference, strict=True):
        assert_close(value, expected)


@given(cases())
@settings(max_examples=500)
def test_backward_matches_autograd(case):
    """Both start from the same forward pass: where σ saturates, one rounding error of h is most of h (1 − h)."""
    x, layers, names, target, reduction = case
    parameters = [eq.Layer(*(tensor.clone().requires_grad_() for tensor in layer)) for layer in layers]
    values = torch_forward(x, parameters, names)
    n = target.shape[-1] if reduction == "mean" else 1
    (((values[-1] - target) ** 2).sum() / (2 * n)).backward()
    gradients = eq.backward(
        [value.detach() for value in values], layers, [eq.ACTIVATIONS[name] for name in names], target, reduction
    )
    for gradient, layer in zip(gradients, parameters, strict=True):
        assert_close(gradient.weight, layer.weight.grad)
        assert_close(gradient.bias, layer.bias.grad)


@given(cases())
@settings(max_examples=100)
def test_stack_equals_separate_networks(case):
    x, layers, names, target, reduction = case
    activations = [eq.ACTIVATIONS[name] for name in names]
    values = eq.forward(x, layers, activations)
    stacked = eq.backward(values, layers, activations, target, reduction)
    for index in product(*map(range, target.shape[:-2])):
        network = [eq.Layer(*(tensor[index] for tensor in layer)) for layer in layers]
        outputs = [x, *(value[index] for value in values[1:])]
        separate = eq.backward(outputs, network, activations, target[index], reduction)
        for all_networks, single in zip(stacked, separate, strict=True):
            assert_close(all_networks.weight[index], single.weight)
            assert_close(all_networks.bias[index], single.bias)


class TestFig9:
    """The value and the gradient of every node of the computational graph."""

    generator = torch.Generator().manual_seed(9)
    x = torch.randn(2, 7, dtype=torch.float64, generator=generator)
    target = torch.rand(1, 7, dtype=torch.float64, generator=generator)
    layers = draw_layers((2, 4, 1), generator=generator)

    @pytest.fixture
    def graph(self):
        """μ₁, h, μ₂, O and E by torch, with their gradients."""
        (weight_i, bias_i), (weight_o, bias_o) = self.layers
        mu_1 = (weight_i @ self.x + bias_i[:, None]).requires_grad_()
        h = torch.sigmoid(mu_1)
        mu_2 = weight_o @ h + bias_o[:, None]
        output = torch.sigmoid(mu_2)
        cost = nn.functional.mse_loss(output, self.target) / 2
        for node in (mu_1, h, mu_2, output, cost):
            node.retain_grad()
        cost.backward()
        return mu_1, h, mu_2, output, cost

    def test_values(self, graph):
        mu_1, h, mu_2, output, cost = graph
        values = eq.forward(self.x, self.layers, SIGMOIDS)
        assert_close(eq.weighted_sum(values[0], *self.layers[0]), mu_1)
        assert_close(values[1], h)
        assert_close(eq.weighted_sum(values[1], *self.layers[1]), mu_2)
        assert_close(values[2], output)
        assert_close(eq.error(values[2], self.target), cost)

    def test_gradients(self, graph):
        mu_1, h, mu_2, output, cost = graph
        _, hidden, final = eq.forward(self.x, self.layers, SIGMOIDS)
        weight_o = self.layers[1].weight
        delta_o = eq.output_delta(final, self.target, eq.sigmoid_derivative_from_output)
        assert cost.grad == 1
        assert_close(eq.error_gradient(final, self.target), output.grad)
        assert_close(delta_o, mu_2.grad)
        assert_close(eq.input_gradient(delta_o, weight_o), h.grad)
        assert_close(eq.hidden_delta(delta_o, weight_o, hidden, eq.sigmoid_derivative_from_output), mu_1.grad)


def test_error_sums_over_the_outputs_and_averages_over_the_samples():
    output, target = torch.rand(3, 5, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64)
    assert_close(eq.error(output, target), 3 * nn.functional.mse_loss(output, target) / 2)
    assert_close(eq.error(output, target, "sum"), nn.functional.mse_loss(output, target, reduction="sum") / 2)


def test_eta_of_the_sum_is_n_times_that_of_the_mean():
    """Erratum 4: the notebook's η = 0.45 on the sum of 266 rows is 119.7 with the article's 1/n."""
    x, target = torch.randn(2, 266, dtype=torch.float64), torch.rand(1, 266, dtype=torch.float64)
    layers = draw_layers((2, 4, 1))
    summed, _ = eq.training_step(x, target, layers, eq.zero_velocities(layers), SIGMOIDS, 0.45, reduction="sum")
    averaged, _ = eq.training_step(
        x, target, layers, eq.zero_velocities(layers), SIGMOIDS, 0.45 * 266, reduction="mean"
    )
    assert pytest.approx(119.7) == 0.45 * 266
    for a, b in zip(summed, averaged, strict=True):
        assert_close(a.weight, b.weight)


@pytest.mark.parametrize("sizes", [(2, 4, 1), (3, 5, 1), (7, 1), (1, 1), (2, 16, 16, 16, 3)])
def test_number_of_parameters_matches_torch(sizes):
    modules = nn.Sequential(*(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes)))
    assert eq.number_of_parameters(sizes) == sum(parameter.numel() for parameter in modules.parameters())


def test_number_of_parameters_is_not_exponential():
    """Erratum 3: in the limit, twice the depth has twice as many and twice the width four times as many."""
    deep = [eq.number_of_parameters((8,) * (depth + 1)) for depth in (1, 2, 4, 8)]
    assert deep == [72, 144, 288, 576]
    wide = [eq.number_of_parameters((width, width)) for width in (1000, 2000)]
    assert wide[1] / wide[0] == pytest.approx(4, rel=1e-2)


class TestTrajectory:
    """B7: thousands of updates of all parameters at once."""

    STEPS, RATE, MOMENTUM = 5000, 0.2, 0.9

    def problem(self):
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(2, 50, dtype=torch.float64, generator=generator)
        target = (x[:1] * x[1:] > 0).double()
        return x, target, draw_layers((2, 4, 1), generator=generator)

    def test_5000_updates_match_torch(self):
        x, target, layers = self.problem()
        network = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()).double()
        names = ("0.weight", "0.bias", "2.weight", "2.bias")
        network.load_state_dict(dict(zip(names, (tensor for layer in layers for tensor in layer), strict=True)))
        optimizer = torch.optim.SGD(network.parameters(), lr=self.RATE, momentum=self.MOMENTUM)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.STEPS)
        velocities = eq.zero_velocities(layers)
        start, max_difference = flatten(sum(layers, ())), 0.0
        for t in range(self.STEPS):
            rate = eq.cosine_annealing(t, self.STEPS, self.RATE)
            layers, velocities = eq.training_step(x, target, layers, velocities, SIGMOIDS, rate, self.MOMENTUM)
            optimizer.zero_grad()
            (nn.functional.mse_loss(network(x.T).T, target) / 2).backward()
            optimizer.step()
            scheduler.step()
            if t % 100 == 99:
                manual, reference = flatten(sum(layers, ())), flatten(list(network.parameters())).detach()
                max_difference = max(max_difference, relative_difference(manual, reference))
        assert max_difference <= 1e-11  # 5,000 rounding errors have grown; the first hundred steps agree to 1e-14
        assert (manual - start).abs().max() > 1  # the parameters have changed

    def test_case_2_with_the_updated_weight_gives_other_gradients(self):
        """The classic mistake is large enough for the test above to detect it."""
        x, target, layers = self.problem()
        (_, updated), _ = eq.training_step(x, target, layers, eq.zero_velocities(layers), SIGMOIDS, self.RATE)
        values = eq.forward(x, layers, SIGMOIDS)
        correct = eq.backward(values, layers, SIGMOIDS, target)[0].weight
        wrong = eq.backward(values, [layers[0], updated], SIGMOIDS, target)[0].weight
        assert relative_difference(wrong, correct) > 1e-3

    def test_zero_velocities_of_zero_weights(self):
        layers = [eq.Layer(torch.zeros(4, 2), torch.zeros(4)), eq.Layer(torch.zeros(1, 4), torch.zeros(1))]
        assert all((velocity == 0).all() for layer in eq.zero_velocities(layers) for velocity in layer)

    def test_old_parameters_are_not_modified(self):
        x, target, layers = self.problem()
        before = [tensor.clone() for layer in layers for tensor in layer]
        eq.training_step(x, target, layers, eq.zero_velocities(layers), SIGMOIDS, 0.2, 0.9)
        assert all(map(torch.equal, before, (tensor for layer in layers for tensor in layer)))


def exact_gradients(x, layers, target):
    """The gradients of 2-4-1 to 50 digits, each sum written out: for every entry Σ terms and Σ |terms|."""
    (weight_i, bias_i), (weight_o, bias_o) = layers
    n, hidden = len(x[0]), range(len(weight_i))
    sums = [{}, {}, {}, {}]  # for w_i, b_i, w_o and b_o: entry ↦ (Σ terms, Σ |terms|)

    def add(parameter, entry, term):
        total, magnitude = sums[parameter].get(entry, (0, 0))
        sums[parameter][entry] = total + term / n, magnitude + abs(term) / n

    def sigmoid_and_derivative(z):
        return 1 / (1 + mpmath.exp(-z)), mpmath.exp(-z) / (1 + mpmath.exp(-z)) ** 2

    for s in range(n):
        mu_1 = [weight_i[j][0] * x[0][s] + weight_i[j][1] * x[1][s] + bias_i[j] for j in hidden]
        h, derivative_h = zip(*map(sigmoid_and_derivative, mu_1))
        output, derivative_o = sigmoid_and_derivative(sum(weight_o[0][j] * h[j] for j in hidden) + bias_o[0])
        delta_o = (output - target[0][s]) * derivative_o
        add(3, 0, delta_o)
        for j in hidden:
            delta_i = weight_o[0][j] * delta_o * derivative_h[j]
            add(2, j, delta_o * h[j])
            add(1, j, delta_i)
            for i in range(2):
                add(0, (j, i), delta_i * x[i][s])
    return [tuple(zip(*(entries[key] for key in sorted(entries)))) for entries in sums]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 5.0, 30.0, 1e3])
def test_error_against_50_digits_is_at_most_twice_that_of_autograd_plus_4_ulps(scale, n, dtype):
    """Both start from the same forward pass. The ulp is that of the largest Σ |terms|, as no sum is more accurate."""

    def to_mpmath(tensor):
        return [to_mpmath(row) for row in tensor] if tensor.ndim else mpmath.mpf(tensor.item())

    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        x = scale * torch.randn(2, n, dtype=dtype, generator=generator)
        target = torch.rand(1, n, dtype=dtype, generator=generator)
        layers = draw_layers((2, 4, 1), dtype=dtype, generator=generator)
        exact = exact_gradients(to_mpmath(x), [tuple(map(to_mpmath, layer)) for layer in layers], to_mpmath(target))
        parameters = [eq.Layer(*(tensor.clone().requires_grad_() for tensor in layer)) for layer in layers]
        values = torch_forward(x, parameters, ("sigmoid", "sigmoid"))
        (nn.functional.mse_loss(values[-1], target) / 2).backward()
        manual = eq.backward([value.detach() for value in values], layers, SIGMOIDS, target)
        for gradient, parameter, (sums, magnitudes) in zip(sum(manual, ()), sum(parameters, ()), exact, strict=True):
            autograd_error = max_ulps(parameter.grad, sums, max(magnitudes))
            assert max_ulps(gradient, sums, max(magnitudes)) <= 2 * autograd_error + 4


def max_ulps(tensor, sums, magnitude):
    """Largest error of an entry, in units in the last place of ``magnitude``."""
    errors = [abs(entry - total) for entry, total in zip(tensor.flatten().tolist(), sums, strict=True)]
    return ulps(magnitude + max(errors), magnitude, tensor.dtype)


class TestOnSymbols:
    """The same code on symbols: its gradients minus SymPy's derivatives of E are exactly 0."""

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize(("sizes", "parameters"), [((2, 4, 1), 17), ((2, 3, 2, 1), 20)], ids=["2-4-1", "2-3-2-1"])
    def test_gradients_match_sympy(self, sizes, parameters, n, reduction):
        draw = partial(symbols, kind=SigmoidSymbols)
        x, target = draw("x", sizes[0], n), draw("y", sizes[-1], n)
        shapes = enumerate(pairwise(sizes))
        layers = [eq.Layer(draw(f"w{k}", n_out, n_in), draw(f"b{k}", n_out)) for k, (n_in, n_out) in shapes]
        activations = [eq.SIGMOID] * len(layers)
        values = eq.forward(x, layers, activations)
        cost = eq.error(values[-1], target, reduction).item()
        gradients = eq.backward(values, layers, activations, target, reduction)
        differences = [
            sympy.expand(sympy.diff(cost, symbol) - gradient)
            for layer, manual in zip(layers, gradients, strict=True)
            for tensor, gradient_tensor in zip(layer, manual, strict=True)
            for symbol, gradient in zip(tensor.flat, gradient_tensor.flat, strict=True)
        ]
        assert differences == [0] * parameters


class TestRefuses:
    x, target = torch.zeros(2, 7), torch.zeros(1, 7)
    layers = draw_layers((2, 4, 1), dtype=torch.float32)

    def test_targets_n_against_outputs_1_by_n(self):
        values = eq.forward(self.x, self.layers, SIGMOIDS)
        message = r"output and target must have the same shape, got \(1, 7\) and \(7,\)"
        with pytest.raises(ValueError, match=message):
            eq.backward(values, self.layers, SIGMOIDS, torch.zeros(7))
        with pytest.raises(ValueError, match=message.replace("output", "prediction")):
            eq.error(values[-1], torch.zeros(7))

    def test_rows_instead_of_columns(self):
        with pytest.raises(ValueError, match=r"weight \(4, 2\) and x \(7, 2\) do not fit.*samples are columns"):
            eq.forward(self.x.T, self.layers, SIGMOIDS)

    def test_more_layers_than_activations_or_velocities(self):
        with pytest.raises(ValueError, match="zip"):
            eq.forward(self.x, self.layers, (eq.SIGMOID,))
        with pytest.raises(ValueError, match="zip"):
            eq.training_step(self.x, self.target, self.layers, eq.zero_velocities(self.layers[:1]), SIGMOIDS, 0.1)
        for layers, velocities, gradients in product((self.layers, self.layers[:1]), repeat=3):
            if len(layers) == len(velocities) == len(gradients):
                continue
            with pytest.raises(ValueError, match="zip"):
                eq.sgd_step(layers, velocities, gradients, 0.1)

    def test_gradients_of_other_shapes(self):
        with pytest.raises(ValueError, match="gradient and output must have the same shape"):
            eq.delta(torch.zeros(1, 7), torch.zeros(4, 7), eq.sigmoid_derivative_from_output)
        with pytest.raises(ValueError, match="weight .1, 4. and delta .2, 7. do not fit"):
            eq.input_gradient(torch.zeros(2, 7), torch.zeros(1, 4))
        with pytest.raises(ValueError, match="delta .1, 7. and x .4, 6. do not fit"):
            eq.weight_gradient(torch.zeros(1, 7), torch.zeros(4, 6))

    @pytest.mark.parametrize("sizes", [(), (2,), (2, 0), (2, -1, 1), (2, 4.5, 1), (2, float("nan"), 1)])
    def test_sizes(self, sizes):
        with pytest.raises(ValueError, match="sizes must be two or more positive integers"):
            eq.number_of_parameters(sizes)
