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
        "μ₁=wᵢx+bᵢ": ("weighted sum", ["wᵢ", "x", "bᵢ"], [5, -1]),
        "h=σ(μ₁)": ("σ", ["μ₁=wᵢx+bᵢ"], [5, -1]),
        "wₒ": ("parameter", [], [2, 5]),
        "bₒ": ("parameter", [], [2]),
        "μ₂=wₒh+bₒ": ("weighted sum", ["wₒ", "h=σ(μ₁)", "bₒ"], [2, -1]),
        "O=σ(μ₂)": ("σ", ["μ₂=wₒh+bₒ"], [2, -1]),
        "y": ("target", [], [2, -1]),
        "E=½(y−O)²": ("error", ["O=σ(μ₂)", "y"], []),
    }


def test_clicking_a_node_shows_its_gradient_in_ascii():
    graph = nodes((2, 4, 1), "tanh")
    gradients = {name: text(node, "gradient") for name, node in graph.items() if "gradient" in node.attr}
    assert gradients == {
        "O=σ(μ₂)": "dE/dO = O - y",
        "μ₂=wₒh+bₒ": "dE/dmu_2 = dE/dO * dO/dmu_2",
        "wₒ": "dE/dw_o = dE/dmu_2 * h^T",
        "bₒ": "dE/db_o = sum dE/dmu_2",
        "h=tanh(μ₁)": "dE/dh = w_o^T dE/dmu_2",
        "μ₁=wᵢx+bᵢ": "dE/dmu_1 = dE/dh * dh/dmu_1",
        "wᵢ": "dE/dw_i = dE/dmu_1 * x^T",
        "bᵢ": "dE/db_i = sum dE/dmu_1",
    }
    assert text(graph["O=σ(μ₂)"], "derivative") == "dO/dmu_2 = O (1 - O)"
    assert text(graph["h=tanh(μ₁)"], "derivative") == "dh/dmu_1 = 1 - h^2"


def test_several_hidden_layers_are_numbered():
    graph = nodes((2, 8, 7, 1), "relu", "identity")
    assert list(graph["μ₂=wᵢ₂h₁+bᵢ₂"].input) == ["wᵢ₂", "h₁=ReLU(μ₁)", "bᵢ₂"]
    assert list(graph["μ₃=wₒh₂+bₒ"].input) == ["wₒ", "h₂=ReLU(μ₂)", "bₒ"]
    assert [graph[name].op for name in ("h₁=ReLU(μ₁)", "h₂=ReLU(μ₂)", "O=id(μ₃)")] == ["ReLU", "ReLU", "id"]
    assert text(graph["h₁=ReLU(μ₁)"], "gradient") == "dE/dh_1 = w_i2^T dE/dmu_2"
    assert text(graph["h₁=ReLU(μ₁)"], "derivative") == "dh_1/dmu_1 = 1 where h_1 > 0"
    assert list(nodes((2, 1))["μ₁=wₒx+bₒ"].input) == ["wₒ", "x", "bₒ"]


@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "relu", "identity"])
def test_attributes_are_ascii_and_nothing_is_lost(hidden):
    attributes = [text(node, key) for node in nodes((2, 8, 7, 1), hidden).values() for key in node.attr]
    assert all(attribute.isascii() and "?" not in attribute for attribute in attributes)


def test_refuses_a_single_layer_size():
    with pytest.raises(ValueError, match="sizes"):
        computational_graph((2,))
