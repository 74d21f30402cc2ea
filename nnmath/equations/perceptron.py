r"""The perceptron: a weighted sum compared with a threshold (P1, P2)."""

from torch import Tensor

from nnmath.equations import validate


def fires(x: Tensor, threshold: float) -> Tensor:
    r"""Whether the neuron of Fig. 1 fires: f(x₁, x₂) = x₁ + x₂ > threshold.

    Args:
        x: the inputs x₁, x₂, ..., shape (..., in, n); samples are columns.
        threshold: 40 in the article. A sum equal to it does not fire.

    Returns:
        True for the samples for which the neuron fires, shape (..., n).

    Source: article, Fig. 1 (P1).

    >>> import torch
    >>> fires(torch.tensor([[10.0, 20.0, 20.0], [20.0, 20.0, 30.0]]), threshold=40)
    tensor([False, False,  True])
    """
    return x.sum(-2) > threshold


def step(z: Tensor) -> Tensor:
    r"""The step function: step(z) = 1 if z > 0, else 0; any shape.

    Source: article, Fig. 2 (P2).

    >>> import torch
    >>> step(torch.tensor([-2.0, 0.0, 2.0]))
    tensor([0., 0., 1.])
    """
    return z.clamp(min=0).sign()


def weighted_sum(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r"""The weighted sum of a layer of neurons: μ = w x + b.

    Args:
        x: the layer's input x, shape (..., in, n); samples are columns.
        weight: w, shape (..., out, in) as in torch.nn.Linear.
        bias: b, shape (..., out).

    Returns:
        μ, shape (..., out, n).

    Raises:
        ValueError: the shapes do not fit.

    Source: article, Fig. 2 (P2) and Fig. 9 (B0).

    >>> import torch
    >>> x = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    >>> weighted_sum(x, weight=torch.tensor([[2.0, 5.0]]), bias=torch.tensor([-1.0]))
    tensor([[ 6.,  8., 10.]])
    """
    validate.matching_dims((-1, -2), weight=weight, x=x)
    validate.matching_dims((-1, -2), bias=bias, weight=weight)
    return weight @ x + bias[..., None]  # (..., out, n)


def perceptron(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r"""The perceptron: step(w x + b), that is 1 if the weighted sum w x exceeds the threshold −b, else 0.

    Arguments, shapes and exceptions are those of :func:`weighted_sum`.

    Source: article, Fig. 2 (P2).

    >>> import torch
    >>> x = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    >>> perceptron(x, weight=torch.tensor([[1.0, 1.0]]), bias=torch.tensor([-1.5]))  # AND
    tensor([[0., 0., 0., 1.]])
    """
    return step(weighted_sum(x, weight, bias))
