r"""Matplotlib figures of tensors, layers and results.

- :mod:`~nnmath.figures.style`: colours, sizes, axes, text formatting;
- :mod:`~nnmath.figures.article`: the article's own figures;
- :mod:`~nnmath.figures.overview`: the whole network in one picture; :mod:`~nnmath.figures.animation`: a GIF of it;
- :mod:`~nnmath.figures.decision_boundary`, :mod:`~nnmath.figures.network_diagram`,
  :mod:`~nnmath.figures.loss_surface`, :mod:`~nnmath.figures.saturation`: a network in training;
- :mod:`~nnmath.figures.sweep`: costs of a grid of trained networks.
"""
