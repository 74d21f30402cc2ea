r"""Rewrites a function so that each of its operations can be observed and replaced.

Every operation of its source becomes a call of ``step``: ``x.T @ d`` becomes ``step(2, step(1, x), d)``, where 2 is the
number of the expression whose function is ``operator.matmul``. Line numbers stay those of the user's file.
"""

import ast
import copy
import inspect
import linecache
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any, cast

from nnmath.gradcheck.graph.site import parse

STEP, SLICE = "__step__", "__slice__"  # free variables of a rewritten function
OPERATORS: dict[type[ast.AST], tuple[Callable[..., Any], str]] = {
    ast.Add: (operator.add, "{0} + {1}"),
    ast.Sub: (operator.sub, "{0} - {1}"),
    ast.Mult: (operator.mul, "{0} * {1}"),
    ast.Div: (operator.truediv, "{0} / {1}"),
    ast.MatMult: (operator.matmul, "{0} @ {1}"),
    ast.Pow: (operator.pow, "{0} ** {1}"),
    ast.FloorDiv: (operator.floordiv, "{0} // {1}"),
    ast.Mod: (operator.mod, "{0} % {1}"),
    ast.BitAnd: (operator.and_, "{0} & {1}"),
    ast.BitOr: (operator.or_, "{0} | {1}"),
    ast.BitXor: (operator.xor, "{0} ^ {1}"),
    ast.LShift: (operator.lshift, "{0} << {1}"),
    ast.RShift: (operator.rshift, "{0} >> {1}"),
    ast.USub: (operator.neg, "-{0}"),
    ast.UAdd: (operator.pos, "+{0}"),
    ast.Invert: (operator.invert, "~{0}"),
    ast.Not: (operator.not_, "not {0}"),
    ast.Lt: (operator.lt, "{0} < {1}"),
    ast.LtE: (operator.le, "{0} <= {1}"),
    ast.Gt: (operator.gt, "{0} > {1}"),
    ast.GtE: (operator.ge, "{0} >= {1}"),
    ast.Eq: (operator.eq, "{0} == {1}"),
    ast.NotEq: (operator.ne, "{0} != {1}"),
}
IN_PLACE: dict[type[ast.AST], tuple[Callable[..., Any], str]] = {
    ast.Add: (operator.iadd, "+="),
    ast.Sub: (operator.isub, "-="),
    ast.Mult: (operator.imul, "*="),
    ast.Div: (operator.itruediv, "/="),
}


@dataclass(eq=False)
class Expression:
    r"""An operation of the user's code: an expression, or an assignment to an item or in place."""

    number: int
    node: ast.expr | ast.stmt  # as the user wrote it
    function: Callable[..., Any]  # of the operands' values
    template: str  # "{0} @ {1}"; empty if the operands cannot be distinguished
    operands: list[ast.expr]
    file: str
    target: str = ""  # the variable to which the statement assigns its value

    @property
    def line(self) -> int:
        return self.node.lineno

    @property
    def is_statement(self) -> bool:
        return isinstance(self.node, ast.stmt)

    @property
    def code(self) -> str:
        r"""The text in the user's file."""
        return flat_text(self.file, self.node)

    def fill(self, template: str) -> str:
        r"""The code that a template stands for: ``{0}`` is the first operand, ``{e}`` the expression itself."""
        texts = [parenthesized(operand) for operand in self.operands]
        whole = {} if self.is_statement else {"e": parenthesized(self.node)}
        return ast.unparse(ast.parse(template.format(*texts, **whole)))

    def in_context(self, repair: str) -> tuple[str, str]:
        r"""The code and its repair; with what is around them if the same code stands twice on its line."""
        code, node = self.code, self.node
        lines = linecache.getlines(self.file)
        if lines[self.line - 1].count(code) < 2:
            return code, repair
        inside = [
            outer
            for outer in ast.walk(parse("".join(lines)))
            if isinstance(outer, (ast.expr, ast.Assign, ast.AugAssign, ast.Return, ast.Expr)) and encloses(outer, node)
        ]
        for outer in reversed(inside):
            text = flat_text(self.file, outer)
            if len(text) > len(code) and lines[self.line - 1].count(text) == 1 and outer.lineno == self.line:
                start = node.col_offset - outer.col_offset
                edited = f"{text[:start]}({repair}){text[start + len(code) :]}"
                return text, ast.unparse(ast.parse(edited))
        return code, repair


def parenthesized(node: ast.AST) -> str:
    r"""The text of an operand, in parentheses unless that changes nothing."""
    if isinstance(node, ast.Tuple):
        return ", ".join(map(ast.unparse, node.elts))  # an index; a slice in parentheses is no Python
    text = ast.unparse(node)
    atomic = (ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.Call, ast.Slice)
    return text if isinstance(node, atomic) else f"({text})"


def flat_text(file: str, node: ast.AST) -> str:
    r"""The text of a node in the user's file, on one line."""
    segment = ast.get_source_segment("".join(linecache.getlines(file)), node)
    return " ".join((segment or ast.unparse(node)).split())


def encloses(outer: ast.expr | ast.stmt, node: ast.expr | ast.stmt) -> bool:
    ends = [(n.end_lineno or 0, n.end_col_offset or 0) for n in (outer, node)]
    return (outer.lineno, outer.col_offset) <= (node.lineno, node.col_offset) and ends[0] >= ends[1]


class Rewriter(ast.NodeTransformer):
    r"""Replaces each operation by a call of step, and collects the expressions."""

    def __init__(self, file: str, expressions: list[Expression]) -> None:
        self.file, self.expressions, self.target = file, expressions, ""

    def step(
        self, node: Any, function: Callable[..., Any], template: str, operands: Sequence[ast.expr], call: Any = None
    ) -> ast.expr:
        r"""A call of step with the operands, and with the keywords of ``call``."""
        number, own = len(self.expressions), copy.deepcopy((node, list(operands)))
        if any(isinstance(operand, ast.Starred) for operand in operands):
            template = ""
        self.expressions.append(Expression(number, own[0], function, template, own[1], self.file, self.target))
        target, self.target = self.target, ""
        args = [self.visit(operand) for operand in operands]
        keywords = [self.visit(keyword) for keyword in call.keywords] if call else []
        self.target = target
        return ast.copy_location(ast.Call(ast.Name(STEP, ast.Load()), [ast.Constant(number), *args], keywords), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return self.step(node, *OPERATORS[type(node.op)], [node.left, node.right])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        is_number = isinstance(node.operand, ast.Constant)
        return node if is_number else self.step(node, *OPERATORS[type(node.op)], [node.operand])

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
            return self.step(node, *OPERATORS[type(node.ops[0])], [node.left, node.comparators[0]])
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id in ("super", "locals", "vars", "zip", "range", "enumerate"):
            return cast(ast.expr, self.generic_visit(node))
        arguments = [f"{{{i}}}" for i in range(1, len(node.args) + 1)]
        arguments += [ast.unparse(keyword).replace("{", "{{").replace("}", "}}") for keyword in node.keywords]
        if isinstance(node.func, ast.Attribute):
            method = Method(node.func.attr)
            template = f"{{0}}.{node.func.attr}({', '.join(arguments)})"
            return self.step(node, method, template, [node.func.value, *node.args], node)
        return self.step(node, call, f"{{0}}({', '.join(arguments)})", [node.func, *node.args], node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if not isinstance(node.ctx, ast.Load) or node.attr not in ("T", "mT"):
            return self.generic_visit(node)
        return self.step(node, operator.attrgetter(node.attr), f"{{0}}.{node.attr}", [node.value])

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if not isinstance(node.ctx, ast.Load):
            return self.generic_visit(node)
        return self.step(node, operator.getitem, "{0}[{1}]", [node.value, node.slice])

    def visit_Slice(self, node: ast.Slice) -> ast.expr:
        bounds = [self.visit(bound) if bound else ast.Constant(None) for bound in (node.lower, node.upper, node.step)]
        return ast.Call(ast.Name(SLICE, ast.Load()), bounds, [])

    def value(self, node: ast.expr) -> ast.expr:
        r"""The value of an assignment, a dictionary or a return: a step even if it is only a variable."""
        return self.step(node, identity, "{0}", [node]) if is_variable(node) else self.visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        node.test, node.body, node.orelse = self.visit(node.test), self.value(node.body), self.value(node.orelse)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.expr:
        node.values = [self.value(value) for value in node.values]
        return node

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        if isinstance(node.value, (ast.Tuple, ast.List)):
            node.value.elts = [self.value(value) for value in node.value.elts]
        elif node.value is not None:
            node.value = self.value(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Subscript):
            operands = [as_load(target.value), target.slice, node.value]
            return ast.copy_location(ast.Expr(self.step(node, setitem, "{0}[{1}] = {2}", operands)), node)
        self.target = target.id if isinstance(target, ast.Name) else ""
        node.value = self.value(node.value)
        self.target = ""
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        function, text = IN_PLACE.get(type(node.op), (None, ""))
        if function is None:
            node.value = self.visit(node.value)
        elif isinstance(node.target, ast.Subscript):
            operands = [as_load(node.target.value), node.target.slice, node.value]
            call = self.step(node, ItemUpdate(function), f"{{0}}[{{1}}] {text} {{2}}", operands)
            return ast.copy_location(ast.Expr(call), node)
        else:
            value = self.step(node, function, f"{{0}} {text} {{1}}", [as_load(node.target), node.value])
            return ast.copy_location(ast.Assign([node.target], value), node)
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.value(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.body = self.value(node.body)
        return node


def as_load(node: ast.expr) -> ast.expr:
    r"""The same variable, item or attribute, to be read."""
    loaded = copy.deepcopy(node)
    cast(Any, loaded).ctx = ast.Load()
    return loaded


def is_variable(node: ast.AST) -> bool:
    r"""Whether an expression is a name or an attribute, such as ``self.weight``."""
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and is_variable(node.value))


def identity(value: Any) -> Any:
    return value


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


@dataclass(frozen=True)
class Method:
    r"""Calls the method, or the function of a module, of this name."""

    name: str

    def __call__(self, owner: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(owner, self.name)(*args, **kwargs)


def setitem(array: Any, index: Any, value: Any) -> None:
    array[index] = value


@dataclass(frozen=True)
class ItemUpdate:
    r"""``array[index] += value``, or another operator."""

    function: Callable[..., Any]

    def __call__(self, array: Any, index: Any, value: Any) -> None:
        array[index] = self.function(array[index], value)


def definition(function: FunctionType) -> ast.FunctionDef | ast.Lambda | None:
    r"""The definition of a function in its file; None if the file cannot be read, or does not hold it."""
    code = function.__code__
    linecache.checkcache(code.co_filename)  # it may have been edited since
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    try:
        tree = parse(text)
    except SyntaxError:
        return None
    lines = {line for *_, line in code.co_lines() if line is not None}
    candidates: list[ast.FunctionDef | ast.Lambda] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first == code.co_firstlineno:
                return node
        elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
            candidates.append(node)
    if len(candidates) > 1:  # several on one line
        columns = [p for p in code.co_positions() if p[0] in lines and p[2] is not None and p[3]]
        inside = [
            node
            for node in candidates
            if all((node.lineno, node.col_offset) <= (p[0] or 0, p[2] or 0) for p in columns)
            and all((p[1] or 0, p[3] or 0) <= (node.end_lineno or 0, node.end_col_offset or 0) for p in columns)
        ]
        candidates = sorted(inside, key=lambda node: node.col_offset)[-1:]
    return candidates[0] if candidates else None


def rewrite(function: FunctionType, expressions: list[Expression]) -> CodeType | None:
    r"""The function's code with its operations replaced by calls of step; None if it has no source."""
    code = function.__code__
    found = definition(function)
    if found is None or STEP in code.co_freevars or inspect.isgeneratorfunction(function):
        return None
    node = copy.deepcopy(found)
    rewriter = Rewriter(code.co_filename, expressions)
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
    inner = rewriter.visit(node)
    # a function around it makes its free variables, and step, variables of a closure
    module = ast.parse(f"def outer({', '.join([*code.co_freevars, STEP, SLICE])}): pass")
    around = next(node for node in module.body if isinstance(node, ast.FunctionDef))
    around.body = [inner if isinstance(inner, ast.stmt) else ast.Return(inner)]
    outer = nested_code(compile(ast.fix_missing_locations(module), code.co_filename, "exec"), "outer")
    return nested_code(outer, code.co_name)


def nested_code(code: CodeType, name: str) -> CodeType:
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)


def bind(function: FunctionType, code: CodeType, step: CellType) -> FunctionType:
    r"""The function with the rewritten code, in its own closure."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells |= {STEP: step, SLICE: CellType(slice)}
    closure = tuple(cells[name] for name in code.co_freevars)
    bound = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    bound.__kwdefaults__ = function.__kwdefaults__
    return bound
