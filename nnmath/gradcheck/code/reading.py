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
from nnmath.gradcheck.code.known import KnownValues, as_array
from nnmath.gradcheck.code.program import Program, Step
from nnmath.gradcheck.code.search import Point, Repair, Search, gradient_array
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.conversion import native
from nnmath.gradcheck.diagnosis.diagnose import diagnose
from nnmath.gradcheck.diagnosis.unexplained import UNEXPLAINED
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.report import TraceEntry

POINTS = 3  # at which an edit has to give the right gradients
NAMING_SECONDS = 5.0  # for the rules, where the code has explained all
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
        has_ties: bool,
        rebuilt: tuple[Any, Any, Mapping[str, Tensor]] | None = None,
    ) -> None:
        self.has_ties = has_ties  # at the given inputs, where other gradients than autograd's are right too
        self.rebuilt = rebuilt  # forward, backward and inputs of another batch size
        self.forward, self.program, self.wrong = forward, program, list(wrong)
        self.use_torch, self.deadline = use_torch, deadline
        self.takes = "torch" if use_torch else "numpy"
        self.inputs = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
        self.note = ""  # why the code could not be read
        self.trace: list[TraceEntry] = []
        self.findings: list[Finding] = []
        self.bracket: dict[str, Any] = {}  # where the values go wrong that no edit makes right: fields of a finding

    def run(self) -> None:
        r"""Fills the trace and the findings; Ctrl-C ends the search and keeps what was found."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of the user's code, which runs with many edits
            points = self.draw_points()
            if not points:
                return
            known = KnownValues(points[0].forward.values())
            steps, _ = self.program.trace(points[0].inputs)
            for step in steps:
                meaning, e = known.identify(step.value), step.expression
                self.trace.append(TraceEntry(e.file, e.line, e.target, e.code, str(meaning or "")))
            search = Search(self.program, points, self.wrong, known, self.dimensions(), self.deadline)
            try:
                self.findings.extend(self.finding(repair, len(points)) for repair in search.repairs())
            except KeyboardInterrupt:
                self.note = "the search was interrupted"
            if search.wrong:
                self.bracket = bracket(steps, [step.place for step in search.steps or steps], known)

    def complete(self, comparison: Comparison, n: int | None = None, in_graph: bool = True) -> list[Finding]:
        r"""The findings from the code, named by the rules if they explain the same gradients; and the rules' others."""
        explained = {name for finding in self.findings for name in finding.names}
        rest = [name for name in comparison.wrong if name not in explained]
        if not rest and all(finding.fault is not Fault.EXPRESSION for finding in self.findings):
            return self.findings
        deadline = self.deadline if rest else min(self.deadline, time.monotonic() + NAMING_SECONDS)
        by_rules, findings = diagnose(comparison, n, in_graph=in_graph, deadline=deadline), []
        for finding in self.findings:
            same = [r for r in by_rules if set(r.names) == set(finding.names) and r.fault not in UNEXPLAINED]
            named = bool(same) and finding.fault is Fault.EXPRESSION
            findings.append(dataclasses.replace(finding, fault=same[0].fault) if named else finding)
        for finding in by_rules:
            if names := [name for name in finding.names if name not in explained]:
                finding = dataclasses.replace(finding, names=names)
                if self.bracket and finding.fault in UNEXPLAINED:
                    explanation = f"{finding.explanation} {self.bracket['explanation']}"
                    finding = dataclasses.replace(finding, **{**self.bracket, "explanation": explanation})
                findings.append(finding)
        return findings

    def draw_points(self) -> list[Point]:
        r"""The given inputs, and random ones at which no other gradients are wrong; none if the code cannot be read.

        If there are ties, random inputs alone, if the gradients are wrong there too.
        """
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
        points = [] if self.has_ties else [first]
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
        points = points or [first]
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
        meaning = f", which is {computes}," if computes not in ("", code) else ""
        place = f"{Path(expression.file).name}:{expression.line}: `{code}`{meaning}"
        explanation = f"{place} should be {f'`{written}`' if should_be == written else should_be}."
        names = list(repair.names)
        right = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} right at {points} point{'s' * (points > 1)}"
        fix = f"write `{written}`: with this edit {right}" if written else f"compute {should_be} here: then {right}"
        details = (expression.file, expression.line, code, computes, should_be, written)
        return Finding(candidate.fault, names, explanation, fix, *details)


def bracket(steps: Sequence[Step], relevant: Sequence[int], known: KnownValues) -> dict[str, Any]:
    r"""The first value at a relevant place that is not known, after the last gradient that is; fields of a finding."""
    meanings = {step.place: known.identify(step.value) for step in steps}
    right = [place for place, m in meanings.items() if m and m.is_right and m.known.is_gradient]
    last_relevant = max(set(right) & set(relevant), default=-1)
    arrays = {step.place for step in steps if (value := as_array(step.value)) is not None and value.size > 1}
    unknown = [p for p in sorted(relevant) if p > last_relevant and p in arrays and not meanings[p]]
    if not unknown:
        return {}
    e, before = steps[unknown[0]].expression, max((place for place in right if place < unknown[0]), default=None)
    text = f"{Path(e.file).name}:{e.line}: `{e.code}` is the first value that is not known"
    if before is not None:
        last = steps[before].expression
        text += f"; `{last.code}` in line {last.line} is still right, {meanings[before]}"
    return {"explanation": f"{text}.", "file": e.file, "line": e.line, "code": e.code}


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
