r"""Is a hand-written gradient right, and if not, why?

It needs only torch and NumPy, and rich to print a report.

- ``backward``: check_backward, for a hand-written backward whose code it reads;
- ``gradients``: check_gradients, for the gradients of a scalar loss;
- ``module``: check_module, for a Module and its parameters;
- :mod:`~nnmath.gradcheck.function`: check_function, for a torch.autograd.Function;
- :mod:`~nnmath.gradcheck.code`: traces the code of a backward, and searches for the edit that makes it right;
- :mod:`~nnmath.gradcheck.comparison`: compares with autograd in float64, and allows for rounding and kinks;
- :mod:`~nnmath.gradcheck.graph`: records autograd's graph, and edits it to make mistakes;
- :mod:`~nnmath.gradcheck.diagnosis`: hypotheses about the mistake, accepted only if they reproduce the wrong gradients;
- ``faults``, ``report``, ``validation``, ``conversion``, ``nonfinite``: the known mistakes, the report, checks and
  conversions of arguments, and where the first nan arises.
"""

from nnmath.gradcheck.backward import assert_backward, check_backward
from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.function.check import check_function
from nnmath.gradcheck.gradients import assert_gradients, check_gradients
from nnmath.gradcheck.module import check_module
from nnmath.gradcheck.report import Entry, Report, TraceEntry

__all__ = [
    "Entry",
    "Fault",
    "Finding",
    "Report",
    "TraceEntry",
    "assert_backward",
    "assert_gradients",
    "check_backward",
    "check_function",
    "check_gradients",
    "check_module",
]
