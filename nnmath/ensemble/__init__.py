r"""Thousands of networks trained at once.

- :mod:`~nnmath.ensemble.stack`: initialise and train a stack of networks;
- :mod:`~nnmath.ensemble.chunks`: what makes it fast: cache-sized chunks, threads, torch.compile;
- :mod:`~nnmath.ensemble.sweep`: a grid of learning rates, momenta and seeds;
- :mod:`~nnmath.ensemble.sweep_log`: its results as files and TensorBoard curves;
- :mod:`~nnmath.ensemble.loss_surface`: the cost and its gradient at many parameter vectors.
"""

from nnmath.ensemble.stack import Interrupted as Interrupted
from nnmath.ensemble.stack import init_stack as init_stack
from nnmath.ensemble.stack import repeat_network as repeat_network
from nnmath.ensemble.stack import train as train
