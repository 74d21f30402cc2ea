r"""How fast is it? The programs that are timed beside each other, and what measures them.

``networks`` has the training of one network and of a stack, and the same in NumPy, torch and JAX; ``training`` a run of
Lightning, and the share of its pictures; ``gradients`` the check of a gradient. ``measure`` runs them in turn.
"""
