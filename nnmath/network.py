r"""The article's network as a torch.nn.Module, its gradients by the hand-written equations or by autograd.

Only here do samples stand in rows, (n, in), as everywhere in torch: the equations want columns, so the backward passes
below transpose at the door. Both modes share torch's own forward pass to the last bit; what differs is who computes the
gradient. With the forward equations instead, σ would differ by one rounding here and there, and where a neuron is
saturated one rounding of h is most of h (1 − h).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.nn import functional as F

from nnmath.data.batches import Batch
from nnmath.equations import (
    ACTIVATIONS,
    Activation,
    Layer,
    bias_gradient,
    delta,
    error_gradient,
    input_gradient,
    number_of_parameters,
    validate,
    weight_gradient,
)
from nnmath.equations.cost import Reduction

BackwardMode = Literal["manual", "autograd"]
ActivationName = Literal["sigmoid", "tanh", "relu", "identity"]

MODULES: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "identity": nn.Identity,
}
ACTIVATION_NAMES = {module: name for name, module in MODULES.items()}


class Network(nn.Sequential):
    r"""Fully connected network; 2-4-1 with sigmoids unless told otherwise.

    It *is* the torch.nn.Sequential(Linear(2, 4), Sigmoid(), Linear(4, 1), Sigmoid()) that one would write: the same
    children, the same initial values from the same seed, the same state_dict.

    Args:
        sizes: the neurons of each layer, the inputs first; any depth of one layer or more.
        hidden: the activation of the hidden layers: "sigmoid", "tanh", "relu" or "identity".
        output: the activation of the last layer.
        backward: "manual" computes every gradient by the equations (Case 1, Case 2), "autograd" leaves it to torch.
            The attribute of that name can be changed at any time.
        device: where the parameters are made.
        dtype: the parameters' floating-point type.

    Shape:
        x (..., in) → O (..., out).

    With "manual", everything that is built on reverse-mode autograd works as ever: second derivatives, torch.func.vmap,
    grad and jacrev, torch.compile, autocast, gradient clipping, DDP. Forward mode (torch.func.jvp, jacfwd, hessian) is
    refused with a RuntimeError. Forward hooks of the children do not run, for each layer is one step.

    Raises:
        ValueError: fewer than two sizes, a size below 1, an unknown activation or backward, or, when called, an x whose
            last dimension is not sizes[0]; with "manual", children that have been changed for others than a Linear and
            one of these activations.

    Source: article, Fig. 6 (N1).

    >>> network = Network((2, 4, 1))
    >>> network.number_of_parameters
    17
    >>> network(torch.zeros(266, 2)).shape
    torch.Size([266, 1])
    """

    def __init__(
        self,
        sizes: Sequence[int] = (2, 4, 1),
        hidden: ActivationName = "sigmoid",
        output: ActivationName = "sigmoid",
        backward: BackwardMode = "manual",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.number_of_parameters = number_of_parameters(sizes)  # refuses sizes that are none
        for argument, name in (("hidden", hidden), ("output", output)):
            if name not in MODULES:
                raise ValueError(f"{argument} must be one of {', '.join(MODULES)}, got {name!r}")
        self.sizes = tuple(sizes)
        activations = [hidden] * (len(sizes) - 2) + [output]
        modules: list[nn.Module] = []
        for (n_in, n_out), activation in zip(pairwise(sizes), activations, strict=True):
            modules += [nn.Linear(n_in, n_out, device=device, dtype=dtype), MODULES[activation]()]
        super().__init__(*modules)
        self.backward = backward

    @property
    def backward(self) -> BackwardMode:
        r"""Who computes the gradients: "manual" or "autograd"."""
        return self._backward

    @backward.setter
    def backward(self, backward: BackwardMode) -> None:
        self._backward = validate_backward(backward)

    @property
    def linears(self) -> list[nn.Linear]:
        r"""The layers' weights and biases, the first layer first."""
        return [module for module in self if isinstance(module, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.sizes[0]:
            raise ValueError(f"x must have {self.sizes[0]} features in its last dimension, got shape {tuple(x.shape)}")
        if x.ndim != 2:
            return self.forward(x.reshape(-1, self.sizes[0])).reshape(*x.shape[:-1], self.sizes[-1])
        if self.backward == "autograd":
            return super().forward(x)
        refuse_forward_mode()
        modules = list(self)
        if len(modules) % 2:
            raise ValueError(f"backward='manual' needs pairs of a Linear and an activation, got {len(modules)} modules")
        for linear, activation in zip(modules[::2], modules[1::2], strict=True):
            name = ACTIVATION_NAMES.get(type(activation))
            if not isinstance(linear, nn.Linear) or name is None:
                raise ValueError(f"backward='manual' has no gradient for the pair of {linear} and {activation}")
            x = ManualLayer.apply(x, linear.weight, linear.bias, name)
        return x

    def __getitem__(self, index: slice | int) -> Any:
        r"""The child of that number, or the children of a slice as a plain torch.nn.Sequential."""
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def extra_repr(self) -> str:
        return f"backward={self.backward!r}"


class HalfMSELoss(nn.Module):
    r"""Error of the network: E = 1/(2n) Σ (O − y)², summed over the outputs and averaged over the n samples.

    Args:
        reduction: "mean" as above; "sum" leaves the 1/n out.
        backward: "manual" computes ∂E/∂O = (O − y) / n by the equation, "autograd" leaves it to torch.

    Shape:
        output (n, out), target (n, out) → scalar. With one output it is half of torch.nn.MSELoss.

    Raises:
        ValueError: the shapes differ or are not (n, out), there are no samples to take the mean of, or an argument is
            unknown.

    Source: article, "Cost function" (C2) and Fig. 9 (B0).

    >>> HalfMSELoss()(torch.tensor([[1.0], [0.5]]), torch.tensor([[1.0], [0.0]]))
    tensor(0.0625)
    """

    def __init__(self, reduction: Reduction = "mean", backward: BackwardMode = "manual") -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.reduction: Reduction = reduction
        self.backward = validate_backward(backward)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        validate.same_shape(output=output, target=target)
        if output.ndim != 2 or (len(output) == 0 and self.reduction == "mean"):
            raise ValueError(f"output must have shape (n, out) with n of at least 1, got {tuple(output.shape)}")
        dtype = torch.promote_types(output.dtype, target.dtype)  # under autocast the output is coarser than the target
        output, target = output.to(dtype), target.to(dtype)
        if self.backward == "autograd":
            return torch_error(output, target, self.reduction)
        refuse_forward_mode()
        return cast(Tensor, ManualHalfMSE.apply(output, target, self.reduction))


def validate_backward(backward: BackwardMode) -> BackwardMode:
    r"""The backward, if there is one of that name.

    Raises:
        ValueError: it is neither "manual" nor "autograd".
    """
    if backward not in get_args(BackwardMode):
        raise ValueError(f"backward must be 'manual' or 'autograd', got {backward!r}")
    return backward


def refuse_forward_mode() -> None:
    r"""Stop forward-mode differentiation at the door; a jvp in the Functions would end torch.compile.

    Raises:
        RuntimeError: a torch.func.jvp, jacfwd or hessian, or a dual level of torch.autograd.forward_ad, is under way.
    """
    if forward_ad._current_level >= 0:  # torch has no public name for it
        raise RuntimeError(
            "backward='manual' has hand-written gradients for reverse mode only: use grad or jacrev instead of jvp, "
            "jacfwd or hessian, or set backward='autograd'"
        )


def torch_error(output: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
    r"""Forward pass of the error, by torch, samples in rows."""
    n = len(output) if reduction == "mean" else 1
    return F.mse_loss(output, target, reduction="sum") / (2 * n)


class ManualFunction(Function):
    r"""A Function whose backward is hand-written."""

    generate_vmap_rule = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # torch asks for the signature at every call, which took a third of it: let it be found at once.
        forward: Any = cls.forward  # a function may have attributes, which its type does not say
        forward.__signature__ = inspect.signature(cls.forward)


class ManualLayer(ManualFunction):
    r"""One layer h = f(w x + b) of x (n, in), with hand-written gradients.

    Saved are x, w and h, which are inputs and output, so that the backward pass can itself be differentiated.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
        return TORCH[activation](F.linear(x, weight, bias))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.activation = inputs
        ctx.save_for_backward(x, weight, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, output = ctx.saved_tensors
        x, weight = x.to(gradient.dtype), weight.to(gradient.dtype)  # under autocast they are finer than h
        columns = delta(gradient, output, ACTIVATIONS[ctx.activation].derivative_from_output).mT  # (out, n)
        wanted_x, wanted_weight, wanted_bias, _ = ctx.needs_input_grad
        return (
            input_gradient(columns, weight).mT if wanted_x else None,  # (n, in)
            weight_gradient(columns, x.mT) if wanted_weight else None,  # (out, in)
            bias_gradient(columns) if wanted_bias else None,  # (out,)
            None,
        )


class ManualHalfMSE(ManualFunction):
    r"""The error E = 1/(2n) Σ (O − y)² with its hand-written gradient."""

    @staticmethod
    def forward(output: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
        return torch_error(output, target, reduction)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        network_output, target, ctx.reduction = inputs
        ctx.save_for_backward(network_output, target)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        output, target = ctx.saved_tensors
        columns = error_gradient(output.mT, target.mT, ctx.reduction).mT  # (n, out)
        return gradient * columns, -gradient * columns if ctx.needs_input_grad[1] else None, None


TORCH = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda z: z}


def gradients(network: Network, batch: Batch, backward: BackwardMode) -> tuple[Tensor, ...]:
    r"""Gradient of the error with respect to each parameter, by the one or the other backward."""
    x, y = batch
    network.backward = backward
    return torch.autograd.grad(HalfMSELoss(backward=backward)(network(x), y), list(network.parameters()))


def as_layers(network: Network) -> tuple[list[Layer], list[Activation]]:
    r"""The network as the equations take it."""
    layers = [Layer(linear.weight.detach().cpu(), linear.bias.detach().cpu()) for linear in network.linears]
    kinds = [type(module).__name__.lower() for module in list(network)[1::2]]
    return layers, [ACTIVATIONS[kind] for kind in kinds]
