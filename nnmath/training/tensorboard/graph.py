r"""The article's Fig. 9 for TensorBoard's graph tab: a node for each symbol, named as the article names it.

A tracer would show what torch calls; these are the nodes that the equations speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from nnmath.equations import number_of_parameters

SYMBOLS = {"sigmoid": "σ", "tanh": "tanh", "relu": "ReLU", "identity": "id"}


def computational_graph(sizes: Sequence[int], hidden: str = "sigmoid", output: str = "sigmoid") -> GraphDef:
    r"""X → μ₁ = wᵢ x + bᵢ → h = σ(μ₁) → μ₂ = wₒ h + bₒ → O = σ(μ₂) → E = ½ (y − O)², and so on where it is deeper.

    A click on a node shows its formula and its gradient; an edge has the shape of what goes along it.

    Args:
        sizes: the neurons of each layer, the inputs first.
        hidden: the activation of the hidden layers.
        output: the activation of the last layer.

    Raises:
        ValueError: the sizes are none.

    Source: article, Fig. 9 (B0), Figs. 10 and 11 (B1, B4).

    >>> [node.name for node in computational_graph((2, 4, 1)).node]
    ['x', 'wᵢ', 'bᵢ', 'μ₁', 'h', 'wₒ', 'bₒ', 'μ₂', 'O', 'y', 'E']
    """
    number_of_parameters(sizes)  # refuses sizes that are none
    last = len(sizes) - 1
    below, nodes = "x", [node("x", "input", [], [sizes[0], -1], formula="the samples, in columns")]
    for i, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        weight, bias, sum_, value = names(i, last)
        f = SYMBOLS[output if i == last else hidden]
        delta, (above, _, mu_above, _) = f"∂E/∂{sum_}", names(min(i + 1, last), last)
        to_value = "O − y" if i == last else f"{above}ᵀ ∂E/∂{mu_above}"
        nodes += [
            node(weight, "parameter", [], [n_out, n_in], gradient=f"∂E/∂{weight} = {delta} {below}ᵀ"),
            node(bias, "parameter", [], [n_out], gradient=f"∂E/∂{bias} = Σ {delta}"),
            node(
                *(sum_, "weighted sum", [weight, below, bias], [n_out, -1]),
                formula=f"{sum_} = {weight} {below} + {bias}",
                gradient=f"{delta} = ∂E/∂{value} · {f}′({sum_})",
            ),
            node(
                *(value, f, [sum_], [n_out, -1]), formula=f"{value} = {f}({sum_})", gradient=f"∂E/∂{value} = {to_value}"
            ),
        ]
        below = value
    nodes.append(node("y", "target", [], [sizes[-1], -1], formula="the actual value"))
    nodes.append(node("E", "error", ["O", "y"], [], formula="E = ½ (y − O)², averaged over the samples"))
    return GraphDef(node=nodes)


def names(layer: int, last: int) -> tuple[str, str, str, str]:
    r"""What the article calls the weight, the bias, the weighted sum and the value of a layer, the first being 1."""
    mu = "μ" + "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(layer))
    number = mu[1:] if last > 2 else ""
    if layer == last:
        return "wₒ", "bₒ", mu, "O"
    return f"wᵢ{number}", f"bᵢ{number}", mu, f"h{number}"


def node(name: str, op: str, inputs: Sequence[str], shape: Sequence[int], **told: str) -> NodeDef:
    r"""A node, where it comes from, the shape of its value (−1 for the samples), and what is told about it."""
    output = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    attr = {key: AttrValue(s=text.encode()) for key, text in told.items()}
    attr["_output_shapes"] = AttrValue(list=AttrValue.ListValue(shape=[output]))
    return NodeDef(name=name, op=op, input=inputs, attr=attr)
