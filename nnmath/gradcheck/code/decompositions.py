r"""Fused functions of torch as the steps of which a textbook makes them, so that their insides have names."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def softmax(input: Tensor, dim: int | None = None, **ignored: Any) -> Tensor:
    dim = -1 if dim is None else dim
    e = torch.exp(input - input.detach().amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def log_softmax(input: Tensor, dim: int | None = None, **ignored: Any) -> Tensor:
    return torch.log(softmax(input, dim))


def reduce(value: Tensor, reduction: str) -> Tensor:
    return value.mean() if reduction == "mean" else value.sum() if reduction == "sum" else value


def cross_entropy(input: Tensor, target: Tensor, reduction: str = "mean", **ignored: Any) -> Tensor:
    dim = 0 if input.ndim == 1 else 1
    log_p = log_softmax(input, dim)
    if target.is_floating_point():
        loss = -(target * log_p).sum(dim)
    else:
        loss = -log_p.gather(dim, target.unsqueeze(dim)).squeeze(dim)
    return reduce(loss, reduction)


def nll_loss(input: Tensor, target: Tensor, reduction: str = "mean", **ignored: Any) -> Tensor:
    dim = 0 if input.ndim == 1 else 1
    return reduce(-input.gather(dim, target.unsqueeze(dim)).squeeze(dim), reduction)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", **ignored: Any) -> Tensor:
    return reduce((input - target) ** 2, reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, reduction: str = "mean", **ignored: Any) -> Tensor:
    return reduce(-(target * torch.log(input) + (1 - target) * torch.log(1 - input)), reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, reduction: str = "mean", **ignored: Any) -> Tensor:
    return binary_cross_entropy(torch.sigmoid(input), target, reduction)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    z = input @ weight.T
    return z if bias is None else z + bias


def normalize(input: Tensor, dims: list[int], eps: float) -> Tensor:
    centered = input - input.mean(dims, keepdim=True)
    return centered * torch.rsqrt((centered**2).mean(dims, keepdim=True) + eps)


def scale_and_shift(x: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Sequence[int]) -> Tensor:
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


def layer_norm(
    input: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    return scale_and_shift(normalize(input, list(range(-len(shape), 0)), eps), weight, bias, shape)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    shape = [1, -1, *[1] * (input.ndim - 2)]
    if training or running_mean is None or running_var is None:
        x = normalize(input, [0, *range(2, input.ndim)], eps)
    else:
        x = (input - running_mean.view(shape)) * torch.rsqrt(running_var.view(shape) + eps)
    return scale_and_shift(x, weight, bias, shape)


def group_norm(
    input: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    grouped = input.reshape(len(input), groups, -1)
    shape = [1, -1, *[1] * (input.ndim - 2)]
    return scale_and_shift(normalize(grouped, [2], eps).view_as(input), weight, bias, shape)


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, scale: float | None = None, **_: Any
) -> Tensor:
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype is torch.bool else scores + attn_mask
    return softmax(scores, -1) @ value


# each is used only if the result is the same, so that an option that it ignores does no harm
DECOMPOSITIONS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), softmax),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, Tensor.log_softmax), log_softmax),
    F.cross_entropy: cross_entropy,
    F.nll_loss: nll_loss,
    F.mse_loss: mse_loss,
    F.binary_cross_entropy: binary_cross_entropy,
    F.binary_cross_entropy_with_logits: binary_cross_entropy_with_logits,
    F.linear: linear,
    F.layer_norm: layer_norm,
    F.batch_norm: batch_norm,
    F.group_norm: group_norm,
    F.scaled_dot_product_attention: attention,
}
