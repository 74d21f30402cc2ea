r"""Is a hand-written gradient right, and if not, why.

torch only, and rich where a report is printed; nothing of the article. How it goes about it:

- :mod:`~nnmath.check.comparison` compares with autograd in float64, within :mod:`~nnmath.check.tolerance`; where they
  differ, :mod:`~nnmath.check.kinks` and :mod:`~nnmath.check.differences` say whether autograd's is the only right one;
- :mod:`~nnmath.check.rules` are the known mistakes, a function each: each tells what the gradients would be if it had
  been made, mostly by editing the :mod:`~nnmath.check.graph` that autograd differentiates;
- :mod:`~nnmath.check.diagnosis` believes the ones that give the user's numbers.
"""

from nnmath.check.faults import Fault, Finding
from nnmath.check.function import check_function
from nnmath.check.gradients import assert_gradients, check_gradients
from nnmath.check.report import Entry, Report

__all__ = ["Entry", "Fault", "Finding", "Report", "assert_gradients", "check_function", "check_gradients"]
