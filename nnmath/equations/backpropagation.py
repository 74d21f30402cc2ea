r"""Forward pass and backpropagation of a network of any depth (N1, N2, B0 to B7).

The computational graph of Fig. 9, for a network of two layers::

    x ──(wᵢ, bᵢ)──> μ₁ ──σ──> h ──(wₒ, bₒ)──> μ₂ ──σ──> O ──y──> E

    μ₁ = wᵢ x + bᵢ,   h = σ(μ₁),   μ₂ = wₒ h + bₒ,   O = σ(μ₂),   E = 1/(2n) Σ (O − y)²

Backwards along it, ``delta`` is the gradient ∂E/∂μ of a layer's weighted sum. Case 1 gives the delta of the output
layer, Case 2 the delta of a hidden layer from the layer above it; a layer's delta gives the gradients of its own weight
and bias. The two cases, applied from the last layer to the first, serve any depth.

Samples are columns. With "out" and "in" for the neurons of a layer and of the one below it, and n for the samples:
weight (..., out, in), bias (..., out), delta and output (..., out, n), x (..., in, n). Leading dimensions are a stack
of networks. All functions raise ValueError where shapes do not fit; stacks that do not broadcast are left to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from nnmath.equations import validate
from nnmath.equations.activations import Activation
from nnmath.equations.cost import Reduction, half_mse, number_averaged
from nnmath.equations.descent import gradient_step, momentum_update
from nnmath.equations.perceptron import weighted_sum


class Layer(NamedTuple):
    r"""A layer's parameters, laid out as torch.nn.Linear has them; or their gradients, or their velocities."""

    weight: Tensor
    r"""w, shape (..., out, in)"""
    bias: Tensor
    r"""b, shape (..., out)"""


def number_of_parameters(sizes: Sequence[int]) -> int:
    r"""Number of parameters of a network: Σ n_in n_out + n_out over its layers.

    It grows linearly with the depth and with the square of the width, not exponentially, as the article says.

    Args:
        sizes: the neurons of each layer, the inputs first; n_in and n_out are neighbours.

    Raises:
        ValueError: there is no layer, or a layer without neurons.

    Source: article, Fig. 7 (N2).

    >>> number_of_parameters((2, 4, 1))
    17
    """
    if len(sizes) < 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"sizes must be two or more whole numbers of neurons, each at least 1, got {sizes=}")
    return sum(n_in * n_out + n_out for n_in, n_out in pairwise(sizes))


# --- forward ---------------------------------------------------------------------------------------------------------


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
        values.append(activation.value(weighted_sum(values[-1], weight, bias)))  # (..., out, n)
    return values


def error(output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    r"""Error of the network: E = 1/(2n) Σ (O − y)², summed over the outputs and averaged over the samples.

    Args:
        output: O, shape (..., out, n).
        target: y, of the same shape.
        reduction: "mean" as above; "sum" leaves the 1/n out.

    Returns:
        E, shape (...). With one output it is torch's mse_loss / 2; with K outputs it is K times that, for torch
        averages over the outputs too.

    Source: article, Fig. 9 (B0), where E = ½ (y − O)² is the error of one sample.

    >>> import torch
    >>> error(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.0]]))
    tensor(0.0625)
    """
    return half_mse(output, target, reduction).sum(-1)


# --- backward --------------------------------------------------------------------------------------------------------


def error_gradient(output: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    r"""Gradient of the error: ∂E/∂O = (O − y) / n.

    Args:
        output: O, shape (..., out, n).
        target: y, of the same shape.
        reduction: "mean" as above; "sum" leaves the 1/n out, as the article's single sample has it.

    Returns:
        ∂E/∂O, shape (..., out, n).

    Source: article, Fig. 10 (B1).
    """
    validate.same_shape(output=output, target=target)
    return (output - target) / number_averaged(output.shape[-1], reduction)


def delta(gradient: Tensor, output: Tensor, slope: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Through an activation: δ = ∂E/∂μ = ∂E/∂h · ∂h/∂μ, with ∂h/∂μ = h (1 − h) for the sigmoid.

    Args:
        gradient: ∂E/∂h, shape (..., out, n).
        output: the layer's output h, of the same shape.
        slope: h ↦ ∂h/∂μ, the activation's derivative from its value.

    Returns:
        δ, shape (..., out, n).

    Source: article, Figs. 10 and 11 (B1, B4): ∂O/∂μ₂ and ∂h/∂μ₁.
    """
    validate.same_shape(gradient=gradient, output=output)
    return gradient * slope(output)


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
        weight: the layer's w as it was in the forward pass, shape (..., out, in).

    Returns:
        ∂E/∂x, shape (..., in, n); for the output layer this is ∂E/∂h.

    Source: article, Fig. 11 (B4): ∂μ₂/∂h = wₒ.
    """
    validate.matching_dims((-2, -2), weight=weight, delta=delta)
    return weight.mT @ delta


def output_delta(
    output: Tensor, target: Tensor, slope: Callable[[Tensor], Tensor], reduction: Reduction = "mean"
) -> Tensor:
    r"""Case 1, the output layer: δₒ = ∂E/∂μ₂ = (O − y) · O (1 − O) / n.

    Args:
        output: O, shape (..., out, n).
        target: y, of the same shape.
        slope: O ↦ ∂O/∂μ₂, O (1 − O) for the sigmoid.
        reduction: "mean" as above; "sum" leaves the 1/n out.

    Returns:
        δₒ, shape (..., out, n).

    Source: article, Fig. 10, Case 1 (B2).
    """
    return delta(error_gradient(output, target, reduction), output, slope)


def hidden_delta(
    delta_above: Tensor, weight_above: Tensor, hidden: Tensor, slope: Callable[[Tensor], Tensor]
) -> Tensor:
    r"""Case 2, a hidden layer: δᵢ = ∂E/∂μ₁ = wₒᵀ δₒ · h (1 − h).

    Args:
        delta_above: δₒ of the layer above, shape (..., out, n).
        weight_above: wₒ of the layer above, from before Case 1's update (B7), shape (..., out, in).
        hidden: the hidden layer's output h, shape (..., in, n).
        slope: h ↦ ∂h/∂μ₁, h (1 − h) for the sigmoid.

    Returns:
        δᵢ, shape (..., in, n).

    Source: article, Fig. 11, Case 2 (B5).
    """
    return delta(input_gradient(delta_above, weight_above), hidden, slope)


def backward(
    values: Sequence[Tensor],
    layers: Sequence[Layer],
    activations: Sequence[Activation],
    target: Tensor,
    reduction: Reduction = "mean",
) -> list[Layer]:
    r"""Backpropagation: Case 1 for the last layer, then Case 2 for each layer below it.

    Args:
        values: what :func:`forward` returned, [x, h, O] in Fig. 9.
        layers: w and b of each layer, as they were in the forward pass.
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


# --- update ----------------------------------------------------------------------------------------------------------


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
        velocities: v of each; before the first update 0, from :func:`zero_velocities`.
        gradients: g of each, from :func:`backward`.
        learning_rate: η ≥ 0; of a stack of networks, of shape (...), each network's own.
        momentum: m in [0, 1), likewise.

    Returns:
        The new layers and the new velocities.

    Source: article, "Backpropagation" (B3, B6).
    """
    velocities = [
        Layer(*(momentum_update(v, g, of_stack(momentum, v)) for v, g in zip(velocity, gradient, strict=True)))
        for velocity, gradient in zip(velocities, gradients, strict=True)
    ]
    layers = [
        Layer(*(gradient_step(theta, v, of_stack(learning_rate, v)) for theta, v in zip(layer, velocity, strict=True)))
        for layer, velocity in zip(layers, velocities, strict=True)
    ]
    return layers, velocities


def of_stack(rate: float | Tensor, theta: Tensor) -> float | Tensor:
    r"""A rate of each network, shape (...), so that it meets the network's own weights (..., out, in) or biases."""
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

    Both cases use the weights from before the update; to update the output layer first and then let Case 2 see its new
    weight is the classic mistake.

    Args:
        x: the network's input, shape (..., in, n).
        target: y, shape (..., out, n).
        layers: w and b of each layer.
        velocities: v of each layer's w and b; before the first update 0, from :func:`zero_velocities`.
        activations: the activation of each layer.
        learning_rate: η ≥ 0, constant or from cosine_annealing; of a stack, of shape (...), each network's own.
        momentum: m in [0, 1), likewise.
        reduction: "mean" or "sum".

    Returns:
        The new layers and the new velocities.

    Source: article, "Backpropagation" (B3, B6, B7).
    """
    gradients = backward(forward(x, layers, activations), layers, activations, target, reduction)
    return sgd_step(layers, velocities, gradients, learning_rate, momentum)


def zero_velocities(layers: Sequence[Layer]) -> list[Layer]:
    r"""The velocities before the first update: v = 0 for every parameter."""
    return [Layer(0 * layer.weight, 0 * layer.bias) for layer in layers]
