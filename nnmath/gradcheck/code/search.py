r"""Finds the edits of a hand-written backward that make its gradients right.

An edit is accepted if gradients that were wrong become right, to rounding, and none becomes wrong: at the given inputs
and at random ones.
"""

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nnmath.gradcheck.code.candidates import FACTOR, TERM, TOKEN, Candidate, Evaluator, braced, candidates, variables
from nnmath.gradcheck.code.formulas import Target, derivative_text, forward_expressions, targets, vjp_texts
from nnmath.gradcheck.code.forward import RecordedForward
from nnmath.gradcheck.code.known import RTOL, Array, KnownValues, Meaning, as_array, ratio
from nnmath.gradcheck.code.program import Edit, Program, Step
from nnmath.gradcheck.code.source import identity
from nnmath.gradcheck.faults import Fault

MIN_RUNS = 5000  # of the backward; where there is no time for as many, the likeliest edits are tried first
NEAREST = 12  # steps
NUDGE = 1e-3  # by which values are changed to find out which gradients depend on them


@dataclass
class Point:
    r"""Inputs as the backward takes them, and the forward pass there."""

    inputs: Mapping[str, Any]
    forward: RecordedForward
    names: Sequence[str]  # of the gradients that the backward returns
    use_torch: bool
    function: Any = None  # the backward, if it is another one there

    @cached_property
    def truth(self) -> dict[str, Array]:
        return {name: self.forward.gradients[name].numpy() for name in self.names}

    @cached_property
    def largest(self) -> float:
        return max(float(np.abs(truth).max(initial=0.0)) for truth in self.truth.values())

    def is_right(self, name: str, gradient: Any) -> bool:
        value, truth = gradient_array(gradient), self.truth[name]
        if value.shape != truth.shape:
            return False
        scale = max(float(np.abs(truth).max(initial=0.0)), 1e-6 * self.largest)
        return float(np.abs(value - truth).max(initial=0.0)) <= RTOL * scale


@dataclass(frozen=True)
class Repair:
    r"""An accepted edit, and the gradients that it makes right."""

    candidate: Candidate
    names: tuple[str, ...]
    computes: Meaning | None  # what the value is that the edit changes
    should_be: str = ""  # what it is with the edit, if that has a name


class Search:
    r"""The search for one repair after another, until all gradients are right or the time is over."""

    def __init__(
        self,
        program: Program,
        points: Sequence[Point],
        wrong: Sequence[str],
        known: KnownValues,
        dimensions: Mapping[str, int],
        deadline: float,
    ) -> None:
        self.program, self.points, self.wrong, self.known = program, points, list(wrong), known
        self.dimensions, self.deadline = dimensions, deadline
        self.accepted: list[Candidate] = []
        self.steps: list[Step] = []  # on which the wrong gradients depend
        start = time.monotonic()
        program.run(points[0].inputs)
        end = time.monotonic()
        self.is_slow = MIN_RUNS * (end - start) > deadline - end

    @property
    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def repairs(self) -> Iterator[Repair]:
        r"""One repair after another, each on top of the ones before."""
        while self.wrong and not self.late and (repair := self.best_repair()):
            if not repair.should_be:
                repair = dataclasses.replace(repair, should_be=self.edited_value(repair.candidate))
            self.accepted.append(repair.candidate)
            self.wrong = [name for name in self.wrong if name not in repair.names]
            yield repair

    def best_repair(self) -> Repair | None:
        r"""The plainest edit that makes the most gradients right."""
        self.true_gradients: list[tuple[Any, Repair]] = []
        self.edits_of: dict[int, list[Candidate]] = {}  # place of a step ↦ its edits
        results: list[tuple[Any, Repair]] = []
        self.steps = self.relevant_steps()
        for group in self.groups(self.steps):
            for step, candidate in group:
                if self.late:
                    break
                if names := self.accept(candidate):
                    right, line, place = self.order(step)
                    order = (-len(names), candidate.cost, right, line, len(candidate.text), place)
                    results.append((order, Repair(candidate, names, self.known.identify(step.value))))
                    if self.is_slow and len(names) == len(self.wrong):
                        break
            if any(len(repair.names) == len(self.wrong) for _, repair in results):
                break
        return min(results or self.true_gradients, key=lambda result: result[0], default=(None, None))[1]

    def groups(self, steps: Sequence[Step]) -> Iterator[Iterator[tuple[Step, Candidate]]]:
        r"""The edits to try; the search ends after a group in which one makes all gradients right.

        The groups are the plainest edits of all steps, the next plainest, and so on. If a run is slow, those that
        follow from the forward pass come first, and those of the nearest steps before the others.
        """
        parts = [steps[:NEAREST], steps[NEAREST:]] if self.is_slow else [steps]
        levels = itertools.product(parts, (FACTOR, TOKEN)) if self.is_slow else ((steps, TOKEN), (steps, FACTOR))
        for part, level in levels:
            edits = self.level(part, level)
            yield itertools.chain(self.from_forward(part), edits) if level == FACTOR else edits
        yield from (self.level(part, TERM) for part in parts)

    def level(self, steps: Sequence[Step], level: float) -> Iterator[tuple[Step, Candidate]]:
        r"""The edits of a cost from ``level`` to below the next one."""
        for step in steps:
            if step.place not in self.edits_of:
                forward = list(self.expressions_of_forward(step).items())
                self.edits_of[step.place] = list(candidates(step, self.counts[step.expression.number], forward))
            for candidate in self.edits_of[step.place]:
                if max(TOKEN, int(candidate.cost)) == level:
                    yield step, candidate

    def order(self, step: Step) -> tuple[int, int, int]:
        r"""Prefers the first value that is not known to be right; if all are, the last; and no variable alone."""
        meaning = self.known.identify(step.value)
        right = meaning is not None and meaning.is_right
        line = self.lines.index((step.expression.file, step.expression.line))
        return right + (step.expression.function is identity), -line if right else line, step.place

    # ---- running the code with edits

    def edits(self, point: Point, *candidates: Candidate) -> dict[int, Edit]:
        r"""The accepted edits and these."""
        edits: dict[int, Edit] = {}
        for candidate in [*self.accepted, *candidates]:
            number = candidate.expression.number
            evaluator = Evaluator(point.forward, point.use_torch)
            edits[number] = as_edit(candidate, self.program.functions[number], evaluator, edits.get(number))
        return edits

    def gradients(self, point: Point, *candidates: Candidate) -> Mapping[str, Any] | None:
        r"""The gradients with these edits; None if the code fails with them."""
        try:
            with np.errstate(all="ignore"):
                return self.program.run(point.inputs, self.edits(point, *candidates), point.function)
        except Exception:  # whatever the edited code may raise
            return None

    def accept(self, candidate: Candidate) -> tuple[str, ...]:
        r"""The gradients that an edit makes right at every point; none if it makes another wrong."""
        names: tuple[str, ...] = ()
        for point in self.points:
            gradients = self.gradients(point, candidate)
            if gradients is None:
                return ()
            right = {name for name in point.truth if point.is_right(name, gradients[name])}
            names = names or tuple(name for name in self.wrong if name in right)
            if not names or not {*names, *(name for name in point.truth if name not in self.wrong)} <= right:
                return ()
        return names

    def scale_of(self, candidate: Candidate) -> tuple[tuple[str, ...], float]:
        r"""The gradients that an edit makes right at the first point up to a constant factor, and that factor."""
        point = self.points[0]
        gradients = self.gradients(point, candidate) or {}
        names_of: dict[float, list[str]] = {}
        for name, truth in point.truth.items():
            if name in self.wrong and name in gradients:
                c = ratio(truth, gradient_array(gradients[name]))
                names_of.setdefault(c or 0.0, []).append(name)
            elif name not in gradients or not point.is_right(name, gradients[name]):
                return (), 1.0
        names_of.pop(0.0, None)
        best = max(names_of, key=lambda c: (len(names_of[c]), c == 1), default=1.0)
        return tuple(name for name in self.wrong if name in names_of.get(best, ())), best

    def edited_value(self, candidate: Candidate) -> str:
        r"""What an expression equals with an edit, if that has a name."""
        values: list[Any] = []

        def record(*arguments: Any) -> Any:
            values.append(candidate.evaluate(*arguments))
            return values[-1]

        self.gradients(self.points[0], dataclasses.replace(candidate, value=record))
        meaning = self.known.identify(values[0]) if values else None
        return "" if meaning is None else str(meaning)

    # ---- where to look

    def relevant_steps(self) -> list[Step]:
        r"""The expressions whose value the wrong gradients depend on, and no right one does, in order.

        If a run is slow, all of them, those next to the last right gradient first.
        """
        trace, self.traced = self.program.trace(self.points[0].inputs)
        self.counts = Counter(step.expression.number for step in trace)
        self.lines = list(dict.fromkeys((step.expression.file, step.expression.line) for step in trace))
        wrong, edited = set(self.wrong), {candidate.expression.number for candidate in self.accepted}
        steps = [step for step in trace if not step.instance and step.expression.number not in edited]
        if self.is_slow:  # the steps next to the last gradient that is right come first
            meanings = {step.place: self.known.identify(step.value) for step in steps}
            right = [place for place, m in meanings.items() if m and m.is_right and m.known.is_gradient]
            return sorted(steps, key=lambda step: abs(step.place - max(right, default=0)))
        before = self.gradients(self.points[0])
        assert before is not None
        relevant = []
        for step in steps:
            value = as_array(step.value)
            if value is not None and not step.is_assignment and not self.late:
                large = 3 * float(np.abs(value).max(initial=0.0)) + NUDGE
                affected = self.affected(step, NUDGE, before) or self.affected(step, large, before)
                if not affected & wrong or affected - wrong:
                    continue
            relevant.append(step)
        return relevant

    def affected(self, step: Step, change: float, before: Mapping[str, Any]) -> set[str]:
        r"""The gradients that change with the value of an expression."""
        number, point = step.expression.number, self.points[0]

        def edit(frame: Any, operands: Any, keywords: Any) -> Any:
            value = self.program.functions[number](*operands, **keywords)
            random = change * np.random.default_rng(0).uniform(-2, 2, np.shape(value))
            return value + (torch.as_tensor(random) if isinstance(value, torch.Tensor) else random)

        try:
            with np.errstate(all="ignore"):
                after = self.program.run(point.inputs, {**self.edits(point), number: edit})
        except Exception:  # a value out of range
            return set(self.wrong)
        pairs = {name: (gradient_array(before[name]), gradient_array(after[name])) for name in point.truth}
        return {name for name, (a, b) in pairs.items() if a.shape != b.shape or not np.array_equal(a, b)}

    # ---- edits that follow from the numbers, and from the forward pass

    def from_forward(self, steps: Sequence[Step]) -> Iterator[tuple[Step, Candidate]]:
        r"""The edits that follow from the numbers and from the forward pass, step by step."""
        once = self.gradients(self.points[0])
        for step in steps:
            if self.late:
                return
            for candidate in itertools.chain(self.constants(step, once), self.formulas(step)):
                yield step, candidate

    def constants(self, step: Step, once: Mapping[str, Any] | None) -> Iterator[Candidate]:
        r"""The expression, or a term of it, times the constant that makes the gradients right.

        The gradients are affine in the constant, so that two runs determine it: the one with the accepted edits alone
        is ``once``.
        """
        point, expression = self.points[0], step.expression
        if as_array(step.value) is None or expression.is_statement or once is None:
            return
        wholes = [("{e}", "{}")]
        if expression.template in ("{0} + {1}", "{0} - {1}"):
            wholes += [(part, expression.template.replace(part, "{}")) for part in ("{0}", "{1}")]
        for part, around in wholes:

            def scaled(text: str, around: str = around) -> str:
                return around.replace("{}", text)

            twice = self.gradients(point, Candidate(expression, FACTOR, Fault.FACTOR, scaled(f"({part} * 2)")))
            if twice is None:
                continue
            found = set()
            for name in self.wrong:
                a, b = gradient_array(once[name]), gradient_array(twice[name])
                difference = point.truth[name] - a if a.shape == point.truth[name].shape else None
                c = None if difference is None or a.shape != b.shape else ratio(difference, b - a)
                found |= {exact(1 + c)} if c is not None else set()
            for c in found - {0.0, 1.0}:
                fault = {-1.0: Fault.SIGN, 2.0: Fault.FACTOR_HALF, 0.5: Fault.FACTOR_2}.get(c, Fault.FACTOR)
                yield Candidate(expression, FACTOR, fault, scaled(multiplied(part, c, self.dimensions)))

    def formulas(self, step: Step) -> Iterator[Candidate]:
        r"""Edits that make an expression the gradient that it should be, or multiply it by a derivative."""
        point = self.points[0]
        outputs = [name for name, g in self.traced.items() if g is step.result and name in self.wrong]
        if step.expression.is_statement or (as_array(step.value) is None and not outputs):
            return
        inner = targets(step, self.counts[step.expression.number], point.forward)
        for target in sorted([*map(Target, outputs), *inner], key=lambda target: not target.is_derivative):
            if self.late:
                return
            if target.is_derivative:
                yield self.times_derivative(step, target)
            candidate = self.replaced_by(step, target)
            names, c = self.scale_of(candidate)
            if names and self.accept(candidate := self.replaced_by(step, target, exact(c))) == names:
                computes = self.known.identify(step.value)
                order = (-len(names), *self.order(step))
                self.true_gradients.append((order, Repair(candidate, names, computes, candidate.words)))
                yield from self.written(step, target, c)

    def expressions_of_forward(self, step: Step) -> dict[str, Any]:
        return forward_expressions(self.points[0].forward, variables(step), self.points[0].use_torch)

    def replaced_by(self, step: Step, target: Target, c: float = 1.0) -> Candidate:
        r"""The expression replaced by what it should be."""

        def value(evaluator: Evaluator, f: Any, operands: Any, keywords: Any) -> Any:
            result = evaluator.native(target.value(evaluator.forward, evaluator.instance)) * c
            return result if isinstance(target.key, str) else result.reshape(np.shape(step.value))

        words = ("" if c == 1 else f"{c:.6g} · ") + target.text(self.points[0].forward)
        return Candidate(step.expression, TERM, Fault.EXPRESSION, "", value, words)

    def times_derivative(self, step: Step, target: Target) -> Candidate:
        r"""The expression times the derivative of an elementwise function of the forward pass."""
        forward = self.points[0].forward
        text = derivative_text(target.operation(forward), variables(step))

        def value(evaluator: Evaluator, f: Any, operands: Any, keywords: Any) -> Any:
            derivative = target.value(evaluator.forward, evaluator.instance)
            return f(*operands, **keywords) * evaluator.native(derivative)

        fault, words = Fault.ACTIVATION_DERIVATIVE_MISSING, f"{step.expression.code} times {target.text(forward)}"
        if text:
            return Candidate(step.expression, FACTOR, fault, f"{{e}} * {braced(text)}")
        return Candidate(step.expression, FACTOR, fault, "", value, words)

    def written(self, step: Step, target: Target, c: float) -> Iterator[Candidate]:
        r"""What the user could write for a true gradient: the backward of an operation, of a value at hand."""
        expression, own = step.expression, variables(step)
        if self.counts[expression.number] > 1 and target.place == "fixed":
            return
        operands = [(f"{{{i}}}", value) for i, value in enumerate(step.operands)]
        quantities = [*operands, ("{e}", step.value), *((braced(t), v) for t, v in own)]
        quantities += [(braced(t), v) for t, v in self.expressions_of_forward(step).items()]
        forward = self.points[0].forward
        wanted = c * target.value(forward).numpy().ravel()
        for text, factor in vjp_texts(forward, wanted, quantities, own):
            text = text.replace("np.", "torch.") if self.points[0].use_torch else text
            yield Candidate(expression, FACTOR + 0.5, Fault.EXPRESSION, multiplied(text, factor, self.dimensions))


def as_edit(candidate: Candidate, function: Any, evaluator: Evaluator, earlier: Edit | None) -> Edit:
    instances = itertools.count()

    def edit(frame: Any, operands: Any, keywords: Any) -> Any:
        evaluator.frame, evaluator.instance = frame, next(instances)
        f = function if earlier is None else (lambda *ops, **k: earlier(frame, ops, k))
        return candidate.evaluate(evaluator, f, operands, keywords)

    return edit


def exact(c: float) -> float:
    r"""The ratio of small whole numbers near a number."""
    fraction = float(Fraction(c).limit_denominator(4096))
    return fraction if abs(fraction - c) <= RTOL * abs(c) else c


def multiplied(text: str, c: float, dimensions: Mapping[str, int]) -> str:
    r"""An expression times a constant, which is written with the sizes of the data if possible."""
    for size_text, size in dimensions.items():
        for numerator in (1, -1, 2, -2):
            sign, factor = "-" * (numerator < 0), f"{abs(numerator)} * " * (abs(numerator) > 1)
            if abs(c * size - numerator) <= RTOL * abs(numerator):
                return f"({sign}{factor}({text}) / {size_text})"
            if numerator in (1, -1) and abs(c - numerator * size) <= RTOL * size:
                return f"({sign}({text}) * {size_text})"
    fraction = Fraction(c).limit_denominator(64)
    if abs(float(fraction) - c) > RTOL * abs(c):
        return f"({c:.12g} * ({text}))"
    sign, top = "-" * (fraction < 0), abs(fraction.numerator)
    product = f"{top} * ({text})" if top != 1 else f"({text})"
    return f"({sign}{product} / {fraction.denominator})" if fraction.denominator > 1 else f"({sign}{product})"


def gradient_array(gradient: Any) -> Array:
    array = as_array(gradient)
    return np.asarray(gradient, dtype=float) if array is None else array
