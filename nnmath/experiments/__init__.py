r"""Is the article right? Its claims, its errata and its author's notebook as seeded experiments.

Each of these files is one experiment: functions that compute, functions that draw, and ``report``, which runs it and
returns what scripts/experiments.py prints and logs. To add one, write such a file and add its name below.

- :mod:`~nnmath.experiments.learning_rate` descent on either side of the minimum, and the largest stable η (G2, G3)
- :mod:`~nnmath.experiments.momentum` momentum past a local minimum (G4)
- :mod:`~nnmath.experiments.perceptron` the Boolean functions that a perceptron computes (P2)
- :mod:`~nnmath.experiments.approximation` error against the number of hidden neurons (U1)
- :mod:`~nnmath.experiments.saturation` vanishing derivatives of the sigmoid (A1, B1)
- :mod:`~nnmath.experiments.errata` eight errors, each with the numbers that show it

:mod:`~nnmath.experiments.report` has what they share. scripts/reproduce_notebook.py prints the rest:

- :mod:`~nnmath.experiments.haberman` the data of the author's notebook
- :mod:`~nnmath.experiments.notebook` its network, procedure and published figures
- :mod:`~nnmath.experiments.cross_validation` its recipe and the article's, cross-validated
"""

EXPERIMENTS = ("learning_rate", "momentum", "perceptron", "approximation", "saturation", "errata")  # in this order
WITH_DATA = ("saturation", "errata")  # those whose report takes the notebook's data, or None
