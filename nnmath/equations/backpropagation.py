r"""Forward pass and backpropagation of a network of any depth (N1, N2, B0 to B7).

The computational graph of Fig. 9, for a network of two layers::

    x ──(wᵢ, bᵢ)──> μ₁ ──σ──> h ──(wₒ, bₒ)──> μ₂ ──σ──> O ──y──> E

    μ₁ = wᵢ x + bᵢ,   h = σ(μ₁),   μ₂ = wₒ h + bₒ,   O = σ(μ₂),   E = 1/(2n) Σ (O − y)²

In the backward pass ``delta`` is δ = ∂E/∂μ, the gradient with respect to a layer's weighted sum. Case 1 gives the delta
of the output layer. Case 2 gives the delta of a hidden layer from that of the next layer. A layer's delta gives the
gradients of its own weight and bias. The two cases, applied from the last layer to the first, serve any depth.

Samples are columns. A layer has ``out`` neurons and ``in`` inputs, and there are n samples: weight (..., out, in),
bias (..., out), delta and output (..., out, n), x (..., in, n). Leading dimensions are a stack of networks. All
functions raise ValueError if shapes do not fit; torch raises RuntimeError if stacks do not broadcast.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from nnmath.equations import validate
from nnmath.equations.activations import Activation
from nnmath.equations.cost import Reduction, divisor, half_mse
from nnmath.equations.descent import gradient_step, momentum_update
from nnmath.equations.perceptron import weighted_sum


class Layer(NamedTuple):
    r"""A layer's parameters, with the shapes of torch.nn.Linear; or their gradients, or their velocities."""

    weight: Tensor  # w, shape (..., out, in)
    bias: Tensor  # b, shape (..., out)


def number_of_parameters(sizes: Sequence[int]) -> int:
    r"""Number of parameters of a network: Σ n_in n_out + n_out over its layers.

    It grows linearly with the depth and quadratically with the width. The article says exponentially.

    Args:
        sizes: the number of inputs, then the number of neurons in each layer; n_in and n_out are neighbours.

    Raises:
        ValueError: there are fewer than two sizes, or one is not a positive integer.

    Source: article, Fig. 7 (N2).

    >>> number_of_parameters((2, 4, 1))
    17
    """
    if len(sizes) < 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"sizes must be two or more positive integers, got {sizes=}")
    return sum(n_in * n_out + n_out for n_in, n_out in pairwise(sizes))


def forward(x: Tensor, layers: Sequence[Layer], activations: Sequence[Activation]) -> list[Tensor]:
    r"""Forward propagation: μ = w x + b and h = f(μ), layer after layer.

    Args:
        x: the network's input, shape (..., in, n).
        layers: w and b of each layer.
        activations: f of each layer.

    Returns:
        The value of every layer, the input first and the network's output O last: [x, h, O] in Fig. 9.

    Source: article, Fig. 6 (N1) and Fig. 9 (B0).
    """
    values = [x]
    for (weight, bias), activation in zip(layers, activations, strict=True):
        values.append(activation.function(weighted_sum(values[-1], weight, bias)))  # (..., out, n)
    return values


def error(output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    r"""Error of the network: E = 1/(2n) Σ (O − y)², summed over the outputs and averaged over the samples.

    Args:
        output: O, shape (..., out, n).
        target: y, of the same shape.
        reduction: "mean" as above; "sum" omits the 1/n.

    Returns:
        E, shape (...). With one output it is torch's mse_loss / 2; with K outputs it is K times that, because torch
        averages over the outputs too.

    Source: article, Fig. 9 (B0), where E = ½ (y − O)² is the error of one sample.

    >>> import torch
    >>> error(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.0]]))
    tensor(0.0625)
    """
    return half_mse(output, target, reduction).sum(-1)


def error_gradient(output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    r"""Gradient of the error: ∂E/∂O = (O − y) / n.

    Args:
        output: O, shape (..., out, n).
        target: y, of the same shape.
        reduction: "mean" as above; "sum" omits the 1/n, as the article does for a single sample.

    Returns:
        ∂E/∂O, shape (..., out, n).

    Source: article, Fig. 10 (B1).
    """
    validate.same_shape(output=output, target=target)
    return (output - target) / divisor(output.shape[-1], reduction)


def delta(gradient: Tensor, output: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Gradient of a layer's weighted sum: δ = ∂E/∂μ = ∂E/∂h · ∂h/∂μ, with ∂h/∂μ = h (1 − h) for the sigmoid.

    Args:
        gradient: ∂E/∂h, shape (..., out, n).
        output: the layer's output h, of the same shape.
        derivative: h ↦ ∂h/∂μ, the activation's ``derivative_from_output``.

    Returns:
        δ, shape (..., out, n).

    Source: article, Figs. 10 and 11 (B1, B4): ∂O/∂μ₂ and ∂h/∂μ₁.
    """
    validate.same_shape(gradient=gradient, output=output)
    return gradient * derivative(output)


def weight_gradient(delta: Tensor, x: Tensor) -> Tensor:
    r"""Gradient of a layer's weight: ∂E/∂w = δ xᵀ, the sum over the samples of ∂E/∂μ · ∂μ/∂w with ∂μ/∂w = x.

    Args:
        delta: δ of the layer, shape (..., out, n).
        x: the layer's input, shape (..., in, n): h for the output layer, x for the first.

    Returns:
        ∂E/∂w, shape (..., out, in).

    Source: article, Cases 1 and 2 (B2, B5).
    """
    validate.matching_dims((-1, -1), delta=delta, x=x)
    return delta @ x.mT


def bias_gradient(delta: Tensor) -> Tensor:
    r"""Gradient of a layer's bias: ∂E/∂b = Σ δ over the samples, since ∂μ/∂b = 1.

    Args:
        delta: δ of the layer, shape (..., out, n).

    Returns:
        ∂E/∂b, shape (..., out).

    Source: article, Cases 1 and 2 (B2, B5).
    """
    return delta.sum(-1)


def input_gradient(delta: Tensor, weight: Tensor) -> Tensor:
    r"""Gradient of a layer's input: ∂E/∂x = wᵀ δ, since ∂μ/∂x = w.

    Args:
        delta: δ of the layer, shape (..., out, n).
        weight: the layer's w from the forward pass, shape (..., out, in).

    Returns:
        ∂E/∂x, shape (..., in, n); for the output layer this is ∂E/∂h.

    Source: article, Fig. 11 (B4): ∂μ₂/∂h = wₒ.
    """
    validate.matching_dims((-2, -2), weight=weight, delta=delta)
    return weight.mT @ delta


def output_delta(
    output: Tensor, target: Tensor, derivative: Callable[[Tensor], Tensor], reduction: Reduction = "mean"
) -> Tensor:
    r"""Case 1, the output layer: δₒ = ∂E/∂μ₂ = (O − y) · O (1 − O) / n.

    Args:
        output: O, shape (..., out, n).
        target: y, of the same shape.
        derivative: O ↦ ∂O/∂μ₂, which is O (1 − O) for the sigmoid.
        reduction: "mean" as above; "sum" omits the 1/n.

    Returns:
        δₒ, shape (..., out, n).

    Source: article, Fig. 10, Case 1 (B2).
    """
    return delta(error_gradient(output, target, reduction), output, derivative)


def hidden_delta(
    delta_next: Tensor, weight_next: Tensor, hidden: Tensor, derivative: Callable[[Tensor], Tensor]
) -> Tensor:
    r"""Case 2, a hidden layer: δᵢ = ∂E/∂μ₁ = wₒᵀ δₒ · h (1 − h).

    Args:
        delta_next: δₒ of the next layer, shape (..., out, n).
        weight_next: wₒ of the next layer, from before Case 1's update (B7), shape (..., out, in).
        hidden: the hidden layer's output h, shape (..., in, n).
        derivative: h ↦ ∂h/∂μ₁, which is h (1 − h) for the sigmoid.

    Returns:
        δᵢ, shape (..., in, n).

    Source: article, Fig. 11, Case 2 (B5).
    """
    return delta(input_gradient(delta_next, weight_next), hidden, derivative)


def backward(
    values: Sequence[Tensor],
    layers: Sequence[Layer],
    activations: Sequence[Activation],
    target: Tensor,
    reduction: Reduction = "mean",
) -> list[Layer]:
    r"""Backpropagation: Case 1 for the last layer, then Case 2 for each layer before it.

    Args:
        values: what :func:`forward` returned, [x, h, O] in Fig. 9.
        layers: w and b of each layer, from the forward pass.
        activations: the activation of each layer.
        target: y, shape (..., out, n).
        reduction: "mean" (the article's C) or "sum" (the author's notebook).

    Returns:
        ∂E/∂w and ∂E/∂b of each layer, the first layer first.

    Source: article, "Backpropagation" (B2, B5).
    """
    delta = output_delta(values[-1], target, activations[-1].derivative_from_output, reduction)  # Case 1
    gradients = [Layer(weight_gradient(delta, values[-2]), bias_gradient(delta))]
    for i in reversed(range(1, len(layers))):
        delta = hidden_delta(delta, layers[i].weight, values[i], activations[i - 1].derivative_from_output)  # Case 2
        gradients.append(Layer(weight_gradient(delta, values[i - 1]), bias_gradient(delta)))
    return gradients[::-1]


def sgd_step(
    layers: Sequence[Layer],
    velocities: Sequence[Layer],
    gradients: Sequence[Layer],
    learning_rate: float | Tensor,
    momentum: float | Tensor = 0.0,
) -> tuple[list[Layer], list[Layer]]:
    r"""Update of all parameters at once: v ← m v + g, then θ ← θ − η v.

    Args:
        layers: w and b of each layer, θ.
        velocities: v of each, from :func:`zero_velocities` before the first update.
        gradients: g of each, from :func:`backward`.
        learning_rate: η ≥ 0; for a stack of networks optionally one for each network, shape (...).
        momentum: m in [0, 1), with the same shapes.

    Returns:
        The new layers and the new velocities.

    Source: article, "Backpropagation" (B3, B6).
    """
    velocities = [
        Layer(*(momentum_update(v, g, broadcast_rate(momentum, v)) for v, g in zip(velocity, gradient, strict=True)))
        for velocity, gradient in zip(velocities, gradients, strict=True)
    ]
    layers = [
        Layer(*(gradient_step(p, v, broadcast_rate(learning_rate, p)) for p, v in zip(layer, velocity, strict=True)))
        for layer, velocity in zip(layers, velocities, strict=True)
    ]
    return layers, velocities


def broadcast_rate(rate: float | Tensor, theta: Tensor) -> float | Tensor:
    r"""Append dimensions of size 1 to the rates of a stack, shape (...), so that they broadcast to its parameters θ."""
    return rate[(..., *[None] * (theta.ndim - rate.ndim))] if isinstance(rate, Tensor) else rate


def training_step(
    x: Tensor,
    target: Tensor,
    layers: Sequence[Layer],
    velocities: Sequence[Layer],
    activations: Sequence[Activation],
    learning_rate: float | Tensor,
    momentum: float | Tensor = 0.0,
    reduction: Reduction = "mean",
) -> tuple[list[Layer], list[Layer]]:
    r"""One step of training: forward, Case 1, Case 2, then the update of all parameters at once.

    Both cases use the weights from before the update. The classic mistake is to update the output layer first, so that
    Case 2 uses its new weight.

    Args:
        x: the network's input, shape (..., in, n).
        target: y, shape (..., out, n).
        layers: w and b of each layer.
        velocities: v of each, from :func:`zero_velocities` before the first update.
        activations: the activation of each layer.
        learning_rate: η, as in :func:`sgd_step`; constant or from cosine_annealing.
        momentum: m, as in :func:`sgd_step`.
        reduction: "mean" or "sum", as in :func:`backward`.

    Returns:
        The new layers and the new velocities.

    Source: article, "Backpropagation" (B3, B6, B7).
    """
    gradients = backward(forward(x, layers, activations), layers, activations, target, reduction)
    return sgd_step(layers, velocities, gradients, learning_rate, momentum)


def zero_velocities(layers: Sequence[Layer]) -> list[Layer]:
    r"""Velocities before the first update: v = 0 for every parameter."""
    return [Layer(0 * layer.weight, 0 * layer.bias) for layer in layers]
