"""Every single-token mutant of the hand-written backward equations is caught by the check."""

import ast
import copy
import inspect
from itertools import pairwise

import pytest
from gradcheck.models.base import normal
from gradcheck.models.linear import network

import nnmath.equations.activations as activations_module
import nnmath.equations.backpropagation as backpropagation_module
from nnmath.equations import ACTIVATIONS, Layer
from nnmath.gradcheck import Fault, check_gradients

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult, ast.Pow)
BACKWARD = {
    backpropagation_module: "error_gradient delta weight_gradient bias_gradient input_gradient output_delta "
    "hidden_delta backward",
    activations_module: "sigmoid_derivative_from_output tanh_derivative_from_output relu_derivative_from_output",
}
MIN_NAMED = {backpropagation_module: 22, activations_module: 33}


def variants(node):
    """The node with one token changed, in every way."""
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
        if not isinstance(function, ast.FunctionDef) or function.name not in names.split():
            continue
        for original in ast.walk(function):
            for mutant in variants(original):
                # the memo makes deepcopy put the mutant in the original's place
                changed = ast.fix_missing_locations(copy.deepcopy(function, {id(original): mutant}))
                if ast.unparse(changed) == ast.unparse(function):
                    continue
                mutated = copy.copy(tree)
                mutated.body = [*tree.body[:place], changed, *tree.body[place + 1 :]]
                difference = f"{function.name}: {ast.unparse(original)} -> {ast.unparse(mutant)}"
                yield difference, compile(mutated, module.__file__, "exec")


def problem(seed, sizes, names, reduction, n):
    """A network and its inputs, with samples in columns."""
    draw = normal(seed)
    inputs = {"X": draw(sizes[0], n), "y": draw(sizes[-1], n)}
    for k, (n_in, n_out) in enumerate(pairwise(sizes), 1):
        inputs |= {f"W{k}": draw(n_out, n_in), f"b{k}": draw(n_out)}
    model = network(names, columns=True)

    def forward(y, **parameters):
        return ((model.forward(**parameters) - y) ** 2).sum() / (2 * n if reduction == "mean" else 2)

    return forward, inputs, names, reduction


PROBLEMS = [
    problem(0, (2, 4, 1), ["sigmoid", "sigmoid"], "mean", 7),
    problem(1, (3, 3, 3, 2), ["tanh", "tanh", "identity"], "mean", 5),
    problem(2, (3, 5, 2), ["relu", "tanh"], "sum", 6),
]


def manual(equations, derivatives, inputs, names, reduction):
    """The gradients by a changed module."""
    layers = [Layer(inputs[f"W{k}"], inputs[f"b{k}"]) for k in range(1, len(names) + 1)]
    activations = [
        ACTIVATIONS[name]._replace(derivative_from_output=derivatives[f"{name}_derivative_from_output"])
        for name in names
    ]
    values = backpropagation_module.forward(inputs["X"], layers, activations)
    gradients = equations["backward"](values, layers, activations, inputs["y"], reduction)
    if len(gradients) != len(layers):
        raise ValueError("not a gradient for each layer")
    weights = {f"W{k}": layer.weight for k, layer in enumerate(gradients, 1)}
    return weights | {f"b{k}": layer.bias for k, layer in enumerate(gradients, 1)}


def outcome(module, code):
    """The check's answer to a mutant: None if it passes everywhere, "raises", or the faults that are found."""
    namespace = {"__name__": module.__name__}
    exec(code, namespace)
    derivatives = namespace if module is activations_module else vars(activations_module)
    equations = namespace if module is backpropagation_module else vars(backpropagation_module)
    for forward, inputs, names, reduction in PROBLEMS:
        try:
            gradients = manual(equations, derivatives, inputs, names, reduction)
        except Exception:  # a mutant that does not even run is caught
            return "raises"
        if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
            return "raises"  # as the check does
        report = check_gradients(forward, inputs, gradients, n=inputs["X"].shape[1])
        if not report.passed:
            return {finding.fault for finding in report.findings}
    return None


@pytest.mark.parametrize("module", BACKWARD, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_mutant_is_caught_and_more_than_half_are_named(module):
    outcomes = {text: outcome(module, code) for text, code in mutants(module, BACKWARD[module])}
    assert len(outcomes) > 40
    assert [text for text, faults in outcomes.items() if faults is None] == []
    reported = [faults for faults in outcomes.values() if faults != "raises"]
    named = [faults for faults in reported if Fault.UNKNOWN not in faults]
    print(f"{len(outcomes)} mutants, {len(reported)} give a gradient, {len(named)} of them are named")
    assert len(named) >= MIN_NAMED[module]
