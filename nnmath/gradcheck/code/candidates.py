r"""Edits of one expression of a hand-written backward that might make it right, the plainest first.

An edit is a template: ``{0}`` stands for the first operand, ``{e}`` for the expression as it is. ``{0} - {1}`` turns
``a + b`` into ``a - b``, and ``{e} * h`` multiplies by the user's variable ``h``.
"""

import ast
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

import numpy as np
import torch

from nnmath.gradcheck.code.forward import RecordedForward
from nnmath.gradcheck.code.known import as_array
from nnmath.gradcheck.code.program import Step
from nnmath.gradcheck.code.source import Expression, is_variable
from nnmath.gradcheck.faults import Fault

Variables = Sequence[tuple[str, Any]]  # text ↦ value
Value = Callable[["Evaluator", Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

TOKEN, FACTOR, TERM = 1, 2, 3  # costs: another token; one more factor, or a formula of the forward pass; one more term
MAX_VARIABLES = 60  # in scope
MAX_ITEMS = 8  # of a list
SIBLINGS = (  # functions that are taken for each other
    {"sum", "mean"},
    {"maximum", "minimum"},
    {"max", "min"},
    {"tanh", "sigmoid", "exp", "sin", "cos", "log", "sqrt", "sinh", "cosh", "expm1", "log1p", "abs", "sign", "square"},
    {"dot", "outer", "matmul", "multiply"},
    {"add", "subtract", "multiply", "divide"},
    {"zeros_like", "ones_like"},
    {"zeros", "ones"},
    {"argmax", "argmin"},
    {"cumsum", "cumprod"},
    {"std", "var"},
)


@dataclass(frozen=True)
class Candidate:
    r"""An edit of an expression; ``template`` is empty if the user has no variables for it."""

    expression: Expression
    cost: float
    fault: Fault
    template: str = ""
    value: Value | None = None  # of an edit without template
    words: str = ""  # what it computes, in that case

    @property
    def text(self) -> str:
        return self.expression.fill(self.template) if self.template else self.words

    def evaluate(self, evaluator: "Evaluator", f: Callable[..., Any], operands: Any, keywords: Any) -> Any:
        r"""The value of the edited expression, from the values of its operands."""
        if self.value is not None:
            return self.value(evaluator, f, operands, keywords)
        values = {f"__{i}__": operand for i, operand in enumerate(operands)}
        if "{e}" in self.template:
            values["__e__"] = f(*operands, **keywords)
        return evaluator.run(self.template, len(operands), values)


class Evaluator:
    r"""Evaluates templates where the user's code is; knows the forward pass at the same inputs."""

    def __init__(self, forward: RecordedForward | None, use_torch: bool) -> None:
        self.forward, self.use_torch = forward, use_torch
        self.frame: Any = None
        self.instance = 0  # how often the edited expression was evaluated before

    def run(self, template: str, count: int, values: dict[str, Any]) -> Any:
        scope = {"np": np, "torch": torch, **self.frame.f_globals, **self.frame.f_locals, **values}
        code, is_statement = compiled(template, count)
        if not is_statement:
            return eval(code, scope)
        exec(code, scope)
        return scope["__0__"]

    def native(self, tensor: torch.Tensor) -> Any:
        r"""A tensor as the user's code takes it."""
        return tensor if self.use_torch else tensor.numpy()


@cache
def compiled(template: str, count: int) -> tuple[CodeType, bool]:
    text = template.format(*(f"__{i}__" for i in range(count)), e="__e__")
    tree = ast.parse(text)
    is_statement = not isinstance(tree.body[0], ast.Expr)
    return compile(text, "<edit>", "exec" if is_statement else "eval"), is_statement


def candidates(step: Step, count: int, forward: Variables) -> Iterator[Candidate]:
    r"""The edits of a step's expression within the user's own variables.

    It is evaluated ``count`` times; ``forward`` are expressions of the forward pass in these variables.
    """
    expression = step.expression
    edits: list[Iterator[tuple[str, float, Fault]]] = []
    if expression.template and not any(isinstance(operand, str) for operand in step.operands):
        edits = [token_edits(step), operand_edits(step, count, forward)]
    if not expression.is_statement and as_array(step.value) is not None:
        edits.append(whole_edits(step, forward))
    for template, cost, fault in itertools.chain(*edits):
        yield Candidate(expression, cost, fault, template)


def token_edits(step: Step) -> Iterator[tuple[str, float, Fault]]:
    r"""Another operator, function or axis; an operand dropped; two swapped."""
    node, template = step.expression.node, step.expression.template
    if isinstance(node, ast.BinOp):
        for op in "+-*/@":
            sign = {op, template[4]} == {"+", "-"}
            yield f"{{0}} {op} {{1}}", TOKEN, Fault.SIGN if sign else Fault.EXPRESSION
        yield "{0}", TOKEN, Fault.EXPRESSION
        yield "{1}", TOKEN, Fault.EXPRESSION
        yield template.replace("0", "2").replace("1", "0").replace("2", "1"), TOKEN, Fault.SWAPPED
        if isinstance(node.op, ast.MatMult):
            for a, b in itertools.product(("{0}", "{0}.T"), ("{1}", "{1}.T")):
                cost = TOKEN + 0.1 * (len(a) + len(b) - 6)
                yield f"{a} @ {b}", cost, Fault.TRANSPOSE
                yield f"{b} @ {a}", cost + 0.1, Fault.TRANSPOSE
    elif isinstance(node, ast.UnaryOp):
        yield "{0}", TOKEN - 0.1, Fault.SIGN
    elif isinstance(node, ast.Compare):
        yield from ((f"{{0}} {op} {{1}}", TOKEN, Fault.EXPRESSION) for op in ("<", ">", "<=", ">=", "==", "!="))
    elif isinstance(node, ast.Attribute):
        yield "{0}", TOKEN, Fault.TRANSPOSE
    elif step.is_assignment or isinstance(node, ast.AugAssign):
        left, right = ("{0}[{1}]", "{2}") if step.is_assignment else ("{0}", "{1}")
        old = template[len(left) + 1 : -len(right) - 1]
        for op in ("+=", "-=", "*=", "/=", "="):
            fault = Fault.OVERWRITTEN if "=" in (old, op) else Fault.SIGN
            yield f"{left} {op} {right}", TOKEN, fault
        if step.is_assignment and has_repeats(step.operands[1]) and old in ("=", "+=", "-="):
            if isinstance(step.operands[0], torch.Tensor):
                index = "{1}" if isinstance(step.operands[1], tuple) else "({1},)"
                at = f"{{0}}.index_put_({index}, {'-' if old == '-=' else ''}torch.as_tensor({{2}}), accumulate=True)"
            else:
                at = f"np.{'subtract' if old == '-=' else 'add'}.at({{0}}, {{1}}, {{2}})"
            yield at, TOKEN, Fault.OVERWRITTEN
    elif isinstance(node, ast.Call):
        yield from call_edits(step, node)


def has_repeats(index: Any) -> bool:
    r"""Whether an index may name an entry more than once."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(is_array(part) or isinstance(part, (list, range)) for part in parts)


def call_edits(step: Step, node: ast.Call) -> Iterator[tuple[str, float, Fault]]:
    template = step.expression.template
    function = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    for other in sorted(set().union(*(group for group in SIBLINGS if function in group)) - {function}):
        yield template.replace(f".{function}(", f".{other}(", 1), TOKEN, Fault.EXPRESSION
    places = [i for i, value in enumerate(step.operands) if as_array(value) is not None]
    yield from ((f"{{{i}}}", TOKEN + 0.5, Fault.EXPRESSION) for i in places)
    first = 2 if function == "where" else 1  # where its condition and a value are swapped, no value makes sense
    for i, j in itertools.combinations(range(first, len(step.operands)), 2):
        swapped = template.replace(f"{{{i}}}", "{x}").replace(f"{{{j}}}", f"{{{i}}}").replace("{x}", f"{{{j}}}")
        yield swapped, TOKEN, Fault.SWAPPED
    ndim = np.ndim(step.operands[places[0]]) if places else 2
    for keyword in node.keywords:
        others: Sequence[Any] = (True, False) if keyword.arg in ("keepdims", "keepdim") else axes(ndim)
        if keyword.arg in ("axis", "dim", "keepdims", "keepdim"):
            old = ast.unparse(keyword)
            yield from ((template.replace(old, f"{keyword.arg}={o}"), TOKEN, Fault.EXPRESSION) for o in others)


def axes(ndim: int) -> list[Any]:
    several = (itertools.combinations(range(ndim), count) for count in range(2, ndim))
    return [None, *range(-ndim, ndim), *itertools.chain(*several)]


def operand_edits(step: Step, count: int, forward: Variables) -> Iterator[tuple[str, float, Fault]]:
    r"""Another variable or constant in the place of an operand; an operand transposed, or times a variable."""
    expression, template = step.expression, step.expression.template
    for place, (operand, value) in enumerate(zip(expression.operands, step.operands, strict=False)):
        is_callee = isinstance(expression.node, ast.Call) and callable(value) and not is_array(value)
        if place == 0 and (is_callee or (expression.is_statement and not step.is_assignment)):
            continue

        def put(text: str, place: int = place) -> str:
            return template.replace(f"{{{place}}}", text)

        own = f"{{{place}}}"
        is_leaf = is_variable(operand) or isinstance(operand, ast.IfExp) or is_item(operand)
        for text, other in variables(step) if is_leaf else ():
            if replaces(other, value) and not (count == 1 and is_same(other, value)):
                # labels may fit by chance, for a row of them sums to 1
                yield put(braced(text)), TOKEN + 0.2 * is_integral(other), Fault.WRONG_TENSOR
            elif is_matrix(other) and is_array(value) and np.shape(other)[::-1] == np.shape(value):
                yield put(braced(f"{text}.T")), FACTOR, Fault.WRONG_TENSOR
            if not is_array(other) or as_array(other) is None or as_array(value) is None:
                continue
            is_product = isinstance(expression.node, ast.BinOp) and template[4] in "*/"
            if not is_product and broadcasts(np.shape(other), np.shape(value)):
                yield put(f"({own} * {braced(text)})"), FACTOR, Fault.MISSING_FACTOR
                yield put(f"({own} / {braced(text)})"), FACTOR, Fault.MISSING_FACTOR
        if is_leaf and as_array(value) is not None:
            yield from ((put(f"({own} + {text})"), TERM, Fault.MISSING_PATH) for text, _ in forward)
        for text in numbers(operand):
            yield put(text), TOKEN, Fault.FACTOR if isinstance(expression.node, ast.BinOp) else Fault.EXPRESSION
        if is_matrix(value) and not isinstance(expression.node, ast.BinOp) and template != "{0}":
            yield put(f"{own}.T"), TOKEN, Fault.TRANSPOSE


def whole_edits(step: Step, forward: Variables) -> Iterator[tuple[str, float, Fault]]:
    r"""The expression negated, transposed, times or plus something, summed."""
    shape = np.shape(step.value)
    yield "-{e}", TOKEN + 0.1, Fault.SIGN
    if len(shape) == 2:
        yield "{e}.T", TOKEN + 0.1, Fault.TRANSPOSE
    for text, other in [*variables(step), *forward]:
        text, numeric = braced(text), as_array(other) is not None and is_array(other)
        if not isinstance(other, bool) and broadcasts(np.shape(other), shape):
            yield f"{{e}} * {text}", FACTOR, Fault.MISSING_FACTOR
            yield f"{{e}} / {text}", FACTOR, Fault.MISSING_FACTOR
            if numeric:
                cost = TERM + 0.5 * (np.shape(other) != shape)
                yield f"{{e}} + {text}", cost, Fault.MISSING_PATH
                yield f"{{e}} - {text}", cost, Fault.MISSING_PATH
            if numeric and np.shape(other) == shape and shape:
                yield f"{{e}} * ({text} > 0)", FACTOR, Fault.ACTIVATION_DERIVATIVE_MISSING
                yield f"{{e}} * (1 - {text})", FACTOR, Fault.ACTIVATION_DERIVATIVE_WRONG
        if numeric and shape and len(shape) <= 2 and 1 <= np.ndim(other) <= 2:
            for a, b in itertools.product(turned("{e}", shape), turned(text, np.shape(other))):
                if a[1][-1] == b[1][0]:
                    yield f"{a[0]} @ {b[0]}", TERM, Fault.MISSING_FACTOR
                if b[1][-1] == a[1][0]:
                    yield f"{b[0]} @ {a[0]}", TERM, Fault.MISSING_FACTOR
    for axis in axes(len(shape)) if shape else ():
        for reduction in (f"sum(axis={axis})", f"sum(axis={axis}, keepdims=True)", f"mean(axis={axis})"):
            yield f"{{e}}.{reduction}", FACTOR, Fault.BIAS_NOT_SUMMED
        yield f"{{e}} / {{e}}.sum(axis={axis}, keepdims=True)", FACTOR, Fault.MISSING_FACTOR


def turned(text: str, shape: Sequence[int]) -> list[tuple[str, Sequence[int]]]:
    return [(text, shape), (f"{text}.T", shape[::-1])] if len(shape) == 2 else [(text, shape)]


def variables(step: Step) -> list[tuple[str, Any]]:
    r"""The user's variables at a step that hold numbers."""
    found: list[tuple[str, Any]] = []
    counters = [(name, value) for name, value in step.scope.items() if type(value) is int]
    for name, value in step.scope.items():
        if isinstance(value, (int, float)) or is_array(value):
            found.append((name, value))
        elif isinstance(value, dict):
            found += items(name, value, counters)
            found += [(f"{name}[{k!r}]", v) for k, v in value.items() if isinstance(k, str) and is_array(v)]
        elif isinstance(value, (list, tuple)):
            found += items(name, dict(enumerate(value)), counters)
            found += [(f"{name}[{i}]", v) for i, v in enumerate(value[:MAX_ITEMS]) if is_array(v)]
        elif hasattr(value, "__dict__"):
            found += [(f"{name}.{k}", v) for k, v in vars(value).items() if is_array(v)]
    return found[:MAX_VARIABLES]


def items(name: str, of: dict[Any, Any], counters: Variables) -> list[tuple[str, Any]]:
    r"""The items of a list or dictionary at the counter of a loop, and next to it."""
    places = [(f"{i}{shift}", at + int(shift or 0)) for i, at in counters for shift in ("", "-1", "+1")]
    return [(f"{name}[{text}]", of[at]) for text, at in places if is_array(of.get(at))]


def numbers(operand: ast.expr) -> Iterator[str]:
    r"""The operand with one of its numbers changed; a number in a compound operand belongs to another expression."""
    parts: list[ast.expr] = [operand] if isinstance(operand, (ast.Constant, ast.UnaryOp)) else []
    if isinstance(operand, (ast.Tuple, ast.Slice)):
        parts = [part for part in ast.walk(operand) if isinstance(part, ast.Constant)]
    for part in parts:
        try:
            number = ast.literal_eval(part)
        except ValueError:
            continue
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        for other in (number + 1, number - 1, -number, 2 * number, number / 2, 1 / (number or 1)):
            text = repr(int(other) if other == int(other) else other)
            if other != number:
                yield text if part is operand else ast.unparse(Replacement(part, text).visit(copy.deepcopy(operand)))


class Replacement(ast.NodeTransformer):
    r"""Replaces the part at one place."""

    def __init__(self, part: ast.expr, text: str) -> None:
        self.place, self.text = (part.lineno, part.col_offset), text

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.parse(self.text, mode="eval").body if (node.lineno, node.col_offset) == self.place else node


def braced(text: str) -> str:
    r"""A variable's text in a template."""
    return text.replace("{", "{{").replace("}", "}}")


def is_item(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and is_variable(node.value)


def is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor))


def is_matrix(value: Any) -> bool:
    return is_array(value) and value.ndim == 2 and as_array(value) is not None


def is_integral(value: Any) -> bool:
    array = as_array(value)
    return array is not None and bool((array == array.round()).all())


def is_same(a: Any, b: Any) -> bool:
    return bool((a == b).all()) if is_array(a) else bool(a == b)


def replaces(other: Any, value: Any) -> bool:
    r"""Whether a value has the shape and kind of another."""
    if isinstance(value, bool) or isinstance(other, bool):
        return False
    if isinstance(value, (int, float)):
        return isinstance(other, (int, float))
    return is_array(value) and is_array(other) and np.shape(other) == np.shape(value)


def broadcasts(shape: Sequence[int], target: Sequence[int]) -> bool:
    r"""Whether a shape broadcasts to another without changing it."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(a in (1, b) for a, b in pairs)
