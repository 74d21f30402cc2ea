r"""Sigmoid, tanh and ReLU (A1, A2, A3), each beside its derivative, and the table of all activations.

There are two forms of each derivative. ``sigmoid_derivative(z)`` takes the weighted sum z and is accurate for every z.
``sigmoid_derivative_from_output(h)`` takes the activation's output h = σ(z), which backpropagation has at hand (B1,
B4). It is cheaper, but 0 once h has rounded to 1, although σ′(z) is not 0.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor, nn

from nnmath.equations.perceptron import step

ActivationName = Literal["sigmoid", "tanh", "relu", "identity"]


def sigmoid(z: Tensor) -> Tensor:
    r"""Sigmoid: σ(z) = 1 / (1 + e^(−z)), in (0, 1); any shape.

    The range is open, not the article's "binary (0/1) output". Only floating point rounds σ(z) to 1 (in float64 from
    z ≈ 37 on) or to 0.

    Source: article, Fig. 3 (A1).

    >>> import torch
    >>> sigmoid(torch.tensor([-2.0, 0.0, 2.0]))
    tensor([0.1192, 0.5000, 0.8808])
    """
    return 1 / (1 + (-z).exp())


def sigmoid_derivative(z: Tensor) -> Tensor:
    r"""Derivative of the sigmoid: σ′(z) = σ(z) (1 − σ(z)) = σ(z) σ(−z), in (0, ¼]; any shape.

    1 − σ(z) cancels where σ(z) is close to 1; σ(−z) is the same number to full relative precision.

    Source: article, Fig. 3 (A1).

    >>> import torch
    >>> sigmoid_derivative(torch.tensor([0.0, 40.0]))
    tensor([2.5000e-01, 4.2484e-18])
    """
    return sigmoid(z) * sigmoid(-z)


def sigmoid_derivative_from_output(h: Tensor) -> Tensor:
    r"""Derivative of the sigmoid from its output h = σ(z): σ′(z) = h (1 − h); any shape.

    Source: article, Figs. 10 and 11 (B1, B4): ∂O/∂μ₂ = O (1 − O), ∂h/∂μ₁ = h (1 − h).
    """
    return h * (1 - h)


def tanh(z: Tensor) -> Tensor:
    r"""Hyperbolic tangent: tanh(z) = (e^(2z) − 1) / (e^(2z) + 1) = 1 / (1 + 2 / (e^(2z) − 1)), in (−1, 1); any shape.

    The article's 2σ(2z) − 1 is the same function but cancels near 0. Here ``expm1`` computes e^(2z) − 1 without
    cancellation, and the limits are right: 2 / ∞ = 0 where e^(2z) overflows, and 1 / (1 + 2 / 0) = 0 at z = 0.

    Source: article, Fig. 4 (A2).

    >>> import torch
    >>> tanh(torch.tensor([-1e3, 0.0, 1e-10, 1e3]))
    tensor([-1.0000e+00,  0.0000e+00,  1.0000e-10,  1.0000e+00])
    """
    return 1 / (1 + 2 / (2 * z).expm1())


def tanh_derivative(z: Tensor) -> Tensor:
    r"""Derivative of tanh: tanh′(z) = 1 − tanh²(z) = 4 σ(2z) σ(−2z) = 4 σ′(2z), in (0, 1]; any shape.

    Source: article, Fig. 4 (A2).

    >>> import torch
    >>> tanh_derivative(torch.tensor([0.0, 20.0]))
    tensor([1.0000e+00, 1.6993e-17])
    """
    return 4 * sigmoid_derivative(2 * z)


def tanh_derivative_from_output(h: Tensor) -> Tensor:
    r"""Derivative of tanh from its output h = tanh(z): tanh′(z) = 1 − h² = (1 − h) (1 + h); any shape.

    The product is accurate where 1 − h² cancels.
    """
    return (1 - h) * (1 + h)


def relu(z: Tensor) -> Tensor:
    r"""Rectified linear unit: ReLU(z) = max(0, z); any shape.

    Source: article, Fig. 5 (A3).

    >>> import torch
    >>> relu(torch.tensor([-2.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    return z.clamp(min=0)


def relu_derivative(z: Tensor) -> Tensor:
    r"""Derivative of ReLU: ReLU′(z) = step(z), 0 or 1; any shape.

    At the kink z = 0 any number from 0 to 1 is a subgradient; this is 0, as in torch.

    Source: article, Fig. 5 (A3).

    >>> import torch
    >>> relu_derivative(torch.tensor([-2.0, 0.0, 2.0]))
    tensor([0., 0., 1.])
    """
    return step(z)


def relu_derivative_from_output(h: Tensor) -> Tensor:
    r"""Derivative of ReLU from its output h = ReLU(z): ReLU′(z) = step(h), 0 or 1; any shape."""
    return step(h)


def identity(z: Tensor) -> Tensor:
    r"""Identity, that is no activation: id(z) = z, for the output layer of a regression; any shape."""
    return z


def identity_derivative(z: Tensor) -> Tensor:
    r"""Derivative of the identity: id′(z) = z⁰ = 1; any shape."""
    return z**0


def identity_derivative_from_output(h: Tensor) -> Tensor:
    r"""Derivative of the identity from its output h = z: id′(z) = h⁰ = 1; any shape."""
    return h**0


class Activation(NamedTuple):
    r"""An activation function h = f(z) with its derivative and its counterpart in torch."""

    name: ActivationName  # its key in ACTIVATIONS
    symbol: str  # f in a formula
    function: Callable[[Tensor], Tensor]  # z ↦ f(z)
    derivative: Callable[[Tensor], Tensor]  # z ↦ f′(z)
    derivative_from_output: Callable[[Tensor], Tensor]  # h ↦ f′(z), from the output h = f(z) alone
    module: type[nn.Module]  # the class in torch.nn


SIGMOID = Activation("sigmoid", "σ", sigmoid, sigmoid_derivative, sigmoid_derivative_from_output, nn.Sigmoid)
TANH = Activation("tanh", "tanh", tanh, tanh_derivative, tanh_derivative_from_output, nn.Tanh)
RELU = Activation("relu", "ReLU", relu, relu_derivative, relu_derivative_from_output, nn.ReLU)
IDENTITY = Activation("identity", "id", identity, identity_derivative, identity_derivative_from_output, nn.Identity)

ACTIVATIONS: dict[str, Activation] = {f.name: f for f in (SIGMOID, TANH, RELU, IDENTITY)}
