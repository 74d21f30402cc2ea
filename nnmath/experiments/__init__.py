r"""The article's other claims as experiments, one file each: seeded, and nothing printed or drawn.

What they return is drawn by :mod:`nnmath.figures.experiments`, and told by scripts/experiments.py.
"""
