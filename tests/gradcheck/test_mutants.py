"""Every single-token mutant of the hand-written backward equations is caught by the check."""

import ast
import copy
import inspect
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

import nnmath.equations.activations as activations_module
import nnmath.equations.backpropagation as backpropagation_module
from nnmath.equations import ACTIVATIONS, Layer
from nnmath.gradcheck import Fault, check_gradients

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult, ast.Pow)
BACKWARD = {
    backpropagation_module: (
        [
            "error_gradient",
            "delta",
            "weight_gradient",
            "bias_gradient",
            "input_gradient",
            "output_delta",
            "hidden_delta",
            "backward",
        ]
    ),
    activations_module: [
        "sigmoid_derivative_from_output",
        "tanh_derivative_from_output",
        "relu_derivative_from_output",
    ],
}
NAMED = {backpropagation_module: 22, activations_module: 33}
TORCH = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda z: z}


def variants(node):
    """The node with one token changed, each way."""
    if isinstance(node, ast.BinOp):
        for operator in OPERATORS:
            if not isinstance(node.op, operator):
                yield ast.BinOp(node.left, operator(), node.right)
        yield node.left
        yield node.right
        yield ast.UnaryOp(ast.USub(), node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        for value in (node.value + 1, node.value - 1):
            yield ast.Constant(value)
    elif isinstance(node, ast.Attribute) and node.attr == "mT":
        yield node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sum":
        yield ast.Call(ast.Attribute(node.func.value, "mean", ast.Load()), node.args, node.keywords)
        yield node.func.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) >= 2:
        yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)


def mutants(module, names):
    """The module's functions of these names, each with each of its tokens changed: (text, namespace)."""
    tree = ast.parse(inspect.getsource(module))
    for place, function in enumerate(tree.body):
        if not isinstance(function, ast.FunctionDef) or function.name not in names:
            continue
        nodes = list(ast.walk(function))
        for i, original in enumerate(nodes):
            for k in range(len(list(variants(original)))):
                changed = copy.deepcopy(function)
                target = list(ast.walk(changed))[i]
                mutant = list(variants(target))[k]

                class Replace(ast.NodeTransformer):
                    def visit(self, node, target=target, mutant=mutant):
                        return mutant if node is target else self.generic_visit(node)

                changed = ast.fix_missing_locations(Replace().visit(changed))
                if ast.unparse(changed) == ast.unparse(function):
                    continue
                whole = copy.copy(tree)
                whole.body = [*tree.body[:place], changed, *tree.body[place + 1 :]]
                difference = f"{function.name}: {ast.unparse(original)} -> {ast.unparse(mutant)}"
                yield difference, compile(whole, module.__file__, "exec")


def problem(seed, sizes, hidden, last, reduction, n):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    inputs = {"x": draw(sizes[0], n), "target": draw(sizes[-1], n)}
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        inputs |= {f"weight_{k}": draw(n_out, n_in), f"bias_{k}": draw(n_out)}
    names = [hidden] * (len(sizes) - 2) + [last]

    def forward(x, target, **parameters):
        value = x
        for k, name in enumerate(names):
            value = TORCH[name](F.linear(value.T, parameters[f"weight_{k}"], parameters[f"bias_{k}"]).T)
        return ((value - target) ** 2).sum() / (2 * n if reduction == "mean" else 2)

    return forward, inputs, names, reduction


PROBLEMS = [
    problem(0, (2, 4, 1), "sigmoid", "sigmoid", "mean", 7),
    problem(1, (3, 3, 3, 2), "tanh", "identity", "mean", 5),
    problem(2, (3, 5, 2), "relu", "tanh", "sum", 6),
]


def by_hand(namespace, slopes, inputs, names, reduction):
    """The gradients that a changed module gives."""
    layers = [Layer(inputs[f"weight_{k}"], inputs[f"bias_{k}"]) for k in range(len(names))]
    activations = [
        ACTIVATIONS[name]._replace(derivative_from_output=slopes[f"{name}_derivative_from_output"]) for name in names
    ]
    values = backpropagation_module.forward(inputs["x"], layers, activations)
    gradients = namespace["backward"](values, layers, activations, inputs["target"], reduction)
    if len(gradients) != len(layers):
        raise ValueError("not a gradient for each layer")
    flat = {f"weight_{k}": layer.weight for k, layer in enumerate(gradients)}
    return flat | {f"bias_{k}": layer.bias for k, layer in enumerate(gradients)}


def outcome(module, code):
    """What the check says of a mutant: None if it passes everywhere, "raises", or the faults that it names."""
    namespace = {"__name__": module.__name__}
    exec(code, namespace)
    slopes = namespace if module is activations_module else vars(activations_module)
    equations = namespace if module is backpropagation_module else vars(backpropagation_module)
    for forward, inputs, names, reduction in PROBLEMS:
        try:
            gradients = by_hand(equations, slopes, inputs, names, reduction)
        except Exception:  # a mutant that does not even run is caught
            return "raises"
        if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
            return "raises"  # as the check does
        report = check_gradients(forward, inputs, gradients, n=inputs["x"].shape[1])
        if not report.passed:
            return {finding.fault for finding in report.findings}
    return None


@pytest.mark.parametrize("module", BACKWARD, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_mutant_is_caught_and_more_than_half_are_named(module):
    outcomes = {text: outcome(module, code) for text, code in mutants(module, BACKWARD[module])}
    assert len(outcomes) > 40
    assert [text for text, found in outcomes.items() if found is None] == []
    reported = {text: found for text, found in outcomes.items() if found != "raises"}
    named = [text for text, found in reported.items() if Fault.UNKNOWN not in found]
    print(f"{len(outcomes)} mutants, {len(reported)} give a gradient, {len(named)} of them are named")
    assert len(named) >= NAMED[module]
