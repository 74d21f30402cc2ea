r"""Saturation of the hidden neurons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Activation, Layer, forward
from nnmath.figures.style import (
    BLACK,
    BLUE,
    NOT_FINITE,
    ORANGE,
    SMALL,
    VERMILION,
    at_epoch,
    finite,
    fixed_margin_figure,
    message_figure,
    plain_layers,
    set_title,
    subscript,
    to_cpu,
)

SLOPES = {
    SIGMOID: ("σ", "σ′(z) = h (1 − h)", "saturated"),
    TANH: ("tanh", "tanh′(z) = 1 − h²", "saturated"),
    RELU: ("ReLU", "ReLU′(z) = 1 where h > 0", "h = 0"),
    IDENTITY: ("id", "id′(z) = 1", "saturated"),
}
r"""The symbol of an activation, its derivative from its value, and how it is called where that vanishes."""


MAX_ROWS = 8
SATURATED = 0.1
r"""Part of the greatest slope below which a neuron counts as saturated."""


def saturation(
    layers: Sequence[Layer], activations: Sequence[Activation], x: Tensor, *, epoch: int | None = None
) -> Figure:
    r"""Activations h of each hidden neuron over the samples, and the slope f′(z) that each of them leaves the gradient.

    Where f′(z) is less than a tenth of its greatest value, the neuron is saturated: next to nothing of δ passes
    (δᵢ = wₒᵀ δₒ · f′(z)). Shaded are these h, and the percentages are the samples there. A ReLU passes nothing where
    h = 0, and is dead if that is so for all samples; the identity passes everything. Of many neurons the first of each
    layer are drawn, eight in all.

    Args:
        layers: w and b of each layer.
        activations: f of each layer, in all hidden layers the same one of nnmath.equations.ACTIVATIONS.
        x: the samples, shape (in, n).
        epoch: for the title.

    Raises:
        ValueError: there is no hidden layer, or they have different or unknown activations.

    Source: article, Figs. 3 to 5 (A1, A2, A3) and Fig. 11 (B4).
    """
    if len(layers) < 2 or len(set(activations[:-1])) != 1 or activations[0] not in SLOPES:
        raise ValueError(
            f"layers must have hidden layers with one known activation, got {len(layers) - 1} hidden layers "
            f"with {len(set(activations[:-1]))}"
        )
    layers, activation = plain_layers(layers), activations[0]
    name, slope_of_h, verdict = SLOPES[activation]
    title = at_epoch("hidden activations", epoch)
    if not finite(layers):
        return message_figure(title, NOT_FINITE)
    hidden = forward(to_cpu(x).to(layers[0].weight), layers[:-1], activations[:-1])[1:]  # (out, n) of each layer
    each = max(1, MAX_ROWS // len(hidden))
    rows = [
        (f"h{subscript(k + 1)}" + superscript(i, hidden), h)
        for i, out in enumerate(hidden)
        for k, h in enumerate(out[:each])
    ]
    rows, left_out = rows[:MAX_ROWS], sum(len(out) for out in hidden) - len(rows[:MAX_ROWS])
    values = torch.stack([h for _, h in rows])
    low, high = {SIGMOID: (0.0, 1.0), TANH: (-1.0, 1.0)}.get(activation, (float(values.min()), float(values.max())))
    low = 0.0 if activation is RELU else low
    high = high if high > low else low + 1
    margin = 0.03 * (high - low)
    h = torch.linspace(low - margin, high + margin, 1001, dtype=values.dtype)
    slope = activation.derivative_from_output(h.clamp(low, high))
    limit = SATURATED * float(slope.max())
    closed = activation.derivative_from_output(values) < limit  # (rows, n)

    figure = fixed_margin_figure(left=0.13, right=0.84, hspace=0.08)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    for axes in (upper, lower):
        axes.fill_between(
            *(h, 0, 1), where=slope < limit, transform=axes.get_xaxis_transform(), color=ORANGE, alpha=0.35, linewidth=0
        )
    upper.plot(h, slope, color=BLACK)
    set_title(upper, title)
    upper.set(ylabel=f"{name}′(z)", ylim=(0, 1.25 * float(slope.max())), yticks=(0, float(slope.max())))
    upper.text(0.5, 0.3, slope_of_h, ha="center", transform=upper.transAxes)
    lower.set(
        xlabel="activation h" + f" (neurons not drawn: {left_out})" * (left_out > 0),
        xlim=(low - margin, high + margin),
        ylim=(-0.15, len(rows)),
    )
    lower.set_yticks([])
    for base, (label, row), share in zip(range(len(rows))[::-1], rows, closed.double().mean(1).tolist(), strict=True):
        counts = torch.histc(row, 40, low, high)
        tint = VERMILION if share > 0.5 else BLUE
        lower.stairs(
            base + 0.85 * counts / counts.max(), np.linspace(low, high, 41), baseline=base, fill=True, color=tint
        )
        text = "dead" if activation is RELU and share == 1 else f"{share:.0%}"
        lower.text(-0.02, base + 0.4, label, ha="right", va="center", transform=lower.get_yaxis_transform())
        lower.text(1.02, base + 0.4, text, color=tint, va="center", transform=lower.get_yaxis_transform())
    upper.text(1.02, 0.1, verdict, transform=upper.transAxes, size=SMALL)
    return figure


def superscript(layer: int, hidden: Sequence[Tensor]) -> str:
    r"""A hidden layer's number as a superscript, where there are several."""
    return "" if len(hidden) == 1 else "⁽" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(layer + 1)) + "⁾"
