r"""A sample or a few through one update of a network, with the numbers put into each equation (B0 to B7)."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnmath.equations import (
    Activation,
    Layer,
    backward,
    delta,
    error,
    error_gradient,
    forward,
    input_gradient,
    sgd_step,
    weighted_sum,
    zero_velocities,
)

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
DERIVATIVES = {"sigmoid": "{0} (1 - {0})", "tanh": "1 - {0}²", "relu": "step({0})", "identity": "1"}
MAX_CHARACTERS = 100


@dataclass(frozen=True)
class Equation:
    r"""A line of the walkthrough: name = formula = numbers = value, and autograd's value beside a gradient."""

    name: str
    formula: str
    numbers: str
    value: str
    check: str = ""

    def __str__(self) -> str:
        r"""The equation in lines of at most 100 characters."""
        sign = "←" if "η" in self.formula else "="
        parts = [f"{self.name} {sign} {self.formula}", f"= {self.numbers}", f"= {self.value}"]
        if self.numbers == self.value:
            del parts[1]
        parts[-1] += self.check
        if len(" ".join(parts)) <= MAX_CHARACTERS:
            return " ".join(parts)
        indent = " " * 4
        wrapper = textwrap.TextWrapper(MAX_CHARACTERS, subsequent_indent=indent, break_on_hyphens=False)
        return "\n".join(wrapper.fill(indent * (i > 0) + part) for i, part in enumerate(parts))


def walkthrough(
    x: Tensor,
    target: Tensor,
    layers: Sequence[Layer],
    activations: Sequence[Activation],
    learning_rate: float,
    digits: int = 6,
    update_biases: bool = True,
) -> dict[str, list[Equation]]:
    r"""The equations of one update with the numbers put in, in the order in which they are computed.

    Args:
        x: the samples' features, shape (in, n).
        target: their targets y, shape (out, n).
        layers: w and b of each layer.
        activations: the activation of each layer.
        learning_rate: η.
        digits: the number of significant digits shown.
        update_biases: whether the update changes the biases.

    Returns:
        For each part of the update its equations: the forward pass, Case 1, Case 2 of each hidden layer, the update
        and the error after it. Several samples have a forward pass and gradients each, with errors E₁, E₂ and so on;
        the means over the samples come before the update.

    Raises:
        ValueError: the shapes do not fit.

    Source: article, Figs. 9 to 11 (B0 to B7).
    """
    samples = list(zip(x.mT, target.mT, strict=True))
    several = len(samples) > 1
    names = [f"E{k}".translate(SUBSCRIPTS) for k in range(1, len(samples) + 1)] if several else ["E"]
    walks = [
        Walk(x[:, None], y[:, None], layers, activations, digits, name)
        for (x, y), name in zip(samples, names, strict=True)
    ]
    parts: dict[str, list[Equation]] = {}
    for k, walk in enumerate(walks, start=1):
        parts |= {f"Sample {k}: {title}" if several else title: lines for title, lines in walk.passes().items()}
    manual = backward(forward(x, layers, activations), layers, activations, target)
    new = update(layers, manual, learning_rate, update_biases)
    if several:
        parts["Means over the samples"] = [*means(walks, layers, manual, autograd(x, target, layers, activations))]
    parts["Update"] = [*walks[0].update(manual, new, learning_rate, update_biases)]
    for k, walk in enumerate(walks, start=1):
        title = "Forward, after the update"
        equations = walk.forward(new, forward(walk.x, new, activations))
        parts[f"Sample {k}: {title}" if several else title] = [*equations]
    if several:
        parts["Error, after the update"] = [mean_error(walks, new)]
    return parts


def update(layers: Sequence[Layer], gradients: Sequence[Layer], learning_rate: float, biases: bool) -> list[Layer]:
    r"""B3 and B6: θ ← θ − η ∂E/∂θ of all weights, and of the biases if they are not fixed."""
    new, _ = sgd_step(layers, zero_velocities(layers), gradients, learning_rate)
    return new if biases else [Layer(after.weight, before.bias) for after, before in zip(new, layers, strict=True)]


def train_on_samples(
    x: Tensor,
    target: Tensor,
    layers: Sequence[Layer],
    activations: Sequence[Activation],
    learning_rate: float,
    updates: int,
    update_biases: bool = True,
) -> list[Layer]:
    r"""The layers after a number of updates on the samples; the other arguments are those of :func:`walkthrough`."""
    result = list(layers)
    for _ in range(updates):
        gradients = backward(forward(x, result, activations), result, activations, target)
        result = update(result, gradients, learning_rate, update_biases)
    return result


def autograd(x: Tensor, target: Tensor, layers: Sequence[Layer], activations: Sequence[Activation]) -> list[Layer]:
    r"""The gradients by autograd, of plain torch; the arguments are those of :func:`walkthrough`."""
    parameters = [p.detach().clone().requires_grad_() for layer in layers for p in layer]
    h = x.mT
    for weight, bias, activation in zip(parameters[::2], parameters[1::2], activations, strict=True):
        h = activation.module()(torch.nn.functional.linear(h, weight, bias))
    loss = torch.nn.functional.mse_loss(h, target.mT, reduction="sum") / (2 * x.shape[1])
    gradients = torch.autograd.grad(loss, parameters)
    return [Layer(*pair) for pair in zip(gradients[::2], gradients[1::2], strict=True)]


def means(
    walks: Sequence["Walk"], layers: Sequence[Layer], manual: Sequence[Layer], automatic: Sequence[Layer]
) -> Iterator[Equation]:
    r"""E and the gradients of all samples: the means of those of each (C2, G1)."""
    yield mean_error(walks, layers)
    each = [backward(forward(w.x, layers, w.activations), layers, w.activations, w.target) for w in walks]
    for k in range(1, len(layers) + 1):
        for name, kind, place in walks[0].parameters(k):
            terms = [getattr(gradients[k - 1], kind)[place] for gradients in each]
            formula = mean_of([f"∂{walk.error}/∂{name}" for walk in walks])
            numbers = mean_of([walks[0].show(term) for term in terms])
            totals = [getattr(gradients[k - 1], kind)[place] for gradients in (manual, automatic)]
            yield walks[0].gradient("∂E", name, formula, numbers, *totals)


def mean_error(walks: Sequence["Walk"], layers: Sequence[Layer]) -> Equation:
    r"""E of all samples with these layers."""
    errors = [error(forward(walk.x, layers, walk.activations)[-1], walk.target) for walk in walks]
    formula, numbers = mean_of([walk.error for walk in walks]), mean_of([walks[0].plain(e) for e in errors])
    return Equation("E", formula, numbers, walks[0].plain(torch.stack(errors).mean()))


def mean_of(terms: Sequence[str]) -> str:
    return f"({' + '.join(terms)}) / {len(terms)}"


@dataclass(frozen=True)
class Walk:
    r"""One sample, as a column, and arguments of :func:`walkthrough`; ``error`` is the symbol of its E."""

    x: Tensor
    target: Tensor
    layers: Sequence[Layer]
    activations: Sequence[Activation]
    digits: int
    error: str

    def passes(self) -> dict[str, list[Equation]]:
        r"""The forward pass, and the gradients by Case 1 and Case 2."""
        values = forward(self.x, self.layers, self.activations)
        manual = backward(values, self.layers, self.activations, self.target)
        automatic, last = autograd(self.x, self.target, self.layers, self.activations), len(self.layers)
        gradient = error_gradient(values[-1], self.target)
        parts = {"Forward": [*self.forward(self.layers, values)]}
        title, first = "Case 1: the output layer", [*self.output_gradient(values[-1], gradient)]
        for k in reversed(range(1, last + 1)):
            deltas = delta(gradient, values[k], self.activations[k - 1].derivative_from_output)
            parts[title] = [*first, *self.case(k, values, gradient, deltas, manual[k - 1], automatic[k - 1])]
            title = f"Case 2: {'the hidden layer' if last == 2 else f'hidden layer {k - 1}'}"
            gradient = input_gradient(deltas, self.layers[k - 1].weight)
            first = [*self.hidden_gradient(k, deltas, gradient)]
        return parts

    def forward(self, layers: Sequence[Layer], values: Sequence[Tensor]) -> Iterator[Equation]:
        r"""B0: μ = w x + b and h = f(μ) of each neuron, and E = ½ Σ (y − O)²."""
        for k, ((weight, bias), f) in enumerate(zip(layers, self.activations, strict=True), start=1):
            sums = weighted_sum(values[k - 1], weight, bias)
            for i in range(len(weight)):
                mu, h = self.name(f"μ{k}", k, i), self.name(self.layer(k), k, i)
                terms = [
                    f"{self.weight(k, i, j)} {self.name(self.layer(k - 1), k - 1, j)}" for j in range(weight.shape[1])
                ]
                numbers = [
                    f"{self.show(w)} · {self.show(v)}" for w, v in zip(weight[i], values[k - 1][:, 0], strict=True)
                ]
                formula = " + ".join([*terms, self.bias(k, i)])
                yield Equation(mu, formula, " + ".join([*numbers, self.show(bias[i])]), self.plain(sums[i, 0]))
                numbers_h = f"{f.symbol}({self.plain(sums[i, 0])})"
                yield Equation(h, f"{f.symbol}({mu})", numbers_h, self.plain(values[k][i, 0]))
        output, last = values[-1], len(layers)
        names = [(self.name("O", last, i), self.name("y", last, i)) for i in range(len(output))]
        formula = " + ".join(f"½ ({y} - {o})²" for o, y in names)
        pairs = zip(output[:, 0], self.target[:, 0], strict=True)
        numbers_e = " + ".join(f"½ ({self.plain(y)} - {self.show(o)})²" for o, y in pairs)
        yield Equation(self.error, formula, numbers_e, self.plain(error(output, self.target)))

    def output_gradient(self, output: Tensor, gradient: Tensor) -> Iterator[Equation]:
        r"""B1: ∂E/∂O = O - y of each output."""
        for i, (o, y, g) in enumerate(zip(output[:, 0], self.target[:, 0], gradient[:, 0], strict=True)):
            names = [self.name(symbol, len(self.layers), i) for symbol in ("O", "y")]
            yield Equation(
                f"∂{self.error}/∂{names[0]}", " - ".join(names), f"{self.plain(o)} - {self.show(y)}", self.plain(g)
            )

    def hidden_gradient(self, k: int, deltas: Tensor, gradient: Tensor) -> Iterator[Equation]:
        r"""B4: ∂E/∂h = wᵀ δ of each neuron below layer k."""
        weight = self.layers[k - 1].weight
        for j in range(weight.shape[1]):
            terms = [f"{self.weight(k, i, j)} · ∂{self.error}/∂{self.name(f'μ{k}', k, i)}" for i in range(len(weight))]
            numbers = [f"{self.show(w)} · {self.show(d)}" for w, d in zip(weight[:, j], deltas[:, 0], strict=True)]
            name = f"∂{self.error}/∂{self.name(self.layer(k - 1), k - 1, j)}"
            yield Equation(name, " + ".join(terms), " + ".join(numbers), self.plain(gradient[j, 0]))

    def case(
        self, k: int, values: Sequence[Tensor], gradient: Tensor, deltas: Tensor, manual: Layer, automatic: Layer
    ) -> Iterator[Equation]:
        r"""B1, B2, B4 and B5: δ = ∂E/∂h · ∂h/∂μ of each neuron of layer k, then ∂E/∂w = δ x and ∂E/∂b = δ."""
        activation, below = self.activations[k - 1], values[k - 1]
        derivative, de = activation.derivative_from_output(values[k]), f"∂{self.error}"
        for i in range(len(deltas)):
            mu, h = self.name(f"μ{k}", k, i), self.name(self.layer(k), k, i)
            dh, dmu, slope = f"{de}/∂{h}", f"{de}/∂{mu}", f"∂{h}/∂{mu}"
            form = DERIVATIVES[activation.name]
            numbers = form.replace(" (", " · (").format(self.show(values[k][i, 0]))
            yield Equation(slope, form.format(h), numbers, self.plain(derivative[i, 0]))
            numbers = f"{self.show(gradient[i, 0])} · {self.show(derivative[i, 0])}"
            yield Equation(dmu, f"{dh} · {slope}", numbers, self.plain(deltas[i, 0]))
            for j in range(len(below)):
                source = self.name(self.layer(k - 1), k - 1, j)
                numbers = f"{self.show(deltas[i, 0])} · {self.show(below[j, 0])}"
                values_ij = manual.weight[i, j], automatic.weight[i, j]
                yield self.gradient(de, self.weight(k, i, j), f"{dmu} · {source}", numbers, *values_ij)
            values_i = manual.bias[i], automatic.bias[i]
            yield self.gradient(de, self.bias(k, i), dmu, self.plain(deltas[i, 0]), *values_i)

    def update(
        self, gradients: Sequence[Layer], new: Sequence[Layer], learning_rate: float, update_biases: bool
    ) -> Iterator[Equation]:
        r"""B3 and B6: θ ← θ − η ∂E/∂θ of each parameter."""
        for k, layers in enumerate(zip(self.layers, gradients, new, strict=True), start=1):
            for name, kind, place in self.parameters(k):
                if kind == "weight" or update_biases:
                    theta, g, theta_new = (getattr(layer, kind)[place] for layer in layers)
                    numbers = f"{self.plain(theta)} - {self.plain(learning_rate)} · {self.show(g)}"
                    yield Equation(name, f"{name} - η ∂E/∂{name}", numbers, self.plain(theta_new))

    def parameters(self, k: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        r"""The symbol, the kind and the index of each parameter of layer k, neuron by neuron."""
        rows, columns = self.layers[k - 1].weight.shape
        for i in range(rows):
            yield from ((self.weight(k, i, j), "weight", (i, j)) for j in range(columns))
            yield self.bias(k, i), "bias", (i,)

    def gradient(
        self, derivative: str, name: str, formula: str, numbers: str, manual: Tensor, automatic: Tensor
    ) -> Equation:
        difference = float((manual - automatic).abs())
        check = f"   (autograd {self.plain(automatic)}, difference {difference:.0e})".replace("0e+00", "0")
        return Equation(f"{derivative}/∂{name}", formula, numbers, self.plain(manual), check)

    def layer(self, k: int) -> str:
        r"""The symbol of the values of layer k: x, h and O, or x, h1, h2, ... and O."""
        if k in (0, len(self.layers)):
            return "x" if k == 0 else "O"
        return f"h{k}" if len(self.layers) > 2 else "h"

    def name(self, symbol: str, k: int, i: int) -> str:
        r"""The symbol of neuron i of layer k, with its number if the layer has several: h[2]."""
        count = len(self.x) if k == 0 else len(self.layers[k - 1].bias)
        symbol = symbol.translate(SUBSCRIPTS)
        return f"{symbol}[{i + 1}]" if count > 1 else symbol

    def weight(self, k: int, i: int, j: int) -> str:
        return f"w{self.place(k)}[{i + 1},{j + 1}]"

    def bias(self, k: int, i: int) -> str:
        return self.name(f"b{self.place(k)}", k, i)

    def place(self, k: int) -> str:
        r"""The article's index of a layer's parameters: i for hidden layers (numbered if there are several), o."""
        return "ₒ" if k == len(self.layers) else f"ᵢ{k}".translate(SUBSCRIPTS) if len(self.layers) > 2 else "ᵢ"

    def plain(self, value: Tensor | float) -> str:
        return f"{float(value) + 0.0:.{self.digits}g}"  # −0 is shown as 0

    def show(self, value: Tensor | float) -> str:
        r"""The number as a factor or a term: a negative one in parentheses."""
        text = self.plain(value)
        return f"({text})" if text.startswith("-") else text
