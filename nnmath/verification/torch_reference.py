r"""The article's equations in plain torch: what the hand-written ones must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

RATE, MOMENTUM, T = 0.3, 0.9, 10


def nodes(
    x: Tensor, weight_i: Tensor, bias_i: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor
) -> list[Tensor]:
    r"""μ₁, h, μ₂, O and E of Fig. 9, by torch."""
    mu_1 = F.linear(x.T, weight_i, bias_i)
    h = torch.sigmoid(mu_1)
    mu_2 = F.linear(h, weight_o, bias_o)
    output = torch.sigmoid(mu_2)
    return [mu_1.T, h.T, mu_2.T, output.T, F.mse_loss(output.T, target) / 2]


def error_of_hidden(hidden: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor) -> Tensor:
    r"""E as a function of the hidden layer's output h, by torch."""
    return F.mse_loss(torch.sigmoid(F.linear(hidden.T, weight_o, bias_o)).T, target) / 2


def trained_by_torch(start: Sequence[Tensor], error: Callable[..., Tensor], steps: int, momentum: float) -> Tensor:
    r"""The parameters after so many updates by torch.optim.SGD with torch's cosine annealing, strung together."""
    parameters = [parameter.clone().requires_grad_() for parameter in start]
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=momentum)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T)
    for _ in range(steps):
        optimizer.zero_grad()
        error(*parameters).backward()
        optimizer.step()
        scheduler.step()
    return flat(parameters).detach()


def flat(tensors: Sequence[Tensor]) -> Tensor:
    r"""The tensors strung together."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def line_by_torch(x: Tensor, theta0: Tensor, theta1: Tensor, target: Tensor, momentum: float) -> Tensor:
    return trained_by_torch([theta0, theta1], lambda a, b: F.mse_loss(a + b * x, target) / 2, T, momentum)


def network_by_torch(x: Tensor, target: Tensor, steps: int, momentum: float, **parameters: Tensor) -> Tensor:
    return trained_by_torch(
        list(parameters.values()), lambda *p: nodes(x, p[0], p[1], p[2], p[3], target)[-1], steps, momentum
    )


def annealed_by_torch(eta_max: Tensor) -> Tensor:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=float(eta_max))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T, eta_min=float(eta_max) / 10)
    rates = []
    for _ in range(2 * T + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=eta_max.dtype)


def largest_eigenvalue(x: Tensor) -> Tensor:
    def cost(theta: Tensor) -> Tensor:
        return F.mse_loss(theta @ x, torch.zeros_like(x[0])) / 2

    hessian = torch.autograd.functional.hessian(cost, torch.zeros_like(x[:, 0]))
    return torch.linalg.eigvalsh(hessian)[-1]
