r"""Runs a hand-written backward operation by operation, with some of them replaced."""

import functools
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from nnmath.gradcheck.code.source import Expression, ItemUpdate, Method, bind, call, rewrite, setitem

Edit = Callable[[FrameType, tuple[Any, ...], dict[str, Any]], Any]  # frame, operands, keywords ↦ the value
Runner = Callable[[Callable[..., Any], Mapping[str, Any]], Mapping[str, Any]]  # function, inputs ↦ gradients

OTHERS = (str(Path(__file__).parents[1]), *{sysconfig.get_path(p) for p in ("stdlib", "purelib", "platlib")}, "<frozen")
MAX_ENTRIES = 20_000_000  # of all values of a trace that are copied


@dataclass
class Step:
    r"""One evaluation of an expression."""

    expression: Expression
    place: int  # in the trace
    instance: int  # how often it had been evaluated before
    operands: tuple[Any, ...]
    value: Any
    scope: dict[str, Any]  # the variables at its first evaluation: name ↦ value
    result: Any  # the value itself, which the code may have changed since

    @property
    def is_assignment(self) -> bool:
        r"""Whether it assigns to an item; its value is then the whole array."""
        return isinstance(self.expression.function, ItemUpdate) or self.expression.function is setitem


class Program:
    r"""A function of the user and those that it calls, rewritten; its gradients with or without edits."""

    def __init__(self, function: Callable[..., Any], run: Runner) -> None:
        self.expressions: list[Expression] = []
        self.functions: list[Callable[..., Any]] = []
        self.cell = CellType(None)
        self.codes: dict[CodeType, CodeType | None] = {}
        self.runner, self.original = run, function
        self.function = self.rewritten(function)

    def rewritten(self, function: Callable[..., Any]) -> Callable[..., Any]:
        r"""The user's function, rewritten; anything else as it is."""
        if isinstance(function, FunctionType):
            code = function.__code__
            if code not in self.codes:
                own = not code.co_filename.startswith(OTHERS)
                self.codes[code] = rewrite(function, self.expressions) if own else None
                self.functions += [self.visible(e.function) for e in self.expressions[len(self.functions) :]]
            rewritten = self.codes[code]
            return function if rewritten is None else bind(function, rewritten, self.cell)
        if isinstance(function, MethodType):
            return MethodType(self.rewritten(function.__func__), function.__self__)
        if isinstance(function, functools.partial):
            return functools.partial(self.rewritten(function.func), *function.args, **function.keywords)
        own_call = vars(type(function)).get("__call__")
        if isinstance(own_call, FunctionType):
            return MethodType(self.rewritten(own_call), function)
        return function

    def visible(self, function: Callable[..., Any]) -> Callable[..., Any]:
        r"""An expression's function that rewrites the user's functions that it calls."""
        if function is call:
            return lambda callee, *args, **kwargs: self.rewritten(callee)(*args, **kwargs)
        if isinstance(function, Method):
            name = function.name
            return lambda owner, *args, **kwargs: self.rewritten(getattr(owner, name))(*args, **kwargs)
        return function

    def plain(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        r"""The gradients by the user's function as it is."""
        return self.runner(self.original, {name: copy_array(value) for name, value in inputs.items()})

    def run(
        self, inputs: Mapping[str, Any], edits: Mapping[int, Edit] | None = None, function: Any = None
    ) -> Mapping[str, Any]:
        r"""The gradients with these edits: number of an expression ↦ what replaces it.

        ``function`` is another one of the same code, for example a closure over other data.
        """
        functions, edits = self.functions, edits or {}

        def step(number: int, *operands: Any, **keywords: Any) -> Any:
            edit = edits.get(number)
            if edit is None:
                return functions[number](*operands, **keywords)
            return edit(sys._getframe(1), operands, keywords)

        self.cell.cell_contents = step
        own = self.function if function is None else self.rewritten(function)
        return self.runner(own, {name: copy_array(value) for name, value in inputs.items()})

    def trace(self, inputs: Mapping[str, Any]) -> tuple[list[Step], Mapping[str, Any]]:
        r"""The steps in the order of their evaluation, and the gradients."""
        steps: list[Step] = []
        counts: dict[int, int] = {}
        entries = 0

        def step(number: int, *operands: Any, **keywords: Any) -> Any:
            nonlocal entries
            instance = counts.get(number, 0)
            counts[number] = instance + 1
            frame = sys._getframe(1)
            scope = {} if instance else {name: value for name, value in frame.f_locals.items() if is_data(value)}
            before = tuple(map(copy_array, operands)) if entries < MAX_ENTRIES else operands
            value = self.functions[number](*operands, **keywords)
            expression = self.expressions[number]
            result = operands[0] if value is None and operands else value  # an assignment to an item
            entries += getattr(result, "size", 0) if isinstance(result, np.ndarray) else 0
            steps.append(
                Step(
                    expression,
                    len(steps),
                    instance,
                    before,
                    copy_array(result) if entries < MAX_ENTRIES else result,
                    scope,
                    result,
                )
            )
            return value

        self.cell.cell_contents = step
        gradients = self.runner(self.function, {name: copy_array(value) for name, value in inputs.items()})
        return steps, gradients


def copy_array(value: Any) -> Any:
    r"""A copy of an array or a tensor; anything else as it is."""
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def is_data(value: Any) -> bool:
    r"""Whether a variable holds numbers, or something that has them."""
    return not callable(value) and not isinstance(value, (ModuleType, str))
