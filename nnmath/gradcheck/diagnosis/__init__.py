r"""Why is a gradient wrong?

- :mod:`.rules` are the known mistakes: each yields hypotheses, with the gradients that its mistake would give;
- :mod:`.hypothesis` tests a hypothesis: it is accepted only if it reproduces the user's gradients to rounding;
- :mod:`.constants` are the constant factors that a gradient may wrongly have, such as −1, 2 or 1/n;
- :mod:`.diagnose` chooses among the hypotheses that were accepted;
- :mod:`.unexplained` is what the report says of a gradient that no hypothesis reproduces.
"""
