"""The tolerances of the tests, in one place."""

import mpmath
import torch

from nnmath.gradcheck.comparison.errors import relative_error, ulp

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Maximum relative error of a tensor."""

mpmath.mp.dps = 50


def relative_difference(tensor, reference):
    """Relative error; 0 if underflow alone explains the difference."""
    assert tensor.shape == reference.shape
    assert tensor.dtype == reference.dtype
    info = torch.finfo(reference.dtype)
    underflow = 64 * info.smallest_normal * info.eps  # half a subnormal step for each of up to 64 summands, twice
    return 0.0 if (tensor - reference).abs().max() <= underflow else relative_error(tensor, reference)


def assert_close(tensor, reference):
    assert relative_difference(tensor, reference) <= TOLERANCE[reference.dtype]


def ulps(value, truth, dtype):
    """|value − truth| in units in the last place of the truth."""
    return float(abs(mpmath.mpf(value) - truth) / ulp(truth, dtype))
