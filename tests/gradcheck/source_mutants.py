"""Every single-token mutant of the source of a hand-written backward, and what the check says of them.

``python -m gradcheck.source_mutants`` with tests/ on the path prints a table.
"""

import argparse
import ast
import copy
import inspect
import itertools
import linecache
import random
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from gradcheck import backwards
from gradcheck.backwards import BACKWARDS

from nnmath.gradcheck import check_backward
from nnmath.gradcheck.code.numpy_forward import library, numpy_to_torch
from nnmath.gradcheck.code.reading import perturb
from nnmath.gradcheck.conversion import native

SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.MatMult: ast.Mult}
SIBLINGS = {"sum": "mean", "mean": "sum", "maximum": "minimum", "exp": "tanh", "tanh": "sin", "zeros_like": "ones_like"}
COUNTER = itertools.count()


@dataclass
class Mutant:
    case: object
    text: str  # of the change
    line: int
    source: str
    function: object


def mutations(node, shapes):
    """The node with one token changed, in every way."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in SWAPS:
            yield ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
        yield node.left
        yield node.right
        yield ast.UnaryOp(ast.USub(), node)
        if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult)):
            yield ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        swaps = {ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq}
        if type(node.ops[0]) in swaps:
            yield ast.Compare(node.left, [swaps[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.AugAssign):
        for op in (ast.Add, ast.Sub):
            if not isinstance(node.op, op):
                yield ast.AugAssign(node.target, op(), node.value)
        yield ast.Assign([node.target], node.value)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for value in (node.value + 1, node.value - 1, 2 * node.value):
            if value != node.value:
                yield ast.Constant(value)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in shapes:
        others = [name for name, shape in shapes.items() if name != node.id and shape == shapes[node.id]]
        yield from (ast.Name(name, ast.Load()) for name in others)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield node.value
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in SIBLINGS:
            other = ast.Attribute(node.func.value, SIBLINGS[node.func.attr], ast.Load())
            yield ast.Call(other, node.args, node.keywords)
        if len(node.args) == 2 and not any(isinstance(arg, ast.Constant) for arg in node.args):
            yield ast.Call(node.func, node.args[::-1], node.keywords)


def shapes_of(case):
    """The shapes of the arrays among the locals of a backward at its end."""
    found = {}

    def trace(frame, event, arg):
        if frame.f_code is case.backward.__code__ and event == "return":
            arrays = {k: v for k, v in frame.f_locals.items() if hasattr(v, "shape")}
            found.update({name: tuple(value.shape) for name, value in arrays.items()})
        return trace

    sys.settrace(trace)
    try:
        case.backward(**inputs_of(case, case.inputs))
    finally:
        sys.settrace(None)
    return found


def inputs_of(case, inputs):
    return native(inputs, library(case.backward) or "torch")


def truth(case, inputs):
    forward = numpy_to_torch(case.forward) if library(case.forward) == "numpy" else case.forward
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in inputs.items()}
    loss = forward(**leaves)
    names = [name for name, leaf in leaves.items() if leaf.requires_grad]
    return dict(zip(names, torch.autograd.grad(loss, [leaves[k] for k in names], materialize_grads=True), strict=True))


def difference(case, function, inputs):
    """The largest error of a gradient, relative to its largest entry; None if the function fails."""
    try:
        with np.errstate(all="ignore"):
            gradients = function(**inputs_of(case, inputs))
    except Exception:
        return None
    if set(gradients) != set(case.backward(**inputs_of(case, inputs))):
        return None
    worst = 0.0
    for name, reference in truth(case, inputs).items():
        if name in gradients:
            value = np.asarray(gradients[name])
            if value.shape != tuple(reference.shape):
                return np.inf
            if not np.isfinite(value).all():
                return None
            worst = max(worst, np.abs(value - reference.numpy()).max() / (np.abs(reference.numpy()).max() or 1))
    return worst


def build(case, source, names):
    """The backward of a source in which these functions and classes are defined, in a file of its own."""
    file = f"<mutant {next(COUNTER)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace = dict(vars(backwards))
    namespace["case"] = lambda *args, **kwargs: lambda function: function
    exec(compile(source, file, "exec"), namespace)
    return namespace[case.backward.__name__]


def definitions(case):
    """The functions and classes whose source belongs to a backward."""
    owned = [backwards.Dense, backwards.Tanh, backwards.Relu] if case.name == "layer_objects" else []
    return [*owned, case.backward]


def blank_file(case):
    """The file with only the backward's definitions, on their lines."""
    lines = inspect.getsource(backwards).splitlines(keepends=True)
    kept = ["\n"] * len(lines)
    for owner in definitions(case):
        block, start = inspect.getsourcelines(owner)
        skip = next(i for i, line in enumerate(block) if line.startswith(("def ", "class ")))  # decorators
        kept[start - 1 + skip : start - 1 + len(block)] = block[skip:]
    return "".join(kept)


def replaced(source, node, text):
    """The source with a node's text replaced, which keeps the lines."""
    lines = source.splitlines(keepends=True)
    start, end = node.lineno - 1, node.end_lineno - 1
    first, last = lines[start].encode(), lines[end].encode()
    middle = first[: node.col_offset] + text.encode() + last[node.end_col_offset :]
    lines[start : end + 1] = [middle.decode(), *["\n"] * (end - start)]
    return "".join(lines)


def mutants(case, seed):
    """The mutants in random order, each on the lines of the original."""
    source, shapes = blank_file(case), shapes_of(case)
    nodes = [node for node in ast.walk(ast.parse(source)) if hasattr(node, "lineno")]
    pairs = [(node, mutant) for node in nodes for mutant in mutations(node, shapes)]
    random.Random(seed).shuffle(pairs)
    others = [perturb(case.inputs, [], seed) for seed in (100, 101)]
    for node, mutant in pairs:
        text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(mutant)))
        text = f"({text})" if isinstance(mutant, (ast.BinOp, ast.UnaryOp, ast.Compare)) else text
        changed = replaced(source, node, text)
        try:
            function = build(case, changed, definitions(case))
        except SyntaxError:
            continue
        errors = [difference(case, function, inputs) for inputs in (case.inputs, *others)]
        if None not in errors and min(errors[0], max(errors[1:])) > 1e-6:
            yield Mutant(case, f"{ast.unparse(node)} -> {text}", node.lineno, changed, function)


def outcome(mutant, time_limit):
    """What the check says: a set of line, exact, equal, wrong, words, nothing, missed."""
    case = mutant.case
    report = check_backward(case.forward, mutant.function, case.inputs, time_limit=time_limit)
    if report.passed:
        return {"missed"}, report
    found = {"line"} & ({"line"} if any(f.line == mutant.line for f in report.findings) else set())
    repairs = [f for f in report.findings if f.repair]
    if not repairs:
        return found | ({"words"} if any(f.should_be for f in report.findings) else {"nothing"}), report
    source = mutant.source
    for finding in repairs:
        source = applied(source, finding)
        if source is None:
            return found | {"not applied"}, report
    original = blank_file(case)
    if ast.unparse(ast.parse(source)) == ast.unparse(ast.parse(original)):
        return found | {"exact"}, report
    function = build(case, source, definitions(case))
    explained = {name for finding in report.findings for name in finding.names if finding.repair}
    wrong = {name for name, entry in report.entries.items() if not entry.passed}
    errors = [difference(case, function, perturb(case.inputs, [], seed)) for seed in (200, 201, 202)]
    if all(error is not None and error < 1e-6 for error in errors):
        return found | {"equal"}, report
    return found | ({"part"} if wrong - explained else {"wrong"}), report


def applied(source, finding):
    """The source with a finding's repair; None if its code is not there."""
    for node in ast.walk(ast.parse(source)):
        if getattr(node, "lineno", None) == finding.line and isinstance(node, (ast.expr, ast.stmt)):
            segment = ast.get_source_segment(source, node) or ""
            if " ".join(segment.split()) == finding.code:
                is_statement = isinstance(node, ast.stmt) or "=" in finding.repair.split("(")[0]
                return replaced(source, node, finding.repair if is_statement else f"({finding.repair})")
    return None


def measure(limit, seed, time_limit, only=None, verbose=False):
    totals, count, seconds = {}, 0, []
    for case in BACKWARDS:
        if only and case.name not in only:
            continue
        chosen = list(itertools.islice(mutants(case, seed), limit))
        row = {}
        for mutant in chosen:
            start = time.perf_counter()
            result, report = outcome(mutant, time_limit)
            seconds.append(time.perf_counter() - start)
            for key in result:
                row[key] = row.get(key, 0) + 1
            if verbose and (not result & {"exact", "equal"} or "line" not in result):
                print(f"  {case.name}:{mutant.line} {mutant.text}: {sorted(result)} {seconds[-1]:.2f} s")
                for f in report.findings:
                    print(f"      {f.line}: {f.code} => {f.repair or f.should_be or f.explanation} {f.names}")
        count += len(chosen)
        print(f"{case.name:28} {len(chosen):4} {row}", flush=True)
        for key, value in row.items():
            totals[key] = totals.get(key, 0) + value
    print(f"{count} mutants: " + ", ".join(f"{k} {v} ({100 * v / count:.1f} %)" for k, v in totals.items()))
    print("seconds: median {:.2f}, 95 % {:.2f}, max {:.2f}".format(*np.quantile(seconds, [0.5, 0.95, 1])))
    return totals, count


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time_limit", type=float, default=10)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure(options.limit, options.seed, options.time_limit, options.only, options.verbose)
