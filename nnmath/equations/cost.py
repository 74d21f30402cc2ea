r"""The linear model, its cost and the gradient of the cost (N3, C1, C2, G1, and the Hessian behind G3).

Two conventions differ between books. The cost includes the ½ of the article, so its gradient has no factor 2. As in
torch, ``reduction`` is "mean" over the n samples (the article) or "sum" (its author's notebook); any other, or a mean
of no samples, raises ValueError. The samples are the last dimension everywhere.
"""

from typing import Literal

from torch import Tensor

from nnmath.equations import validate

Reduction = Literal["mean", "sum"]


def divisor(n: int, reduction: Reduction) -> int:
    r"""Divisor of a sum over n samples: n for "mean", 1 for "sum".

    >>> divisor(266, "mean"), divisor(266, "sum")
    (266, 1)
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    if n == 0 and reduction == "mean":
        raise ValueError("there are no samples: the last dimension of the tensors is 0")
    return n if reduction == "mean" else 1


def linear_model(x: Tensor, theta0: Tensor, theta1: Tensor) -> Tensor:
    r"""Linear model: ŷ = θ₀ + x θ₁, a line through the origin only if the bias θ₀ is 0.

    Args:
        x: one feature, shape (..., n).
        theta0: the intercept (bias) θ₀, shape (...).
        theta1: the slope (weight) θ₁, shape (...).

    Returns:
        ŷ, shape (..., n).

    Source: article, "Cost function" (N3, C1).

    >>> import torch
    >>> linear_model(torch.tensor([0.0, 1.0, 2.0]), theta0=torch.tensor(1.0), theta1=torch.tensor(3.0))
    tensor([1., 4., 7.])
    """
    return theta0[..., None] + x * theta1[..., None]  # (..., n)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Squared error of each sample: E = (ŷ − y)². It lacks the ½ of the cost.

    Args:
        prediction: ŷ, any shape.
        target: y, of the same shape.

    Raises:
        ValueError: the shapes differ.

    Source: article, "Cost function" (C1).

    >>> import torch
    >>> squared_error(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]))
    tensor([0., 9.])
    """
    validate.same_shape(prediction=prediction, target=target)
    return (prediction - target) ** 2


def half_mse(prediction: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    r"""Cost: C = 1/(2n) Σ (ŷ − y)², half the mean squared error.

    Args:
        prediction: ŷ, shape (..., n).
        target: y, of the same shape.
        reduction: "mean" as above; "sum" omits the 1/n: ½ Σ (ŷ − y)².

    Returns:
        C, shape (...).

    Raises:
        ValueError: the shapes differ.

    Source: article, "Cost function" (C2), which is printed without the square and the Σ. For one output C is half of
    torch.nn.functional.mse_loss.

    >>> import torch
    >>> half_mse(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]))
    tensor(2.2500)
    """
    n = divisor(prediction.shape[-1], reduction)
    return squared_error(prediction, target).sum(-1) / (2 * n)


def half_mse_gradient(
    x: Tensor, theta0: Tensor, theta1: Tensor, target: Tensor, reduction: Reduction = "mean"
) -> tuple[Tensor, Tensor]:
    r"""Gradient of the linear model's cost: ∂C/∂θ₀ = 1/n Σ (θ₀ + xθ₁ − y), ∂C/∂θ₁ = 1/n Σ (θ₀ + xθ₁ − y) x.

    Args:
        x: one feature, shape (..., n).
        theta0: the intercept θ₀, shape (...).
        theta1: the slope θ₁, shape (...).
        target: y, shape (..., n).
        reduction: "mean" as above; "sum" omits the 1/n.

    Returns:
        ∂C/∂θ₀ and ∂C/∂θ₁, each of shape (...).

    Raises:
        ValueError: target and prediction differ in shape.

    Source: article, "Gradient descent" (G1).

    >>> import torch
    >>> x, y = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 4.0, 7.0])
    >>> half_mse_gradient(x, theta0=torch.tensor(1.0), theta1=torch.tensor(0.0), target=y)
    (tensor(-3.), tensor(-5.))
    """
    n = divisor(x.shape[-1], reduction)
    prediction = linear_model(x, theta0, theta1)
    validate.same_shape(prediction=prediction, target=target)
    return (prediction - target).sum(-1) / n, ((prediction - target) * x).sum(-1) / n


def half_mse_hessian(x: Tensor, reduction: Reduction = "mean") -> Tensor:
    r"""Hessian of the cost of ŷ = θ · x: H = 1/n x xᵀ, the same at every θ because C is quadratic.

    Args:
        x: the features, shape (..., in, n); an intercept is a feature that is 1 for every sample.
        reduction: "mean" as above; "sum" omits the 1/n.

    Returns:
        H, shape (..., in, in).

    Source: article, "On a side note" (G3): the curvature of the cost determines which learning rates converge.

    >>> import torch
    >>> half_mse_hessian(torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]))
    tensor([[1.0000, 1.0000],
            [1.0000, 1.6667]])
    """
    return x @ x.mT / divisor(x.shape[-1], reduction)
