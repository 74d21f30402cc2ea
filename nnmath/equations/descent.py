r"""Gradient descent: the update rule, the critical learning rate, momentum and cosine annealing (G2 to G5)."""

from math import cos, inf, pi

import torch
from torch import Tensor

from nnmath.equations import validate


def gradient_step(theta: Tensor, gradient: Tensor, learning_rate: float | Tensor) -> Tensor:
    r"""Update rule: θ ← θ − η ∂C/∂θ.

    Left of the minimum (P1 in Fig. 8) the slope is negative and θ grows; right of it (P2) θ shrinks.

    Args:
        theta: the parameters θ, any shape.
        gradient: ∂C/∂θ, of the same shape; with momentum, the velocity v.
        learning_rate: η ≥ 0. A tensor must broadcast to θ; its values are not checked.

    Returns:
        The new θ. The old one is not modified, so that all θ can be updated at once.

    Raises:
        ValueError: the shapes do not fit, or η is negative, infinite or nan.

    Source: article, "Gradient descent" (G2, B3, B6); torch.optim.SGD.

    >>> import torch
    >>> gradient_step(torch.tensor([1.0, 2.0]), torch.tensor([-10.0, 10.0]), learning_rate=0.1)
    tensor([2., 1.])
    """
    validate.same_shape(theta=theta, gradient=gradient)
    validate.in_interval(0, inf, closed="left", learning_rate=learning_rate)
    validate.broadcastable_to(theta, learning_rate=learning_rate)
    return theta - learning_rate * gradient


def critical_learning_rate(hessian: Tensor) -> Tensor:
    r"""Critical learning rate of a quadratic cost: η = 2 / λ_max. Descent converges below it and diverges above it.

    Along the eigenvector of the eigenvalue λ, one update multiplies the distance to the minimum by 1 − ηλ.

    Args:
        hessian: the symmetric, positive semidefinite Hessian H of the cost, shape (..., k, k). Its largest eigenvalue
            is λ_max.

    Returns:
        η, shape (...); infinite where H is 0.

    Source: article, "On a side note" (G3), which says that descent oscillates if η is too large.

    >>> import torch
    >>> critical_learning_rate(torch.tensor([[4.0, 0.0], [0.0, 0.5]]))
    tensor(0.5000)
    """
    return 2 / torch.linalg.eigvalsh(hessian)[..., -1].abs()  # 0 can come out as −0


def momentum_update(velocity: Tensor, gradient: Tensor, momentum: float | Tensor) -> Tensor:
    r"""Momentum: v ← m v + g, followed by θ ← θ − η v instead of θ ← θ − η g.

    Args:
        velocity: v, any shape; 0 before the first update.
        gradient: the gradient g, of the same shape.
        momentum: m in [0, 1). A tensor must broadcast to v; its values are not checked. 0 gives plain descent.

    Returns:
        The new v.

    Raises:
        ValueError: the shapes do not fit, or m is outside [0, 1) or nan.

    Source: article, "On a side note" (G4); torch.optim.SGD, where the learning rate multiplies v, not g.

    >>> import torch
    >>> momentum_update(torch.tensor([10.0]), torch.tensor([1.0]), momentum=0.9)
    tensor([10.])
    """
    validate.same_shape(velocity=velocity, gradient=gradient)
    validate.in_interval(0, 1, closed="left", momentum=momentum)
    validate.broadcastable_to(velocity, momentum=momentum)
    return momentum * velocity + gradient


def cosine_annealing(t: float, T: float, learning_rate: float, eta_min: float = 0.0) -> float:
    r"""Cosine annealing: η_t = η_min + ½ (η_max − η_min) (1 + cos(π t / T)).

    It falls from η_max at t = 0 to η_min at t = T. After T it rises again, to η_max at t = 2T, as in torch: training
    beyond T means training with a rising learning rate.

    Args:
        t: the number t ≥ 0 of epochs (or steps) completed.
        T: the length T > 0 of the run in epochs (or steps), which is half a period.
        learning_rate: η_max ≥ 0.
        eta_min: η_min in [0, η_max].

    Returns:
        η_t, the learning rate of the next update.

    Raises:
        ValueError: an argument is out of its range or nan.

    Source: article, "On a side note" (G5); torch.optim.lr_scheduler.CosineAnnealingLR.

    >>> [round(cosine_annealing(t, T=4, learning_rate=0.2), 3) for t in range(6)]
    [0.2, 0.171, 0.1, 0.029, 0.0, 0.029]
    """
    validate.in_interval(0, inf, closed="left", t=t, learning_rate=learning_rate)
    validate.in_interval(0, inf, closed="neither", T=T)
    validate.in_interval(0, learning_rate, eta_min=eta_min)
    return eta_min + (learning_rate - eta_min) * (1 + cos(pi * t / T)) / 2
