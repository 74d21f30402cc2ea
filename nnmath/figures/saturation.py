r"""Saturation of the hidden neurons."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from torch import Tensor

from nnmath.equations import IDENTITY, RELU, SIGMOID, TANH, Activation, Layer, forward
from nnmath.figures import style
from nnmath.figures.frames import Frames
from nnmath.figures.style import BLACK, BLUE, NOT_FINITE, ORANGE, SMALL, VERMILION

DERIVATIVES = {SIGMOID: "h (1 − h)", TANH: "1 − h²", RELU: "1 where h > 0", IDENTITY: "1"}
RANGES = {SIGMOID: (0.0, 1.0), TANH: (-1.0, 1.0)}  # of h, where it is bounded
SUPERSCRIPTS = str.maketrans("()0123456789", "⁽⁾⁰¹²³⁴⁵⁶⁷⁸⁹")
MAX_NEURONS, BINS = 8, 40
SATURATED = 0.1  # a neuron is saturated where f′(z) is below this fraction of its maximum


class Saturation:
    r"""Histogram of each hidden neuron's activation h over the samples, below the derivative f′(z) as a function of h.

    A neuron is saturated where f′(z) is less than a tenth of its maximum, because almost no gradient passes there
    (δᵢ = wₒᵀ δₒ · f′(z)). These h are shaded, and the percentages are the shares of samples with such an h. A ReLU
    passes no gradient where h = 0, and is dead if that holds for all samples; the identity is never saturated. At most
    eight neurons are drawn, the first ones of each layer. :meth:`update` shows the network after other epochs in the
    same figure, if the activation has a bounded range.

    Args:
        layers: w and b of each layer, finite.
        activations: f of each layer; the same one of nnmath.equations.ACTIVATIONS in all hidden layers.
        x: the samples, shape (in, n).

    Raises:
        ValueError: there is no hidden layer, or the hidden layers have different or unknown activations.

    Source: article, Figs. 3 to 5 (A1, A2, A3) and Fig. 11 (B4).
    """

    def __init__(self, layers: Sequence[Layer], activations: Sequence[Activation], x: Tensor) -> None:
        kinds = len({*activations[:-1]})
        if len(layers) < 2 or kinds != 1 or activations[0] not in DERIVATIVES:
            raise ValueError(
                f"hidden layers must have one known activation, got {len(layers) - 1} hidden layers with {kinds}"
            )
        self.activations, self.x, self.f = activations, x, activations[0]
        self.names, values = self.values(layers)
        low, high = RANGES.get(self.f, (0.0 if self.f is RELU else float(values.min()), float(values.max())))
        high = high if high > low else low + 1
        margin = 0.03 * (high - low)
        self.edges = np.linspace(low, high, BINS + 1)
        h = torch.linspace(low - margin, high + margin, 1001, dtype=values.dtype)
        derivative = self.f.derivative_from_output(h.clamp(low, high))
        top = float(derivative.max())
        self.limit = SATURATED * top
        self.figure = style.fixed_margin_figure(left=0.13, right=0.84, hspace=0.08)
        upper, lower = self.figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
        for axes in (upper, lower):
            shading = {"transform": axes.get_xaxis_transform(), "color": ORANGE, "alpha": 0.35, "linewidth": 0}
            axes.fill_between(h, 0, 1, where=derivative < self.limit, **shading)
        upper.plot(h, derivative, color=BLACK)
        self.title = upper.set_title("", y=1)
        upper.set(ylabel=f"{self.f.symbol}′(z)", ylim=(0, 1.25 * top), yticks=(0, top))
        upper.text(0.5, 0.3, f"{self.f.symbol}′(z) = {DERIVATIVES[self.f]}", ha="center", transform=upper.transAxes)
        upper.text(1.02, 0.1, "h = 0" if self.f is RELU else "saturated", transform=upper.transAxes, size=SMALL)
        not_drawn = sum(len(bias) for _, bias in layers[:-1]) - len(self.names)
        xlabel = f"activation h (neurons not drawn: {not_drawn})" if not_drawn else "activation h"
        lower.set(xlabel=xlabel, xlim=(low - margin, high + margin), ylim=(-0.15, len(self.names)), yticks=())
        self.histograms: list[StepPatch] = []
        self.shares: list[Text] = []
        for base, name in zip(reversed(range(len(self.names))), self.names, strict=True):
            flat = np.full(BINS, float(base))
            self.histograms.append(lower.stairs(flat, self.edges, baseline=base, fill=True))
            lower.text(-0.02, base + 0.4, name, ha="right", va="center", transform=lower.get_yaxis_transform())
            self.shares.append(lower.text(1.02, base + 0.4, "", va="center", transform=lower.get_yaxis_transform()))
        self.frames = Frames(self.figure, lambda: [self.title, *self.histograms, *self.shares])

    def values(self, layers: Sequence[Layer]) -> tuple[list[str], Tensor]:
        r"""The names of the neurons that are drawn, and their activations (neurons, n)."""
        layers = style.layers_to_cpu(layers[:-1])
        hidden = forward(style.to_cpu(self.x).to(layers[0].weight), layers, self.activations[:-1])[1:]
        per_layer = max(1, MAX_NEURONS // len(hidden))
        neurons = [
            (f"h{style.subscript(k)}" + (f"({i})".translate(SUPERSCRIPTS) if len(hidden) > 1 else ""), h)
            for i, output in enumerate(hidden, start=1)
            for k, h in enumerate(output[:per_layer], start=1)
        ][:MAX_NEURONS]
        return [name for name, _ in neurons], torch.stack([h for _, h in neurons])

    def update(self, layers: Sequence[Layer], epoch: int | None = None) -> None:
        r"""Show the network with other weights, which must be finite; ``epoch`` is for the title."""
        self.title.set_text(style.at_epoch("hidden activations", epoch))
        _, values = self.values(layers)
        low, high = float(self.edges[0]), float(self.edges[-1])
        shares = (self.f.derivative_from_output(values) < self.limit).double().mean(1).tolist()
        for base, h, histogram, share, text in zip(
            reversed(range(len(values))), values, self.histograms, shares, self.shares, strict=True
        ):
            counts = torch.histc(h, BINS, low, high)
            colour = VERMILION if share > 0.5 else BLUE
            histogram.set_data(values=(base + 0.85 * counts / counts.max()).numpy())
            histogram.set_color(colour)
            text.set(text="dead" if self.f is RELU and share == 1 else f"{share:.0%}", color=colour)


def saturation(
    layers: Sequence[Layer], activations: Sequence[Activation], x: Tensor, *, epoch: int | None = None
) -> Figure:
    r"""The figure of :class:`Saturation` at one epoch, or one that says that a parameter is not finite."""
    if not style.all_finite(layers):
        return style.message_figure(style.at_epoch("hidden activations", epoch), NOT_FINITE)
    picture = Saturation(layers, activations, x)
    picture.update(layers, epoch)
    return picture.figure
