r"""The mathematics of a neural network, by hand on torch tensors and checked against autograd.

Start reading in :mod:`nnmath.equations`; :mod:`nnmath.verification.catalogue` lists every equation once.
"""
