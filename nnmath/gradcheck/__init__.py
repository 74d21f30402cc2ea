r"""Is a hand-written gradient right, and if not, why?

It needs only torch, and rich to print a report.

- ``gradients``: check_gradients, for the gradients of a scalar loss;
- :mod:`~nnmath.gradcheck.function`: check_function, for a torch.autograd.Function;
- :mod:`~nnmath.gradcheck.comparison`: compares with autograd in float64, and allows for rounding and kinks;
- :mod:`~nnmath.gradcheck.graph`: records autograd's graph, and edits it to make mistakes;
- :mod:`~nnmath.gradcheck.diagnosis`: hypotheses about the mistake, accepted only if they reproduce the wrong gradients;
- ``faults``, ``report``, ``validation``: the known mistakes, the report, and checks of arguments.
"""

from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.function.check import check_function
from nnmath.gradcheck.gradients import assert_gradients, check_gradients
from nnmath.gradcheck.report import Entry, Report

__all__ = ["Entry", "Fault", "Finding", "Report", "assert_gradients", "check_function", "check_gradients"]
