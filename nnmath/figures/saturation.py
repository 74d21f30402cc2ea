r"""Saturation of the hidden neurons."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Activation, Layer, forward
from nnmath.figures import style
from nnmath.figures.style import BLACK, BLUE, NOT_FINITE, ORANGE, SMALL, VERMILION

DERIVATIVES = {SIGMOID: "h (1 − h)", TANH: "1 − h²", RELU: "1 where h > 0", IDENTITY: "1"}
RANGES = {SIGMOID: (0.0, 1.0), TANH: (-1.0, 1.0)}  # of h, where it is bounded
SUPERSCRIPTS = str.maketrans("()0123456789", "⁽⁾⁰¹²³⁴⁵⁶⁷⁸⁹")
MAX_NEURONS = 8
SATURATED = 0.1  # a neuron is saturated where f′(z) is below this fraction of its maximum


def saturation(
    layers: Sequence[Layer], activations: Sequence[Activation], x: Tensor, *, epoch: int | None = None
) -> Figure:
    r"""Histogram of each hidden neuron's activation h over the samples, below the derivative f′(z) as a function of h.

    A neuron is saturated where f′(z) is less than a tenth of its maximum, because almost no gradient passes there
    (δᵢ = wₒᵀ δₒ · f′(z)). These h are shaded, and the percentages are the shares of samples with such an h. A ReLU
    passes no gradient where h = 0, and is dead if that holds for all samples; the identity is never saturated. At most
    eight neurons are drawn, the first ones of each layer.

    Args:
        layers: w and b of each layer.
        activations: f of each layer; the same one of nnmath.equations.ACTIVATIONS in all hidden layers.
        x: the samples, shape (in, n).
        epoch: for the title.

    Raises:
        ValueError: there is no hidden layer, or the hidden layers have different or unknown activations.

    Source: article, Figs. 3 to 5 (A1, A2, A3) and Fig. 11 (B4).
    """
    kinds = len({*activations[:-1]})
    if len(layers) < 2 or kinds != 1 or activations[0] not in DERIVATIVES:
        raise ValueError(
            f"hidden layers must have one known activation, got {len(layers) - 1} hidden layers with {kinds}"
        )
    layers, f = style.layers_to_cpu(layers), activations[0]
    title = style.at_epoch("hidden activations", epoch)
    if not style.all_finite(layers):
        return style.message_figure(title, NOT_FINITE)
    hidden = forward(style.to_cpu(x).to(layers[0].weight), layers[:-1], activations[:-1])[1:]  # (out, n) of each layer
    per_layer = max(1, MAX_NEURONS // len(hidden))
    neurons = [
        (f"h{style.subscript(k)}" + (f"({i})".translate(SUPERSCRIPTS) if len(hidden) > 1 else ""), h)
        for i, output in enumerate(hidden, start=1)
        for k, h in enumerate(output[:per_layer], start=1)
    ][:MAX_NEURONS]
    not_drawn = sum(map(len, hidden)) - len(neurons)
    values = torch.stack([h for _, h in neurons])
    low, high = RANGES.get(f, (0.0 if f is RELU else float(values.min()), float(values.max())))
    high = high if high > low else low + 1
    margin = 0.03 * (high - low)
    h = torch.linspace(low - margin, high + margin, 1001, dtype=values.dtype)
    derivative = f.derivative_from_output(h.clamp(low, high))
    limit = SATURATED * float(derivative.max())
    shares = (f.derivative_from_output(values) < limit).double().mean(1)

    figure = style.fixed_margin_figure(left=0.13, right=0.84, hspace=0.08)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    for axes in (upper, lower):
        shading = {"transform": axes.get_xaxis_transform(), "color": ORANGE, "alpha": 0.35, "linewidth": 0}
        axes.fill_between(h, 0, 1, where=derivative < limit, **shading)
    upper.plot(h, derivative, color=BLACK)
    upper.set_title(title, y=1)
    top = float(derivative.max())
    upper.set(ylabel=f"{f.symbol}′(z)", ylim=(0, 1.25 * top), yticks=(0, top))
    upper.text(0.5, 0.3, f"{f.symbol}′(z) = {DERIVATIVES[f]}", ha="center", transform=upper.transAxes)
    upper.text(1.02, 0.1, "h = 0" if f is RELU else "saturated", transform=upper.transAxes, size=SMALL)
    xlabel = f"activation h (neurons not drawn: {not_drawn})" if not_drawn else "activation h"
    lower.set(xlabel=xlabel, xlim=(low - margin, high + margin), ylim=(-0.15, len(neurons)), yticks=())
    for base, (label, row), share in zip(reversed(range(len(neurons))), neurons, shares.tolist(), strict=True):
        counts = torch.histc(row, 40, low, high)
        colour = VERMILION if share > 0.5 else BLUE
        heights = base + 0.85 * counts / counts.max()
        lower.stairs(heights, np.linspace(low, high, 41), baseline=base, fill=True, color=colour)
        text = "dead" if f is RELU and share == 1 else f"{share:.0%}"
        lower.text(-0.02, base + 0.4, label, ha="right", va="center", transform=lower.get_yaxis_transform())
        lower.text(1.02, base + 0.4, text, color=colour, va="center", transform=lower.get_yaxis_transform())
    return figure
