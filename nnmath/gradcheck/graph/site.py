r"""Where in the user's code an operation is: the line, and the expression."""

import ast
import functools
import itertools
import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import torch

TORCH, GRADCHECK = str(Path(torch.__file__).parent), str(Path(__file__).parents[1])
MAX_CALLERS = 8

InnermostCall = tuple[CodeType, int]  # code and instruction
Position = tuple[int, int, int, int]  # line, column, last line, last column


@dataclass(frozen=True)
class Site:
    r"""A call in the user's code, and those that led to it; the same in each iteration of a loop."""

    calls: tuple[InnermostCall, ...]  # the innermost first
    line: int  # of the innermost

    @property
    def file(self) -> str:
        return self.calls[0][0].co_filename

    @property
    def text(self) -> str:
        r"""The expression in one line; the whole line if its columns are unknown."""
        position = expression_position(self.calls[0])
        if position is None:
            return linecache.getline(self.file, self.line).strip()
        line, column, last_line, last_column = position
        lines = [text.encode() for text in linecache.getlines(self.file)[line - 1 : last_line]] or [b""]
        lines[-1] = lines[-1][:last_column]
        lines[0] = lines[0][column:]
        return " ".join(b"".join(lines).decode().split())

    @property
    def name(self) -> str:
        r"""The variable to which the expression is assigned, or else the expression."""
        position = expression_position(self.calls[0])
        variables = variables_assigned("".join(linecache.getlines(self.file)))
        return (position and variables.get(position)) or self.text

    def __str__(self) -> str:
        place = f"{Path(self.file).name}:{self.line}"
        return f"`{self.text}` ({place})" if self.text else place


def user_site() -> Site | None:
    r"""The innermost call being executed outside torch and this package; None if there is none."""
    frame: FrameType | None = sys._getframe(2)
    calls: list[InnermostCall] = []
    line = 0
    while frame is not None and len(calls) < MAX_CALLERS:
        file = frame.f_code.co_filename
        if file.startswith(GRADCHECK) and (
            calls or frame.f_code.co_name == "__init__"
        ):  # of Graph, which calls forward
            break
        if not file.startswith((TORCH, GRADCHECK)):
            line = line or frame.f_lineno
            calls.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return Site(tuple(calls), line) if calls else None


@functools.cache
def expression_position(call: InnermostCall) -> Position | None:
    code, instruction = call
    place = next(itertools.islice(code.co_positions(), instruction // 2, None), None)
    numbers = [number for number in place or () if number is not None]
    if len(numbers) < 4:
        return None
    line, last_line, column, last_column = numbers
    return line, column, last_line, last_column


@functools.cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


@functools.cache
def variables_assigned(text: str) -> dict[Position, str]:
    r"""The expressions of a file's text that are assigned to a variable: position ↦ variable."""
    try:
        tree = parse(text)
    except SyntaxError:
        return {}
    variables: dict[Position, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value, target = node.value, node.targets[0].id
            last_line, last_column = value.end_lineno or value.lineno, value.end_col_offset or 0
            variables[value.lineno, value.col_offset, last_line, last_column] = target
    return variables
