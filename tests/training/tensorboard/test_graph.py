"""The computational graph is the article's Fig. 9."""

import pytest

from nnmath.training.tensorboard.graph import computational_graph


def nodes(*arguments):
    return {node.name: node for node in computational_graph(*arguments).node}


def text(node, key):
    return node.attr[key].s.decode()


def test_nodes_have_inputs_and_output_shapes():
    graph = {}
    for name, node in nodes((3, 5, 2)).items():
        shape = [dim.size for dim in node.attr["_output_shapes"].list.shape[0].dim]
        graph[name] = (node.op, list(node.input), shape)
    assert graph == {
        "x": ("input", [], [3, -1]),
        "wᵢ": ("parameter", [], [5, 3]),
        "bᵢ": ("parameter", [], [5]),
        "μ₁": ("weighted sum", ["wᵢ", "x", "bᵢ"], [5, -1]),
        "h": ("σ", ["μ₁"], [5, -1]),
        "wₒ": ("parameter", [], [2, 5]),
        "bₒ": ("parameter", [], [2]),
        "μ₂": ("weighted sum", ["wₒ", "h", "bₒ"], [2, -1]),
        "O": ("σ", ["μ₂"], [2, -1]),
        "y": ("target", [], [2, -1]),
        "E": ("error", ["O", "y"], []),
    }


def test_nodes_have_formulas_and_gradients():
    graph = nodes((2, 4, 1))
    assert text(graph["μ₁"], "formula") == "μ₁ = wᵢ x + bᵢ"
    assert text(graph["O"], "formula") == "O = σ(μ₂)"
    gradients = {name: text(graph[name], "gradient") for name in ("O", "μ₂", "h", "wᵢ", "bₒ")}
    assert gradients == {
        "O": "∂E/∂O = O − y",
        "μ₂": "∂E/∂μ₂ = ∂E/∂O · σ′(μ₂)",
        "h": "∂E/∂h = wₒᵀ ∂E/∂μ₂",
        "wᵢ": "∂E/∂wᵢ = ∂E/∂μ₁ xᵀ",
        "bₒ": "∂E/∂bₒ = Σ ∂E/∂μ₂",
    }


def test_several_hidden_layers_are_numbered():
    graph = nodes((2, 8, 7, 1), "relu", "identity")
    assert list(graph["μ₂"].input) == ["wᵢ₂", "h₁", "bᵢ₂"]
    assert list(graph["μ₃"].input) == ["wₒ", "h₂", "bₒ"]
    assert [graph[name].op for name in ("h₁", "h₂", "O")] == ["ReLU", "ReLU", "id"]
    assert text(graph["h₁"], "gradient") == "∂E/∂h₁ = wᵢ₂ᵀ ∂E/∂μ₂"
    assert list(nodes((2, 1))["μ₁"].input) == ["wₒ", "x", "bₒ"]


def test_refuses_a_single_layer_size():
    with pytest.raises(ValueError, match="sizes"):
        computational_graph((2,))
