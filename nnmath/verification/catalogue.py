r"""Every equation of the article once: its id and place, the hand-written functions, and what they must equal.

One table drives the tests and the list in the README, which ``python -m nnmath.verification.catalogue`` prints.
To add an equation, add a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from nnmath import equations as eq
from nnmath.equations import IDENTITY, SIGMOID, Layer
from nnmath.verification.torch_reference import (
    MOMENTUM,
    RATE,
    T,
    annealed_by_torch,
    error_of_hidden,
    flat,
    largest_eigenvalue,
    line_by_torch,
    network_by_torch,
    nodes,
)

Inputs = dict[str, Tensor]
SIGMOIDS = (SIGMOID, SIGMOID)


@dataclass(frozen=True)
class Equation:
    r"""A row of the catalogue.

    Args:
        id: as the article's notes have it: P perceptron, A activation, N network, C cost, G gradient descent,
            B backpropagation, U universal approximation.
        where: the article's figure or section.
        formula: what is claimed, in the article's symbols.
        functions: the hand-written functions, the one that states the formula first.
        draw: generator, dtype ↦ inputs to check the row on.
        value: inputs ↦ value, by the hand-written functions.
        by_torch: inputs ↦ the same value, in plain torch.
        gradients: inputs ↦ the hand-written gradients of value.sum() with respect to some of the inputs, by name; None
            where the row claims none.
        exact: whether value runs on exact numbers too, symbols or 50 digits; gradients always does.
    """

    id: str
    where: str
    formula: str
    functions: tuple[Callable[..., Any], ...]
    draw: Callable[[Generator, torch.dtype], Inputs]
    value: Callable[..., Tensor]
    by_torch: Callable[..., Tensor]
    gradients: Callable[..., Inputs] | None = None
    exact: bool = False


# --- inputs ----------------------------------------------------------------------------------------------------------


def normal(**shapes: tuple[int, ...]) -> Callable[[Generator, torch.dtype], Inputs]:
    r"""Inputs of these shapes, each entry standard normal."""

    def draw(generator: Generator, dtype: torch.dtype) -> Inputs:
        return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}

    return draw


N = 7
LINE = {"x": (N,), "theta0": (), "theta1": (), "target": (N,)}
OUTPUT_LAYER = {"hidden": (4, N), "weight_o": (1, 4), "bias_o": (1,), "target": (1, N)}
NETWORK = {
    "x": (2, N),
    "weight_i": (4, 2),
    "bias_i": (4,),
    "weight_o": (1, 4),
    "bias_o": (1,),
    "target": (1, N),
}


# --- the network in plain torch, samples in columns as the article has them ------------------------------------------


# --- the network by hand ---------------------------------------------------------------------------------------------


def layers_of(weight_i: Tensor, bias_i: Tensor, weight_o: Tensor, bias_o: Tensor) -> list[Layer]:
    return [Layer(weight_i, bias_i), Layer(weight_o, bias_o)]


def nodes_by_hand(x: Tensor, target: Tensor, **parameters: Tensor) -> Tensor:
    layers = layers_of(**parameters)
    _, h, output = eq.forward(x, layers, SIGMOIDS)
    mu_1, mu_2 = eq.weighted_sum(x, *layers[0]), eq.weighted_sum(h, *layers[1])
    return flat([mu_1, h, mu_2, output, eq.error(output, target)])


def output_layer_gradients(hidden: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor) -> Inputs:
    delta = eq.output_delta(
        eq.sigmoid(eq.weighted_sum(hidden, weight_o, bias_o)), target, eq.sigmoid_derivative_from_output
    )
    return {"weight_o": eq.weight_gradient(delta, hidden), "bias_o": eq.bias_gradient(delta)}


def hidden_gradient(hidden: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor) -> Inputs:
    delta = eq.output_delta(
        eq.sigmoid(eq.weighted_sum(hidden, weight_o, bias_o)), target, eq.sigmoid_derivative_from_output
    )
    return {"hidden": eq.input_gradient(delta, weight_o)}


def input_layer_gradients(x: Tensor, target: Tensor, **parameters: Tensor) -> Inputs:
    layers = layers_of(**parameters)
    _, h, output = eq.forward(x, layers, SIGMOIDS)
    delta_o = eq.output_delta(output, target, eq.sigmoid_derivative_from_output)
    delta_i = eq.hidden_delta(delta_o, layers[1].weight, h, eq.sigmoid_derivative_from_output)
    return {"weight_i": eq.weight_gradient(delta_i, x), "bias_i": eq.bias_gradient(delta_i)}


def trained_by_hand(x: Tensor, target: Tensor, steps: int, momentum: float, **parameters: Tensor) -> list[Tensor]:
    layers = layers_of(**parameters)
    velocities = eq.zero_velocities(layers)
    for t in range(steps):
        rate = eq.cosine_annealing(t, T, RATE)
        layers, velocities = eq.training_step(x, target, layers, velocities, SIGMOIDS, rate, momentum)
    return [tensor for layer in layers for tensor in layer]


def line_by_hand(x: Tensor, theta0: Tensor, theta1: Tensor, target: Tensor, momentum: float) -> Tensor:
    theta, velocity = torch.stack([theta0, theta1]), torch.zeros(2, dtype=x.dtype)
    for t in range(T):
        gradient = torch.stack(eq.half_mse_gradient(x, theta[0], theta[1], target))
        velocity = eq.momentum_update(velocity, gradient, momentum)
        theta = eq.gradient_step(theta, velocity, eq.cosine_annealing(t, T, RATE))
    return theta


# --- the table -------------------------------------------------------------------------------------------------------

CATALOGUE: tuple[Equation, ...] = (
    Equation(
        "P1",
        "Fig. 1",
        "f(x₁, x₂) = x₁ + x₂ fires above the threshold 40",
        (eq.fires,),
        lambda _, dtype: {"x": torch.tensor([[10.0, 20.0, 20.0], [20.0, 20.0, 30.0]], dtype=dtype)},
        lambda x: eq.fires(x, 40).to(x.dtype),
        lambda x: torch.gt(x[0] + x[1], 40).to(x.dtype),
    ),
    Equation(
        "P2",
        "Fig. 2",
        "step(Σ wⱼ xⱼ + b)",
        (eq.perceptron, eq.step, eq.weighted_sum),
        normal(x=(3, N), weight=(2, 3), bias=(2,)),
        eq.perceptron,
        lambda x, weight, bias: torch.heaviside(F.linear(x.T, weight, bias).T, torch.zeros((), dtype=x.dtype)),
    ),
    Equation(
        "A1",
        "Fig. 3",
        "σ(z) = 1 / (1 + e^(−z)),  σ′(z) = σ(z) (1 − σ(z))",
        (eq.sigmoid, eq.sigmoid_derivative, eq.sigmoid_derivative_from_output),
        normal(z=(N,)),
        eq.sigmoid,
        lambda z: torch.sigmoid(z),
        lambda z: {"z": eq.sigmoid_derivative(z)},
    ),
    Equation(
        "A2",
        "Fig. 4",
        "tanh(z) = 2σ(2z) − 1,  tanh′(z) = 1 − tanh²(z)",
        (eq.tanh, eq.tanh_derivative, eq.tanh_derivative_from_output),
        normal(z=(N,)),
        eq.tanh,
        lambda z: torch.tanh(z),
        lambda z: {"z": eq.tanh_derivative(z)},
    ),
    Equation(
        "A3",
        "Fig. 5",
        "ReLU(z) = max(0, z),  ReLU′(z) = 0 or 1",
        (eq.relu, eq.relu_derivative, eq.relu_derivative_from_output),
        normal(z=(N,)),
        eq.relu,
        lambda z: torch.relu(z),
        lambda z: {"z": eq.relu_derivative(z)},
    ),
    Equation(
        "N1",
        "Fig. 6",
        "forward propagation: O = σ(wₒ σ(wᵢ x + bᵢ) + bₒ)",
        (eq.forward,),
        normal(**NETWORK),
        lambda x, target, **parameters: eq.forward(x, layers_of(**parameters), SIGMOIDS)[-1],  # needs no target
        lambda **inputs: nodes(**inputs)[-2],
        exact=True,
    ),
    Equation(
        "N2",
        "Fig. 7",
        "number of parameters: Σ n_in n_out + n_out = 17",
        (eq.number_of_parameters,),
        lambda *_: {"sizes": torch.tensor([2, 4, 1])},
        lambda sizes: torch.tensor(float(eq.number_of_parameters(sizes.tolist()))),
        lambda sizes: torch.tensor(
            float(sum(p.numel() for p in nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)).parameters()))
        ),
    ),
    Equation(
        "N3",
        "Neural network",
        "ŷ = wx passes through the origin, ŷ = wx + b does not",
        (eq.linear_model,),
        normal(x=(N,), theta0=(), theta1=()),
        eq.linear_model,
        lambda x, theta0, theta1: F.linear(x[:, None], theta1[None, None], theta0[None])[:, 0],
        exact=True,
    ),
    Equation(
        "C1",
        "Cost function",
        "E = (ŷ − y)²",
        (eq.squared_error,),
        normal(prediction=(N,), target=(N,)),
        eq.squared_error,
        lambda prediction, target: F.mse_loss(prediction, target, reduction="none"),
        exact=True,
    ),
    Equation(
        "C2",
        "Cost function",
        "C = 1/(2n) Σ (θ₀ + xθ₁ − y)²",
        (eq.half_mse,),
        normal(prediction=(N,), target=(N,)),
        eq.half_mse,
        lambda prediction, target: F.mse_loss(prediction, target) / 2,
        exact=True,
    ),
    Equation(
        "G1",
        "Gradient descent",
        "∂C/∂θ₀ = 1/n Σ (θ₀ + xθ₁ − y),  ∂C/∂θ₁ = 1/n Σ (θ₀ + xθ₁ − y) x",
        (eq.half_mse_gradient,),
        normal(**LINE),
        lambda x, theta0, theta1, target: eq.half_mse(eq.linear_model(x, theta0, theta1), target),
        lambda x, theta0, theta1, target: F.mse_loss(theta0 + theta1 * x, target) / 2,
        lambda **inputs: dict(zip(("theta0", "theta1"), eq.half_mse_gradient(**inputs), strict=True)),
    ),
    Equation(
        "G2",
        "Gradient descent, Fig. 8",
        "θ ← θ − η ∂C/∂θ",
        (eq.gradient_step,),
        normal(**LINE),
        lambda **inputs: line_by_hand(**inputs, momentum=0),
        lambda **inputs: line_by_torch(**inputs, momentum=0),
    ),
    Equation(
        "G3",
        "On a side note",
        "descent converges below η = 2 / λ_max of the Hessian, and diverges above",
        (eq.critical_learning_rate, eq.half_mse_hessian),
        normal(x=(3, N)),
        lambda x: eq.critical_learning_rate(eq.half_mse_hessian(x)),
        lambda x: 2 / largest_eigenvalue(x),
    ),
    Equation(
        "G4",
        "On a side note",
        "momentum: v ← m v + g,  θ ← θ − η v",
        (eq.momentum_update,),
        normal(**LINE),
        lambda **inputs: line_by_hand(**inputs, momentum=MOMENTUM),
        lambda **inputs: line_by_torch(**inputs, momentum=MOMENTUM),
    ),
    Equation(
        "G5",
        "On a side note",
        "cosine annealing: η_t = η_min + ½ (η_max − η_min) (1 + cos(πt/T))",
        (eq.cosine_annealing,),
        lambda _, dtype: {"eta_max": torch.tensor(RATE, dtype=dtype)},
        lambda eta_max: torch.tensor(
            [eq.cosine_annealing(t, T, float(eta_max), float(eta_max) / 10) for t in range(2 * T + 1)],
            dtype=eta_max.dtype,
        ),
        annealed_by_torch,
    ),
    Equation(
        "B0",
        "Fig. 9",
        "μ₁ = wᵢ x + bᵢ,  h = σ(μ₁),  μ₂ = wₒ h + bₒ,  O = σ(μ₂),  E = ½ (y − O)²",
        (eq.error, eq.forward, eq.weighted_sum),
        normal(**NETWORK),
        nodes_by_hand,
        lambda **inputs: flat(nodes(**inputs)),
    ),
    Equation(
        "B1",
        "Fig. 10, Case 1",
        "∂E/∂O = O − y,  ∂O/∂μ₂ = O (1 − O),  ∂μ₂/∂wₒ = h,  ∂μ₂/∂bₒ = 1",
        (eq.error_gradient, eq.delta, eq.sigmoid_derivative_from_output),
        normal(output=(1, N), target=(1, N)),
        eq.error,
        lambda output, target: F.mse_loss(output, target) / 2,
        lambda output, target: {"output": eq.error_gradient(output, target)},
    ),
    Equation(
        "B2",
        "Case 1",
        "∂E/∂wₒ = (O − y) O (1 − O) h,  ∂E/∂bₒ = (O − y) O (1 − O)",
        (eq.output_delta, eq.weight_gradient, eq.bias_gradient),
        normal(**OUTPUT_LAYER),
        lambda hidden, weight_o, bias_o, target: eq.error(
            eq.sigmoid(eq.weighted_sum(hidden, weight_o, bias_o)), target
        ),
        error_of_hidden,
        output_layer_gradients,
    ),
    Equation(
        "B3",
        "Case 1",
        "wₒ ← wₒ − η ∂E/∂wₒ,  bₒ ← bₒ − η ∂E/∂bₒ",
        (eq.gradient_step,),
        normal(**NETWORK),
        lambda **inputs: flat(trained_by_hand(**inputs, steps=1, momentum=0)[2:]),
        lambda **inputs: network_by_torch(**inputs, steps=1, momentum=0)[-5:],
    ),
    Equation(
        "B4",
        "Fig. 11, Case 2",
        "∂μ₂/∂h = wₒ,  ∂h/∂μ₁ = h (1 − h),  ∂μ₁/∂wᵢ = x,  ∂μ₁/∂bᵢ = 1",
        (eq.input_gradient, eq.delta, eq.sigmoid_derivative_from_output),
        normal(**OUTPUT_LAYER),
        lambda hidden, weight_o, bias_o, target: eq.error(
            eq.sigmoid(eq.weighted_sum(hidden, weight_o, bias_o)), target
        ),
        error_of_hidden,
        hidden_gradient,
    ),
    Equation(
        "B5",
        "Case 2",
        "∂E/∂wᵢ = (O − y) O (1 − O) wₒ h (1 − h) x,  ∂E/∂bᵢ the same without x",
        (eq.hidden_delta, eq.weight_gradient, eq.bias_gradient),
        normal(**NETWORK),
        lambda x, target, **parameters: eq.error(eq.forward(x, layers_of(**parameters), SIGMOIDS)[-1], target),
        lambda **inputs: nodes(**inputs)[-1],
        input_layer_gradients,
    ),
    Equation(
        "B6",
        "Case 2",
        "wᵢ ← wᵢ − η ∂E/∂wᵢ,  bᵢ ← bᵢ − η ∂E/∂bᵢ",
        (eq.gradient_step,),
        normal(**NETWORK),
        lambda **inputs: flat(trained_by_hand(**inputs, steps=1, momentum=0)[:2]),
        lambda **inputs: network_by_torch(**inputs, steps=1, momentum=0)[:-5],
    ),
    Equation(
        "B7",
        "Backpropagation",
        "both cases at once, Case 2 with the wₒ from before the update; repeated for epochs",
        (eq.training_step, eq.sgd_step, eq.backward),
        normal(**NETWORK),
        lambda **inputs: flat(trained_by_hand(**inputs, steps=3 * T, momentum=MOMENTUM)),
        lambda **inputs: network_by_torch(**inputs, steps=3 * T, momentum=MOMENTUM),
    ),
    Equation(
        "U1",
        "Can a neural network solve any problem?",
        "f(x) ≈ f(t₀) + Σ (f(t_k) − f(t_{k−1})) σ(s (x − m_k) / d), the closer the more hidden neurons",
        (eq.staircase,),
        lambda _, dtype: {"x": torch.tensor([[-1e3, 1e3]], dtype=torch.float64)},  # far out the sum telescopes
        lambda x: eq.forward(x, eq.staircase(torch.sin, 1, 3, width=8), (SIGMOID, IDENTITY))[-1],
        lambda x: torch.sin(x.clamp(1, 3)),
    ),
)


def markdown() -> str:
    r"""The catalogue as the README has it, each function linked to its line."""

    def link(function: Callable[..., Any]) -> str:
        file = function.__module__.replace(".", "/") + ".py"
        return f"[{function.__name__}]({file}#L{function.__code__.co_firstlineno})"

    rows = [f"| {row.id} | {row.where} | {row.formula} | {', '.join(map(link, row.functions))} |" for row in CATALOGUE]
    return "\n".join(["| | article | equation | by hand |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(markdown())
