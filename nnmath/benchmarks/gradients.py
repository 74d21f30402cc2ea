r"""The check of a gradient beside the forward and the backward pass that it repeats in float64."""

from typing import Any

import torch
from torch import Tensor

from nnmath.benchmarks.measure import Run
from nnmath.benchmarks.networks import problem
from nnmath.equations import SIGMOID, Layer, backward, forward
from nnmath.gradcheck import check_gradients

SIZE, ROWS = 1730, 64  # two weights of 1730 x 1730: 6 million parameters


def small_runs() -> dict[str, Run]:
    r"""2-4-1 on 266 rows, with its right gradients."""
    x, y = problem()
    layers = [Layer(torch.randn(4, 2), torch.randn(4)), Layer(torch.randn(1, 4), torch.randn(1))]
    gradients = backward(forward(x, layers, (SIGMOID, SIGMOID)), layers, (SIGMOID, SIGMOID), y)
    names = "w_i", "b_i", "w_o", "b_o"
    inputs, by_hand = (
        dict(zip(names, [p for layer in part for p in layer], strict=True)) for part in (layers, gradients)
    )

    def loss(w_i: Tensor, b_i: Tensor, w_o: Tensor, b_o: Tensor) -> Tensor:
        h = torch.sigmoid(w_i @ x + b_i[:, None])
        return ((torch.sigmoid(w_o @ h + b_o[:, None]) - y) ** 2).mean() / 2

    return {"check_gradients, right": Run(lambda: check_gradients(loss, inputs, by_hand), 1)}


def large_runs() -> dict[str, Run]:
    r"""Two layers of 6 million parameters, in float32, with right gradients and with wrong ones."""
    inputs = {"w1": torch.randn(SIZE, SIZE) / SIZE**0.5, "w2": torch.randn(SIZE, SIZE) / SIZE**0.5}
    x, y = torch.randn(ROWS, SIZE), torch.randn(ROWS, SIZE)

    def loss(w1: Tensor, w2: Tensor) -> Any:
        return ((torch.tanh(x.to(w1) @ w1) @ w2 - y.to(w1)) ** 2).mean()

    def in_float64() -> dict[str, Tensor]:
        leaves = {name: tensor.double().requires_grad_() for name, tensor in inputs.items()}
        gradients = torch.autograd.grad(loss(**leaves), list(leaves.values()))
        return dict(zip(leaves, gradients, strict=True))

    right = {name: gradient.float() for name, gradient in in_float64().items()}
    wrong = right | {"w1": 2 * right["w1"]}
    return {
        "forward and backward in float64": Run(in_float64, 1),
        "check_gradients, right": Run(lambda: check_gradients(loss, inputs, right), 1),
        "check_gradients, twice the gradient, with the diagnosis": Run(lambda: check_gradients(loss, inputs, wrong), 1),
    }
