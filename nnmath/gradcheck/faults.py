r"""The known mistakes in a gradient, and the finding that reports one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    r"""The known mistakes. Each is a string: ``Fault.SIGN == "sign"``."""

    # a constant factor
    SIGN = "sign"
    r"""−1 times the gradient"""
    FACTOR_N = "factor_n"
    r"""n or 1/n times the gradient, n being the batch size: averaged where the loss sums, or vice versa"""
    SIGN_AND_FACTOR_N = "sign_and_factor_n"
    FACTOR_2 = "factor_2"
    FACTOR_HALF = "factor_half"
    BESSEL = "bessel"
    r"""n and n − 1 confused"""
    FACTOR = "factor"
    r"""any other constant"""
    CLIPPED = "clipped"
    r"""clipped at a value, or scaled to a norm"""

    # an entry in the wrong place
    BIAS_NOT_SUMMED = "bias_not_summed"
    r"""a gradient per sample instead of their sum"""
    TRANSPOSE = "transpose"
    FLIP = "flip"
    r"""reversed along a dimension"""
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
    r"""a path of the chain rule omitted"""
    MISSING_FACTOR = "missing_factor"
    r"""a factor of a product omitted"""
    ACTIVATION_DERIVATIVE_MISSING = "activation_derivative_missing"
    ACTIVATION_DERIVATIVE_WRONG_TENSOR = "activation_derivative_wrong_tensor"
    r"""the right formula, evaluated at another tensor"""
    ACTIVATION_DERIVATIVE_WRONG = "activation_derivative_wrong"
    r"""another formula"""
    ACTIVATION_DERIVATIVE_EXTRA = "activation_derivative_extra"
    r"""a derivative that does not belong there, or was applied twice"""
    WRONG_TENSOR = "wrong_tensor"
    r"""another tensor of the same shape"""
    UPDATED_WEIGHTS = "updated_weights"
    r"""the weights from after the update"""
    GRAD_OUTPUT_IGNORED = "grad_output_ignored"
    r"""grad_output is not used"""

    # the loss
    BROADCAST_N_BY_N = "broadcast_n_by_n"
    r"""(n,) against (n, 1) became (n, n)"""
    TARGET_TERM_MISSING = "target_term_missing"
    REGULARIZATION = "regularization"
    r"""a penalty on the weights in the gradient but not in the loss, or vice versa"""

    # sums
    OVERWRITTEN = "overwritten"
    r"""assigned instead of accumulated"""
    PARTIAL = "partial"
    r"""some entries right, the rest zero"""
    LOCALIZED = "localized"
    r"""few entries wrong"""

    # a torch.autograd.Function
    NONDETERMINISTIC = "nondeterministic"
    INPLACE_GRAD_OUTPUT = "inplace_grad_output"
    r"""backward changes its grad_output"""
    FORWARD_DIFFERS = "forward_differs"
    r"""the Function's value differs from that of the forward it is compared with"""

    # unexplained
    SMALL_RELATIVE = "small_relative"
    r"""close but not equal: an epsilon, a lower precision"""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    r"""What is wrong, where, and what to write instead."""

    fault: Fault
    names: list[str]
    r"""the gradients it explains, the one nearest to the loss first"""
    explanation: str
    r"""one or two human-readable sentences"""
    fix: str
    r"""what to write instead"""

    def to_dict(self) -> dict[str, Any]:
        r"""The finding for json.dumps."""
        return {**asdict(self), "fault": self.fault.value}
