r"""The mathematics of a neural network, written by hand on torch tensors and checked against autograd.

- :mod:`nnmath.equations`: what does the article say?
- :mod:`nnmath.network`: the same as a torch.nn.Module, backward by hand or by autograd
- :mod:`nnmath.verification`: is it right?
- :mod:`nnmath.gradcheck`: is my gradient right, and if not, why?
- :mod:`nnmath.data`: data sets, CSV files, batches
- :mod:`nnmath.training`: does it learn?
- :mod:`nnmath.ensemble`: thousands of networks at once
- :mod:`nnmath.experiments`: is the article right?
- :mod:`nnmath.figures`: a picture per file
- :mod:`nnmath.runtime`: command lines, files, processes
"""
