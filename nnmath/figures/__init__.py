r"""Figures, one function each: results, tensors or layers in, a matplotlib Figure out.

- :mod:`~nnmath.figures.article` draws the article's own figures;
- :mod:`~nnmath.figures.decision_boundary`, :mod:`~nnmath.figures.network_diagram`,
  :mod:`~nnmath.figures.loss_surface` and :mod:`~nnmath.figures.saturation` a network in training;
- :mod:`~nnmath.figures.sweep` a grid of trained networks;
- :mod:`~nnmath.figures.style` is what they have in common.
"""
