r"""The callbacks that write a run to TensorBoard, a kind of content per file.

- :mod:`~nnmath.training.tensorboard.base`: the writers, the data, and when to write;
- :mod:`~nnmath.training.tensorboard.curves`: gradient norms, gradient discrepancy, trajectory;
- :mod:`~nnmath.training.tensorboard.histograms`: histograms and precision-recall curves;
- :mod:`~nnmath.training.tensorboard.images`: the figures;
- :mod:`~nnmath.training.tensorboard.graph`: the computational graph;
- :mod:`~nnmath.training.tensorboard.overview`: hyperparameters, charts, text tables.
"""
