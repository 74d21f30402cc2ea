r"""Why a gradient is wrong: the story that explains the most, then the one that explains the most of the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from torch import Tensor

from nnmath.gradcheck import validation
from nnmath.gradcheck.comparison.compare import compare
from nnmath.gradcheck.comparison.comparison import Comparison
from nnmath.gradcheck.comparison.kinks import Moved
from nnmath.gradcheck.diagnosis.constants import Constant, described
from nnmath.gradcheck.diagnosis.hypothesis import Context, Hypothesis, Match, fit_scale, matches
from nnmath.gradcheck.diagnosis.rules import LOCAL, RULES
from nnmath.gradcheck.diagnosis.unexplained import REMAINDERS
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.graph.edits import Edit, replace_grad_output, scale
from nnmath.gradcheck.graph.graph import Forward, Graph

Rebuild = Callable[[int], tuple[Forward, Mapping[str, Tensor], Mapping[str, Tensor | None]]]


def diagnose(
    comparison: Comparison,
    n: int | None = None,
    learning_rate: float | None = None,
    rebuild: Rebuild | None = None,
    in_graph: bool = True,
) -> list[Finding]:
    r"""What is wrong with the gradients that are.

    Args:
        comparison: with at least one gradient that is wrong.
        n: the batch size, if it is known.
        learning_rate: η, if it is known.
        rebuild: the same check at another batch size, to tell n from a constant.
        in_graph: whether the comparison's graph is the user's mathematics, and mistakes can be made in it.

    Returns:
        The findings, the most certain first: stories that reproduce the numbers, then what can be said without one.
    """
    findings = of_graph(comparison, n, learning_rate, rebuild, in_graph)
    for moves in comparison.kinks:  # the other choices of the derivative at a kink, if they explain more
        if any(finding.fault in UNEXPLAINED for finding in findings):
            graph = Graph(comparison.forward, comparison.inputs, list(comparison.gradients), Moved(moves))
            other = dataclasses.replace(comparison, graph=graph, reference=graph.gradients())
            findings = min(findings, of_graph(other, n, learning_rate, rebuild, in_graph), key=unexplained)
    return findings


UNEXPLAINED = (Fault.PARTIAL, Fault.LOCALIZED, Fault.SMALL_RELATIVE, Fault.UNKNOWN)


def unexplained(findings: list[Finding]) -> int:
    r"""How many gradients have no story."""
    return sum(len(finding.names) for finding in findings if finding.fault in UNEXPLAINED)


def of_graph(
    comparison: Comparison, n: int | None, learning_rate: float | None, rebuild: Rebuild | None, in_graph: bool
) -> list[Finding]:
    r"""What is wrong, seen from the comparison's own reference and graph."""
    depth = comparison.graph.depth
    remaining = sorted(comparison.wrong, key=lambda name: depth[name])
    case = Context(comparison, n, learning_rate, remaining, base=dict(comparison.reference), in_graph=in_graph)
    downstream = downstream_errors(case)
    case.remaining = [name for name in remaining if name not in downstream]
    findings: list[Finding] = []
    severed = [name for name in case.remaining if not comparison.reference[name].any() and case.value(name).any()]
    case.remaining = [name for name in case.remaining if name not in severed]
    while case.remaining and (match := best(case)):
        names = match.names
        case.remaining = [name for name in case.remaining if name not in names]
        if match.story.edit is not None:
            edit = case.edit + (match.story.edit if match.constant == 1 else scale(match.story.edit, match.constant))
            case = dataclasses.replace(case, edit=edit, base=case.graph.gradients(edit))
            names = names + [name for name in case.remaining if case.fits(name, case.base[name])]  # once it is known
            case.remaining = [name for name in case.remaining if name not in names]
        findings += told(case, dataclasses.replace(match, names=names), rebuild)
    findings += [disconnected_from_loss(severed)] if severed else []
    for name in case.remaining:
        findings.append(next(finding for rule in REMAINDERS if (finding := rule(case, name)) is not None))
    return [with_downstream(finding, downstream) for finding in merged(findings)]


MOST = 1000
r"""Stories of one rule that are looked at; fewer in a graph of more than 150 nodes."""


def disconnected_from_loss(names: list[str]) -> Finding:
    r"""Inputs that the loss does not depend on, as autograd sees it."""
    return Finding(
        Fault.UNKNOWN,
        names,
        f"For autograd the loss that forward returns does not depend on {' and '.join(names)}: the gradient is 0.",
        "does forward use its argument of that name, and does it reach the loss without detach, no_grad or item()?",
    )


def best(case: Context) -> Match | None:
    r"""The match that explains the most gradients, contradicts the fewest, and has the least that was fitted."""
    cases = [case]
    if case.edit != Edit():
        cases.append(dataclasses.replace(case, edit=Edit(), base=dict(case.comparison.reference)))
    first: tuple[tuple[int, ...], Match] | None = None
    most = min(MOST, max(MOST // 5, 150 * MOST // max(1, len(case.graph.nodes))))
    for each in cases:
        for rule in RULES if each.in_graph else LOCAL:
            for story in hypotheses(rule, each, most):
                for match in matches(each, story):
                    combined = match.constant != 1 and match.story.fault is not None
                    key = (-len(match.names), match.contradictions, match.free, int(combined))
                    if first is None or key < first[0]:
                        first = (key, match)
                    if (key[0] == -len(case.remaining) and not any(key[1:])) or explains_all(case, match):
                        return match
    return first[1] if first else None


def hypotheses(rule: Callable[[Context], Iterator[Hypothesis]], case: Context, most: int) -> Iterator[Hypothesis]:
    r"""A rule's stories; one that cannot deal with this graph, of complex numbers say, has no more of them."""
    # torch raises any of these at kinds of tensors that an operation lacks; a rule without a story accuses nobody
    with suppress(RuntimeError, TypeError, ValueError, NotImplementedError):
        yield from islice(rule(case), most)


def explains_all(case: Context, match: Match) -> bool:
    r"""Whether a mere constant explains all that remains: a story that did so too would come down to it."""
    return match.story.fault is None and len(match.names) == len(case.remaining)


def told(case: Context, match: Match, rebuild: Rebuild | None) -> list[Finding]:
    r"""A match for a person: the story, and the constant that was multiplied in besides."""
    story, names = match.story, match.names
    findings = [] if story.fault is None else [Finding(story.fault, names, story.explanation, story.fix)]
    if match.constant != 1 and not match.constants:
        explanation = f"This is {described(match.constant, case.comparison.inputs)}."
        findings.append(Finding(Fault.FACTOR, names, explanation, f"divide by {match.constant:.6g}"))
    constants = match.constants
    if len(constants) > 1 and rebuild is not None:
        constants = disambiguate(case, constants, names, rebuild)
    for constant in constants:
        others = " and ".join(other.fault.value for other in constants if other is not constant)
        doubt = f" {others} would give the same here: check at another n, or let rebuild= make it." if others else ""
        besides = "This is" if story.fault is None else "Besides the above, it is"
        findings.append(Finding(constant.fault, names, f"{besides} {constant.meaning}.{doubt}", constant.fix))
    return findings


def disambiguate(case: Context, constants: list[Constant], names: list[str], rebuild: Rebuild) -> list[Constant]:
    r"""The constants that are left when the same check is made at another batch size.

    Raises:
        ValueError: rebuild raises, or returns what cannot be checked.
    """
    n = 2 * (case.n or len(names)) + 3
    problem = validation.call(f"rebuild({n})", lambda: tuple(rebuild(n)))
    if len(problem) != 3:
        raise ValueError(f"rebuild({n}) must return (forward, inputs, gradients), got {len(problem)} items")
    forward, inputs, gradients = problem
    validation.tensors(inputs=inputs, gradients=gradients)
    validation.names(inputs, gradients)
    again = compare(forward, inputs, gradients)
    there = Context(again, n, case.learning_rate, names, base=again.reference)
    faults = set()
    for name in (name for name in names if name in gradients and again.has_shape(name)):
        c = fit_scale(again.reference[name], again.values[name])
        if c is not None:
            faults |= {constant.fault for constant in there.named(name, c, again.reference[name])}
    return [constant for constant in constants if constant.fault in faults] or constants


def downstream_errors(case: Context) -> dict[str, str]:
    r"""Gradients that follow from a wrong one nearer to the loss, an intermediate's: name ↦ that one's name.

    An intermediate is an input d that the forward pass adds to a value, z + d: its gradient is the one that goes on.
    """
    heirs: dict[str, str] = {}
    leaf_of = {name: node for node, name in case.graph.leaf_of.items()}
    for name in case.remaining:
        value = case.value(name)
        for node in case.graph.nodes:
            if name in heirs or node.name() != "AddBackward0" or value.shape != case.base[name].shape:
                continue
            here = [after for after, _ in node.next_functions]
            if leaf_of[name] not in here or case.graph.value(node) is None:
                continue
            followed = case.gradients(replace_grad_output(node, value)) or {}
            for other in set(followed).intersection(case.remaining) - {name}:
                if not case.indistinguishable(other, followed[other], case.base[other]) and case.fits(
                    other, followed[other]
                ):
                    heirs.setdefault(other, name)
    return heirs


def with_downstream(finding: Finding, heirs: dict[str, str]) -> Finding:
    r"""A finding together with the gradients that only hand on what is wrong in its own."""
    followers = [heir for heir, source in heirs.items() if source in finding.names]
    if not followers:
        return finding
    follow = f" {', '.join(followers)} only follow{'s' if len(followers) == 1 else ''} from it."
    return dataclasses.replace(finding, names=finding.names + followers, explanation=finding.explanation + follow)


def merged(findings: list[Finding]) -> list[Finding]:
    r"""Findings that say the same of several gradients, as one."""
    names: dict[tuple[Fault, str, str], list[str]] = {}
    for finding in findings:
        names.setdefault((finding.fault, finding.explanation, finding.fix), []).extend(finding.names)
    return [Finding(fault, list(dict.fromkeys(which)), text, fix) for (fault, text, fix), which in names.items()]
