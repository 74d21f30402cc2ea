"""The computational graph is the article's Fig. 9."""

import pytest

from nnmath.training.tensorboard.graph import computational_graph


def nodes(*arguments):
    return {node.name: node for node in computational_graph(*arguments).node}


def test_nodes_have_inputs_and_output_shapes():
    graph = {}
    for name, node in nodes((3, 5, 2)).items():
        assert list(node.attr) == ["_output_shapes"]  # TensorBoard shows others as JSON
        shape = [dim.size for dim in node.attr["_output_shapes"].list.shape[0].dim]
        graph[name] = (list(node.input), shape)
    assert graph == {
        "x": ([], [3, -1]),
        "wᵢ": ([], [5, 3]),
        "bᵢ": ([], [5]),
        "μ₁=wᵢx+bᵢ": (["wᵢ", "x", "bᵢ"], [5, -1]),
        "h=σ(μ₁)": (["μ₁=wᵢx+bᵢ"], [5, -1]),
        "wₒ": ([], [2, 5]),
        "bₒ": ([], [2]),
        "μ₂=wₒh+bₒ": (["wₒ", "h=σ(μ₁)", "bₒ"], [2, -1]),
        "O=σ(μ₂)": (["μ₂=wₒh+bₒ"], [2, -1]),
        "y": ([], [2, -1]),
        "E=½(y−O)²": (["O=σ(μ₂)", "y"], []),
    }


def test_clicking_a_node_shows_its_gradient():
    assert {name: node.op for name, node in nodes((2, 4, 1), "tanh").items()} == {
        "x": "the samples, in columns",
        "y": "the actual values",
        "E=½(y−O)²": "averaged over the samples",
        "O=σ(μ₂)": "∂E/∂O = O − y",
        "μ₂=wₒh+bₒ": "∂E/∂μ₂ = ∂E/∂O · O (1 − O)",
        "wₒ": "∂E/∂wₒ = ∂E/∂μ₂ · hᵀ",
        "bₒ": "∂E/∂bₒ = Σ ∂E/∂μ₂",
        "h=tanh(μ₁)": "∂E/∂h = wₒᵀ ∂E/∂μ₂",
        "μ₁=wᵢx+bᵢ": "∂E/∂μ₁ = ∂E/∂h · (1 − h²)",
        "wᵢ": "∂E/∂wᵢ = ∂E/∂μ₁ · xᵀ",
        "bᵢ": "∂E/∂bᵢ = Σ ∂E/∂μ₁",
    }


def test_several_hidden_layers_are_numbered():
    graph = nodes((2, 8, 7, 1), "relu", "identity")
    assert list(graph["μ₂=wᵢ₂h₁+bᵢ₂"].input) == ["wᵢ₂", "h₁=ReLU(μ₁)", "bᵢ₂"]
    assert list(graph["μ₃=wₒh₂+bₒ"].input) == ["wₒ", "h₂=ReLU(μ₂)", "bₒ"]
    assert graph["h₁=ReLU(μ₁)"].op == "∂E/∂h₁ = wᵢ₂ᵀ ∂E/∂μ₂"
    assert graph["μ₁=wᵢ₁x+bᵢ₁"].op == "∂E/∂μ₁ = ∂E/∂h₁ · step(h₁)"
    assert graph["μ₃=wₒh₂+bₒ"].op == "∂E/∂μ₃ = ∂E/∂O · 1"
    assert list(nodes((2, 1))["μ₁=wₒx+bₒ"].input) == ["wₒ", "x", "bₒ"]


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "relu", "identity"])
def test_operations_fit_on_the_line_of_tensorboards_card(hidden):
    """It neither wraps nor scrolls."""
    assert max(len(node.op) for node in nodes((2, 8, 7, 1), hidden).values()) <= 30


def test_refuses_a_single_layer_size():
    with pytest.raises(ValueError, match="sizes"):
        computational_graph((2,))
