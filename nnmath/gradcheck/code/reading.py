r"""Reads the code of a backward: which line is wrong, what it computes, and what to write instead."""

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnmath.gradcheck.code.forward import RecordedForward
from nnmath.gradcheck.code.known import KnownValues
from nnmath.gradcheck.code.program import Program
from nnmath.gradcheck.code.search import Point, Repair, Search, gradient_array
from nnmath.gradcheck.diagnosis.unexplained import UNEXPLAINED
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.report import TraceEntry

POINTS = 3  # at which an edit has to give the right gradients
MAX_DRAWS = 8  # of random inputs, to find points at which everything is finite


class Reading:
    r"""Reads a backward whose gradients ``wrong`` are wrong, at float64 inputs."""

    def __init__(
        self,
        forward: Callable[..., Tensor],
        program: Program,
        inputs: Mapping[str, Tensor],
        wrong: Sequence[str],
        use_torch: bool,
        deadline: float,
        rebuilt: tuple[Any, Any, Mapping[str, Tensor]] | None = None,
    ) -> None:
        self.rebuilt = rebuilt  # forward, backward and inputs of another batch size
        self.forward, self.program, self.wrong = forward, program, list(wrong)
        self.use_torch, self.deadline = use_torch, deadline
        self.takes = "torch" if use_torch else "numpy"
        self.inputs = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
        self.note = ""  # why the code could not be read
        self.trace: list[TraceEntry] = []
        self.findings: list[Finding] = []

    def run(self) -> None:
        r"""Fills the trace and the findings; Ctrl-C ends the search and keeps what was found."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of the user's code, which runs with many edits
            points = self.draw_points()
            if not points:
                return
            known = KnownValues(points[0].forward.values())
            for step in self.program.trace(points[0].inputs)[0]:
                meaning, e = known.identify(step.value), step.expression
                self.trace.append(TraceEntry(e.file, e.line, e.target, e.code, str(meaning or "")))
            search = Search(self.program, points, self.wrong, known, self.dimensions(), self.deadline)
            try:
                self.findings.extend(self.finding(repair, len(points)) for repair in search.repairs())
            except KeyboardInterrupt:
                self.note = "the search was interrupted"

    def draw_points(self) -> list[Point]:
        r"""The given inputs, and random ones at which no other gradients are wrong; none if the code cannot be read."""
        if not self.program.expressions:
            self.note = "the source of backward was not found: only its results were compared"
            return []
        try:
            first = self.point(self.inputs, [])
            plain = self.program.plain(first.inputs)
            rewritten = self.program.run(first.inputs)
        except Exception as error:
            self.note = f"the code cannot be followed in float64 ({type(error).__name__}: {error})"
            return []
        first.names = names = list(plain)
        pairs = [(gradient_array(plain[name]), gradient_array(rewritten[name])) for name in names]
        if not all(a.shape == b.shape and np.allclose(a, b, 1e-9, 0, equal_nan=True) for a, b in pairs):
            self.note = "the code cannot be followed: run step by step it gives other gradients"
            return []
        points = [first]
        for seed in range(MAX_DRAWS):
            if len(points) == POINTS or time.monotonic() > self.deadline:
                break
            try:
                point = self.point(perturb(self.inputs, names, seed), names)
                gradients = self.program.run(point.inputs)
                wrong = {name for name in names if not point.is_right(name, gradients[name])}
                is_finite = all(np.isfinite(truth).all() for truth in point.truth.values())
            except Exception:  # inputs at which forward or backward is not defined
                continue
            if wrong and wrong <= set(self.wrong) and is_finite:
                points.append(point)
        if self.rebuilt is not None:
            forward, backward, inputs = self.rebuilt
            recorded = RecordedForward(forward, inputs)
            points.append(Point(native(inputs, self.takes), recorded, names, self.use_torch, backward))
        return points

    def point(self, inputs: Mapping[str, Tensor], names: Sequence[str]) -> Point:
        return Point(native(inputs, self.takes), RecordedForward(self.forward, inputs), names, self.use_torch)

    def dimensions(self) -> dict[str, int]:
        r"""The sizes of the data, each by one name."""
        sizes: dict[int, str] = {}
        for name, tensor in self.inputs.items():
            for axis, size in enumerate(tensor.shape):
                sizes.setdefault(size, f"len({name})" if axis == 0 else f"{name}.shape[{axis}]")
        for name, tensor in self.inputs.items():
            sizes.setdefault(tensor.numel(), f"{name}.numel()" if self.use_torch else f"{name}.size")
        return {text: size for size, text in sizes.items() if size > 2}

    def finding(self, repair: Repair, points: int) -> Finding:
        r"""A repair as a finding."""
        candidate, expression = repair.candidate, repair.candidate.expression
        code, written = expression.code, ""
        if candidate.template:
            code, written = expression.in_context(candidate.text)
        computes, should_be = str(repair.computes or ""), repair.should_be or candidate.text
        place = (
            f"{Path(expression.file).name}:{expression.line}: `{code}`{f', which is {computes},' if computes else ''}"
        )
        explanation = f"{place} should be {f'`{written}`' if should_be == written else should_be}."
        names = list(repair.names)
        right = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} right at {points} point{'s' * (points > 1)}"
        fix = f"write `{written}`: with this edit {right}" if written else f"compute {should_be} here: then {right}"
        details = (expression.file, expression.line, code, computes, should_be, written)
        return Finding(candidate.fault, names, explanation, fix, *details)


def combine(read: Sequence[Finding], by_rules: Sequence[Finding]) -> list[Finding]:
    r"""The findings from the code, named by the rules if these explain the same gradients; and the rules' others."""
    findings: list[Finding] = []
    for finding in read:
        same = [r for r in by_rules if set(r.names) == set(finding.names) and r.fault not in UNEXPLAINED]
        named = bool(same) and finding.fault is Fault.EXPRESSION
        findings.append(dataclasses.replace(finding, fault=same[0].fault) if named else finding)
    explained = {name for finding in read for name in finding.names}
    rest = ((finding, [name for name in finding.names if name not in explained]) for finding in by_rules)
    return findings + [dataclasses.replace(finding, names=names) for finding, names in rest if names]


def perturb(inputs: Mapping[str, Tensor], names: Sequence[str], seed: int) -> dict[str, Tensor]:
    r"""Random inputs near the given ones: labels and masks stay, positive numbers stay positive."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for name, tensor in inputs.items():
        is_label = not tensor.is_floating_point() or (name not in names and torch.equal(tensor, tensor.round()))
        if is_label or not tensor.numel():
            result[name] = tensor.clone()
            continue
        noise = 0.3 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        spread = float(tensor.std()) if tensor.numel() > 1 else 0.0
        if bool((tensor > 0).all()):
            result[name] = tensor * noise.exp()
        else:
            result[name] = tensor + noise * (spread or float(tensor.abs().max()) or 1.0)
    return result


def native(inputs: Mapping[str, Tensor], takes: str) -> dict[str, Any]:
    r"""Copies of the inputs, as tensors or as arrays; a number is one of NumPy."""
    if takes == "torch":
        return {name: tensor.clone() for name, tensor in inputs.items()}
    return {name: tensor.numpy().copy()[()] for name, tensor in inputs.items()}
