r"""What can be wrong with a gradient, and how a finding says it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    r"""The known mistakes. Each is a string: ``Fault.SIGN == "sign"``."""

    # a constant
    SIGN = "sign"
    r"""−1 times the gradient"""
    FACTOR_N = "factor_n"
    r"""n times or 1/n of it, n being the batch size: averaged where the loss sums, or the other way round"""
    SIGN_AND_FACTOR_N = "sign_and_factor_n"
    FACTOR_2 = "factor_2"
    FACTOR_HALF = "factor_half"
    BESSEL = "bessel"
    r"""n and n − 1 mixed up"""
    FACTOR = "factor"
    r"""any other constant"""
    CLIPPED = "clipped"
    r"""cut off at a value, or scaled to a norm"""

    # an entry in the wrong place
    BIAS_NOT_SUMMED = "bias_not_summed"
    r"""one gradient for each sample where their sum is wanted"""
    TRANSPOSE = "transpose"
    FLIP = "flip"
    r"""in reverse order along a dimension"""
    PERMUTED = "permuted"
    r"""the right values in other places"""
    SWAPPED = "swapped"
    r"""the gradient of another input"""
    SHAPE = "shape"
    r"""not the shape of the input"""

    # the chain rule
    DETACHED = "detached"
    r"""zero, or missing"""
    MISSING_PATH = "missing_path"
    r"""one path of the chain rule left out"""
    MISSING_FACTOR = "missing_factor"
    r"""one factor of a product left out"""
    ACTIVATION_DERIVATIVE_MISSING = "activation_derivative_missing"
    ACTIVATION_DERIVATIVE_WRONG_TENSOR = "activation_derivative_wrong_tensor"
    r"""the right formula, evaluated at another tensor"""
    ACTIVATION_DERIVATIVE_WRONG = "activation_derivative_wrong"
    r"""another formula"""
    ACTIVATION_DERIVATIVE_EXTRA = "activation_derivative_extra"
    r"""a derivative that does not belong there, or one that was applied twice"""
    WRONG_TENSOR = "wrong_tensor"
    r"""another tensor of the same shape"""
    UPDATED_WEIGHTS = "updated_weights"
    r"""the weights from after a step of descent"""
    GRAD_OUTPUT_IGNORED = "grad_output_ignored"
    r"""the gradient that comes from above is not used"""

    # the loss
    BROADCAST_N_BY_N = "broadcast_n_by_n"
    r"""(n,) against (n, 1) became (n, n)"""
    TARGET_TERM_MISSING = "target_term_missing"
    REGULARIZATION = "regularization"
    r"""a penalty on the weights in the gradient that is not in the loss, or the other way round"""

    # sums
    OVERWRITTEN = "overwritten"
    r"""assigned where it had to be added up"""
    PARTIAL = "partial"
    r"""some entries right, the rest zero"""
    LOCALIZED = "localized"
    r"""wrong in few entries"""

    # a Function
    NONDETERMINISTIC = "nondeterministic"
    INPLACE_GRAD_OUTPUT = "inplace_grad_output"
    r"""backward changes the gradient that it was given"""
    FORWARD_DIFFERS = "forward_differs"
    r"""the Function's value is not that of the mathematics it is compared with"""

    # no story
    SMALL_RELATIVE = "small_relative"
    r"""close but not equal: an epsilon, a precision"""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    r"""What is wrong, where, and what to write instead."""

    fault: Fault
    names: list[str]
    r"""the gradients it explains, the one nearest to the loss first"""
    explanation: str
    r"""one or two sentences for a person"""
    fix: str
    r"""what to write instead"""

    def to_dict(self) -> dict[str, Any]:
        r"""The same, for json.dumps."""
        return {
            "fault": self.fault.value,
            "names": self.names,
            "explanation": self.explanation,
            "fix": self.fix,
        }
