r"""The known mistakes in a gradient, and the finding that reports one."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    r"""The known mistakes. Each is a string: ``Fault.SIGN == "sign"``."""

    # a constant factor
    SIGN = "sign"  # −1 times the gradient
    FACTOR_N = "factor_n"  # n or 1/n times the gradient: averaged where the loss sums, or vice versa
    SIGN_AND_FACTOR_N = "sign_and_factor_n"
    FACTOR_2 = "factor_2"
    FACTOR_HALF = "factor_half"
    BESSEL = "bessel"  # n and n − 1 confused
    FACTOR = "factor"  # any other constant
    CLIPPED = "clipped"  # clipped at a value, or scaled to a norm

    # an entry in the wrong place
    BIAS_NOT_SUMMED = "bias_not_summed"  # a gradient per sample instead of their sum
    TRANSPOSE = "transpose"
    FLIP = "flip"  # reversed along a dimension
    PERMUTED = "permuted"  # the right values in other places
    SWAPPED = "swapped"  # the gradient of another input
    SHAPE = "shape"  # not the shape of the input

    # the chain rule
    DETACHED = "detached"  # zero, or missing
    MISSING_PATH = "missing_path"  # a path of the chain rule omitted
    MISSING_FACTOR = "missing_factor"  # a factor of a product omitted
    ACTIVATION_DERIVATIVE_MISSING = "activation_derivative_missing"
    ACTIVATION_DERIVATIVE_WRONG_TENSOR = "activation_derivative_wrong_tensor"  # the right formula at another tensor
    ACTIVATION_DERIVATIVE_WRONG = "activation_derivative_wrong"  # another formula
    ACTIVATION_DERIVATIVE_EXTRA = "activation_derivative_extra"  # one that does not belong there, or applied twice
    WRONG_TENSOR = "wrong_tensor"  # another tensor of the same shape
    UPDATED_WEIGHTS = "updated_weights"  # the weights from after the update
    GRAD_OUTPUT_IGNORED = "grad_output_ignored"  # grad_output is not used

    # the loss
    BROADCAST_N_BY_N = "broadcast_n_by_n"  # (n,) against (n, 1) became (n, n)
    TARGET_TERM_MISSING = "target_term_missing"
    REGULARIZATION = "regularization"  # a penalty on the weights in the gradient but not in the loss, or vice versa

    # sums
    OVERWRITTEN = "overwritten"  # assigned instead of accumulated
    PARTIAL = "partial"  # some entries right, the rest zero
    LOCALIZED = "localized"  # few entries wrong

    # a torch.autograd.Function
    NONDETERMINISTIC = "nondeterministic"
    INPLACE_GRAD_OUTPUT = "inplace_grad_output"  # backward changes its grad_output
    SURROGATE = "surrogate"  # another gradient on purpose: a straight-through estimator, or gradient reversal
    FORWARD_DIFFERS = "forward_differs"  # the Function's value differs from that of the forward it is compared with

    # in the code of a backward
    NONFINITE = "nonfinite"  # nan or inf
    EXPRESSION = "expression"  # another expression than is needed, of no kind above

    # unexplained
    SMALL_RELATIVE = "small_relative"  # close but not equal: an epsilon, a lower precision
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    r"""What is wrong, where, and what to write instead."""

    fault: Fault
    names: list[str]  # the gradients it explains, the one nearest to the loss first
    explanation: str  # one or two human-readable sentences
    fix: str  # what to write instead
    # where the code of the backward was read:
    file: str = ""
    line: int | None = None
    code: str = ""  # the expression
    computes: str = ""  # what it is now
    should_be: str = ""  # what it should be
    repair: str = ""  # the expression to write instead, which was tried; empty if there is only a description

    def to_dict(self) -> dict[str, Any]:
        r"""The finding for json.dumps."""
        return {**asdict(self), "fault": self.fault.value}
