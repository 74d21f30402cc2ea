r"""Boolean functions of two inputs: a perceptron computes 14 of the 16, a network of perceptrons the others (P2)."""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from nnmath.equations import Layer, perceptron, weighted_sum
from nnmath.experiments.report import Report
from nnmath.figures.style import BLACK, BLUE, VERMILION, new_figure

CORNERS = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])  # x₁ and x₂ of 00, 01, 10 and 11, shape (2, 4)
OUTPUTS = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)  # y, shape (16, 4): row k is k in binary
NAMES = (
    *("never", "x₁ and x₂", "x₁ and not x₂", "x₁", "x₂ and not x₁", "x₂", "XOR", "x₁ or x₂"),
    *("neither", "XNOR", "not x₂", "x₁ or not x₂", "not x₁", "x₂ or not x₁", "not both", "always"),
)
XOR_LAYERS = [  # a network 2-2-1 of perceptrons that computes XOR
    Layer(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([-0.5, 1.5])),  # x₁ or x₂; not both
    Layer(torch.tensor([[1.0, 1.0]]), torch.tensor([-1.5])),  # and
]


def run(reach: float = 3.0, spacing: float = 0.5) -> tuple[Tensor, Tensor]:
    r"""All perceptrons of a grid as one stack: w₁, w₂ and b go from −reach to reach in steps of ``spacing``.

    Returns:
        How many of them compute each Boolean function, shape (16,), and w₁, w₂, b of the one whose line is farthest
        from the four corners, shape (16, 3), or nan if no perceptron computes the function.

    Source: article, Fig. 2 (P2); M. Minsky and S. Papert, "Perceptrons" (1969).

    >>> count, _ = run()
    >>> int((count > 0).sum()), [NAMES[k] for k in range(16) if count[k] == 0]
    (14, ['XOR', 'XNOR'])
    """
    steps = int(reach / spacing)
    values = spacing * torch.arange(-steps, steps + 1)
    grid = torch.cartesian_prod(values, values, values)  # (P, 3)
    weight, bias = grid[:, None, :2], grid[:, 2:]  # (P, 1, 2), (P, 1)
    computed = perceptron(CORNERS, weight, bias)[:, 0]  # (P, 4)
    same = (computed == OUTPUTS[:, None]).all(-1)  # (16, P)
    margin = weighted_sum(CORNERS, weight, bias).abs().amin((1, 2)) / weight.norm(dim=(1, 2))  # (P,)
    widest = torch.where(same, margin.nan_to_num(0.0), -1.0).max(1)
    return same.sum(1), torch.where(widest.values[:, None] < 0, torch.nan, grid[widest.indices])


def contradictory() -> Tensor:
    r"""Which functions no perceptron computes because their four inequalities contradict each other, shape (16,).

    A grid without a perceptron for XOR proves nothing, but these inequalities do. XOR would need

        b ≤ 0,   w₂ + b > 0,   w₁ + b > 0,   w₁ + w₂ + b ≤ 0.

    The second and the third add up to w₁ + w₂ + 2b > 0, the first and the fourth to w₁ + w₂ + 2b ≤ 0: no numbers
    satisfy both. XNOR reverses all four. In both cases y(00) + y(11) − y(01) − y(10) is 2 or −2.
    """
    return (OUTPUTS @ torch.tensor([1.0, -1.0, -1.0, 1.0])).abs() == 2


def network(x: Tensor, layers: list[Layer]) -> Tensor:
    r"""Perceptrons in layers: 0 or 1, shape (..., out, n), for inputs x of shape (..., in, n).

    >>> network(CORNERS, XOR_LAYERS)
    tensor([[0., 1., 1., 0.]])
    """
    for weight, bias in layers:
        x = perceptron(x, weight, bias)
    return x


def draw(lines: Tensor) -> Figure:
    r"""The 16 functions over the unit square: filled where y is 1, open where it is 0, with a perceptron's line.

    XOR has the two lines of the hidden layer of ``XOR_LAYERS``, dashed.
    """
    figure = new_figure(layout="constrained")
    grid = figure.subplots(4, 4, sharex=True, sharey=True)
    for name, outputs, line, axes in zip(NAMES, OUTPUTS, lines, grid.flat, strict=True):
        reachable = not line.isnan().any()
        colour = BLUE if reachable else VERMILION
        axes.set(xlim=(-0.6, 1.6), ylim=(-0.6, 1.6), xticks=(0, 1), yticks=(0, 1))
        axes.set_title(name, fontsize=9, color=colour, fontweight="normal" if reachable else "bold")
        axes.scatter(*CORNERS, c=[colour if y else "white" for y in outputs], edgecolors=colour, s=50, zorder=2)
        parameters = [(line[:2], line[2], "-")] if reachable else []
        if name == "XOR":
            parameters = [(weight, bias, "--") for weight, bias in zip(*XOR_LAYERS[0], strict=True)]
        for weight, bias, style in parameters:
            if weight.any():
                foot = -bias * weight / weight.square().sum()  # the point of the line next to the origin
                axes.axline(foot, foot + torch.stack([-weight[1], weight[0]]), color=BLACK, linestyle=style)
    figure.supxlabel("x₁", fontsize=10)
    figure.supylabel("x₂", fontsize=10)
    return figure


def report() -> Report:
    r"""Which functions a perceptron does not compute, and XOR by a network."""
    count, lines = run()
    missing, contradicted = (
        [name for name, selected in zip(NAMES, mask, strict=True) if selected] for mask in (count == 0, contradictory())
    )
    xor = network(CORNERS, XOR_LAYERS).int().flatten().tolist()
    return Report(
        [
            f"{int(count.sum())} perceptrons compute {int((count > 0).sum())} of the 16 Boolean functions of two "
            f"inputs, but not {' and '.join(missing)}",
            f"no perceptron computes {' or '.join(contradicted)}: their four inequalities contradict each other",
            f"XOR of 00, 01, 10, 11 by a network 2-2-1 of perceptrons: {xor}",
        ],
        {"perceptron/boolean_functions": draw(lines)},
        {"perceptron/how_many_compute_it": enumerate(count)},
    )
