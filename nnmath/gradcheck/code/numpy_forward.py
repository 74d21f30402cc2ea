r"""Runs a forward pass written in NumPy on torch tensors, so that autograd differentiates it."""

import dis
import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.conversion import native
from nnmath.gradcheck.graph.graph import to_float64

tnp: Any = importlib.import_module("torch._numpy")  # torch's own NumPy, which torch.compile uses

LIBRARIES = {"numpy", "torch"}
MODULES = {np: tnp, np.linalg: tnp.linalg, np.random: tnp.random, np.fft: tnp.fft}


class SciPySpecial:
    r"""The functions of torch.special, such as expit, of arrays of torch._numpy."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(torch.special, name)
        return lambda *args: tnp.asarray(function(*(a.tensor if isinstance(a, tnp.ndarray) else a for a in args)))


def numpy_to_torch(forward: Callable[..., Any]) -> Callable[..., Tensor]:
    r"""The same function of tensors; TypeError at the call if it does not return a number."""
    converted = with_torch(forward, {})

    def run(**inputs: Any) -> Tensor:
        loss = converted(**{k: tnp.ndarray(v) if isinstance(v, Tensor) else v for k, v in inputs.items()})
        return loss.tensor if isinstance(loss, tnp.ndarray) else torch.as_tensor(loss)

    return run


def why_not_in_torch(forward: Callable[..., Any], inputs: Mapping[str, Tensor]) -> str:
    r"""Why a forward pass in NumPy cannot be run on tensors; empty if it can, with the same loss."""
    doubles = {name: to_float64(tensor) for name, tensor in inputs.items()}
    expected = validation.call("forward", lambda: forward(**native(doubles, "numpy")))
    try:
        loss = numpy_to_torch(forward)(**doubles)
    except Exception as error:  # whatever an operation raises that torch lacks
        return " ".join(f"{type(error).__name__}: {error}".split())
    is_same = np.shape(expected) == tuple(loss.shape) and np.allclose(loss.numpy(), expected, 1e-6, 0, equal_nan=True)
    return "" if is_same else f"its loss is {loss.numpy()} there, not {expected}"


def with_torch(value: Any, done: dict[int, Any]) -> Any:
    r"""A function, module or array of NumPy as torch's; a function of the user with all that it refers to."""
    if isinstance(value, types.ModuleType):
        return SciPySpecial() if value.__name__ == "scipy.special" else MODULES.get(value, value)
    if isinstance(value, (np.ndarray, np.generic)):
        return tnp.asarray(np.asarray(value))
    if isinstance(value, np.vectorize):  # it has the name of the function that it calls
        return value
    if isinstance(value, np.ufunc) or getattr(value, "__module__", "").partition(".")[0] == "numpy":
        name = getattr(value, "__name__", "")
        return getattr(tnp, name, None) or getattr(SciPySpecial(), name, value)
    if not isinstance(value, types.FunctionType):
        return value
    if id(value) in done:
        return done[id(value)]
    scope: dict[str, Any] = dict(value.__globals__)
    closure = tuple(types.CellType(with_torch(cell.cell_contents, done)) for cell in value.__closure__ or ())
    defaults = tuple(with_torch(default, done) for default in value.__defaults__ or ()) or None
    function = types.FunctionType(value.__code__, scope, value.__name__, defaults, closure)
    function.__kwdefaults__ = value.__kwdefaults__
    done[id(value)] = function
    scope.update({name: with_torch(scope[name], done) for name in global_names(value.__code__) & scope.keys()})
    return function


def global_names(code: types.CodeType) -> set[str]:
    r"""The global names that a function reads, and the functions defined in it."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(global_names(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def library(function: Callable[..., Any]) -> str | None:
    r"""The library that a function's code uses, "numpy" or "torch"; None if it is neither or both."""
    found: set[str] = set()
    seen: set[Any] = set()

    def visit(value: Any) -> None:
        value = getattr(value, "__func__", value)
        owner = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        found.add(str(owner).partition(".")[0])
        if (
            isinstance(value, types.FunctionType)
            and value not in seen
            and str(owner).partition(".")[0] not in LIBRARIES
        ):
            seen.add(value)
            for name in global_names(value.__code__):
                visit(value.__globals__.get(name))
            for cell in value.__closure__ or ():
                visit(cell.cell_contents)

    visit(function)
    own = found & LIBRARIES
    return own.pop() if len(own) == 1 else None
