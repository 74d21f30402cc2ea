r"""Every equation of the article once: its id and place, the hand-written functions, and what they must equal.

This table drives the tests and the README's table of equations, which ``python -m nnmath.verification.catalogue``
prints. To add an equation, add a row. Functions with the same names in torch_reference say what those here compute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from nnmath import equations as eq
from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Activation, Layer
from nnmath.verification import torch_reference
from nnmath.verification.torch_reference import LEARNING_RATE, MOMENTUM, T, flatten

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Equation:
    r"""A row of the catalogue: an equation of the article and the functions that implement it."""

    id: str  # P perceptron, A activation, N network, C cost, G descent, B backpropagation, U universal approximation
    where: str  # the article's figure or section
    formula: str  # in the article's symbols
    functions: tuple[Callable[..., Any], ...]  # the hand-written functions, first the one that states the formula
    draw: Callable[[Generator, torch.dtype], Inputs]  # generator, dtype ↦ inputs
    value: Callable[..., Tensor]  # inputs ↦ value, by the hand-written functions
    reference: Callable[..., Tensor]  # inputs ↦ the same value, by plain torch
    gradients: Callable[..., Inputs] | None = None  # inputs ↦ hand-written gradients of value.sum(), by input's name
    exact: bool = False  # whether ``value`` runs on exact numbers too; ``gradients`` always does


def normal(**shapes: tuple[int, ...]) -> Callable[[Generator, torch.dtype], Inputs]:
    r"""Draw inputs of these shapes from the standard normal distribution."""
    return lambda generator, dtype: {
        name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()
    }


N = 7  # samples
LINE = normal(x=(N,), theta0=(), theta1=(), target=(N,))
OUTPUT_LAYER = normal(hidden=(4, N), weight_o=(1, 4), bias_o=(1,), target=(1, N))
NETWORK = normal(x=(2, N), weight_i=(4, 2), bias_i=(4,), weight_o=(1, 4), bias_o=(1,), target=(1, N))
SIGMOIDS = (SIGMOID, SIGMOID)


def network_layers(weight_i: Tensor, bias_i: Tensor, weight_o: Tensor, bias_o: Tensor) -> list[Layer]:
    return [Layer(weight_i, bias_i), Layer(weight_o, bias_o)]


def network_output(x: Tensor, target: Tensor, **parameters: Tensor) -> Tensor:  # the target is not used
    return eq.forward(x, network_layers(**parameters), SIGMOIDS)[-1]


def network_nodes(x: Tensor, target: Tensor, **parameters: Tensor) -> Tensor:
    layers = network_layers(**parameters)
    _, h, output = eq.forward(x, layers, SIGMOIDS)
    mu_1, mu_2 = eq.weighted_sum(x, *layers[0]), eq.weighted_sum(h, *layers[1])
    return flatten([mu_1, h, mu_2, output, eq.error(output, target)])


def output_layer_error(hidden: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor) -> Tensor:
    return eq.error(eq.sigmoid(eq.weighted_sum(hidden, weight_o, bias_o)), target)


def output_layer_delta(hidden: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor) -> Tensor:
    output = eq.sigmoid(eq.weighted_sum(hidden, weight_o, bias_o))
    return eq.output_delta(output, target, eq.sigmoid_derivative_from_output)


def hidden_layer_gradients(x: Tensor, target: Tensor, **parameters: Tensor) -> Inputs:
    layers = network_layers(**parameters)
    _, h, output = eq.forward(x, layers, SIGMOIDS)
    delta_o = eq.output_delta(output, target, eq.sigmoid_derivative_from_output)
    delta_i = eq.hidden_delta(delta_o, layers[1].weight, h, eq.sigmoid_derivative_from_output)
    return {"weight_i": eq.weight_gradient(delta_i, x), "bias_i": eq.bias_gradient(delta_i)}


def train_line(x: Tensor, theta0: Tensor, theta1: Tensor, target: Tensor, momentum: float) -> Tensor:
    theta, velocity = torch.stack([theta0, theta1]), torch.zeros(2, dtype=x.dtype)
    for t in range(T):
        gradient = torch.stack(eq.half_mse_gradient(x, theta[0], theta[1], target))
        velocity = eq.momentum_update(velocity, gradient, momentum)
        theta = eq.gradient_step(theta, velocity, eq.cosine_annealing(t, T, LEARNING_RATE))
    return theta


def train_network(x: Tensor, target: Tensor, steps: int, momentum: float, **parameters: Tensor) -> list[Tensor]:
    layers = network_layers(**parameters)
    velocities = eq.zero_velocities(layers)
    for t in range(steps):
        learning_rate = eq.cosine_annealing(t, T, LEARNING_RATE)
        layers, velocities = eq.training_step(x, target, layers, velocities, SIGMOIDS, learning_rate, momentum)
    return [tensor for layer in layers for tensor in layer]


def activation_row(id: str, where: str, formula: str, activation: Activation) -> Equation:
    return Equation(
        id=id,
        where=where,
        formula=formula,
        functions=(activation.function, activation.derivative, activation.derivative_from_output),
        draw=normal(z=(N,)),
        value=activation.function,
        reference=lambda z: activation.module()(z),
        gradients=lambda z: {"z": activation.derivative(z)},
    )


def line_row(id: str, where: str, formula: str, function: Callable[..., Tensor], momentum: float) -> Equation:
    return Equation(
        id=id,
        where=where,
        formula=formula,
        functions=(function,),
        draw=LINE,
        value=partial(train_line, momentum=momentum),
        reference=partial(torch_reference.train_line, momentum=momentum),
    )


def update_row(id: str, where: str, formula: str, parameters: slice) -> Equation:
    return Equation(
        id=id,
        where=where,
        formula=formula,
        functions=(eq.gradient_step,),
        draw=NETWORK,
        value=lambda **inputs: flatten(train_network(**inputs, steps=1, momentum=0)[parameters]),
        reference=lambda **inputs: flatten(torch_reference.train_network(**inputs, steps=1, momentum=0)[parameters]),
    )


CATALOGUE: tuple[Equation, ...] = (
    Equation(
        id="P1",
        where="Fig. 1",
        formula="f(x₁, x₂) = x₁ + x₂ fires above the threshold 40",
        functions=(eq.fires,),
        draw=lambda _, dtype: {"x": torch.tensor([[10.0, 20.0, 20.0], [20.0, 20.0, 30.0]], dtype=dtype)},
        value=lambda x: eq.fires(x, 40).to(x.dtype),
        reference=lambda x: torch.gt(x[0] + x[1], 40).to(x.dtype),
    ),
    Equation(
        id="P2",
        where="Fig. 2",
        formula="step(Σ wⱼ xⱼ + b)",
        functions=(eq.perceptron, eq.step, eq.weighted_sum),
        draw=normal(x=(3, N), weight=(2, 3), bias=(2,)),
        value=eq.perceptron,
        reference=lambda x, weight, bias: (F.linear(x.T, weight, bias).T > 0).to(x.dtype),
    ),
    activation_row("A1", "Fig. 3", "σ(z) = 1 / (1 + e^(−z)),  σ′(z) = σ(z) (1 − σ(z))", SIGMOID),
    activation_row("A2", "Fig. 4", "tanh(z) = 2σ(2z) − 1,  tanh′(z) = 1 − tanh²(z)", TANH),
    activation_row("A3", "Fig. 5", "ReLU(z) = max(0, z),  ReLU′(z) = 0 or 1", RELU),
    Equation(
        id="N1",
        where="Fig. 6",
        formula="forward propagation: O = σ(wₒ σ(wᵢ x + bᵢ) + bₒ)",
        functions=(eq.forward,),
        draw=NETWORK,
        value=network_output,
        reference=lambda **inputs: torch_reference.network_nodes(**inputs)[-2],
        exact=True,
    ),
    Equation(
        id="N2",
        where="Fig. 7",
        formula="number of parameters: Σ n_in n_out + n_out, 17 for 2-4-1",
        functions=(eq.number_of_parameters,),
        draw=lambda *_: {"sizes": torch.tensor([2, 4, 1])},
        value=lambda sizes: torch.tensor(float(eq.number_of_parameters(sizes.tolist()))),
        reference=lambda sizes: torch.tensor(
            float(sum(p.numel() for p in nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)).parameters()))
        ),
    ),
    Equation(
        id="N3",
        where="Neural network",
        formula="ŷ = wx passes through the origin, ŷ = wx + b does not",
        functions=(eq.linear_model,),
        draw=normal(x=(N,), theta0=(), theta1=()),
        value=eq.linear_model,
        reference=lambda x, theta0, theta1: F.linear(x[:, None], theta1[None, None], theta0[None])[:, 0],
        exact=True,
    ),
    Equation(
        id="C1",
        where="Cost function",
        formula="E = (ŷ − y)²",
        functions=(eq.squared_error,),
        draw=normal(prediction=(N,), target=(N,)),
        value=eq.squared_error,
        reference=lambda prediction, target: F.mse_loss(prediction, target, reduction="none"),
        exact=True,
    ),
    Equation(
        id="C2",
        where="Cost function",
        formula="C = 1/(2n) Σ (θ₀ + xθ₁ − y)²",
        functions=(eq.half_mse,),
        draw=normal(prediction=(N,), target=(N,)),
        value=eq.half_mse,
        reference=lambda prediction, target: F.mse_loss(prediction, target) / 2,
        exact=True,
    ),
    Equation(
        id="G1",
        where="Gradient descent",
        formula="∂C/∂θ₀ = 1/n Σ (θ₀ + xθ₁ − y),  ∂C/∂θ₁ = 1/n Σ (θ₀ + xθ₁ − y) x",
        functions=(eq.half_mse_gradient,),
        draw=LINE,
        value=lambda x, theta0, theta1, target: eq.half_mse(eq.linear_model(x, theta0, theta1), target),
        reference=lambda x, theta0, theta1, target: F.mse_loss(theta0 + theta1 * x, target) / 2,
        gradients=lambda **inputs: dict(zip(("theta0", "theta1"), eq.half_mse_gradient(**inputs), strict=True)),
    ),
    line_row("G2", "Gradient descent, Fig. 8", "θ ← θ − η ∂C/∂θ", eq.gradient_step, momentum=0),
    Equation(
        id="G3",
        where="On a side note",
        formula="descent converges below η = 2 / λ_max of the Hessian, and diverges above",
        functions=(eq.critical_learning_rate, eq.half_mse_hessian),
        draw=normal(x=(3, N)),
        value=lambda x: eq.critical_learning_rate(eq.half_mse_hessian(x)),
        reference=lambda x: 2 / torch_reference.largest_eigenvalue(x),
    ),
    line_row("G4", "On a side note", "momentum: v ← m v + g,  θ ← θ − η v", eq.momentum_update, MOMENTUM),
    Equation(
        id="G5",
        where="On a side note",
        formula="cosine annealing: η_t = η_min + ½ (η_max − η_min) (1 + cos(πt/T))",
        functions=(eq.cosine_annealing,),
        draw=lambda _, dtype: {"eta_max": torch.tensor(LEARNING_RATE, dtype=dtype)},
        value=lambda eta_max: eta_max.new_tensor(
            [eq.cosine_annealing(t, T, float(eta_max), float(eta_max) / 10) for t in range(2 * T + 1)]
        ),
        reference=torch_reference.cosine_annealing,
    ),
    Equation(
        id="B0",
        where="Fig. 9",
        formula="μ₁ = wᵢ x + bᵢ,  h = σ(μ₁),  μ₂ = wₒ h + bₒ,  O = σ(μ₂),  E = ½ (y − O)²",
        functions=(eq.error, eq.forward, eq.weighted_sum),
        draw=NETWORK,
        value=network_nodes,
        reference=lambda **inputs: flatten(torch_reference.network_nodes(**inputs)),
    ),
    Equation(
        id="B1",
        where="Fig. 10, Case 1",
        formula="∂E/∂O = O − y,  ∂O/∂μ₂ = O (1 − O),  ∂μ₂/∂wₒ = h,  ∂μ₂/∂bₒ = 1",
        functions=(eq.error_gradient, eq.delta, eq.sigmoid_derivative_from_output),
        draw=normal(output=(1, N), target=(1, N)),
        value=eq.error,
        reference=lambda output, target: F.mse_loss(output, target) / 2,
        gradients=lambda output, target: {"output": eq.error_gradient(output, target)},
    ),
    Equation(
        id="B2",
        where="Case 1",
        formula="∂E/∂wₒ = (O − y) O (1 − O) h,  ∂E/∂bₒ = (O − y) O (1 − O)",
        functions=(eq.output_delta, eq.weight_gradient, eq.bias_gradient),
        draw=OUTPUT_LAYER,
        value=output_layer_error,
        reference=torch_reference.output_layer_error,
        gradients=lambda **inputs: {
            "weight_o": eq.weight_gradient(output_layer_delta(**inputs), inputs["hidden"]),
            "bias_o": eq.bias_gradient(output_layer_delta(**inputs)),
        },
    ),
    update_row("B3", "Case 1", "wₒ ← wₒ − η ∂E/∂wₒ,  bₒ ← bₒ − η ∂E/∂bₒ", slice(2, None)),
    Equation(
        id="B4",
        where="Fig. 11, Case 2",
        formula="∂μ₂/∂h = wₒ,  ∂h/∂μ₁ = h (1 − h),  ∂μ₁/∂wᵢ = x,  ∂μ₁/∂bᵢ = 1",
        functions=(eq.input_gradient, eq.delta, eq.sigmoid_derivative_from_output),
        draw=OUTPUT_LAYER,
        value=output_layer_error,
        reference=torch_reference.output_layer_error,
        gradients=lambda **inputs: {"hidden": eq.input_gradient(output_layer_delta(**inputs), inputs["weight_o"])},
    ),
    Equation(
        id="B5",
        where="Case 2",
        formula="∂E/∂wᵢ = (O − y) O (1 − O) wₒ h (1 − h) x,  ∂E/∂bᵢ the same without x",
        functions=(eq.hidden_delta, eq.weight_gradient, eq.bias_gradient),
        draw=NETWORK,
        value=lambda **inputs: eq.error(network_output(**inputs), inputs["target"]),
        reference=lambda **inputs: torch_reference.network_nodes(**inputs)[-1],
        gradients=hidden_layer_gradients,
    ),
    update_row("B6", "Case 2", "wᵢ ← wᵢ − η ∂E/∂wᵢ,  bᵢ ← bᵢ − η ∂E/∂bᵢ", slice(0, 2)),
    Equation(
        id="B7",
        where="Backpropagation",
        formula="both cases at once, Case 2 with the wₒ from before the update; repeated for epochs",
        functions=(eq.training_step, eq.sgd_step, eq.backward),
        draw=NETWORK,
        value=lambda **inputs: flatten(train_network(**inputs, steps=3 * T, momentum=MOMENTUM)),
        reference=lambda **inputs: flatten(torch_reference.train_network(**inputs, steps=3 * T, momentum=MOMENTUM)),
    ),
    Equation(
        id="U1",
        where="Can a neural network solve any problem?",
        formula="f(x) ≈ f(t₀) + Σ (f(t_k) − f(t_{k−1})) σ(s (x − m_k) / d); the more hidden neurons, the closer",
        functions=(eq.staircase,),
        draw=lambda _, dtype: {"x": torch.tensor([[-1e3, 1e3]], dtype=torch.float64)},  # here the sum telescopes
        value=lambda x: eq.forward(x, eq.staircase(torch.sin, 1, 3, width=8), (SIGMOID, IDENTITY))[-1],
        reference=lambda x: torch.sin(x.clamp(1, 3)),
    ),
)


def markdown() -> str:
    r"""The catalogue as a Markdown table, each function linked to its line."""

    def link(function: Callable[..., Any]) -> str:
        file = function.__module__.replace(".", "/") + ".py"
        return f"[{function.__name__}]({file}#L{function.__code__.co_firstlineno})"

    rows = [f"| {row.id} | {row.where} | {row.formula} | {', '.join(map(link, row.functions))} |" for row in CATALOGUE]
    return "\n".join(["| | article | equation | functions |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(markdown())
