"""Forward first, then every node and every parameter backwards, then whole trajectories."""

from itertools import pairwise, product

import mpmath
import pytest
import sympy
import torch
from helpers.tolerances import TOLERANCE, assert_close, relative_difference, ulps
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnmath.equations import (
    ACTIVATIONS,
    SIGMOID,
    Layer,
    backward,
    cosine_annealing,
    delta,
    error,
    error_gradient,
    forward,
    hidden_delta,
    input_gradient,
    number_of_parameters,
    output_delta,
    sigmoid_derivative_from_output,
    training_step,
    weight_gradient,
    weighted_sum,
    zero_velocities,
)
from nnmath.verification.exact_arithmetic import SigmoidSymbols, symbols

TORCH = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda z: z}
SIGMOIDS = (SIGMOID, SIGMOID)


def draw_layers(sizes, stack=(), dtype=torch.float64, generator=None):
    """Initial values as torch.nn.Linear has them: uniform within ±1/√n_in."""

    def uniform(n_in, *shape):
        return (2 * torch.rand(*stack, *shape, dtype=dtype, generator=generator) - 1) / n_in**0.5

    return [Layer(uniform(n_in, n_out, n_in), uniform(n_in, n_out)) for n_in, n_out in pairwise(sizes)]


def forward_by_torch(x, layers, names):
    values = [x]
    for (weight, bias), name in zip(layers, names, strict=True):
        values.append(TORCH[name](torch.matmul(weight, values[-1]) + bias.unsqueeze(-1)))
    return values


@st.composite
def cases(draw):
    """Sizes, stacks, activations, scales and seeds, all that a network's gradient depends on."""
    sizes = draw(st.lists(st.integers(1, 16), min_size=2, max_size=5))
    stack = draw(st.sampled_from([(), (1,), (3,), (2, 3)]))
    n = draw(st.integers(1, 64))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    hidden, last = (draw(st.sampled_from(sorted(ACTIVATIONS))) for _ in range(2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 30.0, 1e3]))
    x = scale * torch.randn(sizes[0], n, dtype=dtype, generator=generator)
    target = torch.rand(*stack, sizes[-1], n, dtype=dtype, generator=generator)
    layers = draw_layers(sizes, stack, dtype, generator)
    return x, layers, [hidden] * (len(sizes) - 2) + [last], target, draw(st.sampled_from(["mean", "sum"]))


@given(cases())
@settings(max_examples=300)
def test_forward_matches_torch(case):
    x, layers, names, _, _ = case
    reference = forward_by_torch(x, layers, names)
    for value, expected in zip(forward(x, layers, [ACTIVATIONS[name] for name in names]), reference, strict=True):
        assert_close(value, expected)


@given(cases())
@settings(max_examples=500)
def test_backward_matches_autograd(case):
    """From the same values of the layers: where σ is saturated, one rounding of h is most of h (1 − h)."""
    x, layers, names, target, reduction = case
    parameters = [Layer(*(tensor.clone().requires_grad_() for tensor in layer)) for layer in layers]
    values = forward_by_torch(x, parameters, names)
    n = target.shape[-1] if reduction == "mean" else 1
    (((values[-1] - target) ** 2).sum() / (2 * n)).backward()
    gradients = backward(
        [value.detach() for value in values], layers, [ACTIVATIONS[name] for name in names], target, reduction
    )
    for gradient, layer in zip(gradients, parameters, strict=True):
        assert_close(gradient.weight, layer.weight.grad)
        assert_close(gradient.bias, layer.bias.grad)


@given(cases())
@settings(max_examples=100)
def test_stack_equals_separate_networks(case):
    x, layers, names, target, reduction = case
    activations = [ACTIVATIONS[name] for name in names]
    values = forward(x, layers, activations)
    stacked = backward(values, layers, activations, target, reduction)
    for index in product(*map(range, target.shape[:-2])):
        one = [Layer(*(tensor[index] for tensor in layer)) for layer in layers]
        separate = backward([x, *(value[index] for value in values[1:])], one, activations, target[index], reduction)
        for several, single in zip(stacked, separate, strict=True):
            assert_close(several.weight[index], single.weight)
            assert_close(several.bias[index], single.bias)


class TestFig9:
    """Every node of the computational graph, its value and its gradient."""

    generator = torch.Generator().manual_seed(9)
    x = torch.randn(2, 7, dtype=torch.float64, generator=generator)
    target = torch.rand(1, 7, dtype=torch.float64, generator=generator)
    layers = draw_layers((2, 4, 1), generator=generator)

    @pytest.fixture
    def graph(self):
        """μ₁, h, μ₂, O, E by torch, each keeping its gradient."""
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
        values = forward(self.x, self.layers, SIGMOIDS)
        assert_close(weighted_sum(values[0], *self.layers[0]), mu_1)
        assert_close(values[1], h)
        assert_close(weighted_sum(values[1], *self.layers[1]), mu_2)
        assert_close(values[2], output)
        assert_close(error(values[2], self.target), cost)

    def test_gradients(self, graph):
        mu_1, h, mu_2, output, cost = graph
        _, hidden, final = forward(self.x, self.layers, SIGMOIDS)
        weight_o = self.layers[1].weight
        delta_o = output_delta(final, self.target, sigmoid_derivative_from_output)
        assert cost.grad == 1
        assert_close(error_gradient(final, self.target), output.grad)
        assert_close(delta_o, mu_2.grad)
        assert_close(input_gradient(delta_o, weight_o), h.grad)
        assert_close(hidden_delta(delta_o, weight_o, hidden, sigmoid_derivative_from_output), mu_1.grad)


def test_error_sums_over_the_outputs_and_averages_over_the_samples():
    output, target = torch.rand(3, 5, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64)
    assert_close(error(output, target), 3 * nn.functional.mse_loss(output, target) / 2)
    assert_close(error(output, target, "sum"), nn.functional.mse_loss(output, target, reduction="sum") / 2)


def test_eta_of_the_sum_is_n_times_that_of_the_mean():
    """Erratum 4: the notebook's η = 0.45 on 266 summed rows is 119.7 by the article's own 1/n."""
    x, target = torch.randn(2, 266, dtype=torch.float64), torch.rand(1, 266, dtype=torch.float64)
    layers = draw_layers((2, 4, 1))
    summed, _ = training_step(x, target, layers, zero_velocities(layers), SIGMOIDS, 0.45, reduction="sum")
    averaged, _ = training_step(x, target, layers, zero_velocities(layers), SIGMOIDS, 0.45 * 266, reduction="mean")
    assert pytest.approx(119.7) == 0.45 * 266
    for a, b in zip(summed, averaged, strict=True):
        assert_close(a.weight, b.weight)


@pytest.mark.parametrize("sizes", [(2, 4, 1), (3, 5, 1), (7, 1), (1, 1), (2, 16, 16, 16, 3)])
def test_number_of_parameters_matches_torch(sizes):
    modules = nn.Sequential(*(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes)))
    assert number_of_parameters(sizes) == sum(parameter.numel() for parameter in modules.parameters())


def test_number_of_parameters_is_not_exponential():
    """Erratum 3: twice the depth is twice as many, twice the width four times, in the limit."""
    deep = [number_of_parameters((8,) * (depth + 1)) for depth in (1, 2, 4, 8)]
    assert deep == [72, 144, 288, 576]
    wide = [number_of_parameters((width, width)) for width in (1000, 2000)]
    assert wide[1] / wide[0] == pytest.approx(4, rel=1e-2)


class TestTrajectory:
    """B7: all parameters at once, over thousands of updates."""

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
        velocities = zero_velocities(layers)
        start = torch.cat([tensor.reshape(-1) for layer in layers for tensor in layer])
        worst = 0.0
        for t in range(self.STEPS):
            rate = cosine_annealing(t, self.STEPS, self.RATE)
            layers, velocities = training_step(x, target, layers, velocities, SIGMOIDS, rate, self.MOMENTUM)
            optimizer.zero_grad()
            (nn.functional.mse_loss(network(x.T).T, target) / 2).backward()
            optimizer.step()
            scheduler.step()
            if t % 100 == 99:
                manual = torch.cat([tensor.reshape(-1) for layer in layers for tensor in layer])
                by_torch = torch.cat([tensor.reshape(-1) for tensor in network.parameters()]).detach()
                worst = max(worst, relative_difference(manual, by_torch))
        assert worst <= 1e-11  # 5,000 roundings have grown; the first hundred steps agree to 1e-14
        assert (manual - start).abs().max() > 1  # and it has gone somewhere

    def test_case_2_with_the_updated_weight_gives_another_trajectory(self):
        """The classic mistake, which the trajectory above must be able to tell from the right one."""
        x, target, layers = self.problem()
        (_, updated), _ = training_step(x, target, layers, zero_velocities(layers), SIGMOIDS, self.RATE)
        values = forward(x, layers, SIGMOIDS)
        right = backward(values, layers, SIGMOIDS, target)[0].weight
        wrong = backward(values, [layers[0], updated], SIGMOIDS, target)[0].weight
        assert relative_difference(wrong, right) > 1e-3

    def test_zero_velocities_of_zero_weights(self):
        layers = [Layer(torch.zeros(4, 2), torch.zeros(4)), Layer(torch.zeros(1, 4), torch.zeros(1))]
        assert all((velocity == 0).all() for layer in zero_velocities(layers) for velocity in layer)

    def test_old_parameters_are_not_modified(self):
        x, target, layers = self.problem()
        before = [tensor.clone() for layer in layers for tensor in layer]
        training_step(x, target, layers, zero_velocities(layers), SIGMOIDS, 0.2, 0.9)
        assert all(map(torch.equal, before, (tensor for layer in layers for tensor in layer)))


def truth(x, layers, target):
    """The gradients of 2-4-1 to 50 digits, each sum written out: an entry's sum, and the sum of its terms' sizes."""
    (weight_i, bias_i), (weight_o, bias_o) = layers
    n, hidden = len(x[0]), range(len(weight_i))
    sums = [{}, {}, {}, {}]  # for w_i, b_i, w_o and b_o: entry ↦ (Σ terms, Σ |terms|)

    def add(parameter, entry, term):
        total, size = sums[parameter].get(entry, (0, 0))
        sums[parameter][entry] = total + term / n, size + abs(term) / n

    def sigma(z):
        return 1 / (1 + mpmath.exp(-z)), mpmath.exp(-z) / (1 + mpmath.exp(-z)) ** 2

    for s in range(n):
        h, slope_h = zip(
            *(sigma(weight_i[j][0] * x[0][s] + weight_i[j][1] * x[1][s] + bias_i[j]) for j in hidden), strict=False
        )
        output, slope_o = sigma(sum(weight_o[0][j] * h[j] for j in hidden) + bias_o[0])
        delta_o = (output - target[0][s]) * slope_o
        add(3, 0, delta_o)
        for j in hidden:
            delta_i = weight_o[0][j] * delta_o * slope_h[j]
            add(2, j, delta_o * h[j])
            add(1, j, delta_i)
            for i in range(2):
                add(0, (j, i), delta_i * x[i][s])
    return [tuple(zip(*(entries[key] for key in sorted(entries)), strict=False)) for entries in sums]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 5.0, 30.0, 1e3])
def test_error_against_50_digits_is_at_most_twice_autograds_and_4_ulp(scale, n, dtype):
    """Both from the same values of the layers. An ulp is that of the largest sum of |terms|: what a sum can resolve."""

    def exactly(tensor):
        return [exactly(row) for row in tensor] if tensor.ndim else mpmath.mpf(tensor.item())

    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        x = scale * torch.randn(2, n, dtype=dtype, generator=generator)
        target = torch.rand(1, n, dtype=dtype, generator=generator)
        layers = draw_layers((2, 4, 1), dtype=dtype, generator=generator)
        exact = truth(exactly(x), [tuple(map(exactly, layer)) for layer in layers], exactly(target))
        parameters = [Layer(*(tensor.clone().requires_grad_() for tensor in layer)) for layer in layers]
        values = forward_by_torch(x, parameters, ("sigmoid", "sigmoid"))
        (nn.functional.mse_loss(values[-1], target) / 2).backward()
        manual = backward([value.detach() for value in values], layers, SIGMOIDS, target)
        for hand, parameter, (sums, sizes) in zip(sum(manual, ()), sum(parameters, ()), exact, strict=True):
            torchs = worst_in_ulps(parameter.grad, sums, max(sizes))
            assert worst_in_ulps(hand, sums, max(sizes)) <= 2 * torchs + 4


def worst_in_ulps(tensor, sums, size):
    """Largest error of an entry, in the ulp of ``size``."""
    errors = [abs(entry - total) for entry, total in zip(tensor.flatten().tolist(), sums, strict=True)]
    return ulps(size + max(errors), size, tensor.dtype)


class TestOnSymbols:
    """The very same code, fed symbols, minus sympy.diff of E: zero, not small."""

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize(("sizes", "parameters"), [((2, 4, 1), 17), ((2, 3, 2, 1), 20)], ids=["2-4-1", "2-3-2-1"])
    def test_every_gradient(self, sizes, parameters, n, reduction):
        def draw(name, *shape):
            return symbols(name, *shape, kind=SigmoidSymbols)

        x, target = draw("x", sizes[0], n), draw("y", sizes[-1], n)
        layers = [
            Layer(draw(f"w{k}", n_out, n_in), draw(f"b{k}", n_out)) for k, (n_in, n_out) in enumerate(pairwise(sizes))
        ]
        activations = [SIGMOID] * len(layers)
        values = forward(x, layers, activations)
        cost = error(values[-1], target, reduction).item()
        gradients = backward(values, layers, activations, target, reduction)
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
        values = forward(self.x, self.layers, SIGMOIDS)
        message = r"output and target must have the same shape, got \(1, 7\) and \(7,\)"
        with pytest.raises(ValueError, match=message):
            backward(values, self.layers, SIGMOIDS, torch.zeros(7))
        with pytest.raises(ValueError, match=message.replace("output", "prediction")):
            error(values[-1], torch.zeros(7))

    def test_rows_instead_of_columns(self):
        with pytest.raises(ValueError, match=r"weight \(4, 2\) and x \(7, 2\) do not fit.*samples are columns"):
            forward(self.x.T, self.layers, SIGMOIDS)

    def test_more_layers_than_activations_or_velocities(self):
        with pytest.raises(ValueError, match="zip"):
            forward(self.x, self.layers, (SIGMOID,))
        with pytest.raises(ValueError, match="zip"):
            training_step(self.x, self.target, self.layers, zero_velocities(self.layers[:1]), SIGMOIDS, 0.1)

    def test_gradients_of_other_shapes(self):
        with pytest.raises(ValueError, match="gradient and output must have the same shape"):
            delta(torch.zeros(1, 7), torch.zeros(4, 7), sigmoid_derivative_from_output)
        with pytest.raises(ValueError, match="weight .1, 4. and delta .2, 7. do not fit"):
            input_gradient(torch.zeros(2, 7), torch.zeros(1, 4))
        with pytest.raises(ValueError, match="delta .1, 7. and x .4, 6. do not fit"):
            weight_gradient(torch.zeros(1, 7), torch.zeros(4, 6))

    @pytest.mark.parametrize("sizes", [(), (2,), (2, 0), (2, -1, 1), (2, 4.5, 1), (2, float("nan"), 1)])
    def test_sizes(self, sizes):
        with pytest.raises(ValueError, match="sizes must be two or more positive integers"):
            number_of_parameters(sizes)
