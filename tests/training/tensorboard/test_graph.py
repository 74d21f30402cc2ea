import pytest

from nnmath.training.tensorboard.graph import computational_graph


def nodes(*arguments):
    return {node.name: node for node in computational_graph(*arguments).node}


def test_is_the_articles_fig_9():
    graph = nodes((2, 4, 1))
    edges = {name: list(node.input) for name, node in graph.items() if node.input}
    assert edges == {
        "μ₁": ["wᵢ", "x", "bᵢ"],
        "h": ["μ₁"],
        "μ₂": ["wₒ", "h", "bₒ"],
        "O": ["μ₂"],
        "E": ["O", "y"],
    }
    assert set(graph) == {*edges, "x", "wᵢ", "bᵢ", "wₒ", "bₒ", "y"}
    assert graph["h"].op == graph["O"].op == "σ"


def test_tells_the_formulas_and_the_gradients():
    graph = nodes((2, 4, 1))
    told = {(name, key): value.s.decode() for name, node in graph.items() for key, value in node.attr.items()}
    assert told["μ₁", "formula"] == "μ₁ = wᵢ x + bᵢ"
    assert told["O", "formula"] == "O = σ(μ₂)"
    assert told["O", "gradient"] == "∂E/∂O = O − y"
    assert told["μ₂", "gradient"] == "∂E/∂μ₂ = ∂E/∂O · σ′(μ₂)"
    assert told["h", "gradient"] == "∂E/∂h = wₒᵀ ∂E/∂μ₂"
    assert told["wᵢ", "gradient"] == "∂E/∂wᵢ = ∂E/∂μ₁ xᵀ"
    assert told["bₒ", "gradient"] == "∂E/∂bₒ = Σ ∂E/∂μ₂"


def test_an_edge_has_the_shape_of_what_goes_along_it():
    graph = nodes((3, 5, 2))
    shapes = {name: [dim.size for dim in node.attr["_output_shapes"].list.shape[0].dim] for name, node in graph.items()}
    assert shapes == {
        "x": [3, -1],
        "wᵢ": [5, 3],
        "bᵢ": [5],
        "μ₁": [5, -1],
        "h": [5, -1],
        "wₒ": [2, 5],
        "bₒ": [2],
        "μ₂": [2, -1],
        "O": [2, -1],
        "y": [2, -1],
        "E": [],
    }


def test_a_deeper_network_numbers_its_layers_and_one_layer_has_no_hidden_one():
    graph = nodes((2, 8, 7, 1), "relu", "identity")
    assert list(graph["μ₂"].input) == ["wᵢ₂", "h₁", "bᵢ₂"]
    assert list(graph["μ₃"].input) == ["wₒ", "h₂", "bₒ"]
    assert [graph[name].op for name in ("h₁", "h₂", "O")] == ["ReLU", "ReLU", "id"]
    assert graph["h₁"].attr["gradient"].s.decode() == "∂E/∂h₁ = wᵢ₂ᵀ ∂E/∂μ₂"
    assert list(nodes((2, 1))["μ₁"].input) == ["wₒ", "x", "bₒ"]


def test_refuses_sizes_that_are_none():
    with pytest.raises(ValueError, match="sizes"):
        computational_graph((2,))
