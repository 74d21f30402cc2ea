import pytest
import torch

from nnmath.equations import Layer
from nnmath.experiments.approximation import HIGH, LOW, X, rms, run, target_function


@pytest.fixture(scope="module")
def results():
    torch.set_num_threads(1)
    return run(widths=(1, 2, 8, 16, 32, 64), seeds=range(4), epochs=1000)


def test_more_neurons_fit_better_up_to_a_limit(results):
    one, two, eight, *_, widest = results[0][1].tolist()
    assert one > 1.8 * two > 1.8 * eight
    assert 0.7 * eight < widest < eight  # eight times as many neurons, almost no gain


def test_staircase_error_falls_with_every_neuron(results):
    best, _, worst, staircase = results[0]
    *_, eight, sixteen, thirty_two, sixty_four = staircase.tolist()
    assert eight > 2 * sixteen > 4 * thirty_two > 8 * sixty_four
    assert staircase[0] > worst[0]  # a poor fit while it is narrow
    assert staircase[-1] < best[-1] / 10  # representable, but not found by descent


def test_errors_are_those_of_the_outputs(results):
    (best, median, worst, _), outputs = results
    assert torch.allclose((outputs - target_function(X)).square().mean(1).sqrt().double(), best, rtol=1e-5)
    assert (best <= median).all()
    assert (median <= worst).all()


def test_error_of_a_network_whose_output_is_0():
    x = torch.linspace(LOW, HIGH, 513, dtype=torch.float64)[None]
    zero = Layer(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    assert rms(x, [zero, zero]) == pytest.approx(target_function(x).square().mean().sqrt().item(), rel=1e-14)


def test_a_network_that_diverges_is_the_worst():
    errors, _ = run(widths=(4,), seeds=range(3), epochs=100, learning_rate=50.0)
    assert errors[2, 0] > 1
    assert not errors.isnan().any()


def test_is_reproducible():
    (first, _), (second, _) = (run(widths=(3,), seeds=(5, 6), epochs=30) for _ in range(2))
    assert torch.equal(first, second)
