r"""Is a hand-written gradient right, and if not, why.

torch only, and rich where a report is printed; nothing of the article. How it goes about it:

- :mod:`~nnmath.gradcheck.comparison` compares with autograd in float64, within a tolerance that allows for rounding;
  where they differ, it looks for kinks and takes finite differences, to see whether autograd's value is the only right
  one;
- :mod:`~nnmath.gradcheck.diagnosis.rules` are the known mistakes, a function each: each computes what the gradients
  would be if it had been made, mostly by editing the :mod:`~nnmath.gradcheck.graph` that autograd differentiates;
- :mod:`~nnmath.gradcheck.diagnosis` accepts the ones that reproduce the user's numbers.
"""

from nnmath.gradcheck.faults import Fault, Finding
from nnmath.gradcheck.function.check import check_function
from nnmath.gradcheck.gradients import assert_gradients, check_gradients
from nnmath.gradcheck.report import Entry, Report

__all__ = ["Entry", "Fault", "Finding", "Report", "assert_gradients", "check_function", "check_gradients"]
