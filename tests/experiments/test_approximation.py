import pytest
import torch

from nnmath.equations import Layer
from nnmath.experiments.approximation import HIGH, LOW, approximation, rms, target_function


@pytest.fixture(scope="module")
def result():
    torch.set_num_threads(1)
    return approximation(widths=(1, 2, 8, 16, 32, 64), seeds=range(4), epochs=1000)


def test_more_neurons_fit_more_up_to_a_point(result):
    one, two, eight, *_, widest = result.trained.median(1).values.tolist()
    assert one > 1.8 * two > 1.8 * eight
    assert 0.7 * eight < widest < eight  # eight times as many neurons, and hardly anything gained


def test_the_staircases_error_falls_with_every_neuron(result):
    *_, eight, sixteen, thirty_two, sixty_four = result.untrained.tolist()
    assert eight > 2 * sixteen > 4 * thirty_two > 8 * sixty_four
    assert result.untrained[0] > result.trained[0, -1]  # a poor fit while it is narrow
    assert result.untrained[-1] < result.trained[-1, 0] / 10  # what descent could find and does not


def test_errors_are_those_of_the_outputs_and_in_order(result):
    error = (result.outputs - result.target).square().mean(1).sqrt()
    assert torch.allclose(error, result.trained[:, 0], rtol=1e-5)
    assert torch.equal(result.trained, result.trained.sort(1).values)
    assert torch.equal(result.target, target_function(result.x))


def test_of_a_network_that_says_0_the_error_is_the_functions_own():
    """The mean of (sin x + ½ sin(5x/2))² over the range is ½ + ⅛ + ⅛ plus the mean of sin x sin(5x/2), here by sums."""
    x = torch.linspace(LOW, HIGH, 513, dtype=torch.float64)[None]
    zero = [
        Layer(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)),
        Layer(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)),
    ]
    assert rms(x, zero) == pytest.approx(target_function(x).square().mean().sqrt().item(), rel=1e-14)


def test_networks_that_diverge_come_last():
    result = approximation(widths=(4,), seeds=range(3), epochs=100, learning_rate=50.0)
    assert result.trained[0, -1] > 1
    assert not result.trained.isnan().any()


def test_the_same_again():
    first, second = (approximation(widths=(3,), seeds=(5, 6), epochs=30) for _ in range(2))
    assert torch.equal(first.trained, second.trained)
