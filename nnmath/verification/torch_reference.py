r"""The article's equations in plain torch: the reference for the hand-written ones. Samples are columns there too."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LEARNING_RATE, MOMENTUM, T = 0.3, 0.9, 10


def network_nodes(
    x: Tensor, weight_i: Tensor, bias_i: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor
) -> list[Tensor]:
    r"""μ₁, h, μ₂, O and E of Fig. 9."""
    mu_1 = F.linear(x.T, weight_i, bias_i)
    h = torch.sigmoid(mu_1)
    mu_2 = F.linear(h, weight_o, bias_o)
    output = torch.sigmoid(mu_2)
    return [mu_1.T, h.T, mu_2.T, output.T, F.mse_loss(output.T, target) / 2]


def output_layer_error(hidden: Tensor, weight_o: Tensor, bias_o: Tensor, target: Tensor) -> Tensor:
    r"""E as a function of the hidden layer's output h."""
    return F.mse_loss(torch.sigmoid(F.linear(hidden.T, weight_o, bias_o)).T, target) / 2


def train(error: Callable[..., Tensor], parameters: Sequence[Tensor], steps: int, momentum: float) -> list[Tensor]:
    r"""Parameters after some updates by torch.optim.SGD with torch's cosine annealing."""
    parameters = [parameter.clone().requires_grad_() for parameter in parameters]
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=momentum)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T)
    for _ in range(steps):
        optimizer.zero_grad()
        error(*parameters).backward()
        optimizer.step()
        scheduler.step()
    return [parameter.detach() for parameter in parameters]


def train_line(x: Tensor, theta0: Tensor, theta1: Tensor, target: Tensor, momentum: float) -> Tensor:
    r"""θ₀ and θ₁ of the linear model after T updates."""
    return torch.stack(train(lambda a, b: F.mse_loss(a + b * x, target) / 2, [theta0, theta1], T, momentum))


def train_network(x: Tensor, target: Tensor, steps: int, momentum: float, **parameters: Tensor) -> list[Tensor]:
    r"""wᵢ, bᵢ, wₒ and bₒ of the network after some updates."""

    def error(w_i: Tensor, b_i: Tensor, w_o: Tensor, b_o: Tensor) -> Tensor:
        return network_nodes(x, w_i, b_i, w_o, b_o, target)[-1]

    return train(error, list(parameters.values()), steps, momentum)


def cosine_annealing(eta_max: Tensor) -> Tensor:
    r"""Learning rates of 2T epochs, from η_max down to a tenth of it and up again."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=float(eta_max))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T, eta_min=float(eta_max) / 10)
    rates = []
    for _ in range(2 * T + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=eta_max.dtype)


def largest_eigenvalue(x: Tensor) -> Tensor:
    r"""λ_max of the Hessian of half the mean squared error of θ · x."""
    hessian = torch.autograd.functional.hessian(
        lambda theta: F.mse_loss(theta @ x, torch.zeros_like(x[0])) / 2, torch.zeros_like(x[:, 0])
    )
    return torch.linalg.eigvalsh(hessian)[-1]


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    r"""All entries of the tensors in one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
