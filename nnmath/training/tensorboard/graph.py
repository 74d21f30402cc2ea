r"""The article's Fig. 9 for TensorBoard's Graphs tab: a node per symbol. A tracer would show torch's operations."""

from collections.abc import Sequence
from itertools import pairwise

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from nnmath.equations import ACTIVATIONS, TANH, number_of_parameters
from nnmath.figures.style import subscript
from nnmath.verification.walkthrough import DERIVATIVES


def computational_graph(sizes: Sequence[int], hidden: str = "sigmoid", output: str = "sigmoid") -> GraphDef:
    r"""X → μ₁ = wᵢ x + bᵢ → h = σ(μ₁) → μ₂ = wₒ h + bₒ → O = σ(μ₂) → E = ½ (y − O)², with more layers if it is deeper.

    A node is named by its formula, without spaces, because TensorBoard cuts off long names. Clicking it shows its
    gradient as its operation, since TensorBoard shows all other attributes as JSON. An edge is labelled with the shape
    of the tensor.

    The arguments are those of :class:`nnmath.network.Network`.

    Raises:
        ValueError: the sizes are not two or more positive integers.

    Source: article, Fig. 9 (B0), Figs. 10 and 11 (B1, B4).

    >>> [node.name for node in computational_graph((2, 4, 1)).node][:5]
    ['x', 'wᵢ', 'bᵢ', 'μ₁=wᵢx+bᵢ', 'h=σ(μ₁)']
    """
    number_of_parameters(sizes)  # validates sizes
    nodes, below = [make_node("x", "the samples, in columns", [], [sizes[0], -1])], "x"
    for (n_in, n_out), (w, b, mu, x, h, dh) in zip(pairwise(sizes), layer_symbols(len(sizes) - 1), strict=True):
        f = ACTIVATIONS[output if h == "O" else hidden]
        total, value = f"{mu}={w}{x}+{b}", f"{h}={f.symbol}({mu})"
        slope = DERIVATIVES[f.name].format(h).replace("-", "−")
        slope = f"({slope})" if f is TANH else slope
        nodes += [
            make_node(w, f"∂E/∂{w} = ∂E/∂{mu} · {x}ᵀ", [], [n_out, n_in]),
            make_node(b, f"∂E/∂{b} = Σ ∂E/∂{mu}", [], [n_out]),
            make_node(total, f"∂E/∂{mu} = ∂E/∂{h} · {slope}", [w, below, b], [n_out, -1]),
            make_node(value, f"∂E/∂{h} = {dh}", [total], [n_out, -1]),
        ]
        below = value
    nodes.append(make_node("y", "the actual values", [], [sizes[-1], -1]))
    nodes.append(make_node("E=½(y−O)²", "averaged over the samples", [below, "y"], []))
    return GraphDef(node=nodes)


def layer_symbols(count: int) -> list[tuple[str, str, str, str, str, str]]:
    r"""For each layer, the article's w, b, weighted sum, input x, output h, and formula of ∂E/∂h.

    >>> layer_symbols(2)[0]
    ('wᵢ', 'bᵢ', 'μ₁', 'x', 'h', 'wₒᵀ ∂E/∂μ₂')
    """
    numbers = [subscript(i) if count > 2 else "" for i in range(1, count)]
    w = [*(f"wᵢ{number}" for number in numbers), "wₒ"]
    b = [*(f"bᵢ{number}" for number in numbers), "bₒ"]
    h = [*(f"h{number}" for number in numbers), "O"]
    mu = [f"μ{subscript(i)}" for i in range(1, count + 1)]
    dh = [*(f"{weight}ᵀ ∂E/∂{sum_}" for weight, sum_ in zip(w[1:], mu[1:], strict=True)), "O − y"]
    return list(zip(w, b, mu, ["x", *h[:-1]], h, dh, strict=True))


def make_node(name: str, op: str, inputs: Sequence[str], shape: Sequence[int]) -> NodeDef:
    r"""A node with its inputs and the shape of its output, −1 for the samples."""
    output = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    shapes = AttrValue(list=AttrValue.ListValue(shape=[output]))
    return NodeDef(name=name, op=op, input=inputs, attr={"_output_shapes": shapes})
