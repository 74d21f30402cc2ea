r"""The choice among hypotheses: the one that explains the most gradients, then the best for the remaining ones."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.compare import compare
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.kinks import Moved
from nnmath.gradcheck.diagnosis.constants import Constant, describe_constant
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, Match, Rule, fit_scale, matches
from nnmath.gradcheck.diagnosis.rules import LOCAL, RULES
from nnmath.gradcheck.diagnosis.unexplained import UNEXPLAINED, describe_unexplained
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.graph.edits import Edit, replace_grad_output, scale
from nnmath.gradcheck.graph.graph import Forward, Graph

Rebuild = Callable[[int], tuple[Forward, Mapping[str, Tensor], Mapping[str, Tensor | None]]]

MAX_SECONDS = 60
MAX_HYPOTHESES = 1000  # of one rule; fewer in a graph of more than 150 nodes


def diagnose(
    comparison: Comparison,
    n: int | None = None,
    learning_rate: float | None = None,
    rebuild: Rebuild | None = None,
    in_graph: bool = True,
    deadline: float | None = None,
) -> list[Finding]:
    r"""Explains the wrong gradients: first the hypotheses that reproduce some, then what is known of the others.

    ``n``, ``learning_rate`` and ``rebuild`` are those of :func:`nnmath.gradcheck.check_gradients`. ``in_graph`` says
    whether the comparison's graph records the user's operations, so that mistakes can be made in it. After the
    ``deadline``, by default MAX_SECONDS from now, no further hypothesis is tried.
    """
    options = (n, learning_rate, rebuild, in_graph, deadline or time.monotonic() + MAX_SECONDS)
    findings = diagnose_graph(comparison, *options)
    for moves in comparison.kinks:  # another choice of the derivative at a kink may explain more
        if count_unexplained(findings):
            graph = Graph(comparison.forward, comparison.inputs, list(comparison.gradients), Moved(moves))
            other = dataclasses.replace(comparison, graph=graph, reference=graph.gradients())
            findings = min(findings, diagnose_graph(other, *options), key=count_unexplained)
    return findings


def count_unexplained(findings: list[Finding]) -> int:
    r"""How many gradients no hypothesis explains."""
    return sum(len(finding.names) for finding in findings if finding.fault in UNEXPLAINED)


def diagnose_graph(
    comparison: Comparison,
    n: int | None,
    learning_rate: float | None,
    rebuild: Rebuild | None,
    in_graph: bool,
    deadline: float,
) -> list[Finding]:
    r"""The findings for one choice of the derivatives at kinks, that of the comparison's reference and graph."""
    depth, reference = comparison.graph.depth, comparison.reference
    remaining = sorted(comparison.wrong, key=lambda name: depth[name])
    context = Context(comparison, n, learning_rate, remaining, base=dict(reference), in_graph=in_graph)
    downstream = downstream_errors(context)
    context.mark_explained(list(downstream))
    disconnected = [name for name in context.remaining if not reference[name].any() and context.value(name).any()]
    context.mark_explained(disconnected)
    findings: list[Finding] = []
    while context.remaining and (match := best_match(context, deadline)):
        context.mark_explained(match.names)
        edit = match.hypothesis.edit
        if edit is not None:
            edit = context.edit + (edit if match.constant == 1 else scale(edit, match.constant))
            context = dataclasses.replace(context, edit=edit, base=context.graph.gradients(edit))
            others = [name for name in context.remaining if context.fits(name, context.base[name])]
            context.mark_explained(others)
            match = dataclasses.replace(match, names=match.names + others)
        findings += to_findings(context, match, rebuild)
    if disconnected:
        explanation = f"For autograd the loss that forward returns does not depend on {' and '.join(disconnected)}."
        end = context.graph.recorder.end
        explanation += f" The graph ends at {end}." if end else ""
        fix = "does forward use this argument, and does it reach the loss without detach, no_grad or item()?"
        findings.append(Finding(Fault.UNKNOWN, disconnected, explanation, fix))
    findings += [describe_unexplained(context, name) for name in context.remaining]
    return merge(findings, downstream)


def downstream_errors(context: Context) -> dict[str, str]:
    r"""Gradients that are wrong only because that of an intermediate value is: name ↦ the name of the intermediate.

    An intermediate is an input d that the forward pass adds to a value, z + d: its gradient is that of z.
    """
    downstream: dict[str, str] = {}
    graph, leaf_of = context.graph, {name: node for node, name in context.graph.leaf_of.items()}
    for name, value, _ in context.pairs(same_shape=True):
        for node in graph.nodes if name not in downstream else ():
            inputs = [before for before, _ in node.next_functions]
            if node.name() != "AddBackward0" or leaf_of[name] not in inputs or graph.value(node) is None:
                continue
            predicted = context.gradients(replace_grad_output(node, value)) or {}
            for other in (other for other in context.remaining if other in predicted and other != name):
                changed = not context.indistinguishable(other, predicted[other], context.base[other])
                if changed and context.fits(other, predicted[other]):
                    downstream.setdefault(other, name)
    return downstream


def best_match(context: Context, deadline: float) -> Match | None:
    r"""The match that explains the most gradients; among equals, with the fewest contradictions and fitted numbers."""
    contexts = [dataclasses.replace(context, deadline=deadline)]
    if context.edit != Edit():
        contexts.append(dataclasses.replace(contexts[0], edit=Edit(), base=dict(context.comparison.reference)))
    limit = min(MAX_HYPOTHESES, max(MAX_HYPOTHESES // 5, 150 * MAX_HYPOTHESES // max(1, len(context.graph.nodes))))
    best: tuple[tuple[int, ...], Match] | None = None
    with suppress(TimeoutError):
        for start, rule in itertools.product(contexts, RULES if context.in_graph else LOCAL):
            for hypothesis in hypotheses(rule, start, limit):
                for match in matches(start, hypothesis):
                    combined = match.constant != 1 and hypothesis.fault is not None
                    key = (-len(match.names), match.contradictions, match.fitted, int(combined))
                    if best is None or key < best[0]:
                        best = (key, match)
                    explains_all = len(match.names) == len(context.remaining)
                    # if a constant explains all, any other mistake that does is equivalent to it
                    if explains_all and (hypothesis.fault is None or not any(key[1:])):
                        return match
    return best[1] if best else None


def hypotheses(rule: Rule, context: Context, limit: int) -> Iterator[Hypothesis]:
    r"""The hypotheses of a rule, until it meets a tensor that it cannot handle, for example a complex one."""
    unsupported = RuntimeError, TypeError, ValueError, NotImplementedError  # torch's, for an unsupported tensor
    with suppress(*unsupported):  # this rule cannot handle the tensor; others may
        yield from itertools.islice(rule(context), limit)


def to_findings(context: Context, match: Match, rebuild: Rebuild | None) -> list[Finding]:
    r"""A match as findings: the mistake, and the constant factor."""
    hypothesis, names, constants = match.hypothesis, match.names, match.constants
    findings: list[Finding] = []
    if hypothesis.fault is not None:
        findings.append(Finding(hypothesis.fault, names, hypothesis.explanation, hypothesis.fix))
    if match.constant != 1 and not constants:
        explanation = f"This is {describe_constant(match.constant, context.comparison.inputs)}."
        findings.append(Finding(Fault.FACTOR, names, explanation, f"divide by {match.constant:.6g}"))
    if len(constants) > 1 and rebuild is not None:
        constants = disambiguate(context, constants, names, rebuild)
    for constant in constants:
        others = " and ".join(other.fault.value for other in constants if other is not constant)
        doubt = f" {others} would give the same here: check at another n, or pass rebuild=." if others else ""
        subject = "This is" if hypothesis.fault is None else "In addition, it is"
        findings.append(Finding(constant.fault, names, f"{subject} {constant.meaning}.{doubt}", constant.fix))
    return findings


def disambiguate(context: Context, constants: list[Constant], names: list[str], rebuild: Rebuild) -> list[Constant]:
    r"""The constants that also fit at another batch size; ValueError if rebuild does not return a valid problem."""
    n = 2 * (context.n or len(names)) + 3
    problem = validation.call(f"rebuild({n})", lambda: tuple(rebuild(n)))
    if len(problem) != 3:
        raise ValueError(f"rebuild({n}) must return (forward, inputs, gradients), got {len(problem)} items")
    forward, inputs, gradients = problem
    validation.tensors(inputs=inputs, gradients=gradients)
    validation.names(inputs, gradients)
    again = compare(forward, inputs, gradients)
    other = Context(again, n, context.learning_rate, names, base=again.reference)
    faults = set()
    for name in (name for name in names if name in gradients and again.has_shape(name)):
        c = fit_scale(again.reference[name], again.values[name])
        if c is not None:
            faults |= {constant.fault for constant in other.constants_near(c, name, again.reference[name])}
    return [constant for constant in constants if constant.fault in faults] or constants


def merge(findings: list[Finding], downstream: dict[str, str]) -> list[Finding]:
    r"""One finding for all gradients with the same explanation, and for those that are wrong only because of them."""
    names_of: dict[tuple[Fault, str, str], list[str]] = {}
    for finding in findings:
        names_of.setdefault((finding.fault, finding.explanation, finding.fix), []).extend(finding.names)
    merged: list[Finding] = []
    for (fault, explanation, fix), names in names_of.items():
        if followers := [name for name, source in downstream.items() if source in names]:
            explanation += f" {', '.join(followers)} only {'follows' if len(followers) == 1 else 'follow'} from it."
        merged.append(Finding(fault, list(dict.fromkeys(names + followers)), explanation, fix))
    return merged
