"""How close is close: the one place where tolerances stand."""

import mpmath
import torch

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Of the largest entry of the reference tensor."""

mpmath.mp.dps = 50


def relative_difference(tensor, reference):
    """max |tensor − reference| / max |reference|; what underflow alone takes away does not count."""
    assert tensor.shape == reference.shape
    assert tensor.dtype == reference.dtype
    difference = (tensor - reference).abs().max().item()
    info = torch.finfo(reference.dtype)
    underflow = 64 * info.smallest_normal * info.eps  # half a quantum for each of up to 64 summands, and to spare
    return 0.0 if difference <= underflow else difference / reference.abs().max().item()


def assert_close(tensor, reference):
    assert relative_difference(tensor, reference) <= TOLERANCE[reference.dtype]


def ulps(value, truth, dtype):
    """|value − truth| in units in the last place of the truth."""
    info = torch.finfo(dtype)
    exponent = mpmath.floor(mpmath.log(max(abs(truth), info.smallest_normal), 2))
    return float(abs(mpmath.mpf(value) - truth) / mpmath.ldexp(info.eps, int(exponent)))
