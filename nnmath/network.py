r"""The article's network as a torch.nn.Module, its gradients by the hand-written equations or by autograd.

Samples are rows here, (n, in), as in torch. The equations take columns, so the backward passes below transpose.

The forward pass is torch's in both modes, bit for bit; they differ only in what computes the gradient. The equations
sometimes round σ differently, and where a neuron saturates, one rounding error of h is most of h (1 − h).

Each layer is a torch.autograd.Function, so Case 2 (:func:`nnmath.equations.hidden_delta`) is split at the boundary of
two layers. wᵀ δ is computed by the next layer, as the gradient of its input (``input_gradient``). The multiplication by
h (1 − h) is done by the hidden layer (``delta``).
"""

from collections.abc import Sequence
from copy import copy
from inspect import signature
from itertools import pairwise, zip_longest
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.nn import functional as F

from nnmath import equations as eq
from nnmath.equations import ACTIVATIONS, Activation, ActivationName, Layer, validate
from nnmath.equations.cost import Reduction, divisor

BackwardMode = Literal["manual", "autograd"]

ACTIVATION_NAMES = {activation.module: name for name, activation in ACTIVATIONS.items()}
TORCH_FUNCTIONS = {name: activation.module().forward for name, activation in ACTIVATIONS.items()}


class Network(nn.Sequential):
    r"""Fully connected network, by default 2-4-1 with sigmoids.

    It equals torch.nn.Sequential(Linear(2, 4), Sigmoid(), Linear(4, 1), Sigmoid()) in its children, in its initial
    values from the same seed and in its state_dict.

    Args:
        sizes: the number of inputs, then the number of neurons in each layer.
        hidden: the activation of the hidden layers: "sigmoid", "tanh", "relu" or "identity".
        output: the activation of the last layer.
        backward: "manual" computes gradients by the equations, "autograd" by torch. The attribute can be changed.
        device, dtype: of the parameters.

    Shape:
        x (..., in) → O (..., out).

    With "manual", everything built on reverse-mode autograd works: second derivatives, torch.func.vmap, grad and
    jacrev, torch.compile, autocast, gradient clipping, DDP. Forward hooks of the children do not run.

    Raises:
        ValueError: a size, an activation or backward is invalid. When called: the last dimension of x is not sizes[0],
            or, with "manual", the children are not pairs of a Linear and one of these activations.
        RuntimeError: when called with "manual" in forward mode (torch.func.jvp, jacfwd, hessian).

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
        self.number_of_parameters = eq.number_of_parameters(sizes)  # validates sizes
        for argument, name in (("hidden", hidden), ("output", output)):
            if name not in ACTIVATIONS:
                raise ValueError(f"{argument} must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
        self.sizes = tuple(sizes)
        modules: list[nn.Module] = []
        for (n_in, n_out), name in zip(pairwise(sizes), [hidden] * (len(sizes) - 2) + [output], strict=True):
            modules += [nn.Linear(n_in, n_out, device=device, dtype=dtype), ACTIVATIONS[name].module()]
        super().__init__(*modules)
        self.backward = backward

    @property
    def backward(self) -> BackwardMode:
        r"""What computes the gradients: "manual" or "autograd"."""
        return self._backward

    @backward.setter
    def backward(self, backward: BackwardMode) -> None:
        self._backward = validate_backward(backward)

    @property
    def linears(self) -> list[nn.Linear]:
        r"""The Linear modules, first layer first."""
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
        for linear, activation in zip_longest(modules[::2], modules[1::2]):
            name = ACTIVATION_NAMES.get(type(activation))
            if not isinstance(linear, nn.Linear) or name is None:
                raise ValueError(f"backward='manual' needs a Linear and an activation, got {linear} and {activation}")
            x = ManualLayer.apply(x, linear.weight, linear.bias, name)
        return x

    def __getitem__(self, index: slice | int) -> Any:
        r"""The child at an index, or a slice of the children as a torch.nn.Sequential."""
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def extra_repr(self) -> str:
        return f"backward={self.backward!r}"


class HalfMSELoss(nn.Module):
    r"""Error of the network: E = 1/(2n) Σ (O − y)², summed over the outputs and averaged over the n samples.

    Args:
        reduction: "mean" as above; "sum" omits the 1/n.
        backward: "manual" computes ∂E/∂O = (O − y) / n by the equation, "autograd" by torch.

    Shape:
        output (n, out), target (n, out) → scalar. With one output it is half of torch.nn.MSELoss.

    Raises:
        ValueError: an argument is unknown. When called: the shapes differ or are not (n, out), or a mean has n = 0.
        RuntimeError: when called with "manual" in forward mode.

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
        dtype = torch.promote_types(output.dtype, target.dtype)  # autocast lowers the output's precision
        output, target = output.to(dtype), target.to(dtype)
        if self.backward == "autograd":
            return torch_error(output, target, self.reduction)
        refuse_forward_mode()
        return cast(Tensor, ManualHalfMSE.apply(output, target, self.reduction))


def validate_backward(backward: BackwardMode) -> BackwardMode:
    r"""Return ``backward``; raise ValueError if it is unknown."""
    if backward not in get_args(BackwardMode):
        raise ValueError(f"backward must be 'manual' or 'autograd', got {backward!r}")
    return backward


def refuse_forward_mode() -> None:
    r"""Raise RuntimeError in forward mode. A Function with a jvp would break torch.compile."""
    if forward_ad._current_level >= 0:  # torch has no public name for it
        raise RuntimeError(
            "backward='manual' has hand-written gradients for reverse mode only: use grad or jacrev instead of jvp, "
            "jacfwd or hessian, or set backward='autograd'"
        )


def torch_error(output: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
    r"""Error of the network by torch; samples are rows."""
    return F.mse_loss(output, target, reduction="sum") / (2 * divisor(len(output), reduction))


class ManualFunction(Function):
    r"""A Function whose backward is hand-written."""

    generate_vmap_rule = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # Function.apply inspects the signature at every call, which takes a third of the call unless it is cached.
        cast(Any, cls.forward).__signature__ = signature(cls.forward)


class ManualLayer(ManualFunction):
    r"""One layer h = f(x wᵀ + b), with x of shape (n, in), and its hand-written gradients."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
        return TORCH_FUNCTIONS[activation](F.linear(x, weight, bias))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.activation = inputs
        ctx.save_for_backward(x, weight, output)  # only inputs and output, so that backward is differentiable

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, output = ctx.saved_tensors
        x, weight = x.to(grad_output.dtype), weight.to(grad_output.dtype)  # autocast lowers the precision of h only
        delta = eq.delta(grad_output, output, ACTIVATIONS[ctx.activation].derivative_from_output).mT  # (out, n)
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        return (
            eq.input_gradient(delta, weight).mT if needs_x else None,  # (n, in)
            eq.weight_gradient(delta, x.mT) if needs_weight else None,  # (out, in)
            eq.bias_gradient(delta) if needs_bias else None,  # (out,)
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
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor | None, None]:
        output, target = ctx.saved_tensors
        gradient = grad_output * eq.error_gradient(output.mT, target.mT, ctx.reduction).mT  # (n, out)
        return gradient, -gradient if ctx.needs_input_grad[1] else None, None


def gradients(network: Network, batch: tuple[Tensor, Tensor], backward: BackwardMode) -> tuple[Tensor, ...]:
    r"""Gradient of the error with respect to each parameter."""
    x, y = batch
    network = copy(network)  # shares the parameters, so that only the copy's mode changes
    network.backward = backward
    return torch.autograd.grad(HalfMSELoss(backward=backward)(network(x), y), list(network.parameters()))


def as_layers(network: Network) -> tuple[list[Layer], list[Activation]]:
    r"""The network's layers, detached and on the CPU, and its activations, as :mod:`nnmath.equations` takes them."""
    layers = [Layer(linear.weight.detach().cpu(), linear.bias.detach().cpu()) for linear in network.linears]
    return layers, [ACTIVATIONS[ACTIVATION_NAMES[type(module)]] for module in list(network)[1::2]]
